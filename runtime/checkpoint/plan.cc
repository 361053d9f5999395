// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "runtime/base/error.h"
#include "runtime/checkpoint/agreement.h"
#include "runtime/checkpoint/snapshot.h"

namespace muster {
namespace {

struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t end = 0;  ///< of the data
  std::uint64_t next =
      0;  ///< where the next extent begins: the gap up to there has the same owner as the last byte
};

/// Every tensor and record that has bytes, in file order.
std::vector<Extent> extents_of(const Layout& layout) {
  std::vector<Extent> extents;
  for (const TensorPlace& tensor : layout.tensors) {
    extents.push_back({.offset = tensor.offset, .end = tensor.offset + tensor.bytes()});
  }
  for (const RecordPlace& record : layout.records) {
    extents.push_back({.offset = record.offset, .end = record.offset + record.bytes});
  }
  std::erase_if(extents, [](const Extent& extent) { return extent.end == extent.offset; });
  std::ranges::sort(extents, {}, &Extent::offset);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    extents[i].next = i + 1 < extents.size() ? extents[i + 1].offset : layout.file_bytes;
  }
  return extents;
}

/// [first, end) of the file.
struct Range {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

/// With the gap behind it, when it reaches the end of its extent.
Range with_gap(Range range, const std::vector<Extent>& extents) {
  const auto after = std::ranges::upper_bound(extents, range.first, {}, &Extent::offset);
  const Extent& extent = *std::prev(after);
  if (range.end == extent.end) {
    range.end = extent.next;
  }
  return range;
}

std::vector<Range> merged(std::vector<Range> ranges) {
  std::ranges::sort(ranges, {}, &Range::first);
  std::vector<Range> out;
  for (const Range& range : ranges) {
    if (!out.empty() && out.back().end == range.first) {
      out.back().end = range.end;
    } else if (range.end > range.first) {
      out.push_back(range);
    }
  }
  return out;
}

std::vector<Run> runs_of(const std::vector<Range>& ranges) {
  std::vector<Run> runs;
  std::uint64_t cursor = 0;
  for (const Range& range : ranges) {
    const std::uint64_t image = (cursor + page - 1) / page * page + range.first % page;
    runs.push_back({.offset = range.first, .bytes = range.end - range.first, .image = image});
    cursor = image + range.end - range.first;
  }
  return runs;
}

std::string tensor_at(const Layout& layout, std::uint64_t offset) {
  for (const TensorPlace& tensor : layout.tensors) {
    if (offset >= tensor.offset && offset < tensor.offset + tensor.bytes()) {
      return tensor.name;
    }
  }
  return "?";
}

/// Every byte of the file has one writer.
void require_tiling(const Layout& layout, const std::vector<std::vector<Run>>& runs) {
  std::vector<Range> all;
  for (const auto& list : runs) {
    for (const Run& run : list) {
      all.push_back({.first = run.offset, .end = run.offset + run.bytes});
    }
  }
  std::ranges::sort(all, {}, &Range::first);
  std::uint64_t at = 0;
  for (const Range& range : all) {
    require(range.first == at,
            fmt::format("the ranks' ranges of tensor '{}' {} at byte {} of the file",
                        tensor_at(layout, std::min(range.first, at)),
                        range.first < at ? "overlap" : "leave a hole", at));
    at = range.end;
  }
  require(at == layout.file_bytes,
          fmt::format("no rank holds the end of tensor '{}'", tensor_at(layout, at)));
}

}  // namespace

class PlanMaker {
 public:
  PlanMaker(const StateTree& tree, Communicator& group) : tree_(tree), group_(group) {}

  std::shared_ptr<const Plan> make() {
    plan_.layout_ = agreed_layout();
    plan_.rank_ = group_.rank();
    all_or_none(group_, [&] { find_places(); });
    plan_.runs_ = gathered_runs(own_ranges());
    require_tiling(plan_.layout_, plan_.runs_);
    for (const Run& run : plan_.own_runs()) {
      plan_.image_bytes_ = std::max(plan_.image_bytes_, run.image + run.bytes);
    }
    list_copies();
    return std::make_shared<const Plan>(std::move(plan_));
  }

 private:
  Layout agreed_layout() {
    std::string bytes;
    all_or_none(group_, [&] { bytes = group_.rank() == 0 ? to_bytes(make_layout(tree_)) : ""; });
    return layout_from_bytes(broadcast_text(group_, std::move(bytes)));
  }

  void find_places() {
    std::map<std::string_view, const TensorPlace*> by_name;
    for (const TensorPlace& tensor : plan_.layout_.tensors) {
      by_name.emplace(tensor.name, &tensor);
    }
    for (const TensorSlice& slice : tree_.slices()) {
      const auto found = by_name.find(slice.name);
      require(found != by_name.end() && found->second->dtype == slice.dtype &&
                  found->second->shape == slice.shape,
              fmt::format("tensor '{}' is not the same on all ranks", slice.name));
      places_.push_back(found->second);
      plan_.slices_.push_back(slice);
    }
  }

  /// What this rank saves of a slice, in bytes of the slice: all of it, or its part of a replicated
  /// one.
  Range part_of(const TensorSlice& slice) const {
    if (!slice.replicated) {
      return {.first = 0, .end = slice.bytes.size()};
    }
    const std::uint64_t element = size_of(slice.dtype);
    const std::uint64_t count = slice.bytes.size() / element;
    const auto rank = static_cast<std::uint64_t>(group_.rank());
    const auto ranks = static_cast<std::uint64_t>(group_.size());
    return {.first = count * rank / ranks * element, .end = count * (rank + 1) / ranks * element};
  }

  std::uint64_t file_offset(std::size_t slice) const {
    const TensorSlice& of = tree_.slices()[slice];
    return places_[slice]->offset + of.first * size_of(of.dtype);
  }

  std::vector<Range> own_ranges() const {
    const auto extents = extents_of(plan_.layout_);
    std::vector<Range> ranges;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const Range part = part_of(tree_.slices()[i]);
      if (part.end > part.first) {
        ranges.push_back(with_gap(
            {.first = file_offset(i) + part.first, .end = file_offset(i) + part.end}, extents));
      }
    }
    if (group_.rank() == 0) {
      ranges.push_back(
          {.first = 0, .end = extents.empty() ? plan_.layout_.file_bytes : extents.front().offset});
      for (const RecordPlace& record : plan_.layout_.records) {
        ranges.push_back(
            with_gap({.first = record.offset, .end = record.offset + record.bytes}, extents));
      }
    }
    return merged(std::move(ranges));
  }

  std::vector<std::vector<Run>> gathered_runs(const std::vector<Range>& own) {
    std::vector<std::int64_t> numbers;
    for (const Range& range : own) {
      numbers.push_back(static_cast<std::int64_t>(range.first));
      numbers.push_back(static_cast<std::int64_t>(range.end));
    }
    std::vector<std::vector<Run>> runs;
    for (const auto& list : gather_lists(group_, numbers)) {
      std::vector<Range> ranges;
      for (std::size_t i = 0; i < list.size(); i += 2) {
        ranges.push_back({.first = static_cast<std::uint64_t>(list[i]),
                          .end = static_cast<std::uint64_t>(list[i + 1])});
      }
      runs.push_back(runs_of(ranges));
    }
    return runs;
  }

  void list_copies() {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const Range part = part_of(tree_.slices()[i]);
      if (part.end > part.first) {
        plan_.copies_.push_back({.slice = i,
                                 .from = part.first,
                                 .bytes = part.end - part.first,
                                 .image = plan_.image_of(file_offset(i) + part.first).value()});
      }
    }
  }

  const StateTree& tree_;
  Communicator& group_;
  Plan plan_;
  std::vector<const TensorPlace*> places_;  // of each slice
};

std::shared_ptr<const Plan> Plan::make(const StateTree& tree, Communicator& group) {
  return PlanMaker(tree, group).make();
}

std::shared_ptr<const Plan> Plan::make(const StateTree& tree) {
  const auto alone = solo_communicator();
  return make(tree, *alone);
}

std::optional<std::uint64_t> Plan::image_of(std::uint64_t offset) const {
  const auto& runs = own_runs();
  const auto after = std::ranges::upper_bound(runs, offset, {}, &Run::offset);
  if (after == runs.begin()) {
    return std::nullopt;
  }
  const Run& run = *std::prev(after);
  if (offset >= run.offset + run.bytes) {
    return std::nullopt;
  }
  return run.image + (offset - run.offset);
}

bool Plan::fits(const StateTree& tree) const {
  const auto& slices = tree.slices();
  const auto& records = tree.records();
  if (slices.size() != slices_.size() || records.size() != layout_.records.size()) {
    return false;
  }
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const TensorSlice& now = slices[i];
    const TensorSlice& then = slices_[i];
    if (now.name != then.name || now.dtype != then.dtype || now.shape != then.shape ||
        now.first != then.first || now.bytes.size() != then.bytes.size() ||
        now.replicated != then.replicated) {
      return false;
    }
  }
  for (std::size_t i = 0; i < records.size(); ++i) {
    const RecordPlace& place = layout_.records[i];
    const auto* const* text = std::get_if<std::string*>(&records[i].value);
    if (records[i].name != place.name ||
        records[i].value.index() != static_cast<std::size_t>(place.kind) ||
        (text != nullptr && (*text)->size() > place.bytes)) {
      return false;
    }
  }
  return true;
}

}  // namespace muster
