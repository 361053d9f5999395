/// Dense algebra on row-major matrices, as much of it as the Gaussian process needs: products,
/// Cholesky, triangular inverse. One thread; workspace is kept between calls, so the hot paths
/// allocate only while they grow.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

namespace muster::hpo {

/// A matrix that somebody else owns, with any strides: a transpose is the same numbers with the
/// strides exchanged.
struct MatrixView {
  double* data = nullptr;
  std::size_t rows = 0, columns = 0;
  std::size_t row_stride = 0, column_stride = 1;

  double& operator()(std::size_t row, std::size_t column) const {
    return data[row * row_stride + column * column_stride];
  }
  MatrixView block(std::size_t row, std::size_t column, std::size_t height,
                   std::size_t width) const {
    return {data + row * row_stride + column * column_stride, height, width, row_stride,
            column_stride};
  }
  MatrixView transposed() const { return {data, columns, rows, column_stride, row_stride}; }
};

/// A row-major matrix that grows without losing what it holds.
class Matrix {
 public:
  Matrix() = default;
  Matrix(std::size_t rows, std::size_t columns) { resize(rows, columns); }
  void resize(std::size_t rows, std::size_t columns);  ///< contents undefined after
  void grow(std::size_t rows, std::size_t columns);    ///< keeps what was there; new entries are 0
  std::size_t rows() const { return rows_; }
  std::size_t columns() const { return columns_; }
  double& operator()(std::size_t row, std::size_t column) { return data_[row * stride_ + column]; }
  double operator()(std::size_t row, std::size_t column) const {
    return data_[row * stride_ + column];
  }
  double* row(std::size_t row) { return data_.data() + row * stride_; }
  const double* row(std::size_t row) const { return data_.data() + row * stride_; }
  std::size_t stride() const { return stride_; }
  MatrixView view() { return {data_.data(), rows_, columns_, stride_, 1}; }
  /// Read-only use of the same shape; the algebra below never writes to its inputs.
  MatrixView view() const {
    return {const_cast<double*>(data_.data()), rows_, columns_, stride_, 1};
  }

 private:
  std::vector<double> data_;
  std::size_t rows_ = 0, columns_ = 0, stride_ = 0;
};

enum class Into { overwrite, add, subtract };
/// C = A B, C += A B or C -= A B. C has contiguous rows and must not overlap A or B.
void multiply(const MatrixView& a, const MatrixView& b, const MatrixView& c, Into into);
/// C (m x n) = A (m x n) L^T with L lower triangular (n x n): zeros above its diagonal,
/// in half the work.
void multiply_by_lower_transposed(const MatrixView& a, const MatrixView& lower,
                                  const MatrixView& c);
/// C (m x n) = A (m x n) L.
void multiply_by_lower(const MatrixView& a, const MatrixView& lower, const MatrixView& c);

/// The lower triangle of `a` becomes L with L L^T = A; what stands above it is not read, and
/// undefined after. False where a pivot is not positive.
bool cholesky(const MatrixView& a);
/// A lower triangle becomes its inverse; zeros above the diagonal, before and after.
void invert_lower(const MatrixView& lower);
/// The lower triangle of C = L^T L with L lower triangular: the inverse of A from the inverse of
/// its factor.
void gram(const MatrixView& lower, const MatrixView& c);

}  // namespace muster::hpo
