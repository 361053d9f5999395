// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/reduction_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace muster {
namespace {

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char letter : text) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  }
  return hash;
}

/// One line an entry, as the message shows it.
std::string described(const ReductionPlan::Entry& entry) {
  return fmt::format("{} ({} of {} {})", entry.name, name_of(entry.op), entry.count,
                     name_of(entry.dtype));
}

std::string text_of(const ReductionPlan& plan) {
  std::string text;
  for (const auto& entry : plan.entries) {
    text += described(entry) + '\n';
  }
  return text;
}

std::vector<std::int64_t> gathered(Communicator& comm, std::int64_t mine) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(comm.size()));
  comm.all_gather(buffer_of(&mine, 1), buffer_of(all.data(), all.size())).wait();
  return all;
}

/// Every rank gets the text of one.
std::string text_from(Communicator& comm, const ReductionPlan& plan, int rank) {
  std::string text = comm.rank() == rank ? text_of(plan) : std::string();
  auto length = static_cast<std::int64_t>(text.size());
  comm.broadcast(buffer_of(&length, 1), rank).wait();
  text.resize(static_cast<std::size_t>(length));
  comm.broadcast({.data = text.data(), .count = text.size(), .dtype = DType::uint8}, rank).wait();
  return text;
}

std::string line_at(std::string_view text, std::size_t start) {
  return start >= text.size() ? "nothing more"
                              : std::string(text.substr(start, text.find('\n', start) - start));
}

std::string first_difference(std::string_view first, std::string_view other, int rank) {
  const auto differs = std::ranges::mismatch(first, other);
  const auto at = static_cast<std::size_t>(differs.in1 - first.begin());
  const auto before = first.substr(0, at).rfind('\n');
  const std::size_t start = before == std::string_view::npos ? 0 : before + 1;
  const auto entry = std::ranges::count(first.substr(0, start), '\n') + 1;
  return fmt::format(
      "the ranks would not reduce the same: entry {} of the plan is {} on rank 0 and {} on rank "
      "{}: "
      "give every rank the same job file, model and version of muster",
      entry, line_at(first, start), line_at(other, start), rank);
}

}  // namespace

std::uint64_t ReductionPlan::hash() const {
  std::uint64_t hash = mix(entries.size());
  for (const auto& entry : entries) {
    hash = mix(hash, hash_of(entry.name),
               mix(entry.count, static_cast<std::uint64_t>(entry.dtype),
                   static_cast<std::uint64_t>(entry.op)));
  }
  return hash;
}

void compare_plans(Communicator& comm, const ReductionPlan& plan) {
  const auto hashes = gathered(comm, static_cast<std::int64_t>(plan.hash()));
  const auto other =
      std::ranges::find_if(hashes, [&](std::int64_t hash) { return hash != hashes[0]; });
  if (other == hashes.end()) {
    return;
  }
  const auto rank = static_cast<int>(other - hashes.begin());
  const auto first_text = text_from(comm, plan, 0);
  const auto other_text = text_from(comm, plan, rank);
  throw Error(Fault::bad_input, first_difference(first_text, other_text, rank));
}

}  // namespace muster
