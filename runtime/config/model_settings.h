/// ModelSettings: the [model] section of a job: which network, its sizes, and where its parameters
/// start. Plain values; runtime/model makes the network and says when they do not fit the data.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace muster {

class Keys;

struct ModelSettings {
  std::string kind =
      "mlp";  ///< linear, mlp, cnn, resnet18, resnet50, gpt, torchscript, compiled, plugin:mine.so
  std::string file;                  ///< of a TorchScript model, or of a compiled step
  std::vector<std::string> options;  ///< "name=value", read by a plug-in
  std::string hidden =
      "128";                 ///< mlp: widths of the hidden layers, or one width used `depth` times
  std::optional<int> depth;  ///< mlp: hidden layers (1); gpt: blocks (12)
  std::string activation = "relu";   ///< relu, gelu, tanh
  double dropout = 0;                ///< mlp, cnn, gpt
  int width = 0;                     ///< channels of the first convolution: cnn 32, resnet 64
  int embedding = 768;               ///< gpt
  int heads = 12;                    ///< gpt
  int context = 0;                   ///< gpt: positions it knows; 0: those of the data
  bool channels_last = false;        ///< convolutions and images
  std::string batch_norm = "local";  ///< local, synchronised
  double norm_momentum = 0.1;
  std::string init;  ///< weights.safetensors, or a run's model.h5
  std::vector<std::string>
      init_map;  ///< "from=to": a prefix of the file's names and what takes its place
  std::vector<std::string> init_skip;  ///< names (with * and ?) that keep their fresh start
  std::vector<std::string> freeze;     ///< names (with * and ?) that are not trained
};

void add_model_keys(Keys& keys, ModelSettings& settings);

}  // namespace muster
