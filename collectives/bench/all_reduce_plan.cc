// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/all_reduce_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::size_t bytes_named(std::string_view word) {
  const auto bytes = parse_bytes(word);
  if (!bytes || *bytes == 0) {
    throw Error(Fault::bad_input,
                fmt::format("'{}' is no size of a buffer: write bytes, as 64, 4K or 512M, a list "
                            "64,4K or a range that doubles, 64..512M",
                            word));
  }
  return *bytes;
}

}  // namespace

std::vector<std::size_t> sizes_named(std::string_view text) {
  std::vector<std::size_t> sizes;
  for (const auto& part : split(text, ',')) {
    const std::string_view word = trim(part);
    const auto dots = word.find("..");
    const auto first = bytes_named(word.substr(0, dots));
    const auto last = dots == std::string_view::npos ? first : bytes_named(word.substr(dots + 2));
    if (last < first) {
      throw Error(Fault::bad_input, fmt::format("'{}' ends before it begins", word));
    }
    for (auto bytes = first; bytes <= last; bytes *= 2) {
      sizes.push_back(bytes);
    }
  }
  return sizes;
}

DType dtype_named(std::string_view text) {
  for (const auto dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16,
                           DType::int32, DType::int64, DType::uint8}) {
    if (name_of(dtype) == text) {
      return dtype;
    }
  }
  throw Error(
      Fault::bad_input,
      fmt::format(
          "'{}' is no type of element: float32, float64, float16, bfloat16, int32, int64, uint8",
          text));
}

std::vector<Placement> placements_named(std::string_view text) {
  if (text == "in") {
    return {Placement::in_place};
  }
  if (text == "out") {
    return {Placement::out_of_place};
  }
  if (text == "both") {
    return {Placement::out_of_place, Placement::in_place};
  }
  throw Error(Fault::bad_input, fmt::format("'{}' is no placement: in, out or both", text));
}

std::vector<std::string> words_of(const AllReducePlan& plan) {
  std::vector<std::string> sizes;
  for (const auto bytes : plan.sizes) {
    sizes.push_back(std::to_string(bytes));
  }
  const std::string placement = plan.placements.size() > 1                     ? "both"
                                : plan.placements.at(0) == Placement::in_place ? "in"
                                                                               : "out";
  return {join(sizes, ","), std::string(name_of(plan.dtype)), placement, exact(plan.seconds_each)};
}

AllReducePlan plan_of(std::span<const std::string> words) {
  const auto seconds = words.size() == 4 ? parse_double(words[3]) : std::nullopt;
  if (!seconds) {
    throw Error(Fault::bad_input, "a plan is four words: SIZES DTYPE in|out|both SECONDS");
  }
  return {.sizes = sizes_named(words[0]),
          .dtype = dtype_named(words[1]),
          .placements = placements_named(words[2]),
          .seconds_each = *seconds};
}

void check_room(const AllReducePlan& plan, int local_ranks) {
  require(!plan.sizes.empty(), "a bench needs sizes");
  const auto largest = *std::ranges::max_element(plan.sizes);
  const auto needed = 2 * largest * static_cast<std::size_t>(local_ranks);
  if (const auto left = memory_left(); left && left->bytes < needed) {
    throw Error(Fault::bad_input,
                fmt::format("two buffers of {} for each of {} ranks take {}, and {} has {} left: "
                            "lower --sizes or --ranks",
                            human_bytes(static_cast<double>(largest)), local_ranks,
                            human_bytes(static_cast<double>(needed)), left->where,
                            human_bytes(static_cast<double>(left->bytes))));
  }
}

}  // namespace muster
