/// Layers by our own GPU kernels, with their gradients: what a pass uses where it has a GpuPass.
/// On the stand-in they compute the same on the CPU.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "runtime/gpu/gpu.h"

namespace muster {

/// What a pass on a GPU needs besides Pass. Random numbers are keyed by (seed, step, lane, part),
/// the step being read on the GPU.
struct GpuPass {
  Gpu* gpu = nullptr;
  const StepState* state = nullptr;
  std::uint64_t seed = 0;
  std::uint64_t lane = 0;
  std::uint64_t part = 0;
  bool recomputes = false;  ///< activations of blocks are computed again in backward, not kept
};

namespace gpu_ops {

/// {x + x_bias + residual, layer norm of that}; an undefined bias or residual is none, and a bias
/// has a residual. Weight and biases are float32.
std::pair<at::Tensor, at::Tensor> add_norm(Gpu& gpu, const at::Tensor& x, const at::Tensor& x_bias,
                                           const at::Tensor& residual, const at::Tensor& weight,
                                           const at::Tensor& bias, double epsilon);
/// max(0, x weight' + bias) in the pass's precision, for rows of inputs: the rectifier is part of
/// the product, and its gradient of the bias's.
at::Tensor linear_relu(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias);
/// max(0, x weight' + bias) head_weight' + head_bias of few rows and few outputs, in float32.
bool can_head(const at::Tensor& x, const at::Tensor& head_weight);
at::Tensor relu_head(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                     const at::Tensor& bias, const at::Tensor& head_weight,
                     const at::Tensor& head_bias);
/// gelu(x weight + bias), by its tanh form, and the three equal parts of x weight + bias: on the
/// way back the bias's gradient is summed in the pass that makes the product's. Of the last
/// dimension.
at::Tensor linear_gelu(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias);
std::vector<at::Tensor> linear_split(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                                     const at::Tensor& bias);
/// x weight' of the last dimension. Products cannot load 16 bytes at a time where rows do not begin
/// on them, so these lie in wider rows where that is so: a view, in whose rows cross_entropy()
/// leaves its gradient.
at::Tensor logits(const at::Tensor& x, const at::Tensor& weight);
/// Drops with probability `share`; mask of place `place`, made again for backward.
at::Tensor dropout(const GpuPass& pass, const at::Tensor& x, double share, std::uint64_t place);

DType type_of(const at::Tensor& tensor);
inline std::uint64_t count(std::int64_t size) {
  return static_cast<std::uint64_t>(size);
}

/// What image_norm() works on and moves, besides its inputs.
struct ImageNormOptions {
  Gpu* gpu = nullptr;
  at::Tensor running_mean;
  at::Tensor running_variance;
  double momentum = 0.1;
  bool rectifies = true;
};
/// Images whose channels lie last, in whole 16-byte accesses, of more than one value a channel.
bool can_norm_images(const at::Tensor& x);
/// max(0, batch norm of x + residual) of a training pass, without the max where it does not
/// rectify; an undefined residual is none. x, that can be normed so, and float32 weights. The
/// second is the first again: who uses the values twice takes both, and the two gradients are added
/// on the way back instead of before it. Undefined without a residual.
std::pair<at::Tensor, at::Tensor> image_norm(const at::Tensor& x, const at::Tensor& residual,
                                             const at::Tensor& weight, const at::Tensor& bias,
                                             const ImageNormOptions& options);

/// Images whose channels lie last, in whole 16-byte accesses.
bool can_pool(const at::Tensor& x);
/// Max-pooling in windows of 3 by 3 with a step of 2 and a margin of 1, of images that can be.
at::Tensor max_pool(Gpu& gpu, const at::Tensor& x);
/// Max-pooling in windows of 2 by 2 of max(0, x + bias of the channel), of such images: the maximum
/// comes first, so that bias and rectifier, and what goes back to them, see a quarter of the
/// values.
at::Tensor relu_pool(Gpu& gpu, const at::Tensor& x, const at::Tensor& bias);

/// Losses of rows, and their gradient in place of the logits where `gradient_scale` (a float on the
/// GPU) is given. `logits` is [rows, classes]; what lies between rows is theirs, and has no
/// gradient.
void cross_entropy(Gpu& gpu, const at::Tensor& logits, const at::Tensor& labels, double smoothing,
                   double scale, const at::Tensor& gradient_scale, const at::Tensor& losses);

/// body(input), whose inner activations are not kept: backward runs it again. Output and input are
/// float tensors. `parameters` are those used inside, which get their gradients whether the input
/// wants one or not; without any of them, nor the input, that does, nothing is run again.
at::Tensor recomputed(const std::function<at::Tensor(const at::Tensor&)>& body,
                      const at::Tensor& input, at::TensorList parameters);

}  // namespace gpu_ops
}  // namespace muster
