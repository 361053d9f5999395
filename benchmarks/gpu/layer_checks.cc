// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/gpu/gpu_bench.h"
#include "benchmarks/gpu/twin.h"
#include "runtime/gpu/host_kernels.h"

namespace muster::bench {
namespace {

/// Runs a job on the GPU and its twin on the host. `job` makes it of whatever takes a Twin to
/// memory.
void run_both(Gpu& gpu, const auto& job) {
  gpu.run(job([](auto& twin) { return twin.device(); }));
  host_kernels::run(job([](auto& twin) { return twin.host.data(); }));
}

template <class T>
int check_cross_entropy(Gpu& gpu, DType type, std::uint64_t classes, double allowed,
                        std::uint64_t padding = 0) {
  constexpr std::uint64_t rows = 129;
  Twin<T> logits(gpu, rows * (classes + padding));
  Twin<std::int64_t> labels(gpu, rows);
  Twin<float> losses(gpu, rows);
  Twin<float> scale(gpu, 1);
  fill(logits, 6, 5);
  Random random(7);
  for (auto& label : labels.host) {
    label = static_cast<std::int64_t>(random.below(classes));
  }
  labels.host[3] = -1;
  labels.upload();
  scale.host[0] = 2;
  scale.upload();
  run_both(gpu, [&](auto place) {
    return CrossEntropyJob{.logits = place(logits),
                           .type = type,
                           .labels = place(labels),
                           .losses = place(losses),
                           .rows = rows,
                           .classes = classes,
                           .stride = classes + padding,
                           .padding = padding,
                           .smoothing = 0.1F,
                           .scale = 0.5F,
                           .gradient_scale = place(scale)};
  });
  return report("cross_entropy loss", distance(losses.fetched(), losses.host), 1e-5) +
         report("cross_entropy gradient", distance(logits.fetched(), logits.host), allowed);
}

template <class T>
int check_norm(Gpu& gpu, DType type, std::uint64_t width, double allowed) {
  constexpr std::uint64_t parts = 200;
  constexpr std::uint64_t rows = 257;
  Twin<T> x(gpu, rows * width);
  Twin<T> residual(gpu, rows * width);
  Twin<T> sum(gpu, rows * width);
  Twin<T> y(gpu, rows * width);
  Twin<float> weight(gpu, width);
  Twin<float> bias(gpu, width);
  Twin<float> x_bias(gpu, width);
  Twin<float> mean(gpu, rows);
  Twin<float> inverse(gpu, rows);
  fill(x, 1);
  fill(x_bias, 7);
  fill(residual, 2);
  fill(weight, 3);
  fill(bias, 4);
  run_both(gpu, [&](auto place) {
    return AddNormJob{.x = place(x),
                      .x_bias = place(x_bias),
                      .residual = place(residual),
                      .sum = place(sum),
                      .y = place(y),
                      .type = type,
                      .weight = place(weight),
                      .bias = place(bias),
                      .mean = place(mean),
                      .inverse = place(inverse),
                      .rows = rows,
                      .width = width};
  });
  Twin<T> to(gpu, rows * width);
  Twin<float> of_weight(gpu, width);
  Twin<float> of_bias(gpu, width);
  Twin<float> of_x_bias(gpu, width);
  Twin<float> partial(gpu, parts * 3 * width);
  run_both(gpu, [&](auto place) {
    return AddNormBackwardJob{.gradient = place(x),
                              .add = place(residual),
                              .input = place(sum),
                              .to = place(to),
                              .type = type,
                              .weight = place(weight),
                              .mean = place(mean),
                              .inverse = place(inverse),
                              .weight_gradient = place(of_weight),
                              .bias_gradient = place(of_bias),
                              .x_bias_gradient = place(of_x_bias),
                              .partial = place(partial),
                              .parts = parts,
                              .rows = rows,
                              .width = width};
  });
  return report("add_norm", distance(y.fetched(), y.host), allowed) +
         report("add_norm gradient", distance(to.fetched(), to.host), allowed) +
         report("add_norm weight", distance(of_weight.fetched(), of_weight.host), 1e-4) +
         report("add_norm bias", distance(of_bias.fetched(), of_bias.host), 1e-4) +
         report("add_norm input's bias", distance(of_x_bias.fetched(), of_x_bias.host), allowed);
}

template <class T>
int check_bias(Gpu& gpu, BiasBackwardJob::Kind kind, DType type, std::uint64_t width,
               std::uint64_t parts, double allowed) {
  constexpr std::uint64_t rows = 1001;
  Twin<T> gradient(gpu, rows * width);
  Twin<T> kept(gpu, rows * width);
  Twin<T> to(gpu, rows * width);
  Twin<float> of_bias(gpu, width);
  Twin<float> partial(gpu, parts * width);
  fill(gradient, 1);
  fill(kept, 2, 2);
  const bool splits = kind == BiasBackwardJob::Kind::split;
  const std::uint64_t part = splits ? rows * (width / 3) : 0;
  run_both(gpu, [&](auto place) {
    return BiasBackwardJob{
        .kind = kind,
        .gradients = {place(gradient), place(gradient) + part, place(gradient) + 2 * part},
        .kept = splits ? nullptr : place(kept),
        .to = place(to),
        .type = type,
        .bias_gradient = place(of_bias),
        .partial = place(partial),
        .parts = parts,
        .rows = rows,
        .width = width};
  });
  return report("bias's product", distance(to.fetched(), to.host), allowed) +
         report("bias gradient", distance(of_bias.fetched(), of_bias.host), 1e-5 + allowed);
}

int check_head(Gpu& gpu, std::uint64_t rows, std::uint64_t width, std::uint64_t outputs) {
  Twin<float> gradient(gpu, rows * outputs);
  Twin<float> kept(gpu, rows * width);
  Twin<float> to(gpu, rows * width);
  Twin<float> of_bias(gpu, width);
  Twin<float> weight(gpu, outputs * width);
  Twin<float> of_weight(gpu, outputs * width);
  Twin<float> of_outputs(gpu, outputs);
  fill(gradient, 1);
  fill(kept, 2, 2);
  fill(weight, 3);
  run_both(gpu, [&](auto place) {
    return BiasBackwardJob{.kind = BiasBackwardJob::Kind::head,
                           .gradients = {place(gradient)},
                           .kept = place(kept),
                           .to = place(to),
                           .bias_gradient = place(of_bias),
                           .rows = rows,
                           .width = width,
                           .outputs = outputs,
                           .weight = place(weight),
                           .weight_gradient = place(of_weight),
                           .outputs_bias_gradient = place(of_outputs)};
  });
  return report("head's product", distance(to.fetched(), to.host), 1e-5) +
         report("head's bias gradient", distance(of_bias.fetched(), of_bias.host), 1e-5) +
         report("head's weight gradient", distance(of_weight.fetched(), of_weight.host), 1e-5) +
         report("head's outputs", distance(of_outputs.fetched(), of_outputs.host), 1e-5);
}

/// Batch norm with something added and the rectifier, with the rectifier alone, and alone.
enum class Around { all, rectifier, nothing };

template <class T>
int check_images(Gpu& gpu, DType type, std::uint64_t channels, double allowed, Around around) {
  constexpr std::uint64_t rows = 1111;
  constexpr std::uint64_t parts = 264;
  const bool adds = around == Around::all;
  Twin<T> x(gpu, rows * channels);
  Twin<T> residual(gpu, rows * channels);
  Twin<T> gradient(gpu, rows * channels);
  Twin<T> other(gpu, rows * channels);
  Twin<T> y(gpu, rows * channels);
  Twin<T> to(gpu, rows * channels);
  Twin<T> residual_to(gpu, rows * channels);
  Twin<float> weight(gpu, channels);
  Twin<float> bias(gpu, channels);
  Twin<float> running_mean(gpu, channels);
  Twin<float> running_variance(gpu, channels);
  Twin<float> mean(gpu, channels);
  Twin<float> inverse(gpu, channels);
  Twin<float> of_weight(gpu, channels);
  Twin<float> of_bias(gpu, channels);
  Twin<float> partial(gpu, parts * 2 * channels);
  fill(x, 1, 3);
  fill(residual, 2);
  fill(gradient, 3);
  fill(other, 8);
  fill(weight, 4);
  fill(bias, 5);
  fill(running_mean, 6);
  fill(running_variance, 7);
  run_both(gpu, [&](auto place) {
    return ImageNormJob{.x = place(x),
                        .residual = adds ? place(residual) : nullptr,
                        .y = place(y),
                        .type = type,
                        .weight = place(weight),
                        .bias = place(bias),
                        .running_mean = place(running_mean),
                        .running_variance = place(running_variance),
                        .mean = place(mean),
                        .inverse = place(inverse),
                        .partial = place(partial),
                        .parts = parts,
                        .rows = rows,
                        .channels = channels,
                        .rectifies = around != Around::nothing};
  });
  run_both(gpu, [&](auto place) {
    return ImageNormBackwardJob{.gradient = place(gradient),
                                .other = adds ? place(other) : nullptr,
                                .x = place(x),
                                .y = adds ? place(y) : nullptr,
                                .to = place(to),
                                .residual_to = adds ? place(residual_to) : nullptr,
                                .type = type,
                                .weight = place(weight),
                                .bias = place(bias),
                                .mean = place(mean),
                                .inverse = place(inverse),
                                .weight_gradient = place(of_weight),
                                .bias_gradient = place(of_bias),
                                .partial = place(partial),
                                .parts = parts,
                                .rows = rows,
                                .channels = channels,
                                .rectifies = around != Around::nothing};
  });
  return report("image_norm", distance(y.fetched(), y.host), allowed) +
         report("image_norm gradient", distance(to.fetched(), to.host), 4 * allowed) +
         report("image_norm residual", distance(residual_to.fetched(), residual_to.host), 0.03) +
         report("image_norm weight", distance(of_weight.fetched(), of_weight.host), 1e-3) +
         report("image_norm bias", distance(of_bias.fetched(), of_bias.host), 1e-2) +
         report("image_norm mean", distance(running_mean.fetched(), running_mean.host), 1e-5) +
         report("image_norm variance", distance(running_variance.fetched(), running_variance.host),
                1e-4);
}

template <class T>
int check_pool(Gpu& gpu, DType type, std::uint32_t side, std::uint32_t height,
               std::uint32_t channels, double allowed) {
  const PoolShape shape{
      .images = 3, .height = height, .width = 37, .channels = channels, .side = side};
  const std::uint64_t before = shape.images * shape.height * shape.width * channels;
  const std::uint64_t after = shape.images * shape.rows_out() * shape.columns_out() * channels;
  Twin<T> x(gpu, before);
  Twin<T> y(gpu, after);
  Twin<std::uint8_t> chosen(gpu, after);
  Twin<T> to(gpu, before);
  Twin<float> bias(gpu, channels);
  fill(x, 1);
  fill(bias, 2);
  run_both(gpu, [&](auto place) {
    return PoolJob{.shape = shape,
                   .x = place(x),
                   .bias = side == 2 ? place(bias) : nullptr,
                   .y = place(y),
                   .chosen = place(chosen),
                   .type = type};
  });
  run_both(gpu, [&](auto place) {
    return PoolBackwardJob{.shape = shape,
                           .gradient = place(y),
                           .chosen = place(chosen),
                           .to = place(to),
                           .type = type};
  });
  return report("max_pool", distance(y.fetched(), y.host), 0) +
         report("max_pool chosen", chosen.fetched() == chosen.host ? 0 : 1, 0) +
         report("max_pool gradient", distance(to.fetched(), to.host), allowed);
}

template <class T>
int check_gelu(Gpu& gpu, DType type, std::uint64_t count, double allowed) {
  Twin<T> x(gpu, count);
  Twin<T> to(gpu, count);
  fill(x, 1, 3);
  run_both(gpu, [&](auto place) {
    return GeluJob{.x = place(x), .to = place(to), .type = type, .count = count};
  });
  return report("gelu", distance(to.fetched(), to.host), allowed);
}

int check_dropout(Gpu& gpu, Twin<StepState>& state) {
  constexpr std::uint64_t count = 100001;
  Twin<float> x(gpu, count);
  Twin<float> to(gpu, count);
  fill(x, 1);
  run_both(gpu, [&](auto place) {
    return DropoutJob{.state = place(state),
                      .x = place(x),
                      .to = place(to),
                      .count = count,
                      .share = 0.3,
                      .seed = 9,
                      .lane = 1,
                      .place = 3};
  });
  return report("dropout", distance(to.fetched(), to.host), 0);
}

int check_gather(Gpu& gpu, Twin<StepState>& state) {
  Twin<std::uint32_t> order(gpu, 64);
  for (std::uint32_t i = 0; i < 64; ++i) {
    order.host[i] = 63 - i;
  }
  order.upload();
  constexpr std::uint64_t row = 3 * 32 * 32;
  Twin<float> images(gpu, 64 * row);
  Twin<float> batch(gpu, 32 * row);
  Twin<float> labels(gpu, 64);
  Twin<float> labels_to(gpu, 32);
  fill(images, 2);
  fill(labels, 3);
  int apart = 0;
  for (const std::uint32_t channels : {3U, 0U}) {  // moved, and as they are
    run_both(gpu, [&](auto place) {
      return GatherJob{.state = place(state),
                       .rows = place(images),
                       .order = place(order),
                       .to = place(batch),
                       .row_bytes = row * 4,
                       .labels = place(labels),
                       .labels_to = place(labels_to),
                       .label_bytes = 4,
                       .count = 32,
                       .steps_per_epoch = 2,
                       .batch = 32,
                       .channels = channels,
                       .height = 32,
                       .width = 32,
                       .crop_padding = 4,
                       .flips = true,
                       .seed = 8};
    });
    apart += report("gather", distance(batch.fetched(), batch.host), 0) +
             report("gather labels", distance(labels_to.fetched(), labels_to.host), 0);
  }
  return apart;
}

int check_draws(Gpu& gpu) {
  Twin<StepState> state(gpu, 1);
  state.host[0].step = 5;
  state.upload();
  return check_dropout(gpu, state) + check_gather(gpu, state);
}

}  // namespace

int check_layers(Gpu& gpu) {
  int wrong = check_cross_entropy<float>(gpu, DType::float32, 1003, 1e-5);
  wrong += check_cross_entropy<Bf16>(gpu, DType::bfloat16, 50304, 5e-3);
  wrong += check_cross_entropy<Bf16>(gpu, DType::bfloat16, 50257, 5e-3, 47);
  wrong += check_cross_entropy<float>(gpu, DType::float32, 10, 1e-5);
  wrong += check_norm<float>(gpu, DType::float32, 768, 1e-5);
  wrong += check_norm<Bf16>(gpu, DType::bfloat16, 768, 5e-3);
  wrong += check_norm<Bf16>(gpu, DType::bfloat16, 1000, 5e-3);
  wrong += check_norm<F16>(gpu, DType::float16, 64, 5e-3);
  wrong += check_norm<float>(gpu, DType::float32, 1003, 1e-5);  // rows that no warp holds
  using Kind = BiasBackwardJob::Kind;
  wrong += check_bias<float>(gpu, Kind::rectified, DType::float32, 77, 1, 0);
  wrong += check_bias<Bf16>(gpu, Kind::rectified, DType::bfloat16, 128, 7, 0);
  wrong += check_head(gpu, 64, 128, 10);
  wrong += check_head(gpu, 99, 77, 16);
  wrong += check_bias<float>(gpu, Kind::gelu, DType::float32, 256, 3, 1e-5);
  wrong += check_bias<Bf16>(gpu, Kind::gelu, DType::bfloat16, 3072, 128, 5e-3);
  wrong += check_bias<F16>(gpu, Kind::gelu, DType::float16, 77, 1, 5e-3);
  wrong += check_bias<Bf16>(gpu, Kind::split, DType::bfloat16, 2304, 128, 0);
  wrong += check_bias<float>(gpu, Kind::split, DType::float32, 102, 2, 0);  // thirds of 34
  for (const Around around : {Around::all, Around::rectifier, Around::nothing}) {
    wrong += check_images<Bf16>(gpu, DType::bfloat16, 64, 5e-3, around);
    wrong += check_images<float>(gpu, DType::float32, 40, 1e-5, around);
  }
  wrong += check_images<Bf16>(gpu, DType::bfloat16, 2048, 5e-3, Around::all);
  wrong += check_pool<Bf16>(gpu, DType::bfloat16, 3, 112, 64, 1e-3);
  wrong += check_pool<float>(gpu, DType::float32, 3, 1, 8, 1e-6);
  wrong += check_pool<Bf16>(gpu, DType::bfloat16, 2, 33, 32, 1e-3);
  wrong += check_pool<float>(gpu, DType::float32, 2, 16, 8, 1e-6);
  wrong += check_gelu<Bf16>(gpu, DType::bfloat16, 80000, 5e-3);
  wrong += check_gelu<float>(gpu, DType::float32, 1003, 1e-5);
  return wrong + check_draws(gpu);
}

}  // namespace muster::bench
