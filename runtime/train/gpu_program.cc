// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_program.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mul.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/model/autocast.h"

namespace muster {
namespace {

constexpr std::uint64_t most_rates = std::uint64_t{1} << 24;  // then the last one holds

/// A parameter used twice (tied) is one.
std::vector<NamedTensor> distinct(const std::vector<NamedTensor>& parameters) {
  std::vector<NamedTensor> kept;
  std::set<const void*> seen;
  for (const NamedTensor& parameter : parameters) {
    if (seen.insert(parameter.tensor.unsafeGetTensorImpl()).second) {
      kept.push_back(parameter);
    }
  }
  return kept;
}

UpdateJob::Kind kind_of(const OptimizerRule& rule) {
  if (rule.kind == OptimizerRule::Kind::adam) {
    return UpdateJob::Kind::adam;
  }
  if (rule.kind == OptimizerRule::Kind::adamw) {
    return UpdateJob::Kind::adamw;
  }
  if (rule.momentum == 0) {
    return UpdateJob::Kind::sgd;
  }
  return rule.nesterov ? UpdateJob::Kind::nesterov : UpdateJob::Kind::momentum;
}

/// Outputs that nobody's backward looks at again: the last layer of our own models is linear.
bool may_overwrite_outputs(std::string_view kind) {
  return kind != "torchscript" && !kind.starts_with("plugin");
}

}  // namespace

/// Tells the program that a parameter's gradient is there. Runs in the thread of the backward pass,
/// of which there is one for a GPU.
struct GpuProgram::Hook final : torch::autograd::PostAccumulateGradHook {
  Hook(GpuProgram& to, std::size_t number) : program(to), segment(number) {}
  void operator()(const at::Tensor& /*tensor*/) override { program.arrived(segment); }
  GpuProgram& program;
  std::size_t segment;
};

GpuProgram::GpuProgram(Model& model, const Loss& loss, GpuInput& input, const GpuParts& parts,
                       Communicator& world, const GpuStep::Options& options)
    : model_(model),
      loss_(loss),
      input_(input),
      parts_(parts),
      gpu_(*parts.gpu),
      world_(world),
      options_(options),
      state_(gpu_.allocate(sizeof(StepState))),
      notes_(gpu_.allocate(sizeof(StepNotes))),
      results_(gpu_.allocate_pinned(result_count * sizeof(StepResult))) {
  std::vector<float> rates(std::clamp<std::uint64_t>(options.steps, 1, most_rates));
  for (std::uint64_t step = 0; step < rates.size(); ++step) {
    rates[step] = static_cast<float>(rate_at(options.schedule, step));
  }
  rates_ = gpu_.allocate(rates.size() * sizeof(float));
  gpu_.copy(rates_.get(), rates.data(), rates.size() * sizeof(float), Gpu::Queue::compute);
  gpu_.synchronise();
  const std::uint64_t own = std::max<std::uint64_t>(1, input.own_part({0, options.batch}).count);
  const std::uint64_t losses = loss_count(own);
  losses_memory_ = gpu_.allocate(losses * sizeof(float));
  losses_ = tensor_on(gpu_, losses_memory_, losses_memory_.get(),
                      {static_cast<std::int64_t>(losses)}, {1}, DType::float32);
  scale_ = tensor_on(gpu_, state_, &state()->loss_scale, {1}, {1}, DType::float32);
  move_to_gpu();
  const auto parameters = in_agreed_order();
  arena_ = std::make_unique<GpuArena>(
      gpu_, parameters,
      GpuArena::Shape{.ranks = static_cast<std::size_t>(world.size()),
                      .rank = static_cast<std::size_t>(world.rank()),
                      .state_slots = options.rule.slot_names().size(),
                      .wire = options.wire,
                      .bucket_bytes = options.bucket_bytes,
                      .is_sharded = options.is_sharded && world.size() > 1,
                      .accumulates = options.accumulate > 1},
      options.groups, parts.device);
  if (options.rule.ema > 0) {  // what is never updated keeps this average
    gpu_.copy(arena_->state(options.rule.slot_names().size() - 1), arena_->parameters(),
              arena_->own_count() * sizeof(float), Gpu::Queue::compute);
  }
  const std::uint64_t blocks =
      std::max(NormJob{.chunk_count = arena_->chunk_count()}.blocks(),
               arena_->own_count() / PackNormJob::piece_part + arena_->tensors().size());
  partial_ = gpu_.allocate(2 * blocks * sizeof(double));
  arrived_ = gpu_.allocate(sizeof(std::uint32_t));
  watch_gradients();
}

GpuProgram::~GpuProgram() {
  for (const at::Tensor& tensor : arena_->tensors()) {
    torch::autograd::impl::set_post_acc_grad_hooks(tensor, nullptr);
  }
}

std::uint64_t GpuProgram::loss_count(std::uint64_t samples) const {
  return loss_.kind == LossKind::cross_entropy
             ? samples * static_cast<std::uint64_t>(input_.labels(0, 1).numel())
             : std::min(samples, options_.accumulate);  // one a part that is not empty
}

void GpuProgram::move_to_gpu() {
  const auto move = [&](const NamedTensor& each) {
    at::Tensor(each.tensor).set_data(each.tensor.detach().to(torch_device(gpu_)));
  };
  for (const NamedTensor& parameter : distinct(model_.parameters())) {
    move(parameter);
  }
  for (const NamedTensor& buffer : model_.buffers()) {
    move(buffer);
  }
}

/// One pass over the first samples, of which only the order of the gradients is kept.
std::vector<std::size_t> GpuProgram::observe(const std::vector<NamedTensor>& parameters) {
  const SampleRange whole = input_.plan().of_step(0);
  const std::uint64_t own = input_.own_part(whole).count;
  seen_.clear();
  if (own > 0) {
    std::vector<at::Tensor> buffers;
    for (const NamedTensor& buffer : model_.buffers()) {
      buffers.push_back(buffer.tensor.detach().clone());
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      at::Tensor(parameters[i].tensor).set_requires_grad(true);
      torch::autograd::impl::set_post_acc_grad_hooks(parameters[i].tensor,
                                                     std::make_unique<Hook>(*this, i));
    }
    observes_ = true;
    put_state({});
    prepare(whole.count);
    input_.prepare({0, 0});
    input_.load(state(), whole.count);
    const SampleRange part = part_of({0, own}, 0, options_.accumulate);
    gpu_.warm([&] { run_part(part, whole.count, 0); });
    observes_ = false;
    for (const NamedTensor& parameter : parameters) {
      torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
      at::Tensor(parameter.tensor).mutable_grad().reset();
    }
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      at::Tensor(model_.buffers()[i].tensor).detach().copy_(buffers[i]);
    }
    gpu_.synchronise();
  }
  return seen_;
}

/// Every rank must cut the same buckets: rank 0's order, and a hash of what it orders.
std::vector<NamedTensor> GpuProgram::in_agreed_order() {
  const std::vector<NamedTensor> parameters = distinct(model_.parameters());
  std::vector<std::size_t> order = observe(parameters);
  for (std::size_t i = parameters.size(); i-- > 0;) {  // what got no gradient comes last
    if (std::ranges::find(order, i) == order.end()) {
      order.push_back(i);
    }
  }
  std::vector<std::int64_t> agreed(order.begin(), order.end());
  world_.broadcast(buffer_of(agreed.data(), agreed.size()), 0).wait();
  std::vector<NamedTensor> sorted;
  std::uint64_t hash = parameters.size();
  for (const std::int64_t index : agreed) {
    sorted.push_back(parameters.at(static_cast<std::size_t>(index)));
    hash = mix(hash, static_cast<std::uint64_t>(sorted.back().tensor.numel()),
               std::hash<std::string>{}(sorted.back().name));
  }
  std::array<std::int64_t, 2> both{static_cast<std::int64_t>(hash >> 1),
                                   -static_cast<std::int64_t>(hash >> 1)};
  world_.all_reduce(buffer_of(both.data(), both.size()), ReduceOp::max).wait();
  if (both[0] != -both[1]) {
    throw Error(Fault::bad_input,
                "the ranks have different models: their parameters differ in name, size or number");
  }
  return sorted;
}

void GpuProgram::watch_gradients() {
  for (std::size_t i = 0; i < arena_->tensors().size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(arena_->tensors()[i],
                                                   std::make_unique<Hook>(*this, i));
  }
}

void GpuProgram::arrived(std::size_t segment) {
  if (observes_) {
    seen_.push_back(segment);
  } else if (exchanges_) {
    for (const std::size_t bucket : arena_->plan().arrived(segment)) {
      send(bucket);
    }
  }
}

PackPiece GpuProgram::piece(std::size_t segment, Range range) {
  const Segment& own = arena_->table().segments()[segment];
  const std::size_t begin = std::max(range.begin, own.offset);
  const std::size_t end = std::min(range.end, own.offset + own.count);
  const at::Tensor& tensor = arena_->tensors()[segment];
  at::Tensor gradient = tensor.grad();
  if (gradient.defined() && gradient.strides() != tensor.strides()) {
    gradient = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options());
    gradient.copy_(tensor.grad());
    kept_.push_back(gradient);
  }
  const float* from =
      gradient.defined() ? gradient.const_data_ptr<float>() + (begin - own.offset) : nullptr;
  return {.from = from, .offset = begin, .count = begin < end ? end - begin : 0};
}

void GpuProgram::send(std::size_t bucket) {
  const Range range = arena_->plan().buckets()[bucket];
  std::vector<PackPiece> pieces;
  for (std::size_t i = 0; i < arena_->tensors().size(); ++i) {
    const PackPiece one = piece(i, range);
    if (one.count > 0) {
      pieces.push_back(one);
    }
  }
  const bool is_all = parts_.device == nullptr && arena_->plan().buckets().size() == 1;
  if (is_all && pieces.size() <= PackNormJob::most_pieces) {
    last_pieces_ = std::move(pieces);  // packed by update()
    return;
  }
  gpu_.run(pack_of(pieces));
  if (parts_.device == nullptr) {
    return;
  }
  auto* first = static_cast<std::byte*>(arena_->gradients());
  const auto part_of_wire = [&](Range part) {
    return Buffer{.data = first + part.begin * size_of(options_.wire),
                  .count = part.count(),
                  .dtype = options_.wire,
                  .device = gpu_.device()};
  };
  if (arena_->shape().is_sharded) {
    const Range own = arena_->plan().part(bucket, arena_->shape().rank);
    works_.push_back(
        parts_.device->reduce_scatter(part_of_wire(range), part_of_wire(own), ReduceOp::sum));
  } else {
    works_.push_back(parts_.device->all_reduce(part_of_wire(range), ReduceOp::sum));
  }
}

PackJob GpuProgram::pack_of(std::span<const PackPiece> pieces) const {
  return {.pieces = pieces,
          .to = arena_->gradients(),
          .to_type = options_.wire,
          .add = adds_ ? arena_->sums() : nullptr};
}

at::Tensor GpuProgram::forward(const at::Tensor& features, bool training, std::uint64_t part) {
  const AutocastScope autocast(options_.amp != DType::float32, torch_device(gpu_).type(),
                               torch_type(options_.amp));
  const GpuPass on_gpu{.gpu = &gpu_,
                       .state = state(),
                       .seed = options_.seed,
                       .lane = static_cast<std::uint64_t>(world_.rank()),
                       .part = part,
                       .recomputes = training && options_.recomputes};
  return model_.forward(features, Pass{.training = training, .gpu = &on_gpu});
}

void GpuProgram::run_part(SampleRange part, std::uint64_t whole, std::uint64_t number) {
  const at::Tensor outputs = forward(input_.features(part.first, part.count), true, number);
  if (!outputs.requires_grad()) {
    throw Error(Fault::bad_input,
                "nothing of this model can be trained: every parameter is frozen, or its loss does "
                "not depend on one");
  }
  start_backward(outputs, part, whole, number);
}

/// Cross-entropy leaves its gradient where the logits were; the others go torch's way.
void GpuProgram::start_backward(const at::Tensor& outputs, SampleRange part, std::uint64_t whole,
                                std::uint64_t number) {
  const at::Tensor seed = seed_of(whole);
  const at::Tensor labels = input_.labels(part.first, part.count);
  if (loss_.kind != LossKind::cross_entropy) {
    const at::Tensor sum = loss_.sum(outputs, labels);
    losses_.narrow(0, static_cast<std::int64_t>(number), 1).copy_(sum.detach());
    torch::autograd::backward({sum}, {seed.reshape(sum.sizes())});
    return;
  }
  const at::Tensor flat = outputs.reshape({-1, outputs.size(-1)}).contiguous();
  const at::Tensor gradient =
      may_overwrite_outputs(model_.kind()) ? flat.detach() : flat.detach().clone();
  const auto positions = labels.numel() / labels.size(0);
  const at::Tensor losses =
      losses_.narrow(0, static_cast<std::int64_t>(part.first) * positions, labels.numel());
  gpu_ops::cross_entropy(gpu_, gradient, labels, loss_.label_smoothing,
                         1.0 / static_cast<double>(positions), seed, losses);
  torch::autograd::backward({flat}, {gradient});
}

void GpuProgram::prepare(std::uint64_t whole) {
  if (!seeds_.contains(whole)) {
    seeds_[whole] = at::full({1}, 1.0 / static_cast<double>(whole),
                             at::TensorOptions().dtype(at::kFloat).device(torch_device(gpu_)));
  }
}

at::Tensor GpuProgram::seed_of(std::uint64_t whole) {
  const at::Tensor& share = seeds_.at(whole);
  return options_.amp == DType::float16 ? at::mul(share, scale_) : share;
}

void GpuProgram::step(std::uint64_t own, std::uint64_t whole) {
  input_.load(state(), whole);
  arena_->plan().begin();
  adds_ = false;
  std::vector<SampleRange> filled;
  for (std::uint64_t i = 0; i < options_.accumulate; ++i) {
    const SampleRange part = part_of({0, own}, i, options_.accumulate);
    if (part.count > 0) {
      filled.push_back(part);
    }
  }
  for (std::size_t i = 0; i < filled.size(); ++i) {
    exchanges_ = i + 1 == filled.size();
    run_part(filled[i], whole, i);
    if (!exchanges_) {
      sum_part(i == 0);
      adds_ = true;
    }
  }
  end_backward();
  update(own, whole);
  drop_gradients();
}

void GpuProgram::sum_part(bool is_first) {
  std::vector<PackPiece> pieces;
  for (std::size_t i = 0; i < arena_->tensors().size(); ++i) {
    pieces.push_back(piece(i, {0, arena_->table().capacity()}));
  }
  gpu_.run(
      PackJob{.pieces = pieces, .to = arena_->sums(), .add = is_first ? nullptr : arena_->sums()});
  drop_gradients();
}

void GpuProgram::drop_gradients() {
  last_pieces_.clear();
  for (const at::Tensor& tensor : arena_->tensors()) {
    tensor.mutable_grad().reset();
  }
  kept_.clear();
}

void GpuProgram::forget_step() {
  drop_gradients();
  exchanges_ = false;
  for (Work& work : works_) {
    try {
      work.wait();
    } catch (const std::exception&) {  // of a capture that is broken: there is nothing to wait for
    }
  }
  works_.clear();
}

void GpuProgram::end_backward() {
  for (const std::size_t bucket : arena_->plan().rest()) {
    send(bucket);
  }
  exchanges_ = false;
  wait_for_works();
}

void GpuProgram::wait_for_works() {
  for (Work& work : works_) {
    work.wait();
  }
  works_.clear();
}

void GpuProgram::update(std::uint64_t own, std::uint64_t whole) {
  const OptimizerRule& rule = options_.rule;
  const DecideJob decide{.state = state(),
                         .notes = notes(),
                         .results = results(),
                         .result_count = result_count,
                         .rates = reinterpret_cast<const float*>(rates_.get()),
                         .rate_count = std::clamp<std::uint64_t>(options_.steps, 1, most_rates),
                         .clip_norm = rule.clip_norm,
                         .beta1 = rule.beta1,
                         .beta2 = rule.beta2,
                         .ema = rule.ema,
                         .scales_loss = options_.amp == DType::float16,
                         .growth_every = options_.growth_every};
  const bool is_alone = parts_.device == nullptr;
  const NormJob norm{.gradients = arena_->gradients(),
                     .type = options_.wire,
                     .chunks = arena_->chunks(),
                     .chunk_count = arena_->chunk_count(),
                     .partial = reinterpret_cast<double*>(partial_.get()),
                     .arrived = reinterpret_cast<std::uint32_t*>(arrived_.get()),
                     .losses = losses_.const_data_ptr<float>(),
                     .loss_count = loss_count(own),
                     .loss_factor = 1.0 / static_cast<double>(whole),
                     .notes = notes(),
                     .decides = is_alone,
                     .decide = decide};
  if (last_pieces_.empty()) {
    gpu_.run(norm);
  } else {
    gpu_.run(PackNormJob{.pack = pack_of(last_pieces_), .norm = norm});
  }
  if (!is_alone) {
    agree_on_notes();
    gpu_.run(decide);
  }
  UpdateJob job{.kind = kind_of(rule),
                .state = state(),
                .chunks = arena_->chunks(),
                .chunk_count = arena_->chunk_count(),
                .gradients = arena_->gradients(),
                .type = options_.wire,
                .parameters = arena_->parameters(),
                .momentum = static_cast<float>(rule.momentum),
                .beta1 = static_cast<float>(rule.beta1),
                .beta2 = static_cast<float>(rule.beta2),
                .epsilon = static_cast<float>(rule.epsilon),
                .decay = static_cast<float>(rule.weight_decay)};
  const std::size_t slots = rule.slot_names().size() - (rule.ema > 0 ? 1 : 0);
  for (std::size_t slot = 0; slot < slots; ++slot) {
    job.slots.at(slot) = arena_->state(slot);
  }
  job.average = rule.ema > 0 ? arena_->state(slots) : nullptr;
  gpu_.run(job);
  bring_shards_together();
}

/// The loss of all ranks; with ZeRO-1 each knows the squares of its own part alone.
void GpuProgram::agree_on_notes() {
  parts_.device
      ->all_reduce({.data = notes(),
                    .count = arena_->shape().is_sharded ? std::size_t{2} : std::size_t{1},
                    .dtype = DType::float64,
                    .device = gpu_.device()},
                   ReduceOp::sum)
      .wait();
}

void GpuProgram::bring_shards_together() {
  if (!arena_->shape().is_sharded) {
    return;
  }
  const auto floats = [&](Range range) {
    return Buffer{.data = arena_->parameters() + range.begin,
                  .count = range.count(),
                  .dtype = DType::float32,
                  .device = gpu_.device()};
  };
  for (std::size_t bucket = 0; bucket < arena_->plan().buckets().size(); ++bucket) {
    works_.push_back(
        parts_.device->all_gather(floats(arena_->plan().part(bucket, arena_->shape().rank)),
                                  floats(arena_->plan().buckets()[bucket])));
  }
  wait_for_works();
}

void GpuProgram::put_state(const StepState& value) {
  gpu_.copy(state_.get(), &value, sizeof value, Gpu::Queue::compute);
  gpu_.synchronise();
}

StepState GpuProgram::get_state() {
  StepState value;
  gpu_.copy(&value, state_.get(), sizeof value, Gpu::Queue::compute);
  gpu_.synchronise();
  return value;
}

}  // namespace muster
