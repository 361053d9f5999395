/// MUSTER_MODEL: a model of your own in a shared object, built against these headers and named as
/// model.kind = plugin:libmine.so. The class is made with a Builder, whose tensors it keeps, and
/// answers forward(). It may call torch and the Builder, nothing else of Muster.
/// configs/examples/plugin_model is a worked example.
///
///     class MyNet {
///      public:
///       MyNet(muster::Builder& builder, const muster::DataShape& data, const muster::ModelOptions&
///       options); at::Tensor forward(const at::Tensor& features, const muster::Pass& pass);
///     };
///     MUSTER_MODEL(MyNet)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/version.h>

#include <cstdint>
#include <memory>

#include "runtime/model/builder.h"

namespace muster {

class PluginNet {
 public:
  virtual ~PluginNet() = default;
  virtual at::Tensor forward(const at::Tensor& features, const Pass& pass) = 0;
};

template <class Net>
class PluginAdapter final : public PluginNet {
 public:
  PluginAdapter(Builder& builder, const DataShape& data, const ModelOptions& options)
      : net_(builder, data, options) {}
  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    return net_.forward(features, pass);
  }

 private:
  Net net_;
};

/// What a shared object says of itself. The first five fields never move, so that any version can
/// read them.
struct PluginEntry {
  static constexpr std::uint64_t magic_value = 0x6c646f6d7274736dULL;  // "mstrmodl"
  static constexpr std::uint32_t interface_version =
      1;  ///< changed with every change of the classes that plug-ins see
  std::uint64_t magic = magic_value;
  std::uint32_t interface = interface_version;
  std::uint32_t classes_bytes = sizeof(DataShape) + sizeof(Pass);
  const char* torch_version = TORCH_VERSION;
  const char* compiler = __VERSION__;
  PluginNet* (*make)(Builder&, const DataShape&, const ModelOptions&) = nullptr;
};

/// Opens `file` and makes its model. Throws bad_input when it cannot be opened, or was built
/// against other headers.
std::unique_ptr<Model> open_plugin(const std::string& file, const DataShape& data,
                                   const ModelOptions& options, std::uint64_t seed);

}  // namespace muster

#define MUSTER_MODEL(Net)                                                                        \
  extern "C" __attribute__((visibility("default"))) const muster::PluginEntry*                   \
  muster_model_plugin() {                                                                        \
    static const muster::PluginEntry entry{                                                      \
        .make = [](muster::Builder& builder, const muster::DataShape& data,                      \
                   const muster::ModelOptions& options) -> muster::PluginNet* {                  \
          return std::make_unique<muster::PluginAdapter<Net>>(builder, data, options).release(); \
        }};                                                                                      \
    return &entry;                                                                               \
  }
