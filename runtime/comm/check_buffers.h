/// What a caller of a Communicator must keep to, checked in all builds and by all back-ends in the
/// same words.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/comm/buffer.h"

namespace muster {

void check_host(const Buffer& buffer);  ///< memory of the host, not null unless empty
void check_scatter(const Buffer& in, const Buffer& out,
                   int ranks);  ///< out.count * ranks == in.count, one type
void check_gather(const Buffer& in, const Buffer& out,
                  int ranks);  ///< in.count * ranks == out.count, one type
void check_root(const Buffer& buffer, int root, int ranks);
/// Moves the bytes unless both are the same memory.
void copy_buffer(const Buffer& in, const Buffer& out);

}  // namespace muster
