/// batch_norm: normalises by channel. Training passes leave their statistics with the pass and
/// never move the running ones (but on a GPU). With Pass::synchronise the statistics, and the sums
/// of the backward pass, are those of all ranks, weighted by their counts.
///
/// y = w (x - mean) / sqrt(var + eps) + b;  dx = w / sqrt(var + eps) (dy - sum(dy) / n - xhat
/// sum(dy xhat) / n)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "runtime/model/model.h"

namespace muster {

struct BatchNormTensors {
  at::Tensor weight;
  at::Tensor bias;
  at::Tensor running_mean;
  at::Tensor running_variance;
  double momentum = 0.1;  ///< on a GPU, where a training pass moves the running statistics
};

/// `input` is [B, C, ...]. Throws bad_input naming the layer when a training pass has one value a
/// channel.
at::Tensor batch_norm(const std::string& layer, const at::Tensor& input,
                      const BatchNormTensors& tensors, const Pass& pass);

/// The synchronised form; `statistics` may be null.
at::Tensor synchronised_batch_norm(const std::string& layer, const at::Tensor& input,
                                   const BatchNormTensors& tensors, ChannelReducer& reducer,
                                   BatchStatistics* statistics);

inline constexpr double batch_norm_epsilon = 1e-5;
/// Whose values there is one of.
enum class NormOver { rank, gpu, all_ranks };
[[noreturn]] void throw_too_few_values(const std::string& layer, NormOver over);

}  // namespace muster
