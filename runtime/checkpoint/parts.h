/// Parts: how ranks tell rank 0 that their part of a file is durable, through a file beside it, so
/// that no thread but the training one ever talks to a communicator. Works wherever the checkpoint
/// directory does: each look opens the file anew, which network file systems answer with what was
/// closed before. A rank owns whole pages of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/checkpoint/snapshot.h"

namespace muster {

class Parts {
 public:
  static constexpr std::string_view file_name = "parts";
  Parts(Path directory, const Plan& plan, FileSystem& files);

  /// Rank 0, before any other rank posts.
  void create() const;
  /// `problem` is empty when all is durable.
  void post(const std::vector<Block>& blocks, const std::string& problem) const;
  /// Rank 0: the blocks of all ranks but its own. Throws Error(io) when one reports a problem,
  /// Error(cancelled) when `give_up` says so.
  std::vector<Block> gather(const std::function<bool()>& give_up) const;
  void remove() const;

 private:
  std::uint64_t place_of(int rank) const;
  std::optional<std::vector<Block>> look(int rank) const;

  Path path_;
  const Plan& plan_;
  FileSystem& files_;
};

}  // namespace muster
