/// The built-in networks, each made for the shape of the data. Layers are named as PyTorch's models
/// name theirs, so that weights made there load here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "runtime/config/model_settings.h"
#include "runtime/model/network.h"

namespace muster {

/// Outputs of a model for such labels: classes, or the values of a label.
std::int64_t outputs_of(const DataShape& data);
/// The same as the shape of one sample's outputs: a row of them for each position of tokens.
std::vector<std::int64_t> output_shape_of(const DataShape& data);

/// linear: one matrix. mlp: hidden layers "layers.K", an activation and dropout after each.
std::unique_ptr<Network> make_linear(const ModelSettings& settings, const DataShape& data,
                                     NetworkOptions options);
std::unique_ptr<Network> make_mlp(const ModelSettings& settings, const DataShape& data,
                                  NetworkOptions options);
/// cnn: two 3x3 convolutions, each followed by a halving, and two matrices.
std::unique_ptr<Network> make_cnn(const ModelSettings& settings, const DataShape& data,
                                  NetworkOptions options);
/// resnet18, resnet50 (He et al. 2015, stride on the 3x3 convolution). Images up to 64 pixels a
/// side get the CIFAR stem: one 3x3 convolution, no pooling.
std::unique_ptr<Network> make_resnet(const ModelSettings& settings, const DataShape& data,
                                     NetworkOptions options);
/// gpt: GPT-2 (Radford et al. 2019), with its names and layout of matrices [in, out], the output
/// tied to the embedding.
std::unique_ptr<Network> make_gpt(const ModelSettings& settings, const DataShape& data,
                                  NetworkOptions options);

}  // namespace muster
