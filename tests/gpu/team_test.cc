// The bodies of kernels run by several threads at once, as a block of a GPU runs them, beside one.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/gpu/host_kernels.h"
#include "runtime/gpu/image_norm_bodies.h"
#include "runtime/gpu/input_bodies.h"
#include "runtime/gpu/layer_bodies.h"
#include "runtime/gpu/norm_bodies.h"
#include "runtime/gpu/update_bodies.h"

namespace muster {
namespace {

/// What the threads of a block share.
struct Shared {
  explicit Shared(std::size_t count) : meeting(static_cast<std::ptrdiff_t>(count)), values(count) {}
  std::barrier<> meeting;
  std::vector<double> values;
};

/// One thread's view. Sums are those of a block: every member gets the same number.
class ThreadTeam {
 public:
  ThreadTeam(Shared& shared, std::size_t rank) : shared_(&shared), rank_(rank) {}
  std::uint64_t rank() const { return rank_; }
  std::uint64_t size() const { return shared_->values.size(); }
  void barrier() const { shared_->meeting.arrive_and_wait(); }
  template <class T>
  T sum(T value) const {
    return static_cast<T>(joined(value, [](double a, double b) { return a + b; }));
  }
  float max(float value) const {
    return static_cast<float>(joined(value, [](double a, double b) { return std::max(a, b); }));
  }

 private:
  template <class Join>
  double joined(double own, Join join) const {
    shared_->values[rank_] = own;
    barrier();
    double all = shared_->values[0];
    for (std::size_t i = 1; i < shared_->values.size(); ++i) {
      all = join(all, shared_->values[i]);
    }
    barrier();
    return all;
  }
  Shared* shared_;
  std::size_t rank_;
};

template <class Body>
void run_team(std::size_t members, const Body& body) {
  Shared shared(members);
  std::vector<std::jthread> threads;
  for (std::size_t rank = 0; rank < members; ++rank) {
    threads.emplace_back([&shared, &body, rank] { body(ThreadTeam(shared, rank)); });
  }
}

template <class T>
std::vector<T> numbers(std::size_t count, std::uint64_t seed, double size = 1) {
  Random random(seed);
  std::vector<T> values(count);
  for (T& value : values) {
    from_float(static_cast<float>(size * random.normal()), value);
  }
  return values;
}

template <class T>
double furthest(const std::vector<T>& a, const std::vector<T>& b) {
  double most = a.size() == b.size() ? 0 : 1e300;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double apart = std::abs(static_cast<double>(to_float(a[i])) - to_float(b[i]));
    most = apart <= most ? most : apart;
  }
  return most;
}

/// A layer norm's job and all that it points at.
template <class T>
struct Norm {
  Norm(std::size_t rows_, std::size_t width_)
      : rows(rows_),
        width(width_),
        x(numbers<T>(rows * width, 1)),
        residual(numbers<T>(rows * width, 2)),
        sum(rows * width),
        y(rows * width),
        to(rows * width),
        weight(numbers<float>(width, 3)),
        bias(numbers<float>(width, 4)),
        mean(rows),
        inverse(rows),
        of_weight(width),
        of_bias(width),
        x_bias(numbers<float>(width, 5)),
        of_x_bias(width),
        partial(3 * 3 * width) {}
  AddNormJob forward(DType type) {
    return {.x = x.data(),
            .x_bias = x_bias.data(),
            .residual = residual.data(),
            .sum = sum.data(),
            .y = y.data(),
            .type = type,
            .weight = weight.data(),
            .bias = bias.data(),
            .mean = mean.data(),
            .inverse = inverse.data(),
            .rows = rows,
            .width = width};
  }
  AddNormBackwardJob backward(DType type) {
    return {.gradient = x.data(),
            .add = residual.data(),
            .input = sum.data(),
            .to = to.data(),
            .type = type,
            .weight = weight.data(),
            .mean = mean.data(),
            .inverse = inverse.data(),
            .weight_gradient = of_weight.data(),
            .bias_gradient = of_bias.data(),
            .x_bias_gradient = of_x_bias.data(),
            .partial = partial.data(),
            .parts = 3,
            .rows = rows,
            .width = width};
  }
  std::size_t rows;
  std::size_t width;
  std::vector<T> x, residual, sum, y, to;
  std::vector<float> weight, bias, mean, inverse, of_weight, of_bias, x_bias, of_x_bias, partial;
};

/// What the GPU does with rows that a warp can hold: `members` threads, `wides` accesses each.
template <class T, int wides>
void expect_held_equals_plain(DType type, std::size_t members, std::size_t width, double allowed) {
  ASSERT_TRUE(bodies::holds<T>(width, members, wides));
  Norm<T> plain(5, width);
  Norm<T> held(5, width);
  host_kernels::run(plain.forward(type));
  host_kernels::run(plain.backward(type));
  const AddNormJob forward = held.forward(type);
  const AddNormBackwardJob backward = held.backward(type);
  std::vector<bodies::HeldSums<T, wides>> sums(members);
  run_team(members, [&](const ThreadTeam& team) {
    for (std::uint64_t row = 0; row < held.rows; ++row) {
      bodies::add_norm_held<T, wides>(team, forward, row);
      team.barrier();
      bodies::add_norm_backward_held<T, wides>(team, backward, row, sums[team.rank()]);
    }
    for (int w = 0; w < wides; ++w) {
      for (int k = 0; k < bodies::wide_count<T>; ++k) {
        const std::uint64_t column = bodies::held_at<T>(team, w) + static_cast<std::uint64_t>(k);
        if (column < width) {
          held.of_weight[column] = sums[team.rank()].weight[w][k];
          held.of_bias[column] = sums[team.rank()].bias[w][k];
          held.of_x_bias[column] = sums[team.rank()].whole[w][k];
        }
      }
    }
  });
  EXPECT_EQ(furthest(held.sum, plain.sum), 0);
  EXPECT_LE(furthest(held.y, plain.y), allowed);
  EXPECT_LE(furthest(held.to, plain.to), allowed);
  EXPECT_LE(furthest(held.of_weight, plain.of_weight), 1e-4);
  EXPECT_LE(furthest(held.of_bias, plain.of_bias), 1e-5);
  EXPECT_LE(furthest(held.of_x_bias, plain.of_x_bias), 10 * allowed);
}

TEST(AddNormBody, HeldInRegistersEqualsThePlainOne) {
  expect_held_equals_plain<float, 2>(DType::float32, 4, 32, 1e-5);  // full
  expect_held_equals_plain<float, 6>(DType::float32, 4, 52, 1e-5);  // some members have less
  expect_held_equals_plain<Bf16, 3>(DType::bfloat16, 4, 72, 0.06);
  expect_held_equals_plain<F16, 1>(DType::float16, 2, 8, 0.01);  // one member has nothing
}

TEST(AddNormBody, HoldsWholeAccessesAlone) {
  EXPECT_TRUE(bodies::holds<Bf16>(768, 32, 3));
  EXPECT_FALSE(bodies::holds<Bf16>(776, 32, 3)) << "one access too many";
  EXPECT_FALSE(bodies::holds<Bf16>(764, 32, 3)) << "half an access";
  EXPECT_TRUE(bodies::holds<float>(764, 32, 6));
}

template <class T>
void expect_cross_entropy(DType type, std::uint64_t classes, std::uint64_t stride) {
  auto alone = numbers<T>(3 * stride, 5, 4);
  auto together = alone;
  const std::vector<std::int64_t> labels{1, -1, 6};
  std::vector<float> losses(3);
  std::vector<float> of_team(3);
  const float seed = 2;
  CrossEntropyJob job{.logits = alone.data(),
                      .type = type,
                      .labels = labels.data(),
                      .losses = losses.data(),
                      .rows = 3,
                      .classes = classes,
                      .stride = stride,
                      .smoothing = 0.1F,
                      .gradient_scale = &seed};
  host_kernels::run(job);
  job.logits = together.data();
  job.losses = of_team.data();
  run_team(4, [&](const ThreadTeam& team) {
    for (std::uint64_t row = 0; row < 3; ++row) {
      bodies::cross_entropy<T>(team, job, row);
    }
  });
  EXPECT_LE(furthest(of_team, losses), 1e-5) << classes;
  EXPECT_LE(furthest(together, alone), type == DType::float32 ? 1e-6 : 0.01) << classes;
}

TEST(CrossEntropyBody, OfATeamEqualsThatOfOne) {
  expect_cross_entropy<float>(DType::float32, 103, 103);  // rows begin anywhere
  expect_cross_entropy<float>(DType::float32, 103, 104);  // and on 16 bytes, with a tail
  expect_cross_entropy<Bf16>(DType::bfloat16, 160, 160);
  expect_cross_entropy<Bf16>(DType::bfloat16, 7, 8);  // fewer than an access
}

TEST(NormBody, SquaresAndLossesAreCutAmongBlocks) {
  const auto gradients = numbers<float>(1000, 6);
  const auto losses = numbers<float>(77, 7);
  const std::vector<Chunk> chunks{{.at = 0, .count = 501}, {.at = 501, .count = 499}};
  for (const std::uint64_t count : {0U, 1U, 2U}) {
    std::vector<double> partial(4);
    StepNotes notes;
    const NormJob job{.gradients = gradients.data(),
                      .chunks = chunks.data(),
                      .chunk_count = count,
                      .partial = partial.data(),
                      .losses = losses.data(),
                      .loss_count = losses.size(),
                      .loss_factor = 0.5,
                      .notes = &notes};
    run_team(4, [&](const ThreadTeam& team) {
      for (std::uint64_t block = 0; block < job.blocks(); ++block) {
        bodies::norm_part(team, job, gradients.data(), block);
      }
      team.barrier();
      bodies::sum_parts(team, job, job.blocks());
    });
    double squares = 0;
    double loss = 0;
    for (std::size_t i = 0; i < (count == 0 ? 0U : count == 1 ? 501U : 1000U); ++i) {
      squares += static_cast<double>(gradients[i]) * gradients[i];
    }
    for (const float each : losses) {
      loss += each;
    }
    EXPECT_NEAR(notes.squares, squares, 1e-9) << count;
    EXPECT_NEAR(notes.loss, 0.5 * loss, 1e-9) << "a rank without chunks still has losses";
  }
}

/// A batch norm's job and all that it points at.
template <class T>
struct Images {
  Images(std::size_t rows, std::size_t channels)
      : x(numbers<T>(rows * channels, 1, 3)),
        residual(numbers<T>(rows * channels, 2)),
        gradient(numbers<T>(rows * channels, 3)),
        other(numbers<T>(rows * channels, 6)),
        y(rows * channels),
        to(rows * channels),
        residual_to(rows * channels),
        weight(numbers<float>(channels, 4)),
        bias(numbers<float>(channels, 5)),
        running_mean(channels),
        running_variance(channels, 1),
        mean(channels),
        inverse(channels),
        of_weight(channels),
        of_bias(channels),
        partial(3 * 2 * channels),
        forward{.x = x.data(),
                .y = y.data(),
                .weight = weight.data(),
                .bias = bias.data(),
                .running_mean = running_mean.data(),
                .running_variance = running_variance.data(),
                .mean = mean.data(),
                .inverse = inverse.data(),
                .partial = partial.data(),
                .parts = 3,
                .rows = rows,
                .channels = channels},
        backward{.gradient = gradient.data(),
                 .x = x.data(),
                 .to = to.data(),
                 .weight = weight.data(),
                 .bias = bias.data(),
                 .mean = mean.data(),
                 .inverse = inverse.data(),
                 .weight_gradient = of_weight.data(),
                 .bias_gradient = of_bias.data(),
                 .partial = partial.data(),
                 .parts = 3,
                 .rows = rows,
                 .channels = channels} {}
  std::vector<T> x, residual, gradient, other, y, to, residual_to;
  std::vector<float> weight, bias, running_mean, running_variance, mean, inverse, of_weight,
      of_bias, partial;
  ImageNormJob forward;
  ImageNormBackwardJob backward;
};

/// As the kernels do it: sums, one member's finish, then the pass that applies them.
template <class T>
void run_images(const ThreadTeam& team, std::vector<float>& shared, const Images<T>& images) {
  const auto each = [&](const auto& body) {
    for (std::uint64_t part = 0; part < images.forward.parts; ++part) {
      body(part);
      team.barrier();
    }
  };
  const auto sums = [&](std::uint64_t channel) {
    return bodies::column_slice<2>(images.forward.partial, images.forward.channels,
                                   images.forward.parts, channel, 0, 1);
  };
  each([&](std::uint64_t part) {
    bodies::image_norm_part<T>(team, shared.data(), images.forward, part);
  });
  for (std::uint64_t i = team.rank(); i < images.forward.channels; i += team.size()) {
    bodies::image_norm_finish<T>(images.forward, i, sums(i).of[0], sums(i).of[1]);
  }
  team.barrier();
  each([&](std::uint64_t part) { bodies::image_norm_apply<T>(team, images.forward, part); });
  each([&](std::uint64_t part) {
    bodies::image_norm_backward_part<T>(team, shared.data(), images.backward, part);
  });
  for (std::uint64_t i = team.rank(); i < images.forward.channels; i += team.size()) {
    images.backward.bias_gradient[i] = sums(i).of[0];
    images.backward.weight_gradient[i] = sums(i).of[1];
  }
  team.barrier();
  each([&](std::uint64_t part) {
    bodies::image_norm_backward_apply<T>(team, images.backward, part);
  });
}

template <class T>
void expect_images(DType type, std::size_t rows, std::size_t channels, bool adds, double allowed) {
  Images<T> alone(rows, channels);
  Images<T> together(rows, channels);
  for (Images<T>* images : {&alone, &together}) {
    images->forward.type = type;
    images->backward.type = type;
    images->forward.residual = adds ? images->residual.data() : nullptr;
    images->backward.other = adds ? images->other.data() : nullptr;
    images->backward.y = adds ? images->y.data() : nullptr;
    images->backward.residual_to = adds ? images->residual_to.data() : nullptr;
  }
  host_kernels::run(alone.forward);
  host_kernels::run(alone.backward);
  constexpr std::size_t members = 6;
  std::vector<float> shared(members * 2 * bodies::wide_count<T>);
  run_team(members, [&](const ThreadTeam& team) { run_images(team, shared, together); });
  EXPECT_LE(furthest(together.y, alone.y), allowed);
  EXPECT_LE(furthest(together.to, alone.to), allowed);
  EXPECT_LE(furthest(together.residual_to, alone.residual_to), allowed);
  EXPECT_LE(furthest(together.running_mean, alone.running_mean), 1e-5);
  EXPECT_LE(furthest(together.running_variance, alone.running_variance), 1e-4);
  EXPECT_LE(furthest(together.of_weight, alone.of_weight), 1e-3);
  EXPECT_LE(furthest(together.of_bias, alone.of_bias), 1e-3);
}

TEST(ImageNormBody, OfATeamEqualsThatOfOne) {
  expect_images<float>(DType::float32, 50, 8, true, 1e-4);    // three members a column
  expect_images<float>(DType::float32, 50, 16, false, 1e-4);  // one each, and two have none
  expect_images<float>(DType::float32, 7, 64, true, 1e-4);    // several columns a member
  expect_images<Bf16>(DType::bfloat16, 50, 24, false, 0.06);
}

TEST(PackBody, WritesEveryElementOnce) {
  for (const std::uint64_t count : {1U, 15U, 16U, 17U, 64U, 100U}) {
    const auto from = numbers<Bf16>(count, 8);
    const auto add = numbers<float>(count, 9);
    std::vector<float> to(count, -1e9F);
    run_team(4, [&](const ThreadTeam& team) {
      bodies::pack(team, from.data(), to.data(), add.data(), count);
    });
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(to[i], to_float(from[i]) + add[i]) << i << " of " << count;
    }
  }
}

TEST(UpdateBody, PutsBackEveryWordThatMoved) {
  const auto settled = [](std::size_t members, std::uint64_t count) {
    std::vector<bodies::Four<std::uint32_t>> moved(count / 4, {{1, 2, 3, 4}});
    std::vector<bodies::Four<std::uint32_t>> kept(count / 4, {{5, 6, 7, 8}});
    const StepState state{.skips = 1};
    const UpdateJob job{
        .state = &state, .moved = moved[0].v, .kept = kept[0].v, .moved_count = count};
    run_team(members, [&](const ThreadTeam& team) {
      for (std::uint64_t part = 0; part < job.moved_parts(); ++part) {
        bodies::settle_moved(team, job, part);
      }
    });
    std::vector<std::uint32_t> all;
    for (const bodies::Four<std::uint32_t>& four : moved) {
      all.insert(all.end(), std::begin(four.v), std::end(four.v));
    }
    return all;
  };
  for (const std::uint64_t count : {std::uint64_t{12}, UpdateJob::moved_part + 20}) {
    const auto all = settled(4, count);
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(all[i], 5 + i % 4) << i << " of " << count;
    }
  }
}

TEST(GatherBody, SlicesMakeWholeRowsWithTheirLabels) {
  const StepState state{.step = 1};
  const std::vector<std::uint32_t> order{3, 1, 0, 2};
  for (const std::uint64_t words : {1U, 5U, 16U, 35U}) {
    const auto rows = numbers<float>(4 * words, 10);
    const std::vector<std::int64_t> labels{10, 11, 12, 13};
    std::vector<float> to(2 * words, -1);
    std::vector<std::int64_t> labels_to(2);
    const GatherJob job{.state = &state,
                        .rows = rows.data(),
                        .order = order.data(),
                        .to = to.data(),
                        .row_bytes = words * 4,
                        .labels = labels.data(),
                        .labels_to = labels_to.data(),
                        .label_bytes = 8,
                        .count = 2,
                        .steps_per_epoch = 2,
                        .batch = 2};
    run_team(4, [&](const ThreadTeam& team) {
      for (std::uint64_t row = 0; row < 2; ++row) {
        for (std::uint64_t slice = 0; slice < 3; ++slice) {
          bodies::gather(team, job, row, slice, 3);
        }
      }
    });
    for (std::size_t i = 0; i < words; ++i) {
      EXPECT_EQ(to[i], rows[i]) << "row 0 of the set comes third";
      EXPECT_EQ(to[words + i], rows[2 * words + i]);
    }
    EXPECT_EQ(labels_to, (std::vector<std::int64_t>{10, 12}));
  }
}

}  // namespace
}  // namespace muster
