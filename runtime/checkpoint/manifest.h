/// Manifest: the text file that makes a directory a checkpoint: what is in it, and a CRC32C of
/// every byte of its files and of itself. One line an item, readable with `cat`. parse() accepts
/// exactly what text_of() writes and nothing else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/checkpoint/layout.h"

namespace muster {

inline constexpr int checkpoint_format = 1;
inline constexpr std::string_view manifest_name = "manifest";

struct Setting {
  std::string key;    ///< no blanks
  std::string value;  ///< any text
  bool operator==(const Setting&) const = default;
};

/// What a save says about the state it saves.
struct CheckpointInfo {
  std::int64_t step = 0;
  std::optional<double> score;  ///< for keep_best; greater is better, NaN is none
  std::vector<Setting>
      settings;  ///< must be equal when the state is loaded: model, data, optimiser, seed
  std::vector<Setting>
      environment;  ///< ranks, threads, library versions: a difference is said, not refused
};

/// A range of a file and its checksum. The blocks of a file follow each other without gap or
/// overlap.
struct Block {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint32_t crc = 0;
};

struct ManifestFile {
  std::string name;  ///< "state.h5"; of a group: "0017.h5"
  std::uint64_t bytes = 0;
  CheckpointInfo info;
  std::vector<TensorPlace> tensors;
  std::vector<RecordPlace> records;
  std::vector<Block> blocks;
};

struct Manifest {
  std::string created;  ///< ISO time
  int ranks = 1;        ///< that wrote it
  std::vector<ManifestFile> files;

  std::uint64_t bytes() const;  ///< of all files
  const ManifestFile* find(std::string_view file) const;
};

std::string text_of(const Manifest& manifest);

/// Throws Error(io) that says what is wrong with it; `path` names it in messages. A later format
/// than ours is Error(bad_input): it is no damage, and no reason to fall back to something older.
Manifest parse_manifest(std::string_view text, const std::string& path);

}  // namespace muster
