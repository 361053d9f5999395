// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/gpu/gpu_bench.h"
#include "benchmarks/gpu/twin.h"
#include "runtime/gpu/host_kernels.h"

namespace muster::bench {
namespace {

template <class T>
int check_update(Gpu& gpu, DType type, UpdateJob::Kind kind, const char* name) {
  constexpr std::size_t count = 1000003;
  Twin<float> p(gpu, count);
  Twin<float> first(gpu, count);
  Twin<float> second(gpu, count);
  Twin<T> g(gpu, count);
  Twin<Chunk> chunks(gpu, (count + 4095) / 4096);
  Twin<StepState> state(gpu, 1);
  fill(p, 1);
  fill(first, 2, 0.1);
  fill(g, 4);
  for (float& value : second.host) {
    value = 0.01F;
  }
  second.upload();
  for (std::size_t i = 0; i < chunks.host.size(); ++i) {
    chunks.host[i] = {
        .at = i * 4096,
        .state_at = i * 4096,
        .count = static_cast<std::uint32_t>(std::min<std::size_t>(4096, count - i * 4096)),
        .decays = static_cast<std::uint32_t>(i % 2),
        .rate_factor = 0.5F};
  }
  chunks.upload();
  state.host[0] = {.factor = 0.7F, .rate = 0.01F, .first_correction = 2, .second_correction = 3};
  state.upload();
  UpdateJob job{.kind = kind,
                .state = state.device(),
                .chunks = chunks.device(),
                .chunk_count = chunks.host.size(),
                .gradients = g.device(),
                .type = type,
                .parameters = p.device(),
                .slots = {first.device(), second.device()},
                .momentum = 0.9F,
                .decay = 0.1F};
  gpu.run(job);
  const auto on_gpu = p.fetched();
  job.state = state.host.data();
  job.chunks = chunks.host.data();
  job.gradients = g.host.data();
  job.parameters = p.host.data();
  job.slots = {first.host.data(), second.host.data()};
  host_kernels::run(job);
  return report(name, distance(on_gpu, p.host), 1e-6) +
         report(fmt::format("{}, first slot", name), distance(first.fetched(), first.host), 1e-6) +
         report(fmt::format("{}, second slot", name), distance(second.fetched(), second.host),
                1e-6);
}

/// Kept by a step, and put back by one that is skipped.
int check_moved(Gpu& gpu) {
  constexpr std::size_t count = 3 * UpdateJob::moved_part + 12;
  Twin<float> moved(gpu, count);
  Twin<float> kept(gpu, count);
  Twin<StepState> state(gpu, 1);
  fill(moved, 21);
  const std::vector<float> before = moved.host;
  const UpdateJob job{.state = state.device(),
                      .moved = reinterpret_cast<std::uint32_t*>(moved.device()),
                      .kept = reinterpret_cast<std::uint32_t*>(kept.device()),
                      .moved_count = count};
  gpu.run(job);
  fill(moved, 22);
  state.host[0].skips = 1;
  state.upload();
  gpu.run(job);
  return report("what a skipped step puts back", distance(moved.fetched(), before), 0);
}

/// Squares, losses and what the step makes of them, twice: the count of blocks starts anew.
int check_step_end(Gpu& gpu) {
  constexpr std::size_t count = 1000003;
  constexpr std::size_t chunk = 4096;
  Twin<float> g(gpu, count);
  Twin<float> losses(gpu, 5003);
  Twin<Chunk> chunks(gpu, (count + chunk - 1) / chunk);
  Twin<double> partial(gpu, 2 * chunks.host.size());
  Twin<std::uint32_t> arrived(gpu, 1);
  Twin<StepNotes> notes(gpu, 1);
  Twin<StepState> state(gpu, 1);
  Twin<float> rates(gpu, 4);
  fill(g, 11);
  fill(losses, 12);
  fill(rates, 13);
  for (std::size_t i = 0; i < chunks.host.size(); ++i) {
    chunks.host[i].at = i * chunk;
    chunks.host[i].count = static_cast<std::uint32_t>(std::min(chunk, count - i * chunk));
  }
  chunks.upload();
  state.upload();
  const auto results = gpu.allocate_pinned(2 * sizeof(StepResult));
  std::vector<StepResult> twin_results(2);
  const auto job = [&](auto place, StepResult* to) {
    return NormJob{.gradients = place(g),
                   .chunks = place(chunks),
                   .chunk_count = chunks.host.size(),
                   .partial = place(partial),
                   .arrived = place(arrived),
                   .losses = place(losses),
                   .loss_count = losses.host.size(),
                   .loss_factor = 0.5,
                   .notes = place(notes),
                   .decides = true,
                   .decide = {.state = place(state),
                              .notes = place(notes),
                              .results = to,
                              .result_count = 2,
                              .rates = place(rates),
                              .rate_count = 4,
                              .clip_norm = 3}};
  };
  const NormJob there =
      job([](auto& twin) { return twin.device(); }, reinterpret_cast<StepResult*>(results.get()));
  const NormJob here = job([](auto& twin) { return twin.host.data(); }, twin_results.data());
  for (int i = 0; i < 2; ++i) {
    gpu.run(there);
    host_kernels::run(here);
  }
  const StepState own = state.fetched()[0];
  const StepState& exact = state.host[0];
  const auto& last = reinterpret_cast<const StepResult*>(results.get())[1];
  const StepResult& wanted = twin_results[1];
  const auto apart = [](const char* what, double found, double exactly) {
    return report(what, std::abs(found - exactly) / std::abs(exactly), 1e-6);
  };
  return apart("norm", last.norm, wanted.norm) + apart("loss", last.loss, wanted.loss) +
         apart("step", static_cast<double>(last.step), 2) +
         apart("clip", own.factor, exact.factor) + apart("rate", own.rate, exact.rate) +
         apart("first correction", own.first_correction, exact.first_correction) +
         apart("second correction", own.second_correction, exact.second_correction);
}

/// Packing and the norm in one, beside the twin's two.
template <class T>
int check_pack_norm(Gpu& gpu, DType type, const char* what) {
  constexpr std::size_t count = 30011;
  Twin<float> from(gpu, count);
  Twin<float> add(gpu, count);
  Twin<T> to(gpu, count);
  Twin<double> partial(gpu, 2 * (count / PackNormJob::piece_part + 2));
  Twin<Chunk> chunks(gpu, 1);
  Twin<std::uint32_t> arrived(gpu, 1);
  Twin<float> losses(gpu, 77);
  Twin<StepNotes> notes(gpu, 1);
  fill(from, 21);
  fill(add, 22);
  fill(losses, 23);
  chunks.host[0] = {.at = 0, .count = count};
  chunks.upload();
  const auto run_at = [&](auto place, auto&& run) {
    const std::vector<PackPiece> pieces{{.from = place(from), .offset = 5000, .count = 25011},
                                        {.from = nullptr, .offset = 0, .count = 5000}};
    run(PackNormJob{.pack = {.pieces = pieces, .to = place(to), .to_type = type, .add = place(add)},
                    .norm = {.gradients = place(to),
                             .type = type,
                             .chunks = place(chunks),
                             .chunk_count = 1,
                             .partial = place(partial),
                             .arrived = place(arrived),
                             .losses = place(losses),
                             .loss_count = losses.host.size(),
                             .notes = place(notes)}});
  };
  for (int i = 0; i < 2; ++i) {
    run_at([](auto& twin) { return twin.device(); }, [&](const PackNormJob& job) { gpu.run(job); });
  }
  run_at([](auto& twin) { return twin.host.data(); },
         [](const PackNormJob& job) { host_kernels::run(job); });
  const StepNotes found = notes.fetched()[0];
  const StepNotes& wanted = notes.host[0];
  return report(what, distance(to.fetched(), to.host), 0) +
         report("norm of what was packed",
                distance(std::vector<float>{static_cast<float>(found.squares),
                                            static_cast<float>(found.loss)},
                         std::vector<float>{static_cast<float>(wanted.squares),
                                            static_cast<float>(wanted.loss)}),
                1e-6);
}

int check_order(Gpu& gpu) {
  constexpr std::uint64_t rows = 60032;
  Twin<std::uint32_t> order(gpu, rows);
  OrderJob job{.to = order.device(), .rows = rows, .key = 99};
  gpu.run(job);
  const auto on_gpu = order.fetched();
  job.to = order.host.data();
  host_kernels::run(job);
  return report("order", on_gpu == order.host ? 0 : 1, 0);
}

}  // namespace

int check_kernels(Gpu& gpu) {
  const auto scope = gpu.enter();
  int wrong = check_update<float>(gpu, DType::float32, UpdateJob::Kind::adamw, "adamw");
  wrong += check_update<Bf16>(gpu, DType::bfloat16, UpdateJob::Kind::adam, "adam bf16");
  wrong += check_update<F16>(gpu, DType::float16, UpdateJob::Kind::nesterov, "nesterov fp16");
  wrong += check_moved(gpu);
  wrong += check_pack_norm<float>(gpu, DType::float32, "pack and norm");
  wrong += check_pack_norm<Bf16>(gpu, DType::bfloat16, "pack and norm bf16");
  return wrong + check_step_end(gpu) + check_order(gpu) + check_layers(gpu);
}

}  // namespace muster::bench
