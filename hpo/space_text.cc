// SPDX-License-Identifier: Apache-2.0
#include "hpo/space_text.h"

#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

/// A word as it stands in a file.
std::string quoted(const std::string& word) {
  const bool is_keyword = word == "if" || word == "prior" || word == "and" || word == "in";
  if (!word.empty() && !is_keyword && word.find_first_of(" \t\r\n\"{}#=\\") == std::string::npos) {
    return word;
  }
  std::string result = "\"";
  for (const char c : word) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || c == '#') {
      result += std::string("\\x") + digits[byte / 16] + digits[byte % 16];
    } else {
      result += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    }
  }
  return result + '"';
}

std::string test_text(const Space& space, const Test& test) {
  static constexpr std::string_view names[] = {"==", "!=", "<", "<=", ">", ">=", "in"};
  std::string text =
      space[test.parameter].key + " " + std::string(names[static_cast<int>(test.op)]);
  const auto value = [&](double x) {
    return space[test.parameter].kind == Kind::number
               ? exact(x)
               : quoted(space[test.parameter].words[static_cast<std::size_t>(x)]);
  };
  if (test.op != Test::Op::in) {
    return text + " " + value(test.values.front());
  }
  text += " {";
  for (double x : test.values) {
    text += " " + value(x);
  }
  return text + " }";
}

std::string domain_text(const Parameter& parameter) {
  static constexpr std::string_view scales[] = {"linear", "log", "revlog", "logit"};
  if (parameter.kind == Kind::number) {
    std::string text = std::string(parameter.is_int ? "int " : "float ") +
                       std::string(scales[static_cast<int>(parameter.scale)]) + " " +
                       exact(parameter.low) + " " + exact(parameter.high);
    text += parameter.step > 0 ? " step " + exact(parameter.step) : "";
    return text + (parameter.points > 0 ? " points " + std::to_string(parameter.points) : "");
  }
  std::string text = parameter.kind == Kind::constant ? "const"
                     : parameter.kind == Kind::order  ? "order"
                                                      : "choice";
  for (const std::string& word : parameter.words) {
    text += " " + quoted(word);
  }
  return text;
}

std::string prior_text(const Parameter& parameter) {
  if (parameter.prior.empty()) {
    return "";
  }
  std::string text = " prior";
  for (std::size_t i = 0; i < parameter.prior.size(); ++i) {
    const bool is_centre = parameter.kind == Kind::number && i == 0;
    text += " " + exact(is_centre ? parameter.decode(parameter.prior[0]) : parameter.prior[i]);
  }
  return text;
}

}  // namespace

std::string condition_text(const Space& space, const Condition& condition) {
  std::string text;
  for (const Test& test : condition) {
    text += (text.empty() ? "" : " and ") + test_text(space, test);
  }
  return text;
}

std::string Space::text() const {
  std::string text;
  for (const Parameter& parameter : parameters_) {
    text += parameter.key + " = " + domain_text(parameter) + prior_text(parameter);
    text += parameter.condition.empty()
                ? "\n"
                : " if " + condition_text(*this, parameter.condition) + "\n";
  }
  for (const Condition& condition : forbidden_) {
    text += "forbid = " + condition_text(*this, condition) + "\n";
  }
  return text;
}

}  // namespace muster::hpo
