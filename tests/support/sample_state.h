/// SampleState: a small training state with everything a checkpoint knows: several types, odd
/// sizes, records. For tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/checkpoint/state_tree.h"

namespace muster {

struct SampleState {
  std::vector<float> weight = std::vector<float>(1500);
  std::vector<float> bias = std::vector<float>(10);
  std::vector<double> running_mean = std::vector<double>(33);
  std::vector<std::int64_t> counts = std::vector<std::int64_t>(3);
  std::int64_t step = 0;
  std::uint64_t seed = 7;
  double best = 0.5;
  bool is_done = false;
  std::string generator = "philox 42 0 17";

  /// Every value a function of `step_number` and `salt`.
  void fill(std::int64_t step_number, std::uint64_t salt = 0) {
    Random random(static_cast<std::uint64_t>(step_number), salt);
    for (auto* values : {&weight, &bias}) {
      for (float& value : *values) {
        value = static_cast<float>(random.normal());
      }
    }
    for (double& value : running_mean) {
      value = random.normal();
    }
    std::iota(counts.begin(), counts.end(), step_number);
    step = step_number;
    best = random.uniform();
    is_done = step_number % 2 == 1;
    generator = random.state();
  }

  StateTree tree() {
    StateTree tree;
    tree.add_whole("model/fc1.weight", std::span(weight), {30, 50});
    tree.add_whole("model/fc1.bias", std::span(bias));
    tree.add_whole("model/bn.running_mean", std::span(running_mean), {}, false, Stability::forward);
    tree.add_whole("data/counts", std::span(counts), {}, false, Stability::host);
    add_records(tree);
    return tree;
  }

  /// As rank `rank` of `ranks` sees it: its range of the weight, the last rank the bias, the mean
  /// everywhere, the counts on rank 0.
  StateTree tree(int rank, int ranks) {
    const auto n = static_cast<std::uint64_t>(ranks);
    const auto r = static_cast<std::uint64_t>(rank);
    const std::uint64_t first = weight.size() * r / n;
    const std::uint64_t end = weight.size() * (r + 1) / n;
    StateTree tree;
    tree.add({.name = "model/fc1.weight",
              .shape = {30, 50},
              .first = first,
              .bytes = std::as_writable_bytes(std::span(weight).subspan(first, end - first))});
    tree.add({.name = "model/fc1.bias",
              .shape = {10},
              .bytes = rank == ranks - 1 ? std::as_writable_bytes(std::span(bias))
                                         : std::span<std::byte>{}});
    tree.add_whole("model/bn.running_mean", std::span(running_mean), {}, true, Stability::forward);
    tree.add(
        {.name = "data/counts",
         .dtype = DType::int64,
         .shape = {3},
         .bytes = rank == 0 ? std::as_writable_bytes(std::span(counts)) : std::span<std::byte>{}});
    add_records(tree);
    return tree;
  }

  void add_records(StateTree& tree) {
    tree.record("step", &step);
    tree.record("seed", &seed);
    tree.record("best", &best);
    tree.record("is_done", &is_done);
    tree.record("generator", &generator);
  }

  bool operator==(const SampleState&) const = default;
};

}  // namespace muster
