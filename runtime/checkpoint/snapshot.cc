// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/snapshot.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/stream_copy.h"
#include "runtime/checkpoint/record_bytes.h"

namespace muster {
namespace {

class HostMover final : public Mover {
 public:
  void out(std::span<std::byte> host, const TensorSlice&,
           std::span<const std::byte> from) override {
    stream_copy(host, from);
  }
  void in(const TensorSlice&, std::span<std::byte> to, std::span<const std::byte> host) override {
    std::ranges::copy(host.first(to.size()),
                      to.begin());  // of nothing too: a rank may have no part
  }
  void finish() override {}
};

}  // namespace

Mover& host_mover() {
  static HostMover the_mover;  // it has no state
  return the_mover;
}

PinnedMemory::PinnedMemory(std::uint64_t bytes) {
  if (bytes == 0) {
    return;
  }
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    throw_errno("reserve memory for a snapshot of the state", errno);
  }
  ::madvise(base, bytes, MADV_HUGEPAGE);  // fewer faults and fewer pages for the disk to pin; a
                                          // refusal costs only that
  bytes_ = {static_cast<std::byte*>(base), bytes};
  std::memset(base, 0, bytes);
}

PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})) {}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedMemory::~PinnedMemory() {
  if (!bytes_.empty()) {
    ::munmap(bytes_.data(), bytes_.size());
  }
}

Snapshot::Snapshot(std::shared_ptr<const Plan> plan)
    : plan_(std::move(plan)), memory_(plan_->image_bytes()) {}

void Snapshot::copy_skeleton() {
  for (const Fragment& fragment : plan_->layout().skeleton) {
    if (const auto at = plan_->image_of(fragment.offset)) {
      std::memcpy(memory_.bytes().data() + *at, fragment.bytes.data(), fragment.bytes.size());
    }
  }
}

void Snapshot::take(const StateTree& tree, CheckpointInfo info, Mover& mover) {
  begin(tree, std::move(info), mover)();
}

std::function<void()> Snapshot::begin(const StateTree& tree, CheckpointInfo info, Mover& mover) {
  require(plan_->fits(tree), "a snapshot of a state that its plan was not made for");
  for (const Plan::Copy& copy : plan_->copies()) {
    const TensorSlice& slice = tree.slices()[copy.slice];
    mover.out(memory_.bytes().subspan(copy.image, copy.bytes), slice,
              slice.bytes.subspan(copy.from, copy.bytes));
  }
  copy_skeleton();
  for (std::size_t i = 0; i < tree.records().size(); ++i) {
    const RecordPlace& place = plan_->layout().records[i];
    if (const auto at = plan_->image_of(place.offset)) {
      put_record(tree.records()[i].value, memory_.bytes().subspan(*at, place.bytes));
    }
  }
  info_ = std::move(info);
  return mover.finish_later();
}

void Snapshot::restore(StateTree& into, Mover& mover) const {
  require(plan_->fits(into), "a snapshot restored into a state that its plan was not made for");
  require(plan_->ranks() == 1 || std::ranges::none_of(into.slices(), &TensorSlice::replicated),
          "a rank's snapshot holds only its part of a replicated tensor: restore those from disk");
  for (const Plan::Copy& copy : plan_->copies()) {
    const TensorSlice& slice = into.slices()[copy.slice];
    mover.in(slice, slice.bytes.subspan(copy.from, copy.bytes),
             image().subspan(copy.image, copy.bytes));
  }
  for (std::size_t i = 0; i < into.records().size(); ++i) {
    const RecordPlace& place = plan_->layout().records[i];
    if (const auto at = plan_->image_of(place.offset)) {
      get_record(image().subspan(*at, place.bytes), into.records()[i].value);
    }
  }
  mover.finish();
}

}  // namespace muster
