// SPDX-License-Identifier: Apache-2.0
#include "hpo/dense.h"

#include <cmath>

#include <gtest/gtest.h>

#include "hpo/dense_kernels.h"
#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

Matrix random_matrix(std::size_t rows, std::size_t columns, std::uint64_t seed) {
  Matrix matrix(rows, columns);
  Random random(seed, 0);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      matrix(i, j) = random.normal();
    }
  }
  return matrix;
}

Matrix lower_of(const Matrix& matrix) {
  Matrix result = matrix;
  for (std::size_t i = 0; i < matrix.rows(); ++i) {
    for (std::size_t j = i + 1; j < matrix.columns(); ++j) {
      result(i, j) = 0.0;
    }
    result(i, i) = 2.0 + std::abs(result(i, i));
  }
  return result;
}

double entry(const MatrixView& a, const MatrixView& b, std::size_t i, std::size_t j) {
  double sum = 0;
  for (std::size_t k = 0; k < a.columns; ++k) {
    sum += a(i, k) * b(k, j);
  }
  return sum;
}

TEST(Dense, ProductsOfEveryShapeEqualTheDefinition) {
  for (const auto& [m, k, n] : {std::array<std::size_t, 3>{1, 1, 1},
                                {3, 5, 7},
                                {64, 300, 17},
                                {130, 257, 515},
                                {5, 0, 6}}) {
    const Matrix a = random_matrix(m, k, 1);
    const Matrix b = random_matrix(n, k, 2);
    Matrix c(m, n);
    multiply(a.view(), b.view().transposed(), c.view(), Into::overwrite);
    Matrix twice = c;
    multiply(a.view(), b.view().transposed(), twice.view(), Into::add);
    multiply(a.view(), b.view().transposed(), twice.view(), Into::subtract);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        ASSERT_NEAR(c(i, j), entry(a.view(), b.view().transposed(), i, j), 1e-11);
        ASSERT_NEAR(twice(i, j), c(i, j), 1e-11);
      }
    }
  }
}

TEST(Dense, TriangularProductsIgnoreWhatIsAboveTheDiagonal) {
  const Matrix lower = lower_of(random_matrix(150, 150, 3));
  const Matrix a = random_matrix(9, 150, 4);
  Matrix c(9, 150);
  Matrix expected(9, 150);
  multiply_by_lower_transposed(a.view(), lower.view(), c.view());
  multiply(a.view(), lower.view().transposed(), expected.view(), Into::overwrite);
  for (std::size_t j = 0; j < 150; ++j) {
    ASSERT_NEAR(c(8, j), expected(8, j), 1e-11);
  }
  multiply_by_lower(a.view(), lower.view(), c.view());
  multiply(a.view(), lower.view(), expected.view(), Into::overwrite);
  for (std::size_t j = 0; j < 150; ++j) {
    ASSERT_NEAR(c(8, j), expected(8, j), 1e-11);
  }
}

TEST(Dense, CholeskyInverseAndGramGiveTheInverseOfTheMatrix) {
  for (const std::size_t n : {1U, 2U, 47U, 49U, 200U, 333U}) {
    const Matrix b = random_matrix(n, n + 5, n);
    Matrix a(n, n);
    multiply(b.view(), b.view().transposed(), a.view(), Into::overwrite);
    for (std::size_t i = 0; i < n; ++i) {
      a(i, i) += static_cast<double>(n);
    }
    Matrix factor = a;
    ASSERT_TRUE(cholesky(factor.view()));
    factor = [&] {
      Matrix clean = factor;
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = i + 1; j < n; ++j) {
          clean(i, j) = 0.0;
        }
      }
      return clean;
    }();
    invert_lower(factor.view());
    Matrix inverse(n, n);
    gram(factor.view(), inverse.view());
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        inverse(j, i) = inverse(i, j);
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        ASSERT_NEAR(entry(a.view(), inverse.view(), i, j), i == j ? 1.0 : 0.0, 1e-9) << n;
      }
    }
  }
}

TEST(Dense, CholeskySaysWhenAMatrixIsNotPositive) {
  Matrix a(60, 60);
  for (std::size_t i = 0; i < 60; ++i) {
    for (std::size_t j = 0; j < 60; ++j) {
      a(i, j) = 1.0;
    }
  }
  EXPECT_FALSE(cholesky(a.view()));
}

TEST(Dense, GrowingKeepsWhatWasThere) {
  Matrix a = random_matrix(3, 3, 1);
  const double kept = a(2, 1);
  for (std::size_t n = 4; n < 60; ++n) {
    a.grow(n, n);
    ASSERT_EQ(a(2, 1), kept);
    ASSERT_EQ(a(n - 1, n - 1), 0.0);
    ASSERT_EQ(a(0, n - 1), 0.0);
  }
}

TEST(DenseKernels, MaternFollowsItsFormulaEverywhere) {
  for (double r = 0.0; r < 200.0; r = r * 1.3 + 1e-4) {
    std::array<double, 3> squares{r * r, r * r, 0.0};
    std::array<double, 3> values{};
    std::array<double, 3> slopes{};
    kernels::matern(3, 1.7, squares.data(), values.data(), slopes.data());
    const double a = std::sqrt(5.0) * r;
    EXPECT_NEAR(values[0], 1.7 * (1 + a + a * a / 3) * std::exp(-a), 1e-14);
    EXPECT_NEAR(slopes[1], 1.7 * 5.0 / 3.0 * (1 + a) * std::exp(-a), 1e-14);
    EXPECT_NEAR(values[2], 1.7, 1e-15);
  }
}

}  // namespace
}  // namespace muster::hpo
