// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/checkpoint/block_writer.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/recovery.h"

namespace muster {
namespace {

std::string file_of(std::string_view member) {
  return fmt::format("{}.h5", member);
}

/// Writes the members' files, several at once: their fsyncs then share commits of the file system's
/// journal.
class GroupWriter {
 public:
  GroupWriter(const CheckpointStore& store, Path temporary, std::span<const GroupMember> members,
              bool direct)
      : store_(store),
        temporary_(std::move(temporary)),
        members_(members),
        direct_(direct),
        written_(members.size()) {}

  std::vector<ManifestFile> write() {
    constexpr std::size_t most_threads = 8;
    {
      std::vector<std::jthread> helpers;
      for (std::size_t i = 1; i < std::min(most_threads, members_.size()); ++i) {
        helpers.emplace_back([this] { work(); });
      }
      work();
    }
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    return std::move(written_);
  }

 private:
  void work() {
    try {
      for (std::size_t i = next_++; i < members_.size(); i = next_++) {
        write_member(i);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = failure_ ? failure_ : std::current_exception();
    }
  }

  void write_member(std::size_t i) {
    const Snapshot& snapshot = *members_[i].snapshot;
    const Plan& plan = snapshot.plan();
    const std::string name = file_of(members_[i].name);
    begin_file(temporary_, name, plan.layout().file_bytes, true, store_.files());
    auto blocks = write_image(temporary_ / name, plan.own_runs(), snapshot.image(),
                              {.threads = 1, .direct = direct_}, store_.files(), {});
    written_[i] = manifest_file(name, plan.layout(), snapshot.info(), std::move(blocks));
  }

  const CheckpointStore& store_;
  Path temporary_;
  std::span<const GroupMember> members_;
  bool direct_;
  std::vector<ManifestFile> written_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

Path commit_group(const CheckpointStore& store, std::span<const GroupMember> members, Clock& clock,
                  bool direct) {
  static std::atomic<unsigned> counter{0};
  require(!members.empty(), "a group commit of nothing");
  for (const GroupMember& member : members) {
    require(member.snapshot->plan().ranks() == 1, "a group commit holds states of one rank each");
  }
  const Path temporary = store.directory() / fmt::format(".tmp-group-{}-{}", ::getpid(), counter++);
  make_directory_durably(store.directory(), store.files());
  store.files().make_directory(temporary);
  try {
    Manifest manifest{.created = iso_time(clock.wall())};
    manifest.files = GroupWriter(store, temporary, members, direct).write();
    return commit_directory(store, temporary, manifest);
  } catch (...) {
    store.files().remove(temporary);
    throw;
  }
}

std::optional<Restored> restore_member(const CheckpointStore& store, const std::string& name,
                                       StateTree& tree, const CheckpointInfo& expected,
                                       Mover& mover) {
  const auto alone = solo_communicator();
  return recover(store, *alone, file_of(name), tree, expected, mover);
}

}  // namespace muster
