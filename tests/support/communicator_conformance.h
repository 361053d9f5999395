/// What every communicator must do, whatever carries it. Each body runs on every rank of the group
/// and throws where it is wrong. Values are small whole numbers, so that sums are exact in every
/// type and order and can be compared to the bit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"

namespace muster::test {

struct ConformanceBody {
  std::string name;
  std::function<void(Communicator&)> run;
};
/// Leave the communicator usable.
std::vector<ConformanceBody> conformance_bodies();

/// Buffers at different offsets of a window, and one elsewhere: every rank sums, and keeps NaN.
void reduces_in_windows(Communicator& comm, NodeGroup& node);

/// These end it: every rank must get an error of the group that says what is expected. They return
/// its text.
std::string error_of_mismatched_counts(Communicator& comm);
std::string error_of_mismatched_operations(Communicator& comm);
std::string error_after_abort(Communicator& comm);
std::string error_of_dropped_work(Communicator& comm);

}  // namespace muster::test
