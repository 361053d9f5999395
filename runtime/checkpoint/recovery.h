/// recover: fills a state from the newest checkpoint that can be trusted, on all ranks or on none.
/// Collective.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "runtime/checkpoint/checkpoint_engine.h"

namespace muster {

/// Looks for `file` in the checkpoints of `store`, newest first, passing over those without it and
/// those whose bytes do not hold. Throws bad_input at a newer format, another model or another
/// configuration; then nothing was changed.
std::optional<Restored> recover(const CheckpointStore& store, Communicator& group,
                                std::string_view file, StateTree& tree,
                                const CheckpointInfo& expected, Mover& mover = host_mover());

}  // namespace muster
