/// Loss: how far outputs are from labels, summed over samples. The trainer divides by the global
/// batch. A sample's own loss is the mean over its positions or values, so that sum / samples is
/// what PyTorch's mean gives.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "runtime/data/dataset.h"

namespace muster {

enum class LossKind { cross_entropy, mse, mae, binary_cross_entropy };
std::string_view name_of(LossKind kind);

struct Loss {
  LossKind kind = LossKind::cross_entropy;
  double label_smoothing = 0;  ///< cross-entropy only

  /// A scalar that backward() starts from; 0 for an empty batch, with zero gradients. Computed in
  /// float32 at least.
  at::Tensor sum(const at::Tensor& outputs, const at::Tensor& labels) const;
  /// Throws bad_input when this loss cannot judge such labels ("cross_entropy needs classes, the
  /// data has values").
  void check(const DataShape& data) const;
};

/// "auto" is cross-entropy for classes and tokens, MSE for values. Throws bad_input on an unknown
/// word.
LossKind loss_kind(std::string_view word, const DataShape& data);

}  // namespace muster
