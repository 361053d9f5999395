// SPDX-License-Identifier: Apache-2.0
#include "hpo/space_words.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  const std::optional<std::string> near = nearest(word, known);
  return near ? "; did you mean '" + *near + "'?" : "";
}

SpaceWords::SpaceWords(const SpaceLine& line, bool splits_at_equals) : line_(line) {
  cut(splits_at_equals);
}

SpaceWords::Word SpaceWords::cut_quoted(std::size_t& at) const {
  const std::string& text = line_.text;
  Word word{.text = {}, .offset = at, .length = 1, .is_quoted = true, .is_brace = false};
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] != '\\') {
      word.text += text[at];
      continue;
    }
    if (++at == text.size()) {
      break;
    }
    if (text[at] == 'x') {
      const std::string digits = text.substr(at + 1, 2);
      const bool is_hex = digits.size() == 2 && std::ranges::all_of(digits, [](unsigned char c) {
                            return std::isxdigit(c) != 0;
                          });
      if (!is_hex) {
        fail(at - 1, 2, "\\x wants two hexadecimal digits, as in \\x23");
      }
      word.text += static_cast<char>(std::stoi(digits, nullptr, 16));
      at += 2;
    } else {
      word.text += text[at];
    }
  }
  if (at >= text.size()) {
    fail(word.offset, 1, "this quote is never closed");
  }
  ++at;
  word.length = at - word.offset;
  return word;
}

void SpaceWords::cut(bool splits_at_equals) {
  const std::string& text = line_.text;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (is_blank(c)) {
      ++at;
    } else if (c == '"') {
      words_.push_back(cut_quoted(at));
    } else if (c == '{' || c == '}' || (splits_at_equals && c == '=')) {
      words_.push_back({std::string(1, c), at, 1, false, true});
      ++at;
    } else {
      const std::size_t from = at;
      while (at < text.size() && !is_blank(text[at]) && text[at] != '{' && text[at] != '}' &&
             !(splits_at_equals && text[at] == '=')) {
        if (text[at] == '"' || text[at] == '#') {
          fail(at, 1,
               std::string("a word with ") + text[at] + " in it must stand in quotes" +
                   (text[at] == '#' ? ", written \\x23" : ""));
        }
        ++at;
      }
      words_.push_back({text.substr(from, at - from), from, at - from, false, false});
    }
  }
}

bool SpaceWords::at(std::string_view keyword) const {
  return !at_end() && !words_[next_].is_quoted && words_[next_].text == keyword;
}

bool SpaceWords::take_if(std::string_view keyword) {
  const bool is_there = at(keyword);
  next_ += is_there ? 1 : 0;
  return is_there;
}

const SpaceWords::Word& SpaceWords::take(std::string_view wanted) {
  if (at_end() || words_[next_].is_brace) {
    fail_here("expected " + std::string(wanted));
  }
  return words_[next_++];
}

double SpaceWords::take_number(std::string_view wanted) {
  const Word& word = take(wanted);
  const std::optional<double> number = parse_double(word.text);
  if (!number || !std::isfinite(*number)) {
    fail_at(word, "expected " + std::string(wanted) + ", a number, not '" + word.text + "'");
  }
  return *number + 0.0;  // -0 becomes 0
}

void SpaceWords::fail(std::size_t column, std::size_t length, const std::string& message) const {
  const std::string head = "  " + line_.key + " = ";
  throw Error(Fault::bad_input, line_.place + ": " + message + "\n" + head + line_.text + "\n" +
                                    std::string(head.size() + column, ' ') + "^" +
                                    std::string(std::max<std::size_t>(length, 1) - 1, '~'));
}

void SpaceWords::fail_here(const std::string& message) const {
  if (at_end()) {
    fail(line_.text.size() + (line_.text.empty() ? 0 : 1), 1,
         message + (words_.empty() ? "" : " after this"));
  }
  fail_at(words_[next_], message + ", not '" + words_[next_].text + "'");
}

void SpaceWords::fail_at(const Word& word, const std::string& message) const {
  fail(word.offset, word.length, message);
}

void SpaceWords::fail_key(const std::string& message) const {
  throw Error(Fault::bad_input,
              line_.place + ": " + message + "\n  " + line_.key + " = " + line_.text + "\n  ^" +
                  std::string(std::max<std::size_t>(line_.key.size(), 1) - 1, '~'));
}

}  // namespace muster::hpo
