/// Metric: a figure over many samples. Its state is plain numbers: summed over ranks they are the
/// state over all, written to a checkpoint and read back they go on. Without gradients; outputs and
/// labels as for Loss.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/dataset.h"

namespace muster {

class Metric {
 public:
  virtual ~Metric() = default;
  virtual std::string_view name() const = 0;  ///< "accuracy"; the trainer puts "val_" in front
  virtual bool higher_is_better() const = 0;
  virtual void add(const at::Tensor& outputs, const at::Tensor& labels) = 0;
  virtual std::span<double> state() = 0;
  virtual double value() const = 0;  ///< NaN before the first sample
  void reset();
};

/// Of the words accuracy, top5, perplexity, mae, auc. Throws bad_input where one does not fit the
/// data, or is unknown.
std::vector<std::unique_ptr<Metric>> make_metrics(std::span<const std::string> words,
                                                  const DataShape& data);
/// What is measured when nothing is asked for: accuracy for classes (and top5 from 20 classes on),
/// perplexity for tokens, MAE for values.
std::vector<std::string> usual_metrics(const DataShape& data);

}  // namespace muster
