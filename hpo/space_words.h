/// SpaceWords: a line of the search space cut into words, and errors that show the line and point
/// at one of them. A quoted word is never a keyword.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/space.h"

namespace muster::hpo {

bool is_blank(char c);
/// "; did you mean 'X'?" where one of the known words is near, else nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

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

}  // namespace muster::hpo
