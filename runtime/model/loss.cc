// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/l1_loss.h>
#include <ATen/ops/mse_loss.h>
#include <fmt/format.h>

#include <array>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::array<std::string_view, 4> names{"cross_entropy", "mse", "mae", "bce"};

/// Values a sample has, so that its own loss is their mean.
double values_per_sample(const at::Tensor& tensor) {
  return tensor.size(0) == 0
             ? 1
             : static_cast<double>(tensor.numel()) / static_cast<double>(tensor.size(0));
}

at::Tensor cross_entropy(const at::Tensor& outputs, const at::Tensor& labels, double smoothing) {
  const at::Tensor flat = outputs.reshape({-1, outputs.size(-1)}).to(at::kFloat);
  const at::Tensor sum = at::cross_entropy_loss(flat, labels.reshape({-1}), std::nullopt,
                                                at::Reduction::Sum, -100, smoothing);
  const double positions = values_per_sample(labels);
  return positions == 1 ? sum : sum / positions;
}

/// Labels in the outputs' own shape; classes of a two-class problem are 0 and 1.
at::Tensor target_of(const at::Tensor& outputs, const at::Tensor& labels) {
  return labels.to(at::kFloat).reshape(outputs.sizes());
}

}  // namespace

std::string_view name_of(LossKind kind) {
  return names.at(static_cast<std::size_t>(kind));
}

LossKind loss_kind(std::string_view word, const DataShape& data) {
  if (word == "auto" || word.empty()) {
    return data.labels == DataShape::Labels::values ? LossKind::mse : LossKind::cross_entropy;
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == word) {
      return static_cast<LossKind>(i);
    }
  }
  throw Error(Fault::bad_input,
              fmt::format("'{}' is no loss; use cross_entropy, mse, mae, bce or auto", word));
}

void Loss::check(const DataShape& data) const {
  const bool has_values = data.labels == DataShape::Labels::values;
  if (kind == LossKind::cross_entropy && has_values) {
    throw Error(Fault::bad_input,
                "cross_entropy needs classes, but the labels are values; use mse, mae or "
                "bce, or set data.task = classes");
  }
  if (kind != LossKind::cross_entropy && !has_values) {
    throw Error(
        Fault::bad_input,
        fmt::format("{} needs values, but the labels are classes; use cross_entropy, or set "
                    "data.task = values",
                    name_of(kind)));
  }
}

at::Tensor Loss::sum(const at::Tensor& outputs, const at::Tensor& labels) const {
  if (outputs.size(0) == 0) {
    return outputs.to(at::kFloat).sum();  // 0, with a way back to every parameter
  }
  if (kind == LossKind::cross_entropy) {
    return cross_entropy(outputs, labels, label_smoothing);
  }
  const at::Tensor values = outputs.to(at::kFloat);
  const at::Tensor target = target_of(values, labels);
  const auto sum_of = [&] {
    switch (kind) {
      case LossKind::mae:
        return at::l1_loss(values, target, at::Reduction::Sum);
      case LossKind::binary_cross_entropy:
        return at::binary_cross_entropy_with_logits(values, target, std::nullopt, std::nullopt,
                                                    at::Reduction::Sum);
      default:
        return at::mse_loss(values, target, at::Reduction::Sum);
    }
  }();
  const double count = values_per_sample(values);
  return count == 1 ? sum_of : sum_of / count;
}

}  // namespace muster
