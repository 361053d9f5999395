/// stream_copy: memcpy past the caches, for large memory that nobody reads soon: it reads and
/// writes once each, where ordinary stores would fetch every line of the target first, and it
/// leaves the caches to others. The same bytes as memcpy.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace muster {

/// `to` has at least the size of `from`; they do not overlap. Ordered like other stores when it
/// returns.
void stream_copy(std::span<std::byte> to, std::span<const std::byte> from);

}  // namespace muster
