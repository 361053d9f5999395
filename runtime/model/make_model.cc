// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/model/built_in.h"
#include "runtime/model/compiled.h"
#include "runtime/model/plugin.h"
#include "runtime/model/torchscript.h"
#include "runtime/model/weights.h"

namespace muster {
namespace {

const std::vector<std::string>& kinds() {
  static const std::vector<std::string> words{"linear",   "mlp", "cnn",         "resnet18",
                                              "resnet50", "gpt", "torchscript", "compiled"};
  return words;
}

ModelOptions options_of(const ModelSettings& settings) {
  ModelOptions options;
  for (const std::string& text : settings.options) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) {
      throw Error(Fault::bad_input, fmt::format("model.options: '{}' must read name=value", text));
    }
    options[std::string(trim(text.substr(0, equals)))] = trim(text.substr(equals + 1));
  }
  return options;
}

std::unique_ptr<Model> make_fresh(const ModelSettings& settings, const DataShape& data,
                                  std::uint64_t seed) {
  const NetworkOptions options{.seed = seed,
                               .channels_last = settings.channels_last,
                               .norm_momentum = settings.norm_momentum};
  const std::string& kind = settings.kind;
  if (kind == "linear") {
    return make_linear(settings, data, options);
  }
  if (kind == "mlp") {
    return make_mlp(settings, data, options);
  }
  if (kind == "cnn") {
    return make_cnn(settings, data, options);
  }
  if (kind == "resnet18" || kind == "resnet50") {
    return make_resnet(settings, data, options);
  }
  if (kind == "gpt") {
    return make_gpt(settings, data, options);
  }
  if (kind == "torchscript") {
    return open_torchscript(settings.file, data);
  }
  if (kind == "compiled") {
    return open_compiled(settings.file, data);
  }
  if (kind.starts_with("plugin:")) {
    return open_plugin(kind.substr(7), data, options_of(settings), seed);
  }
  const auto near = nearest(kind, kinds());
  throw Error(
      Fault::bad_input,
      fmt::format("model.kind = {} is unknown{}; there are {}, plugin:FILE", kind,
                  near ? fmt::format(" (did you mean '{}'?)", *near) : "", join(kinds(), ", ")));
}

}  // namespace

std::unique_ptr<Model> make_model(const ModelSettings& settings, const DataShape& data,
                                  std::uint64_t seed) {
  auto model = make_fresh(settings, data, seed);
  if (!settings.init.empty()) {
    load_weights(*model, settings.init, {.map = settings.init_map, .skip = settings.init_skip});
  }
  return model;
}

}  // namespace muster
