/// SpaceReader: reads the words of a sweep's file into a Space. Used by Space::parse alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hpo/space.h"
#include "hpo/space_words.h"

namespace muster::hpo {

class SpaceReader {
 public:
  Space read(std::span<const SpaceLine> search, std::span<const SpaceLine> forbid,
             std::span<const SpaceLine> start);

 private:
  SpaceWords read_entry(const SpaceLine& line);  ///< what is left of the line: its condition
  void read_domain(SpaceWords& words, Parameter& parameter);
  void read_list(SpaceWords& words, Parameter& parameter);
  void read_number(SpaceWords& words, Parameter& parameter);
  void read_grain(SpaceWords& words, Parameter& parameter);
  void read_prior(SpaceWords& words, Parameter& parameter);
  Condition read_condition(SpaceWords& words);
  Test read_test(SpaceWords& words);
  double read_value(SpaceWords& words, std::size_t parameter);
  void read_start(const SpaceLine& line);
  void sort(const std::vector<SpaceWords>& lines);
  std::size_t known(const SpaceWords& words, const SpaceWords::Word& key) const;

  Space space_;
};

}  // namespace muster::hpo
