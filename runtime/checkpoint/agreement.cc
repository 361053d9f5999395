// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/agreement.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace muster {

std::string broadcast_text(Communicator& group, std::string text, int root) {
  if (group.size() == 1) {
    return text;
  }
  auto size = static_cast<std::int64_t>(text.size());
  group.broadcast(buffer_of(&size, 1), root).wait();
  text.resize(static_cast<std::size_t>(size));
  if (size > 0) {
    const Buffer bytes{.data = text.data(), .count = text.size(), .dtype = DType::uint8};
    group.broadcast(bytes, root).wait();
  }
  return text;
}

void agree_on_max(Communicator& group, std::span<std::int64_t> values) {
  if (group.size() > 1) {
    group.all_reduce(buffer_of(values.data(), values.size()), ReduceOp::max).wait();
  }
}

std::vector<std::vector<std::int64_t>> gather_lists(Communicator& group,
                                                    const std::vector<std::int64_t>& own) {
  if (group.size() == 1) {
    return {own};
  }
  auto longest = static_cast<std::int64_t>(own.size());
  agree_on_max(group, std::span(&longest, 1));
  const auto stride = static_cast<std::size_t>(longest) + 1;  // its own length first
  std::vector<std::int64_t> mine(stride, 0);
  mine[0] = static_cast<std::int64_t>(own.size());
  std::ranges::copy(own, mine.begin() + 1);
  std::vector<std::int64_t> all(stride * static_cast<std::size_t>(group.size()));
  group.all_gather(buffer_of(mine.data(), stride), buffer_of(all.data(), all.size())).wait();
  std::vector<std::vector<std::int64_t>> lists;
  for (std::size_t at = 0; at < all.size(); at += stride) {
    const auto* first = all.data() + at + 1;
    lists.emplace_back(first, first + all[at]);
  }
  return lists;
}

std::string first_failure(Communicator& group, const std::string& error) {
  if (group.size() == 1) {
    return error;
  }
  std::int64_t who = error.empty() ? 0 : group.size() - group.rank();  // greatest: the lowest rank
  agree_on_max(group, std::span(&who, 1));
  if (who == 0) {
    return {};
  }
  return broadcast_text(group, error, group.size() - static_cast<int>(who));
}

void all_or_none(Communicator& group, const std::function<void()>& body) {
  std::string text;
  std::exception_ptr own;
  try {
    body();
  } catch (const std::exception& error) {
    own = std::current_exception();
    text = report(error);
  }
  const std::string first = first_failure(group, text);
  if (own) {
    std::rethrow_exception(own);
  }
  if (!first.empty()) {
    throw Error(Fault::communication, "another rank failed: " + first);
  }
}

}  // namespace muster
