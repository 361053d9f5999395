// A group of one, which has nobody to wait for.
// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"

namespace muster {
namespace {

Work copy(const Buffer& in, const Buffer& out) {
  require(in.count == out.count && in.dtype == out.dtype,
          "a group of one copies: counts and types must be equal");
  if (in.data != out.data) {
    std::memmove(out.data, in.data, in.bytes());
  }
  return Work();
}

class SoloCommunicator final : public Communicator {
 public:
  int rank() const noexcept override { return 0; }
  int size() const noexcept override { return 1; }
  int local_rank() const noexcept override { return 0; }
  int local_size() const noexcept override { return 1; }
  Work all_reduce(Buffer /*buffer*/, ReduceOp /*op*/) override { return Work(); }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp /*op*/) override { return copy(in, out); }
  Work all_gather(Buffer in, Buffer out) override { return copy(in, out); }
  Work broadcast(Buffer /*buffer*/, int root) override {
    require(root == 0, "the root of a broadcast is a rank of the group");
    return Work();
  }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int colour, int /*key*/) override {
    return colour < 0 ? nullptr : solo_communicator();
  }
  void abort(std::string_view /*why*/) noexcept override {}
};

class PrivateMemory final : public SharedMemory {
 public:
  explicit PrivateMemory(std::size_t bytes) : bytes_(bytes) {
    base_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) {
      throw_errno("map memory for a group of one", errno);
    }
  }
  PrivateMemory(const PrivateMemory&) = delete;
  PrivateMemory& operator=(const PrivateMemory&) = delete;
  ~PrivateMemory() override { ::munmap(base_, bytes_); }
  std::span<std::byte> bytes() noexcept override {
    return {static_cast<std::byte*>(base_), bytes_};
  }

 private:
  void* base_;
  std::size_t bytes_;
};

class SoloNodeGroup final : public NodeGroup {
 public:
  int rank() const noexcept override { return 0; }
  int size() const noexcept override { return 1; }
  std::unique_ptr<SharedMemory> share(std::size_t bytes) override {
    return std::make_unique<PrivateMemory>(bytes);
  }
  void barrier() override {}
  Nanoseconds waited() const noexcept override { return Nanoseconds(0); }
  void abort(std::string_view /*why*/) noexcept override {}
};

}  // namespace

std::unique_ptr<Communicator> solo_communicator() {
  return std::make_unique<SoloCommunicator>();
}
std::unique_ptr<NodeGroup> solo_node_group() {
  return std::make_unique<SoloNodeGroup>();
}

}  // namespace muster
