// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/group_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

/// How far the trial is in this store; nothing when it is not in it or nothing there can be read.
std::optional<std::int64_t> step_in(const CheckpointStore& store, const std::string& member) {
  std::optional<std::int64_t> step;
  for (const Path& path : store.names()) {
    try {
      for (const ManifestFile& file : read_manifest(path, store.files()).files) {
        if (file.name == member + ".h5" && (!step || file.info.step > *step)) {
          step = file.info.step;
        }
      }
    } catch (const Error& error) {
      log::warning(report(error));
    }
  }
  return step;
}

}  // namespace

std::string group_member_name(std::uint32_t trial) {
  return fmt::format("{:04}", trial);
}

CheckpointStore GroupStore::fresh() const {
  static std::atomic<unsigned> counter{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  return CheckpointStore(directory_ / fmt::format("group-{}-{}-{}", now, ::getpid(), counter++));
}

std::vector<Path> GroupStore::stores() const {
  std::vector<Path> paths;
  if (posix_file_system().exists(directory_)) {
    for (const auto& name : posix_file_system().list(directory_)) {
      paths.push_back(directory_ / name);
    }
  }
  return paths;
}

std::optional<GroupStore::Found> GroupStore::furthest_of(std::uint32_t trial) const {
  std::optional<Found> best;
  for (const Path& path : stores()) {
    const CheckpointStore store(path);
    const auto step = step_in(store, group_member_name(trial));
    if (step && (!best || *step > best->step)) {
      best.emplace(Found{store, *step});
    }
  }
  return best;
}

void GroupStore::tidy(const std::vector<std::uint32_t>& live) const {
  std::set<Path> needed;
  for (const auto trial : live) {
    if (const auto found = furthest_of(trial)) {
      needed.insert(found->store.directory());
    }
  }
  for (const Path& path : stores()) {
    const bool is_committed = !CheckpointStore(path).names().empty();
    if (is_committed && !needed.contains(path)) {
      posix_file_system().remove(path);
    }
  }
}

}  // namespace muster
