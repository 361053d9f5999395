/// CheckpointStore: a directory of checkpoints, `step-00000900/` each, and which of them can be
/// trusted. A directory is a checkpoint only with a manifest whose sizes and checksums hold.
/// Nothing here changes a committed one but retain().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/checkpoint/manifest.h"

namespace muster {

/// How closely to look: `quick` reads the manifest and compares sizes; `full` reads every byte.
enum class Scrutiny { quick, full };

struct CheckpointEntry {
  Path path;
  std::int64_t step = 0;
  std::uint64_t bytes = 0;
  std::string created;  ///< ISO time; empty when the manifest does not tell
  std::optional<double> score;
  bool is_valid = false;
  std::string problem;  ///< why not
};

class CheckpointStore {
 public:
  explicit CheckpointStore(Path directory, FileSystem& files = posix_file_system())
      : directory_(std::move(directory)), files_(files) {}

  const Path& directory() const { return directory_; }
  FileSystem& files() const { return files_; }

  /// Committed directories, newest first, trusted or not. Empty when there is none.
  std::vector<Path> names() const;
  std::vector<CheckpointEntry> list(Scrutiny scrutiny = Scrutiny::quick) const;
  /// The newest valid one; `skipped` gets those passed over, with their problems. Throws bad_input
  /// at one of a newer format.
  std::optional<Path> newest(std::vector<CheckpointEntry>* skipped = nullptr,
                             Scrutiny scrutiny = Scrutiny::full) const;
  /// The newest that holds `file` (a trial of a group).
  std::optional<Path> newest_with(std::string_view file) const;

  /// The directory that a new checkpoint of `step` is renamed to: never one that is there.
  Path free_name(std::int64_t step) const;
  /// Deletes what a dead writer left behind. Only the owner of the run's lock may call it.
  void remove_debris() const;
  /// Keeps the newest `keep` and the `keep_best` of highest score; removes the others and `also`
  /// (what recovery skipped).
  void retain(int keep, int keep_best, const std::vector<Path>& also = {}) const;
  /// Of a directory of groups: keeps, for each file name in `live`, the newest commit that holds
  /// it.
  void retain_members(const std::vector<std::string>& live) const;

 private:
  Path directory_;
  FileSystem& files_;
};

/// The manifest, its sizes compared with the files. Throws Error(io) with the reason when it cannot
/// be trusted.
Manifest read_manifest(const Path& checkpoint, FileSystem& files = posix_file_system());
/// Every byte against its checksum. Throws Error(io) naming file and place.
void verify_checkpoint(const Path& checkpoint, FileSystem& files = posix_file_system());

}  // namespace muster
