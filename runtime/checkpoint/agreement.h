/// What ranks tell each other around a checkpoint: texts from one to all, the greatest of numbers,
/// lists of all. Collective, each of them; on a group of one they are the identity.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"

namespace muster {

std::string broadcast_text(Communicator& group, std::string text, int root = 0);
/// In place, each number for itself.
void agree_on_max(Communicator& group, std::span<std::int64_t> values);
/// Every rank's list, by rank.
std::vector<std::vector<std::int64_t>> gather_lists(Communicator& group,
                                                    const std::vector<std::int64_t>& own);
/// Nothing when `error` is empty on all ranks; else the text of the first rank that has one, the
/// same on all.
std::string first_failure(Communicator& group, const std::string& error);
/// Runs `body` on every rank; when it throws on one, all throw: it its own, the others
/// Error(communication) with its text.
void all_or_none(Communicator& group, const std::function<void()>& body);

}  // namespace muster
