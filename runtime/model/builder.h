/// Builder: makes the named tensors of a network. Built-in models and models of shared objects are
/// written against it. Every draw is keyed by (seed, name): equal on every rank, whatever torch's
/// own generator did.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "runtime/model/model.h"

namespace muster {

/// How a parameter starts.
struct Start {
  enum class Kind : std::uint8_t { constant, uniform, normal };
  Kind kind = Kind::constant;
  double scale = 0;  ///< the constant, the bound of [-scale, scale), or the deviation
  static Start constant(double value) { return {Kind::constant, value}; }
  static Start uniform(double bound) { return {Kind::uniform, bound}; }
  static Start normal(double deviation) { return {Kind::normal, deviation}; }
};

class Builder {
 public:
  virtual ~Builder() = default;
  /// A float32 leaf that requires grad. Keep the tensor: the trainer moves its data, not the
  /// tensor.
  virtual at::Tensor parameter(const std::string& name, at::IntArrayRef sizes, Start start) = 0;
  virtual at::Tensor buffer(const std::string& name, at::IntArrayRef sizes, double value) = 0;
  /// Takes a tensor that was made elsewhere (a torch::nn module's) as a parameter.
  virtual void adopt(const std::string& name, const at::Tensor& tensor) = 0;
  virtual std::uint64_t seed() const = 0;

  // Layers with PyTorch's names (".weight", ".bias", ".running_mean") and PyTorch's ranges.
  virtual at::Tensor linear(const std::string& name, const at::Tensor& input) const = 0;
  virtual at::Tensor convolution(const std::string& name, const at::Tensor& input, int stride,
                                 int padding) const = 0;
  virtual at::Tensor batch_norm(const std::string& name, const at::Tensor& input,
                                const Pass& pass) const = 0;
  virtual void add_linear(const std::string& name, std::int64_t inputs, std::int64_t outputs,
                          bool bias = true) = 0;
  virtual void add_convolution(const std::string& name, std::int64_t inputs, std::int64_t outputs,
                               int kernel, bool bias = true) = 0;
  virtual void add_batch_norm(const std::string& name, std::int64_t channels) = 0;
  /// Zeroes a share of the values and scales the rest, from the pass's own random key. `place`
  /// tells the layers of a model apart.
  virtual at::Tensor dropout(const at::Tensor& input, double share, const Pass& pass,
                             std::uint64_t place) const = 0;
};

using ModelOptions = std::map<std::string, std::string>;  ///< model.options: name and value

}  // namespace muster
