// SPDX-License-Identifier: Apache-2.0
#include "collectives/reduce/reduce.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "collectives/reduce/half.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace muster {
namespace {

template <class T>
std::vector<T> reduced(DType in, ReduceOp op, const std::vector<std::vector<T>>& ranks) {
  std::vector<const void*> sources;
  for (const auto& rank : ranks) {
    sources.push_back(rank.data());
  }
  std::vector<T> out(ranks[0].size());
  std::array<void*, 1> to{out.data()};
  reduce(in, in, op, sources, to, out.size(), static_cast<int>(ranks.size()));
  return out;
}

TEST(Reduce, SumsInTheOrderGiven) {
  const std::vector<std::vector<float>> ranks{{1e8F}, {-1e8F}, {1.0F}};
  EXPECT_EQ(reduced(DType::float32, ReduceOp::sum, ranks)[0], 1.0F);
  EXPECT_EQ(reduced(DType::float32, ReduceOp::sum, std::vector{ranks[0], ranks[2], ranks[1]})[0],
            0.0F);
}

TEST(Reduce, GivesEqualBitsInPlaceAndOutOfPlaceAtEveryLength) {
  Random random(7);
  for (const std::size_t count : {0U, 1U, 15U, 16U, 17U, 511U, 512U, 513U, 5000U}) {
    std::vector<std::vector<float>> ranks(2, std::vector<float>(count));
    for (auto& rank : ranks) {
      for (auto& value : rank) {
        value = static_cast<float>(random.normal());
      }
    }
    const auto expected = reduced(DType::float32, ReduceOp::mean, ranks);
    const std::array<const void*, 2> sources{ranks[0].data(), ranks[1].data()};
    const std::array<void*, 2> destinations{ranks[0].data(), ranks[1].data()};
    reduce(DType::float32, DType::float32, ReduceOp::mean, sources, destinations, count, 2);
    EXPECT_EQ(ranks[0], expected);
    EXPECT_EQ(ranks[1], expected);
  }
}

TEST(Reduce, DividesByAnyNumberOfRanks) {
  const std::vector<std::vector<double>> ranks(3, std::vector<double>{1.0, 7.0});
  EXPECT_EQ(reduced(DType::float64, ReduceOp::mean, ranks), (std::vector<double>{1.0, 7.0}));
  const std::vector<std::vector<std::int32_t>> whole{{7}, {8}, {-3}};
  EXPECT_EQ(reduced(DType::int32, ReduceOp::mean, whole)[0], 4);
}

TEST(Reduce, WrapsIntegers) {
  const std::vector<std::vector<std::int32_t>> ranks{{std::numeric_limits<std::int32_t>::max()},
                                                     {1}};
  EXPECT_EQ(reduced(DType::int32, ReduceOp::sum, ranks)[0],
            std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(
      reduced(DType::uint8, ReduceOp::sum, std::vector<std::vector<std::uint8_t>>{{200}, {100}})[0],
      44);
}

TEST(Reduce, KeepsNanInEveryOperationAndPosition) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto op : {ReduceOp::sum, ReduceOp::mean, ReduceOp::max, ReduceOp::min}) {
    const auto out =
        reduced(DType::float32, op, std::vector<std::vector<float>>{{nan, 1, 3}, {1, nan, 2}});
    EXPECT_TRUE(std::isnan(out[0]) && std::isnan(out[1])) << name_of(op);
    EXPECT_FALSE(std::isnan(out[2])) << name_of(op);
  }
}

TEST(Reduce, ConvertsEveryHalfThereAndBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const Float16 half{static_cast<std::uint16_t>(bits)};
    const float wide = to_float(half);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_float(to_float16(wide))));
      continue;
    }
    EXPECT_EQ(to_float16(wide).bits, half.bits);
    EXPECT_EQ(wide, static_cast<float>(std::bit_cast<_Float16>(half.bits)));
    EXPECT_EQ(to_bfloat16(to_float(BFloat16{half.bits})).bits == half.bits ||
                  std::isnan(to_float(BFloat16{half.bits})),
              true);
  }
}

TEST(Reduce, RoundsToHalfAsTheCompilerDoes) {
  Random random(11);
  for (int i = 0; i < 200000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isnan(value)) {
      ASSERT_EQ(to_float16(value).bits, std::bit_cast<std::uint16_t>(static_cast<_Float16>(value)))
          << value;
    }
  }
}

TEST(Reduce, SumsHalvesInFloat) {
  // 2048 + 1 + 1 is 2050 in float32 and stays 2048 if each sum is rounded to float16.
  const std::vector<std::vector<std::uint16_t>> ranks{
      {to_float16(2048).bits}, {to_float16(1).bits}, {to_float16(1).bits}};
  EXPECT_EQ(to_float(Float16{reduced(DType::float16, ReduceOp::sum, ranks)[0]}), 2050.0F);
}

TEST(Reduce, LeavesPartialSumsOfHalvesInFloat) {
  const std::array<std::uint16_t, 1> half{to_bfloat16(1.0F).bits};
  const std::array<const void*, 2> sources{half.data(), half.data()};
  float sum = 0;
  const std::array<void*, 1> to{&sum};
  reduce(DType::bfloat16, DType::float32, ReduceOp::sum, sources, to, 1, 2);
  EXPECT_EQ(sum, 2.0F);
  EXPECT_THROW(reduce(DType::int32, DType::float32, ReduceOp::sum, sources, to, 1, 2), Error);
}

}  // namespace
}  // namespace muster
