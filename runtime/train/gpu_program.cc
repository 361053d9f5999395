// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_program.h"

#include <ATen/ops/full.h>
#include <ATen/ops/mul.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/model/autocast.h"

namespace muster {
namespace {

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
      results_(gpu_.allocate_pinned(result_count * sizeof(StepResult))),
      rates_(gpu_.allocate(2 * rates_a_piece * sizeof(float))),
      rates_to_copy_(gpu_.allocate_pinned(2 * rates_a_piece * sizeof(float))),
      buffers_(gpu_, model.buffers()) {
  const std::uint64_t own = std::max<std::uint64_t>(1, input.own_part({0, options.batch}).count);
  const std::uint64_t losses = loss_count(own);
  losses_memory_ = gpu_.allocate(losses * sizeof(float));
  losses_ = tensor_on(gpu_, losses_memory_, losses_memory_.get(),
                      {static_cast<std::int64_t>(losses)}, {1}, DType::float32);
  scale_ = tensor_on(gpu_, state_, &state()->loss_scale, {1}, {1}, DType::float32);
  move_parameters();
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

std::uint64_t GpuProgram::loss_count(std::uint64_t samples) const {
  return loss_.kind == LossKind::cross_entropy
             ? samples * static_cast<std::uint64_t>(input_.labels(0, 1).numel())
             : std::min(samples, options_.accumulate);  // one a part that is not empty
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
  const at::Tensor rows = outputs.reshape({-1, outputs.size(-1)});
  const bool in_place = may_overwrite_outputs(model_.kind());
  const at::Tensor flat = in_place && rows.stride(1) == 1 ? rows : rows.contiguous();
  const at::Tensor gradient = in_place ? flat.detach() : flat.detach().clone();
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

/// A piece takes the place of the one before the last, whose steps lie before it in the queue. That
/// one's copy was made long ago: the host is a few blocks of steps ahead, or has waited for all.
void GpuProgram::bring_rates(std::uint64_t first, std::uint64_t steps) {
  static_assert(rates_a_piece > result_count, "queued steps are of two pieces at most");
  for (std::uint64_t piece = first / rates_a_piece; piece * rates_a_piece < first + steps;
       ++piece) {
    if (std::exchange(pieces_there_[piece % 2], piece) == piece) {
      continue;
    }
    const std::uint64_t at = piece % 2 * rates_a_piece;
    float* rates = reinterpret_cast<float*>(rates_to_copy_.get()) + at;
    for (std::uint64_t i = 0; i < rates_a_piece; ++i) {
      rates[i] = static_cast<float>(rate_at(options_.schedule, piece * rates_a_piece + i));
    }
    gpu_.copy(reinterpret_cast<float*>(rates_.get()) + at, rates, rates_a_piece * sizeof(float),
              Gpu::Queue::compute);
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

void GpuProgram::update(std::uint64_t own, std::uint64_t whole) {
  const OptimizerRule& rule = options_.rule;
  const DecideJob decide{.state = state(),
                         .notes = notes(),
                         .results = results(),
                         .result_count = result_count,
                         .rates = reinterpret_cast<const float*>(rates_.get()),
                         .rate_count = 2 * rates_a_piece,
                         .clip_norm = rule.clip_norm,
                         .corrects = rule.kind != OptimizerRule::Kind::sgd,
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
  buffers_.add_to(job);
  gpu_.run(job);
  bring_shards_together();
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
