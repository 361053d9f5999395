// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/step_board.h"

#include <new>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::size_t line = 64;

// Cuts one allocation into arrays, each on a line of its own.
class Cutter {
 public:
  template <class T>
  std::size_t add(std::size_t count) {
    const std::size_t at = used_;
    used_ += (count * sizeof(T) + line - 1) / line * line;
    return at;
  }
  std::size_t used() const { return used_; }

 private:
  std::size_t used_ = 0;
};

}  // namespace

StepBoard::StepBoard(NodeGroup& node, const Shape& shape) : shape_(shape) {
  const auto ranks = static_cast<std::size_t>(node.size());
  Cutter cutter;
  const std::size_t notes = cutter.add<RankNote>(ranks);
  const std::size_t losses = cutter.add<double>(shape.lanes);
  const std::size_t places = cutter.add<std::int64_t>(shape.lanes * shape.segments);
  const std::size_t sums = cutter.add<double>(shape.sums);
  const std::size_t statistics = cutter.add<float>(shape.lanes * shape.statistics);
  memory_ = node.share(cutter.used());
  std::byte* base = memory_->bytes().data();
  notes_ = reinterpret_cast<RankNote*>(base + notes);
  losses_ = reinterpret_cast<double*>(base + losses);
  places_ = reinterpret_cast<std::int64_t*>(base + places);
  sums_ = reinterpret_cast<double*>(base + sums);
  statistics_ = reinterpret_cast<float*>(base + statistics);
  new (&note(node.rank())) RankNote();
}

StepBoard::RankNote& StepBoard::note(int local_rank) {
  return notes_[local_rank];
}
double& StepBoard::loss(std::size_t lane) {
  return losses_[lane];
}
std::span<double> StepBoard::losses() {
  return {losses_, shape_.lanes};
}
std::span<std::int64_t> StepBoard::places(std::size_t lane) {
  return {places_ + lane * shape_.segments, shape_.segments};
}
std::span<float> StepBoard::statistics(std::size_t lane) {
  return {statistics_ + lane * shape_.statistics, shape_.statistics};
}
std::span<double> StepBoard::sums() {
  return {sums_, shape_.sums};
}

}  // namespace muster
