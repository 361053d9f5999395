// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/segments.h"

#include <fnmatch.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

template <class Change>
void change_matching(std::vector<Segment>& segments, const std::string& key,
                     const std::string& pattern, Change change) {
  bool found = false;
  for (Segment& segment : segments) {
    if (matches(pattern, segment.name)) {
      change(segment);
      found = true;
    }
  }
  if (!found) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < std::min<std::size_t>(segments.size(), 6); ++i) {
      names.push_back(segments[i].name);
    }
    throw Error(Fault::bad_input, key + ": '" + pattern +
                                      "' matches no parameter of this model, which begins with " +
                                      join(names, ", "));
  }
}

}  // namespace

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.find_first_of("*?[") != std::string_view::npos) {
    return ::fnmatch(std::string(pattern).c_str(), std::string(name).c_str(), 0) == 0;
  }
  const std::string dotted = "." + std::string(name) + ".";
  const std::string word = "." + std::string(pattern) + ".";
  const std::size_t at = dotted.find(word);
  return at == 0 || (at != std::string::npos && pattern.find('.') == std::string_view::npos);
}

SegmentTable::SegmentTable(std::span<const NamedCount> parameters, std::size_t parts,
                           std::size_t alignment)
    : parts_(parts) {
  require(parts > 0 && alignment % line == 0,
          "an arena is cut into at least one part, on whole lines");
  std::size_t offset = 0;
  for (const NamedCount& parameter : parameters) {
    segments_.push_back(
        Segment{.name = parameter.name, .offset = offset, .count = parameter.count});
    offset = round_up(offset + parameter.count, line);
  }
  capacity_ = round_up((offset + parts - 1) / parts, alignment) * parts;
}

void SegmentTable::apply(const GroupRules& rules) {
  for (const std::string& pattern : rules.no_decay) {
    change_matching(segments_, "optimizer.no_decay", pattern,
                    [](Segment& segment) { segment.decays = false; });
  }
  for (const std::string& pattern : rules.freeze) {
    change_matching(segments_, "model.freeze", pattern,
                    [](Segment& segment) { segment.frozen = true; });
  }
  if (std::ranges::all_of(segments_, &Segment::frozen)) {
    throw Error(Fault::bad_input, "model.freeze = " + join(rules.freeze, ", ") +
                                      " matches every parameter of this model: nothing is left to "
                                      "train; freeze fewer");
  }
  for (const GroupRules::RateFactor& rate : rules.rates) {
    change_matching(segments_, "optimizer.rate", rate.pattern, [&](Segment& segment) {
      segment.rate_factor = static_cast<float>(rate.factor);
    });
  }
}

Range SegmentTable::shard(std::size_t part) const {
  const std::size_t length = capacity_ / parts_;
  return Range{part * length, (part + 1) * length};
}

std::size_t SegmentTable::element_count() const {
  std::size_t sum = 0;
  for (const Segment& segment : segments_) {
    sum += segment.count;
  }
  return sum;
}

}  // namespace muster
