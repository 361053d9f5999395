/// Network: what the built-in models share: their tensors by name, keyed starts, and the layers
/// that need more than one torch call. Derive, add tensors in the constructor, compute in
/// forward().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/model/builder.h"
#include "runtime/model/model.h"

namespace muster {

/// What all networks are told, whatever their kind.
struct NetworkOptions {
  std::uint64_t seed = 0;
  bool channels_last = false;
  double norm_momentum = 0.1;
};

class Network : public Model, public Builder {
 public:
  explicit Network(NetworkOptions options) : options_(options) {}

  const std::vector<NamedTensor>& parameters() const override { return parameters_; }
  const std::vector<NamedTensor>& buffers() const override { return buffers_; }
  std::string fingerprint() const override;
  bool has_batch_norm() const override { return !norms_.empty(); }
  void advance_statistics(const BatchStatistics& statistics) override;
  void watch_activity(bool on) override { watches_activity_ = on; }
  std::vector<Activity> activity() const override { return activity_; }
  /// forward() of evaluation in TorchScript, over tensors named with underscores for dots; empty
  /// where it cannot be said.
  virtual std::string script() const { return {}; }

  at::Tensor parameter(const std::string& name, at::IntArrayRef sizes, Start start) override;
  at::Tensor buffer(const std::string& name, at::IntArrayRef sizes, double value) override;
  void adopt(const std::string& name, const at::Tensor& tensor) override;
  std::uint64_t seed() const override { return options_.seed; }

  at::Tensor linear(const std::string& name, const at::Tensor& input) const override;
  at::Tensor convolution(const std::string& name, const at::Tensor& input, int stride,
                         int padding) const override;
  at::Tensor batch_norm(const std::string& name, const at::Tensor& input,
                        const Pass& pass) const override;
  void add_linear(const std::string& name, std::int64_t inputs, std::int64_t outputs,
                  bool bias = true) override;
  void add_convolution(const std::string& name, std::int64_t inputs, std::int64_t outputs,
                       int kernel, bool bias = true) override;
  void add_batch_norm(const std::string& name, std::int64_t channels) override;
  at::Tensor dropout(const at::Tensor& input, double share, const Pass& pass,
                     std::uint64_t place) const override;

 protected:
  const at::Tensor& tensor(const std::string& name) const;
  bool has_tensor(const std::string& name) const { return by_name_.contains(name); }
  bool channels_last() const { return options_.channels_last; }
  /// First thing in forward(): forgets the statistics and activity of the pass before.
  void begin(const Pass& pass);
  /// max(x, 0), watched under `layer` when asked for.
  at::Tensor relu(const std::string& layer, const at::Tensor& input);
  /// max(layer `name` of x, 0), watched under `name`. One operation where a GPU trains.
  at::Tensor linear_relu(const std::string& name, const at::Tensor& x, const Pass& pass);
  /// Layer `head` of max(layer `name` of x, 0), likewise.
  at::Tensor relu_head(const std::string& name, const std::string& head, const at::Tensor& x,
                       const Pass& pass);
  /// Max-pooling by 2 of max(convolution `name` of x, 0), likewise.
  at::Tensor convolution_relu_pool(const std::string& name, const at::Tensor& x, int padding,
                                   const Pass& pass);
  /// max(batch norm of x, 0), watched under `layer`. One operation where a GPU can.
  at::Tensor norm_relu(const std::string& norm, const std::string& layer, const at::Tensor& x,
                       const Pass& pass);
  /// The same values for two users: one operation of a GPU adds their gradients up as it reads
  /// them.
  struct Fork {
    at::Tensor first;
    at::Tensor second;
  };
  /// max(batch norm of x + residual(), 0), likewise.
  Fork norm_add_relu(const std::string& norm, const std::string& layer, const at::Tensor& x,
                     const Pass& pass, const std::function<at::Tensor()>& residual);
  /// Any of relu, gelu, tanh.
  at::Tensor activate(const std::string& word, const std::string& layer, const at::Tensor& input);

  // Pieces of script(): the call of a layer on `x`.
  std::string linear_script(const std::string& name, const std::string& x) const;
  std::string convolution_script(const std::string& name, const std::string& x, int stride,
                                 int padding) const;
  std::string batch_norm_script(const std::string& name, const std::string& x) const;

 private:
  void watch(const std::string& layer, const at::Tensor& output);
  /// Whether a GPU trains, and can norm such images in one operation.
  static bool norms_in_one(const at::Tensor& images, const Pass& pass);
  std::pair<at::Tensor, at::Tensor> image_norm(const std::string& name, const at::Tensor& images,
                                               const at::Tensor& residual, bool rectifies,
                                               const Pass& pass) const;
  NetworkOptions options_;
  std::vector<NamedTensor> parameters_;
  std::vector<NamedTensor> buffers_;
  std::vector<std::string> norms_;  // batch-norm layers, in the order in which they run
  std::unordered_map<std::string, at::Tensor> by_name_;
  bool watches_activity_ = false;
  std::vector<Activity> activity_;
};

}  // namespace muster
