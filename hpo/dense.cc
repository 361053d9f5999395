// SPDX-License-Identifier: Apache-2.0
#include "hpo/dense.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "hpo/dense_kernels.h"

namespace muster::hpo {
namespace {

constexpr std::size_t depth_block = 256;
constexpr std::size_t row_block = 128;
constexpr std::size_t column_block = 512;
constexpr std::size_t small = 48;  // below this, plain loops

using kernels::tile_columns;
using kernels::tile_rows;

/// `width` rows (of `a`) side by side for each k, zeros beyond the edge.
void pack(const MatrixView& a, std::size_t width, double* into) {
  for (std::size_t first = 0; first < a.rows; first += width, into += width * a.columns) {
    const std::size_t count = std::min(width, a.rows - first);
    const double* const from = a.data + first * a.row_stride;
    if (count < width) {
      std::fill_n(into, width * a.columns, 0.0);
    }
    if (a.row_stride == 1) {
      for (std::size_t k = 0; k < a.columns; ++k) {
        std::copy_n(from + k * a.column_stride, count, into + k * width);
      }
      continue;
    }
    for (std::size_t i = 0; i < count; ++i) {
      const double* const row = from + i * a.row_stride;
      for (std::size_t k = 0; k < a.columns; ++k) {
        into[k * width + i] = row[k * a.column_stride];
      }
    }
  }
}

void store(const double* sums, const MatrixView& c, Into into) {
  for (std::size_t i = 0; i < c.rows; ++i) {
    const double* const sum = sums + i * tile_columns;
    double* const row = c.data + i * c.row_stride;
    if (into == Into::overwrite) {
      std::copy_n(sum, c.columns, row);
      continue;
    }
    const double sign = into == Into::add ? 1.0 : -1.0;
    for (std::size_t j = 0; j < c.columns; ++j) {
      row[j] += sign * sum[j];
    }
  }
}

struct Workspace {
  std::vector<double> a = std::vector<double>(row_block * depth_block);
  std::vector<double> b = std::vector<double>(column_block * depth_block);
};

Workspace& workspace() {
  thread_local Workspace space;
  return space;
}

/// The product of packed blocks, tile by tile.
void multiply_packed(std::size_t depth, const Workspace& space, const MatrixView& c, Into into) {
  alignas(64) std::array<double, tile_rows * tile_columns> sums;
  for (std::size_t j = 0; j < c.columns; j += tile_columns) {
    for (std::size_t i = 0; i < c.rows; i += tile_rows) {
      kernels::tile(depth, space.a.data() + i * depth, space.b.data() + j * depth, sums.data());
      store(sums.data(),
            c.block(i, j, std::min(tile_rows, c.rows - i), std::min(tile_columns, c.columns - j)),
            into);
    }
  }
}

bool cholesky_small(const MatrixView& a) {
  for (std::size_t j = 0; j < a.rows; ++j) {
    double pivot = a(j, j);
    for (std::size_t k = 0; k < j; ++k) {
      pivot -= a(j, k) * a(j, k);
    }
    if (!(pivot > 0.0) || !std::isfinite(pivot)) {
      return false;
    }
    pivot = std::sqrt(pivot);
    a(j, j) = pivot;
    for (std::size_t i = j + 1; i < a.rows; ++i) {
      double sum = a(i, j);
      for (std::size_t k = 0; k < j; ++k) {
        sum -= a(i, k) * a(j, k);
      }
      a(i, j) = sum / pivot;
    }
  }
  return true;
}

void invert_small(const MatrixView& lower) {
  for (std::size_t j = 0; j < lower.rows; ++j) {
    lower(j, j) = 1.0 / lower(j, j);
    for (std::size_t i = j + 1; i < lower.rows; ++i) {
      double sum = 0.0;
      for (std::size_t k = j; k < i; ++k) {
        sum += lower(i, k) * lower(k, j);
      }
      lower(i, j) = -sum / lower(i, i);
    }
  }
}

/// X L^T = B for X, in place of B, halving L.
void solve_transposed(const MatrixView& lower, const MatrixView& b) {
  const std::size_t n = lower.rows;
  if (n <= small) {  // by the inverse of the small triangle: a product runs many times faster than
                     // a substitution
    Matrix inverse(n, n);
    for (std::size_t i = 0; i < n; ++i) {
      std::fill_n(inverse.row(i), n, 0.0);
      std::copy_n(&lower(i, 0), i + 1, inverse.row(i));
    }
    invert_small(inverse.view());
    Matrix solved(b.rows, n);
    multiply(b, inverse.view().transposed(), solved.view(), Into::overwrite);
    for (std::size_t i = 0; i < b.rows; ++i) {
      std::copy_n(solved.row(i), n, &b(i, 0));
    }
    return;
  }
  const std::size_t half = n / 2;
  const MatrixView left = b.block(0, 0, b.rows, half);
  const MatrixView right = b.block(0, half, b.rows, n - half);
  solve_transposed(lower.block(0, 0, half, half), left);
  multiply(left, lower.block(half, 0, n - half, half).transposed(), right, Into::subtract);
  solve_transposed(lower.block(half, half, n - half, n - half), right);
}

/// The lower triangle of C -= A A^T.
void subtract_square(const MatrixView& a, const MatrixView& c) {
  const std::size_t n = c.rows;
  if (n <= 2 * small) {
    multiply(
        a, a.transposed(), c,
        Into::subtract);  // the upper triangle of a small diagonal block is spoilt, and never read
    return;
  }
  const std::size_t half = n / 2;
  const MatrixView top = a.block(0, 0, half, a.columns);
  const MatrixView bottom = a.block(half, 0, n - half, a.columns);
  subtract_square(top, c.block(0, 0, half, half));
  multiply(bottom, top.transposed(), c.block(half, 0, n - half, half), Into::subtract);
  subtract_square(bottom, c.block(half, half, n - half, n - half));
}

}  // namespace

void Matrix::resize(std::size_t rows, std::size_t columns) {
  rows_ = rows;
  columns_ = columns;
  stride_ = columns;
  if (data_.size() < rows * columns) {
    data_.resize(rows * columns);
  }
}

void Matrix::grow(std::size_t rows, std::size_t columns) {
  if (columns > stride_ || rows * stride_ > data_.size()) {
    const std::size_t stride = columns > stride_ ? columns + columns / 4 + 16 : stride_;
    std::vector<double> bigger(std::max(rows + rows / 4 + 16, rows_) * stride, 0.0);
    for (std::size_t i = 0; i < rows_; ++i) {
      std::copy_n(row(i), columns_, bigger.data() + i * stride);
    }
    data_ = std::move(bigger);
    stride_ = stride;
  } else {
    for (std::size_t i = 0; i < rows; ++i) {
      const std::size_t kept = i < rows_ ? std::min(columns_, columns) : 0;
      std::fill(row(i) + kept, row(i) + columns, 0.0);
    }
  }
  rows_ = rows;
  columns_ = columns;
}

void multiply(const MatrixView& a, const MatrixView& b, const MatrixView& c, Into into) {
  if (a.columns == 0 && into == Into::overwrite) {
    for (std::size_t i = 0; i < c.rows; ++i) {
      for (std::size_t j = 0; j < c.columns; ++j) {
        c(i, j) = 0.0;
      }
    }
  }
  Workspace& space = workspace();
  for (std::size_t j = 0; j < c.columns; j += column_block) {
    const std::size_t width = std::min(column_block, c.columns - j);
    for (std::size_t k = 0; k < a.columns; k += depth_block) {
      const std::size_t depth = std::min(depth_block, a.columns - k);
      pack(b.block(k, j, depth, width).transposed(), tile_columns, space.b.data());
      const Into first = k > 0 && into == Into::overwrite ? Into::add : into;
      for (std::size_t i = 0; i < c.rows; i += row_block) {
        const std::size_t height = std::min(row_block, c.rows - i);
        pack(a.block(i, k, height, depth), tile_rows, space.a.data());
        multiply_packed(depth, space, c.block(i, j, height, width), first);
      }
    }
  }
}

void multiply_by_lower_transposed(const MatrixView& a, const MatrixView& lower,
                                  const MatrixView& c) {
  constexpr std::size_t strip = 64;
  for (std::size_t j = 0; j < lower.rows;
       j += strip) {  // column j of C needs the first j + 1 columns of A alone
    const std::size_t width = std::min(strip, lower.rows - j);
    multiply(a.block(0, 0, a.rows, j + width), lower.block(j, 0, width, j + width).transposed(),
             c.block(0, j, a.rows, width), Into::overwrite);
  }
}

void multiply_by_lower(const MatrixView& a, const MatrixView& lower, const MatrixView& c) {
  constexpr std::size_t strip = 64;
  const std::size_t n = lower.rows;
  for (std::size_t j = 0; j < n; j += strip) {
    const std::size_t width = std::min(strip, n - j);
    multiply(a.block(0, j, a.rows, n - j), lower.block(j, j, n - j, width),
             c.block(0, j, a.rows, width), Into::overwrite);
  }
}

bool cholesky(const MatrixView& a) {
  const std::size_t n = a.rows;
  if (n <= small) {
    return cholesky_small(a);
  }
  const std::size_t half = n / 2;
  const MatrixView top = a.block(0, 0, half, half);
  const MatrixView below = a.block(half, 0, n - half, half);
  const MatrixView rest = a.block(half, half, n - half, n - half);
  if (!cholesky(top)) {
    return false;
  }
  solve_transposed(top, below);
  subtract_square(below, rest);
  return cholesky(rest);
}

void invert_lower(const MatrixView& lower) {
  const std::size_t n = lower.rows;
  if (n <= small) {
    invert_small(lower);
    return;
  }
  // [A 0; B C]^-1 = [A^-1 0; -C^-1 B A^-1, C^-1]
  const std::size_t half = n / 2;
  const MatrixView top = lower.block(0, 0, half, half);
  const MatrixView below = lower.block(half, 0, n - half, half);
  const MatrixView rest = lower.block(half, half, n - half, n - half);
  invert_lower(top);
  invert_lower(rest);
  Matrix product(n - half, half);
  multiply_by_lower(below, top, product.view());
  for (std::size_t i = 0; i < below.rows; ++i) {
    std::fill_n(&below(i, 0), half, 0.0);
  }
  constexpr std::size_t strip = 64;
  for (std::size_t i = 0; i < rest.rows; i += strip) {  // row i of C^-1 ends at its diagonal
    const std::size_t height = std::min(strip, rest.rows - i);
    multiply(rest.block(i, 0, height, i + height), product.view().block(0, 0, i + height, half),
             below.block(i, 0, height, half), Into::subtract);
  }
}

void gram(const MatrixView& lower, const MatrixView& c) {
  constexpr std::size_t strip = 64;
  const std::size_t n = lower.rows;
  for (std::size_t i = 0; i < n; i += strip) {
    const std::size_t height = std::min(strip, n - i);
    multiply(lower.block(i, i, n - i, height).transposed(), lower.block(i, 0, n - i, i + height),
             c.block(i, 0, height, i + height), Into::overwrite);
  }
}

}  // namespace muster::hpo
