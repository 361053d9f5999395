/// Evaluator: loss and metrics over a whole data set, shared among the ranks, with every sample's
/// own weight. Batches are cut the same for any number of ranks and their sums are added in batch
/// order, so the figures do not depend on it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/model/loss.h"
#include "runtime/model/metrics.h"
#include "runtime/model/model.h"

namespace muster {

class Evaluator {
 public:
  /// The data must outlive it. `batch`: samples a pass.
  Evaluator(const Dataset& data, const Loss& loss, std::vector<std::unique_ptr<Metric>> metrics,
            std::uint64_t batch, bool bf16);

  /// Instead of the model's own forward(): outputs on the host, of features on the host.
  void set_forward(std::function<at::Tensor(const at::Tensor& features)> forward) {
    forward_ = std::move(forward);
  }
  /// Collective. ("loss", ..), ("accuracy", ..): equal on all ranks.
  std::vector<std::pair<std::string, double>> run(Model& model, Communicator& world);

 private:
  void add_batch(Model& model, SampleRange range, std::span<double> sums);
  std::size_t small_states() const;

  const Dataset& data_;
  Loss loss_;
  std::vector<std::unique_ptr<Metric>> metrics_;
  BatchPlan plan_;
  bool bf16_;
  std::function<at::Tensor(const at::Tensor&)> forward_;
  std::vector<std::byte> features_;
  std::vector<std::byte> labels_;
};

}  // namespace muster
