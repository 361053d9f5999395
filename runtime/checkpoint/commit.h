/// How a directory becomes a checkpoint. Order is everything: data durable, manifest durable, its
/// names durable, then one rename, then that name durable. A crash between any two leaves a
/// directory that nobody takes for a checkpoint.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/checkpoint/checkpoint_store.h"
#include "runtime/checkpoint/manifest.h"

namespace muster {

inline constexpr std::string_view state_file = "state.h5";

/// Makes `directory` with an empty file of full size in it, its blocks reserved when `reserve`.
void begin_file(const Path& directory, std::string_view file, std::uint64_t bytes, bool reserve,
                FileSystem& files);
/// What the plan and the info say; blocks sorted.
ManifestFile manifest_file(std::string name, const Layout& layout, const CheckpointInfo& info,
                           std::vector<Block> blocks);
/// The files of `temporary` are written and synced. Returns the name under which the checkpoint now
/// lies, durably.
Path commit_directory(const CheckpointStore& store, const Path& temporary,
                      const Manifest& manifest);

}  // namespace muster
