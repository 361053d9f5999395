/// Journal: an append-only file of records that survives kill -9 and power cuts at any byte. What
/// commit() returned from is never lost. One writer, one thread; hold the lock of the directory.
/// What the records mean is hpo/records.h.
///
/// "MUSTERJ1", then frames: length, sequence (0, 1, ..) and CRC32C (of the two and the payload),
/// each 32 bits little-endian, and the payload: records, each behind its length. A frame is one
/// commit, so a group of records is there whole or not at all. A frame is written only when the one
/// before it is durable. So bytes that make no frame are the torn tail of a crash, to be cut, when
/// no whole frame of a later sequence follows them; else they are damage, and nothing is read,
/// changed or guessed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/base/file_system.h"

namespace muster::hpo {

using RecordVisitor = std::function<void(std::string_view record)>;

/// What a journal holds. `whole` bytes are good; what lies behind them is a torn tail.
struct JournalExtent {
  std::uint64_t whole = 0;
  std::uint64_t torn = 0;
  std::uint32_t frames = 0;
  std::uint64_t records = 0;
};

/// Visits every record of a journal's bytes. Throws Error(io) where they are damaged,
/// Error(bad_input) where they are no journal.
JournalExtent scan_journal(std::string_view bytes, const std::string& name,
                           const RecordVisitor& visit);
/// The same for a file, which may be another process's live journal. A missing file is an empty
/// journal.
JournalExtent read_journal(const Path& path, const RecordVisitor& visit,
                           FileSystem& files = posix_file_system());

class Journal {
 public:
  /// Opens or makes the journal, visits what it holds, cuts a torn tail. Nothing is cut where
  /// `visit` throws.
  Journal(Path path, const RecordVisitor& visit, FileSystem& files = posix_file_system());

  void append(std::string_view record);  ///< in memory, until commit()
  /// One write and one fdatasync for everything appended since the last. An Error(io) breaks the
  /// journal: open it anew.
  void commit();
  bool has_pending() const { return !payload_.empty(); }
  std::uint64_t size() const { return size_; }           ///< bytes committed
  const JournalExtent& found() const { return found_; }  ///< at opening

  /// Compaction: replaces the file by one that holds the records `produce` passes on, in large
  /// frames, by rename.
  void rewrite(const std::function<void(const RecordVisitor& keep)>& produce);

 private:
  void write_frame(File& file, std::uint32_t sequence);

  Path path_;
  FileSystem& files_;
  std::unique_ptr<File> file_;
  std::string payload_;
  std::string frame_;
  std::uint64_t size_ = 0;
  std::uint32_t next_sequence_ = 0;
  bool is_broken_ = false;
  JournalExtent found_;
};

}  // namespace muster::hpo
