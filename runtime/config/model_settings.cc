// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/model_settings.h"

#include "runtime/config/keys.h"

namespace muster {

void add_model_keys(Keys& keys, ModelSettings& model) {
  keys.section("model", "What is trained");
  keys.add("model.kind", model.kind,
           "linear, mlp, cnn, resnet18, resnet50, gpt, torchscript, compiled (experimental) or "
           "plugin:LIB.so");
  keys.add("model.file", model.file, "torchscript, compiled: the file (.pt, .pt2)")
      .placeholder("FILE");
  keys.add("model.options", model.options, "plugin: NAME=VALUE").placeholder("NAME=VALUE");
  keys.add("model.hidden", model.hidden,
           "mlp: widths of the hidden layers, or one width used model.depth times")
      .placeholder("N...");
  keys.add("model.depth", model.depth, "mlp: hidden layers [1]; gpt: blocks [12]").at_least(0);
  keys.add("model.activation", model.activation, "Between layers").one_of({"relu", "gelu", "tanh"});
  keys.add("model.dropout", model.dropout, "Share of units dropped").at_least(0).below(1);
  keys.add("model.width", model.width, "Channels of the first convolution; 0 is the model's own")
      .at_least(0);
  keys.add("model.embedding", model.embedding, "gpt: width").at_least(1);
  keys.add("model.heads", model.heads, "gpt: attention heads").at_least(1);
  keys.add("model.context", model.context, "gpt: positions; 0 is the data's").at_least(0);
  keys.add("model.channels_last", model.channels_last, "Memory order of images");
  keys.add("model.batch_norm", model.batch_norm, "Statistics of a rank, or of all")
      .one_of({"local", "synchronised"});
  keys.add("model.norm_momentum", model.norm_momentum, "Of running statistics").above(0).at_most(1);
  keys.add("model.init", model.init, "Start from these weights (.safetensors, model.h5)")
      .placeholder("FILE");
  keys.add("model.init_map", model.init_map, "Prefix of the file's names and its replacement")
      .placeholder("FROM=TO");
  keys.add("model.init_skip", model.init_skip, "Names (* and ?) that keep their fresh start");
  keys.add("model.freeze", model.freeze, "Names (* and ?) that are not trained");
  keys.check("model.embedding", [&model]() -> std::optional<std::string> {
    if (model.kind == "gpt" && model.embedding % model.heads != 0) {
      return "model.embedding must be a multiple of model.heads";
    }
    return std::nullopt;
  });
  keys.check("model.kind", [&model]() -> std::optional<std::string> {
    if ((model.kind == "torchscript" || model.kind == "compiled") && model.file.empty()) {
      return "model.kind = " + model.kind + " needs model.file, the file to load";
    }
    return std::nullopt;
  });
}

}  // namespace muster
