// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_input.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/train/gpu_arena.h"

namespace muster {
namespace {

std::vector<std::int64_t> strides_of(const std::vector<std::int64_t>& sizes) {
  std::vector<std::int64_t> strides(sizes.size(), 1);
  for (std::size_t i = sizes.size(); i-- > 1;) {
    strides[i - 1] = strides[i] * sizes[i];
  }
  return strides;
}

at::Tensor batch_tensor(const Gpu& gpu, const std::shared_ptr<std::byte>& memory,
                        std::uint64_t count, const std::vector<std::int64_t>& sample, DType type) {
  std::vector<std::int64_t> sizes{static_cast<std::int64_t>(count)};
  sizes.insert(sizes.end(), sample.begin(), sample.end());
  return tensor_on(gpu, memory, memory.get(), sizes, strides_of(sizes), type);
}

class ResidentInput final : public GpuInput {
 public:
  ResidentInput(const Dataset& data, Gpu& gpu, const Options& options,
                std::shared_ptr<const ResidentSet> set)
      : GpuInput(data, gpu, options),
        set_(std::move(set)),
        order_(gpu.allocate(data.rows() * sizeof(std::uint32_t))) {}

  bool is_resident() const override { return true; }
  void seek(DataPosition /*position*/) override { epoch_.reset(); }
  void prepare(DataPosition position) override {
    if (epoch_ != position.epoch) {
      bring_order(position.epoch);
    }
  }
  void load(const StepState* state, std::uint64_t whole) override {
    GatherJob job = gather_job(state, whole);
    job.rows = set_->features.get();
    job.order = order();
    job.labels = set_->labels.get();
    job.labels_to = label_memory_.get();
    job.label_bytes = data_.shape().label_bytes();
    gpu_.run(job);
  }

 private:
  const std::uint32_t* order() const {
    return reinterpret_cast<const std::uint32_t*>(order_.get());
  }
  // In the compute queue: the steps before have read theirs by then.
  void bring_order(std::uint64_t epoch) {
    const SampleOrder order(data_.rows(), options_.seed, epoch, data_.mixing());
    gpu_.run(OrderJob{.to = reinterpret_cast<std::uint32_t*>(order_.get()),
                      .rows = data_.rows(),
                      .key = order.key(),
                      .shuffles = data_.mixing().shuffle});
    epoch_ = epoch;
  }

  std::shared_ptr<const ResidentSet> set_;
  std::shared_ptr<std::byte> order_;
  std::optional<std::uint64_t> epoch_;
};

class StreamedInput final : public GpuInput {
 public:
  StreamedInput(const Dataset& data, Gpu& gpu, const Options& options)
      : GpuInput(data, gpu, options),
        loader_(data,
                Loader::Options{.batch = options.batch,
                                .seed = options.seed,
                                .drop_last = options.drop_last,
                                .prefetch = options.prefetch,
                                .part = [this](SampleRange whole) { return own_part(whole); }}) {
    const std::uint64_t most = own_part({0, plan_.batch}).count;
    for (Slot& slot : slots_) {
      slot.host = gpu.allocate_pinned(most * sample_bytes());
      slot.device = gpu.allocate(most * sample_bytes());
    }
    if (augments()) {
      read_memory_ = gpu.allocate(most * data.shape().feature_bytes());
    }
  }

  bool is_resident() const override { return false; }
  void seek(DataPosition position) override { loader_.seek(position); }
  void prepare(DataPosition /*position*/) override {
    const HostBatch& batch = loader_.next();
    Slot& slot = slots_[next_++ % slots_.size()];
    if (slot.used) {
      slot.copied->wait();                     // the host may write the pinned memory again
      gpu_.wait(Gpu::Queue::copy, slot.used);  // and the copy the GPU's
    }
    std::memcpy(slot.host.get(), batch.features.data(), batch.features.size());
    std::memcpy(slot.host.get() + batch.features.size(), batch.labels.data(), batch.labels.size());
    gpu_.copy(slot.device.get(), slot.host.get(), batch.features.size() + batch.labels.size(),
              Gpu::Queue::copy);
    slot.copied = gpu_.record(Gpu::Queue::copy);
    gpu_.wait(Gpu::Queue::compute, slot.copied);
    gpu_.copy(augments() ? read_memory_.get() : feature_memory_.get(), slot.device.get(),
              batch.features.size(), Gpu::Queue::compute);
    gpu_.copy(label_memory_.get(), slot.device.get() + batch.features.size(), batch.labels.size(),
              Gpu::Queue::compute);
    slot.used = gpu_.record(Gpu::Queue::compute);
  }
  void load(const StepState* state, std::uint64_t whole) override {
    if (augments()) {
      GatherJob job = gather_job(state, whole);
      job.rows = read_memory_.get();
      gpu_.run(job);
    }
  }

 private:
  struct Slot {
    std::shared_ptr<std::byte> host;
    std::shared_ptr<std::byte> device;
    GpuEvent copied;
    GpuEvent used;
  };
  std::size_t sample_bytes() const {
    return data_.shape().feature_bytes() + data_.shape().label_bytes();
  }

  Loader loader_;
  std::array<Slot, 3> slots_;
  std::shared_ptr<std::byte> read_memory_;  // images as they were read, where they are changed
  std::size_t next_ = 0;
};

}  // namespace

std::uint64_t ResidentSets::bytes_of(const Dataset& data) {
  return data.rows() * (data.shape().feature_bytes() + data.shape().label_bytes());
}

/// Under the mutex.
std::shared_ptr<const ResidentSet> ResidentSets::known(const Dataset& data, const Gpu& gpu) const {
  for (const Kept& kept : kept_) {
    if (kept.identity == data.identity() && kept.device == gpu.device().index) {
      if (auto set = kept.set.lock()) {
        return set;
      }
    }
  }
  return nullptr;
}

std::shared_ptr<const ResidentSet> ResidentSets::find(const Dataset& data, const Gpu& gpu) {
  const std::lock_guard lock(mutex_);
  return known(data, gpu);
}

std::shared_ptr<const ResidentSet> ResidentSets::get(const Dataset& data, Gpu& gpu) {
  const std::lock_guard lock(mutex_);
  if (auto there = known(data, gpu)) {
    return there;
  }
  std::erase_if(kept_, [](const Kept& kept) { return kept.set.expired(); });
  const auto set = std::shared_ptr<ResidentSet>(
      new ResidentSet, [bytes = bytes_, own = bytes_of(data)](ResidentSet* gone) {
        delete gone;  // NOLINT(cppcoreguidelines-owning-memory): the owner's end
        *bytes -= own;
      });
  *bytes_ += bytes_of(data);
  const std::size_t feature_bytes = data.shape().feature_bytes();
  const std::size_t label_bytes = data.shape().label_bytes();
  set->features = gpu.allocate_shared(data.rows() * feature_bytes);
  set->labels = gpu.allocate_shared(data.rows() * label_bytes);
  const std::uint64_t piece =
      std::clamp<std::uint64_t>((std::uint64_t{64} << 20) / feature_bytes, 1, data.rows());
  std::vector<std::byte> features(piece * feature_bytes);
  std::vector<std::byte> labels(piece * label_bytes);
  std::vector<std::uint64_t> rows;
  for (std::uint64_t first = 0; first < data.rows(); first += rows.size()) {
    rows.resize(std::min(piece, data.rows() - first));
    for (std::uint64_t i = 0; i < rows.size(); ++i) {
      rows[i] = first + i;
    }
    data.gather(rows, std::span(features).first(rows.size() * feature_bytes),
                std::span(labels).first(rows.size() * label_bytes));
    gpu.copy(set->features.get() + first * feature_bytes, features.data(),
             rows.size() * feature_bytes, Gpu::Queue::compute);
    gpu.copy(set->labels.get() + first * label_bytes, labels.data(), rows.size() * label_bytes,
             Gpu::Queue::compute);
    gpu.synchronise();
  }
  kept_.push_back({data.identity(), gpu.device().index, set});
  return set;
}

GpuInput::GpuInput(const Dataset& data, Gpu& gpu, const Options& options)
    : data_(data),
      gpu_(gpu),
      options_(options),
      plan_{.rows = data.rows(), .batch = options.batch, .drop_last = options.drop_last} {
  // Of a batch smaller than the ranks are many, one without samples still has tensors.
  const std::uint64_t most = std::max<std::uint64_t>(1, own_part({0, plan_.batch}).count);
  const DataShape& shape = data.shape();
  feature_memory_ = gpu.allocate(most * shape.feature_bytes());
  label_memory_ = gpu.allocate(most * shape.label_bytes());
  features_ = batch_tensor(gpu, feature_memory_, most, shape.features, shape.feature_type);
  labels_ = batch_tensor(gpu, label_memory_, most, shape.label_shape, shape.label_type());
}

bool GpuInput::augments() const {
  return options_.crop_padding > 0 || options_.flips;
}

GatherJob GpuInput::gather_job(const StepState* state, std::uint64_t whole) const {
  const SampleRange part = own_part({0, whole});  // a ragged batch is cut by its own length
  GatherJob job{.state = state,
                .to = feature_memory_.get(),
                .row_bytes = data_.shape().feature_bytes(),
                .count = part.count,
                .steps_per_epoch = plan_.steps(),
                .batch = plan_.batch,
                .first_part = part.first,
                .seed = options_.seed};
  if (augments()) {
    const auto& sizes = data_.shape().features;
    job.channels = static_cast<std::uint32_t>(sizes.at(0));
    job.height = static_cast<std::uint32_t>(sizes.at(1));
    job.width = static_cast<std::uint32_t>(sizes.at(2));
    job.crop_padding = options_.crop_padding;
    job.flips = options_.flips;
  }
  return job;
}

at::Tensor GpuInput::features(std::uint64_t first, std::uint64_t count) const {
  return features_.narrow(0, static_cast<std::int64_t>(first), static_cast<std::int64_t>(count));
}

at::Tensor GpuInput::labels(std::uint64_t first, std::uint64_t count) const {
  return labels_.narrow(0, static_cast<std::int64_t>(first), static_cast<std::int64_t>(count));
}

bool may_reside(const Dataset& data, const Gpu& gpu) {
  const bool fits = ResidentSets::bytes_of(data) <= gpu.memory().free / 4 &&
                    data.rows() <= std::numeric_limits<std::uint32_t>::max();
  const bool is_whole =
      data.shape().feature_bytes() % 4 == 0 && data.shape().label_bytes() % 4 == 0;
  const bool is_free = data.random_access() && data.mixing().block_rows == 0;  // in its order
  return fits && is_whole && is_free;
}

std::unique_ptr<GpuInput> resident_input(const Dataset& data, Gpu& gpu, ResidentSets& sets,
                                         const GpuInput::Options& options) {
  return std::make_unique<ResidentInput>(data, gpu, options, sets.get(data, gpu));
}

std::unique_ptr<GpuInput> streamed_input(const Dataset& data, Gpu& gpu,
                                         const GpuInput::Options& options) {
  return std::make_unique<StreamedInput>(data, gpu, options);
}

}  // namespace muster
