// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/model/network.h"

namespace muster {
namespace {

/// The object stays open: its code may be referred to until the process ends.
const PluginEntry& entry_of(const std::string& file) {
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.kind: {} cannot be opened ({}); give its path, and build it against the "
                    "installed headers",
                    file, ::dlerror()));
  }
  using Ask = const PluginEntry* (*)();
  const auto ask = reinterpret_cast<Ask>(::dlsym(library, "muster_model_plugin"));
  const PluginEntry* entry = ask == nullptr ? nullptr : ask();
  if (entry == nullptr || entry->magic != PluginEntry::magic_value) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.kind: {} is no model for Muster: it lacks MUSTER_MODEL(YourClass)",
                    file));
  }
  return *entry;
}

void check_headers(const PluginEntry& entry, const std::string& file) {
  const PluginEntry ours;
  if (entry.interface != ours.interface || entry.classes_bytes != ours.classes_bytes) {
    throw Error(Fault::bad_input, fmt::format("model.kind: {} was built against other Muster "
                                              "headers (interface {}, this is {}); build "
                                              "it again with those installed beside this program",
                                              file, entry.interface, ours.interface));
  }
  if (std::string_view(entry.torch_version) != ours.torch_version) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "model.kind: {} was built against torch {}, this program runs torch {}; build it again",
            file, entry.torch_version, ours.torch_version));
  }
}

class PluginModel final : public Network {
 public:
  PluginModel(const std::string& file, const PluginEntry& entry, const DataShape& data,
              const ModelOptions& options, std::uint64_t seed)
      : Network({.seed = seed}), kind_("plugin:" + file) {
    net_ = within(fmt::format("making the model of {}", file),
                  [&] { return std::unique_ptr<PluginNet>(entry.make(*this, data, options)); });
  }
  std::string_view kind() const override { return kind_; }
  std::string refuses_strict() const override {
    return fmt::format("whether {} keeps to its own random numbers is not known here", kind_);
  }
  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    begin(pass);
    return net_->forward(features, pass);
  }

 private:
  std::string kind_;
  std::unique_ptr<PluginNet> net_;
};

}  // namespace

std::unique_ptr<Model> open_plugin(const std::string& file, const DataShape& data,
                                   const ModelOptions& options, std::uint64_t seed) {
  const PluginEntry& entry = entry_of(file);
  check_headers(entry, file);
  auto model = std::make_unique<PluginModel>(file, entry, data, options, seed);
  if (model->parameters().empty()) {
    throw Error(Fault::bad_input,
                fmt::format("model.kind: {} made no parameters with its Builder", file));
  }
  return model;
}

}  // namespace muster
