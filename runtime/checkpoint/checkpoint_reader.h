/// CheckpointReader: reads one rank's part of a checkpoint into memory of its own, every byte
/// checked, before anything is changed. Ranges of tensors are arithmetic on offsets, so any number
/// of ranks reads what any number has written.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/snapshot.h"

namespace muster {

/// Every difference between what the checkpoint holds and what `tree` wants, as a text of lines;
/// empty when there is none.
std::string model_difference(const ManifestFile& file, const StateTree& tree);
/// "optimizer.lr is 0.1 there and 0.01 here", a line each: settings that both sides know.
std::vector<std::string> setting_differences(const std::vector<Setting>& there,
                                             const std::vector<Setting>& here);
/// Settings that one side alone knows: they came or went with a version of Muster.
std::vector<std::string> unknown_settings(const std::vector<Setting>& there,
                                          const std::vector<Setting>& here);

class CheckpointReader {
 public:
  /// `file` has passed model_difference(). `path` is of the data file.
  CheckpointReader(Path path, const ManifestFile& file, const StateTree& tree, FileSystem& files);

  /// The blocks that this rank needs, one flag each.
  std::vector<std::int64_t> needed_blocks() const;
  /// Reads the needed blocks, and checks those of `also` besides. Throws Error(io) naming the place
  /// that does not match its checksum.
  void read(const std::vector<std::int64_t>& also);
  /// Hands the bytes over. After read().
  void fill(StateTree& tree, Mover& mover = host_mover()) const;

 private:
  struct Want {
    std::uint64_t offset = 0;  ///< in the file
    std::uint64_t bytes = 0;
    std::uint64_t at = 0;  ///< in memory_
  };
  void keep(const Block& block, std::span<const std::byte> bytes);

  Path path_;
  const ManifestFile& file_;
  FileSystem& files_;
  std::vector<Want> wants_;  // of the slices, then of the records
  std::vector<Want> by_offset_;
  std::vector<std::byte> memory_;
};

/// Checks each block of the list against its sum, handing its bytes to `use`. Throws Error(io) at
/// the first that does not match.
void read_blocks(const Path& path, std::span<const Block> blocks, FileSystem& files,
                 const std::function<void(const Block&, std::span<const std::byte>)>& use);

}  // namespace muster
