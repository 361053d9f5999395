/// What a training step of several ranks costs against one alone: `muster bench step`.
///   alone     every rank trains a model of its own at the same time, with the same memory pool
///   coupled   the same, and one empty barrier a step
///   together  the real step on a shared model
/// The three are interleaved in blocks; in each block the slowest rank counts. Efficiency is the
/// median over blocks of alone / together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "runtime/comm/node_group.h"
#include "runtime/train/exchange.h"

namespace muster {

struct StepBenchPlan {
  std::string model = "mlp";  ///< mlp, deep, wide, resnet18: the shapes of the project's table
  std::uint64_t batch = 0;    ///< of each rank; 0: the table's
  int blocks = 30;
  std::string optimizer = "sgd";
};

struct StepBenchResult {
  std::string model;
  int ranks = 1;
  std::uint64_t batch = 0;
  double alone_us = 0, coupled_us = 0, together_us = 0;
  double efficiency = 0, efficiency_coupled = 0;
  double compute_us = 0, exchange_us = 0, wait_us = 0;  ///< of the step together, on rank 0
  double core_share = 1;  ///< of its core that the worst-off rank had while every rank ran alone
  /// Others ran on these cores: the figures are no measure of anything.
  bool busy() const { return coupled_us > 1.15 * alone_us || core_share < 0.97; }
};

/// Collective over the ranks of one machine.
StepBenchResult bench_step(const RankGroups& ranks, const StepBenchPlan& plan);
std::string table_of(const StepBenchResult& result);
std::string json_of(const StepBenchResult& result);

}  // namespace muster
