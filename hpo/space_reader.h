/// SpaceReader: reads the words of a sweep's file into a Space. Used by Space::parse alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/space.h"

namespace muster::hpo {

/// A line cut into words. A quoted word is never a keyword.
class SpaceWords {
 public:
  struct Word {
    std::string text;
    std::size_t offset = 0;
    std::size_t length = 0;
    bool is_quoted = false;
    bool is_brace = false;
  };
  explicit SpaceWords(const SpaceLine& line, bool splits_at_equals = false);

  bool at_end() const { return next_ == words_.size(); }
  bool at(std::string_view keyword) const;    ///< the next word is this one, unquoted
  const Word& take(std::string_view wanted);  ///< fails with "expected WANTED" at the end of the
                                              ///< line or at a brace
  bool take_if(std::string_view keyword);
  const Word& last() const { return words_[next_ - 1]; }
  const Word& peek() const { return words_[next_]; }
  double take_number(std::string_view wanted);

  [[noreturn]] void fail_here(const std::string& message) const;  ///< at the next word
  [[noreturn]] void fail_at(const Word& word, const std::string& message) const;
  [[noreturn]] void fail_key(const std::string& message) const;  ///< at the key

 private:
  [[noreturn]] void fail(std::size_t column, std::size_t length, const std::string& message) const;
  void cut(bool splits_at_equals);
  Word cut_quoted(std::size_t& at) const;

  SpaceLine line_;
  std::vector<Word> words_;
  std::size_t next_ = 0;
};

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
