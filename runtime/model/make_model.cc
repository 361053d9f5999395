// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/model/built_in.h"
#include "runtime/model/weights.h"

namespace muster {
namespace {

const std::vector<std::string>& kinds() {
  static const std::vector<std::string> words{"linear",   "mlp",      "cnn",
                                              "resnet18", "resnet50", "gpt"};
  return words;
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
  const auto near = nearest(kind, kinds());
  throw Error(Fault::bad_input, fmt::format("model.kind = {} is unknown{}; there are {}", kind,
                                            near ? fmt::format(" (did you mean '{}'?)", *near) : "",
                                            join(kinds(), ", ")));
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
