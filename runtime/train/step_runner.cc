// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/step_runner.h"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>

#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/comm/control_page.h"
#include "runtime/model/autocast.h"
#include "runtime/train/gradient_pool.h"

namespace muster {
namespace {

at::Tensor borrowed(std::span<const std::byte> bytes, std::uint64_t count,
                    std::span<const std::int64_t> sample, DType type) {
  std::vector<std::int64_t> sizes{static_cast<std::int64_t>(count)};
  sizes.insert(sizes.end(), sample.begin(), sample.end());
  // Models only read their input.
  return at::from_blob(const_cast<std::byte*>(bytes.data()),
                       sizes,  // NOLINT(cppcoreguidelines-pro-type-const-cast)
                       at::dtype(type == DType::int64 ? at::kLong : at::kFloat));
}

// Adds `part`, of `count` samples, to the weighted mean in `mean`, of `before` samples.
void merge(BatchStatistics& mean, const BatchStatistics& part, std::uint64_t before,
           std::uint64_t count) {
  if (before == 0) {
    mean = part;
    return;
  }
  const auto share =
      static_cast<float>(static_cast<double>(count) / static_cast<double>(before + count));
  for (std::size_t i = 0; i < mean.values.size(); ++i) {
    mean.values[i] += share * (part.values[i] - mean.values[i]);
  }
}

}  // namespace

at::Tensor feature_tensor(const DataShape& shape, std::span<const std::byte> bytes,
                          std::uint64_t count) {
  return borrowed(bytes, count, shape.features, shape.feature_type);
}

at::Tensor label_tensor(const DataShape& shape, std::span<const std::byte> bytes,
                        std::uint64_t count) {
  return borrowed(bytes, count, shape.label_shape, shape.label_type());
}

StepRunner::StepRunner(Model& model, const Loss& loss, const DataShape& shape, Exchange& exchange,
                       const Options& options)
    : model_(model), loss_(loss), shape_(shape), exchange_(exchange), options_(options) {}

SampleRange StepRunner::own_part(SampleRange whole) const {
  const SampleRange lanes = exchange_.own_lanes();
  if (lanes.count == 0) {
    return {whole.first, 0};
  }
  const std::uint64_t first = lane_part(whole, lanes.first).first;
  return {first, lane_part(whole, lanes.end() - 1).end() - first};
}

void StepRunner::run(const HostBatch& batch, std::uint64_t step) {
  const SampleRange lanes = exchange_.own_lanes();
  for (std::uint64_t lane = lanes.first; lane < lanes.end(); ++lane) {
    BatchStatistics statistics;
    const SampleRange part = lane_part(batch.whole, lane);
    const double loss = run_lane(batch, part, lane, step, statistics);
    if (options_.on_gradients) {
      options_.on_gradients(part.count);
    }
    exchange_.hold(lane, loss, &statistics);
  }
}

double StepRunner::run_lane(const HostBatch& batch, SampleRange part, std::uint64_t lane,
                            std::uint64_t step, BatchStatistics& statistics) {
  const std::size_t feature_bytes = shape_.feature_bytes();
  const std::size_t label_bytes = shape_.label_bytes();
  double loss = 0;
  std::uint64_t done = 0;
  for (std::uint64_t micro = 0; micro < options_.accumulate; ++micro) {
    const SampleRange samples = part_of(part, micro, options_.accumulate);
    if (samples.count == 0 && options_.synchronise == nullptr) {
      continue;
    }
    const std::size_t at = samples.first - batch.part.first;
    BatchStatistics own;
    loss += run_part(
        feature_tensor(shape_,
                       batch.features.subspan(at * feature_bytes, samples.count * feature_bytes),
                       samples.count),
        label_tensor(shape_, batch.labels.subspan(at * label_bytes, samples.count * label_bytes),
                     samples.count),
        static_cast<double>(batch.whole.count), mix(mix(options_.seed, step), lane, micro), own);
    merge(statistics, own, done, samples.count);
    done += samples.count;
  }
  return loss;
}

double StepRunner::run_part(const at::Tensor& features, const at::Tensor& labels,
                            double whole_count, std::uint64_t key, BatchStatistics& statistics) {
  const std::int64_t start = monotonic_ns();
  if (options_.seeds_torch) {
    at::Generator generator = at::globalContext().defaultGenerator(c10::Device(at::kCPU));
    generator.set_current_seed(key);
  }
  if (WholeStep* step = model_.whole_step()) {
    return run_whole_step(*step, features, labels, whole_count);
  }
  at::Tensor sum;
  {
    const AutocastScope autocast(options_.bf16);
    const Pass pass{.training = true,
                    .random_key = key,
                    .statistics = &statistics,
                    .synchronise = options_.synchronise};
    sum = loss_.sum(model_.forward(features, pass), labels);
  }
  if (options_.forward_ns != nullptr) {
    *options_.forward_ns += monotonic_ns() - start;
  }
  if (!sum.requires_grad()) {
    throw Error(Fault::bad_input,
                "nothing of this model can be trained: every parameter is frozen, or its loss does "
                "not depend on one");
  }
  std::optional<GradientPool::Backward> backward;
  if (exchange_.pool() != nullptr) {
    backward.emplace(*exchange_.pool());
  }
  sum.backward(seed_gradient(1.0 / whole_count));
  return sum.item<double>() / whole_count;
}

double StepRunner::run_whole_step(WholeStep& step, const at::Tensor& features,
                                  const at::Tensor& labels, double whole_count) {
  std::optional<GradientPool::Backward> backward;
  if (exchange_.pool() != nullptr) {
    backward.emplace(*exchange_.pool());
  }
  return step.run(features, labels, 1.0 / whole_count);
}

at::Tensor StepRunner::seed_gradient(double value) {
  if (!seed_gradient_.defined() || seed_value_ != value) {
    seed_gradient_ = at::scalar_tensor(value, at::kFloat);
    seed_value_ = value;
  }
  return seed_gradient_;
}

}  // namespace muster
