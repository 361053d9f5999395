/// Model: what the trainer sees of a network: named tensors that may be re-pointed at an arena, and
/// a forward pass. Not thread-safe; models of several threads share nothing. Random numbers come
/// from the pass, never from torch's own generator.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/dataset.h"

namespace muster {

struct ModelSettings;  // runtime/config/model_settings.h
struct GpuPass;        // runtime/model/gpu_ops.h
struct Loss;           // runtime/model/loss.h

/// A parameter (a leaf that requires grad) or a buffer. All copies of `tensor` are one tensor:
/// tensor.set_data(view) moves the model's own, too. The trainer calls set_data for all of them
/// before the first forward(), keeping sizes, strides and dtype.
struct NamedTensor {
  std::string name;  ///< "layer1.0.conv1.weight": as PyTorch users name it
  at::Tensor tensor;
  bool channels_last =
      false;  ///< four dimensions with channels-last strides, which views must keep
};

/// Where batch-norm layers leave the statistics of a training pass, instead of moving the running
/// ones themselves: layer after layer, mean then unbiased variance of each channel. One for each
/// forward pass; the trainer reduces them (over shards and ranks, weighted by samples) and calls
/// Model::advance_statistics once a step.
struct BatchStatistics {
  std::vector<float> values;
};

/// Sums over ranks inside the passes of synchronised batch norm. Every rank calls it equally often,
/// also one without samples.
class ChannelReducer {
 public:
  virtual ~ChannelReducer() = default;
  /// In place: the sum over all ranks, in rank order.
  virtual void sum(double* values, std::size_t count) = 0;
};

/// What varies from pass to pass.
struct Pass {
  bool training = false;
  /// Key of this pass's random numbers: mix(seed, step, shard or rank). Dropout layer k uses
  /// mix(key, k).
  std::uint64_t random_key = 0;
  BatchStatistics* statistics =
      nullptr;  ///< cleared and filled by a training pass of a model with batch norm
  ChannelReducer* synchronise = nullptr;  ///< null: local batch norm
  const GpuPass* gpu = nullptr;           ///< on a GPU: our own kernels, and where the step lies
};

/// A training step that came whole, loss and backward pass included, instead of a forward pass for
/// autograd.
class WholeStep {
 public:
  virtual ~WholeStep() = default;
  /// Adds the gradients of `scale` times the sum of the samples' losses to those in the parameters
  /// (an undefined one becomes a fresh tensor), and returns that product.
  virtual double run(const at::Tensor& features, const at::Tensor& labels, double scale) = 0;
  /// Throws bad_input when it computes another loss.
  virtual void check(const Loss& loss) const = 0;
  /// How many samples it computes at a time, whether there are as many or not.
  virtual std::int64_t batch() const = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  /// In a fixed order, equal on every rank. References stay valid as long as the model.
  virtual const std::vector<NamedTensor>& parameters() const = 0;
  virtual const std::vector<NamedTensor>& buffers() const = 0;
  /// Features as DataShape says with the batch in front; logits or values out. With labels [B, T],
  /// outputs are [B, T, classes].
  virtual at::Tensor forward(const at::Tensor& features, const Pass& pass) = 0;
  /// Where a model brings its own training step; its forward() is for evaluation alone then.
  virtual WholeStep* whole_step() { return nullptr; }

  virtual std::string_view kind() const = 0;
  /// Changes when the shape of the model changes; part of the checkpoint's fingerprint.
  virtual std::string fingerprint() const = 0;
  virtual bool has_batch_norm() const { return false; }
  virtual bool has_dropout() const { return false; }
  /// Why strict training cannot promise equal bits ("the TorchScript file uses aten::dropout");
  /// empty when it can.
  virtual std::string refuses_strict() const { return {}; }
  /// Moves the running statistics towards `statistics` (see BatchStatistics), with the model's
  /// momentum.
  virtual void advance_statistics(const BatchStatistics& statistics) { (void)statistics; }
  /// A model whose training pass writes its own buffers (TorchScript with batch norm): they must
  /// not lie in memory that ranks share.
  virtual bool writes_own_buffers() const { return false; }
  /// Which units of an activation layer answered zero for every sample of the latest training pass
  /// (channels for images). For the rule on dead units; nothing is looked at unless asked for.
  struct Activity {
    std::string layer;
    std::vector<bool> silent;
  };
  virtual void watch_activity(bool on) { (void)on; }
  virtual std::vector<Activity> activity() const { return {}; }
};

/// Parameters start as PyTorch's layers do, drawn from Philox keyed by (seed, name): equal on every
/// rank and every machine. `model.init` is read here. Throws bad_input when the model does not fit
/// the data.
std::unique_ptr<Model> make_model(const ModelSettings& settings, const DataShape& data,
                                  std::uint64_t seed);

std::int64_t parameter_count(const Model& model);
/// Kind, number of parameters, and a sum over their names and shapes: for fingerprints.
std::string shapes_fingerprint(const Model& model);

}  // namespace muster
