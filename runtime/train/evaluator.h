/// Evaluator: loss and metrics over a whole data set, shared among the ranks, with every sample's
/// own weight. Batches are cut the same for any number of ranks and their sums are added in batch
/// order, so the figures do not depend on it; a batch may be computed in several passes.
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
  struct Options {
    std::uint64_t batch = 1;    ///< samples whose sums are one
    std::uint64_t at_once = 1;  ///< samples a pass
    bool bf16 = false;
  };
  /// The data must outlive it.
  Evaluator(const Dataset& data, const Loss& loss, std::vector<std::unique_ptr<Metric>> metrics,
            const Options& options);

  /// Instead of the model's own forward(): takes features and labels on the host to where it has
  /// the outputs, and looks at both there. Wide outputs are judged a piece at a time, since there
  /// may be no room for all of them in float32.
  using Look = std::function<void(const at::Tensor& outputs, const at::Tensor& labels)>;
  using Forward =
      std::function<void(const at::Tensor& features, const at::Tensor& labels, const Look& look)>;
  void set_forward(Forward forward) { forward_ = std::move(forward); }
  /// Collective. ("loss", ..), ("accuracy", ..): equal on all ranks.
  std::vector<std::pair<std::string, double>> run(Model& model, Communicator& world);

 private:
  void add_batch(Model& model, SampleRange range, std::span<double> sums);
  void add_pass(Model& model, SampleRange range, double& loss);
  void judge(const at::Tensor& outputs, const at::Tensor& labels, double& loss);
  void judge_in_pieces(const at::Tensor& outputs, const at::Tensor& labels, double& loss);
  std::size_t small_states() const;

  const Dataset& data_;
  Loss loss_;
  std::vector<std::unique_ptr<Metric>> metrics_;
  BatchPlan plan_;
  Options options_;
  Forward forward_;
  std::vector<std::byte> features_;
  std::vector<std::byte> labels_;
};

}  // namespace muster
