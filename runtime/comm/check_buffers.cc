// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/check_buffers.h"

#include <fmt/format.h>

#include <cstring>

#include "runtime/base/error.h"

namespace muster {
namespace {

void check_parts(const Buffer& part, const Buffer& whole, int ranks) {
  check_host(part);
  check_host(whole);
  const bool holds =
      part.dtype == whole.dtype && part.count * static_cast<std::size_t>(ranks) == whole.count;
  if (!holds) [[unlikely]] {
    throw Error(Fault::bug, fmt::format("{} parts of {} {} do not make {} {}", ranks, part.count,
                                        name_of(part.dtype), whole.count, name_of(whole.dtype)));
  }
}

}  // namespace

void check_host(const Buffer& buffer) {
  if (buffer.device.kind != Device::Kind::cpu) [[unlikely]] {
    throw Error(
        Fault::bug,
        "this group of ranks works on memory of the host; memory of a GPU goes through NCCL");
  }
  require(buffer.data != nullptr || buffer.count == 0, "a buffer with elements has memory");
}

void check_scatter(const Buffer& in, const Buffer& out, int ranks) {
  check_parts(out, in, ranks);
}
void check_gather(const Buffer& in, const Buffer& out, int ranks) {
  check_parts(in, out, ranks);
}

void check_root(const Buffer& buffer, int root, int ranks) {
  check_host(buffer);
  require(root >= 0 && root < ranks, "the root of a broadcast is a rank of the group");
}

void copy_buffer(const Buffer& in, const Buffer& out) {
  if (in.data != out.data && in.count > 0) {
    std::memmove(out.data, in.data, in.bytes());
  }
}

}  // namespace muster
