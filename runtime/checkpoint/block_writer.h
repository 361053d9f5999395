/// write_image: brings a rank's part of a checkpoint file to the disk: blocks of 8 MiB past the
/// page cache, summed on the way, durable when it returns. Whole 4 KiB pages go direct; the ends of
/// a run go through the page cache, for the bytes beside them are not ours.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <stop_token>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/snapshot.h"

namespace muster {

/// The runs cut where the file's 8 MiB cells end; sums not filled in. The same on every rank.
std::vector<Block> blocks_of(const std::vector<Run>& runs);

struct WriteOptions {
  int threads = 2;
  bool direct = true;  ///< taken as false where the file system refuses it
};

/// The file is there and has its full size. The sums come back in the order of blocks_of(). Throws
/// Error(io), or Error(cancelled) soon after `stop` is requested.
std::vector<Block> write_image(const Path& path, const std::vector<Run>& runs,
                               std::span<const std::byte> image, const WriteOptions& options,
                               FileSystem& files, const std::stop_token& stop);

/// Whether `directory` takes direct writes, and how fast it makes `bytes` durable. Throws Error(io)
/// when it cannot be written.
struct DiskProbe {
  bool direct = false;
  double bytes_per_second = 0;
};
DiskProbe probe_disk(const Path& directory, std::uint64_t bytes, bool want_direct,
                     FileSystem& files, Clock& clock);

}  // namespace muster
