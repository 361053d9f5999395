/// EndRecord: how a rank on another host ended, in a file beside its log. Exit codes get lost under
/// srun and mpirun; this does not. Written by the rank's attendant (launcher/attend), read by the
/// group that started it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "launcher/engine/engine.h"

namespace muster {

Path end_record_path(const Path& log_directory, int rank);
/// `event` of kind ended, with time_ns of the wall clock, by which records of several hosts are
/// ordered.
/// Not `over`: the rank has said why it fails, or hangs, and has not ended yet. Who heard of it or
/// waited for it may have it and its attendant killed before.
void write_end_record(const Path& log_directory, const RankEvent& event, bool over = true);
/// `so_far`: also of a rank that is not over.
std::optional<RankEvent> read_end_record(const Path& log_directory, int rank, bool so_far = false);

}  // namespace muster
