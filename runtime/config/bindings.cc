// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/bindings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "runtime/base/text.h"

namespace muster {
namespace {

using Complaint = std::optional<std::string>;

/// How one value of a type is read, written and named. `read` gives nothing for text that is none.
template <class T>
struct Form {
  std::function<std::optional<T>(const std::string&)> read;
  std::function<std::string(const T&)> write;
  std::string what;  ///< "must be a whole number"
  std::string word;  ///< "NUMBER"
};

Complaint out_of_bounds(const Key::Rules& rules, double value) {
  if (rules.least && !(value >= *rules.least)) {
    return "at least " + exact(*rules.least);
  }
  if (rules.beyond && !(value > *rules.beyond)) {
    return "above " + exact(*rules.beyond);
  }
  if (rules.most && !(value <= *rules.most)) {
    return "at most " + exact(*rules.most);
  }
  if (rules.under && !(value < *rules.under)) {
    return "below " + exact(*rules.under);
  }
  return std::nullopt;
}

Complaint not_among(const Key::Rules& rules, const std::string& value) {
  if (rules.words.empty() || std::ranges::find(rules.words, value) != rules.words.end() ||
      (rules.takes_plugin && value.starts_with("plugin:"))) {
    return std::nullopt;
  }
  std::string sentence =
      "one of " + join(rules.words, ", ") + (rules.takes_plugin ? " or plugin:LIB.so" : "");
  if (const auto near = nearest(value, rules.words)) {
    sentence += fmt::format(" (did you mean '{}'?)", *near);
  }
  return sentence;
}

template <class T>
Complaint refused(const Key::Rules& rules, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    return not_among(rules, value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return std::nullopt;
  } else {
    return out_of_bounds(rules, static_cast<double>(value));
  }
}

/// Reads one value by its form and its rules; what it must be, or nothing and `value` is set.
template <class T>
Complaint read_value(const Form<T>& form, const Key::Rules& rules, const std::string& text,
                     T& value) {
  const auto parsed = form.read(text);
  if (!parsed) {
    return form.what;
  }
  if (auto complaint = refused(rules, *parsed)) {
    return complaint;
  }
  value = *parsed;
  return std::nullopt;
}

template <class Whole>
std::optional<Whole> read_whole(const std::string& text) {
  Whole value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

template <class Whole>
Form<Whole> whole_form() {
  return {read_whole<Whole>, [](const Whole& value) { return std::to_string(value); },
          std::is_unsigned_v<Whole> ? "a whole number, not negative" : "a whole number", "N"};
}

Form<double> double_form() {
  return {[](const std::string& text) -> std::optional<double> {
            const auto value = parse_double(text);
            return value && std::isfinite(*value) ? value : std::nullopt;
          },
          [](const double& value) { return exact(value); }, "a number", "X"};
}

template <class T>
Form<T> form_of() {
  if constexpr (std::is_same_v<T, bool>) {
    return {[](const std::string& text) { return parse_bool(text); },
            [](const bool& value) { return value ? "true" : "false"; }, "true or false", "BOOL"};
  } else if constexpr (std::is_same_v<T, double>) {
    return double_form();
  } else if constexpr (std::is_same_v<T, std::string>) {
    return {[](const std::string& text) { return std::optional(text); },
            [](const std::string& value) { return value; }, "a word", "TEXT"};
  } else {
    return whole_form<T>();
  }
}

template <class T>
Binding plain(T& field, const Form<T>& form) {
  return {.put =
              [&field, form](const Key::Rules& rules, const std::string& text, bool store) {
                T value = field;
                auto complaint = read_value(form, rules, text, value);
                if (!complaint && store) {
                  field = value;
                }
                return complaint;
              },
          .clear = [] {},
          .get = [&field, form] { return std::vector<std::string>{form.write(field)}; },
          .is_flag = std::is_same_v<T, bool>,
          .is_repeated = false,
          .type_word = form.word};
}

template <class T>
Binding optional(std::optional<T>& field, const Form<T>& form) {
  return {.put =
              [&field, form](const Key::Rules& rules, const std::string& text, bool store) {
                T value{};
                auto complaint = read_value(form, rules, text, value);
                if (!complaint && store) {
                  field = value;
                }
                return complaint;
              },
          .clear = [] {},
          .get =
              [&field, form] {
                return field ? std::vector<std::string>{form.write(*field)}
                             : std::vector<std::string>{};
              },
          .is_flag = std::is_same_v<T, bool>,
          .is_repeated = false,
          .type_word = form.word};
}

/// "0.9 0.999" and "0.9, 0.999".
template <class T>
Binding list(std::vector<T>& field, const Form<T>& form) {
  return {
      .put = [&field, form](const Key::Rules& rules, std::string text, bool store) -> Complaint {
        std::ranges::replace(text, ',', ' ');
        std::vector<T> values;
        for (const auto& word : words(text)) {
          if (auto complaint = read_value(form, rules, word, values.emplace_back())) {
            return "a list, each " + *complaint;
          }
        }
        if (store) {
          field = values;
        }
        return std::nullopt;
      },
      .clear = [] {},
      .get =
          [&field, form] {
            std::vector<std::string> texts;
            std::ranges::transform(field, std::back_inserter(texts), form.write);
            return field.empty() ? std::vector<std::string>{}
                                 : std::vector<std::string>{join(texts, " ")};
          },
      .is_flag = false,
      .is_repeated = false,
      .type_word = form.word + "..."};
}

Binding repeated(std::vector<std::string>& field) {
  return {
      .put = [&field](const Key::Rules& rules, const std::string& text, bool store) -> Complaint {
        auto complaint = not_among(rules, text);
        if (!complaint && store) {
          field.push_back(text);
        }
        return complaint;
      },
      .clear = [&field] { field.clear(); },
      .get = [&field] { return field; },
      .is_flag = false,
      .is_repeated = true,
      .type_word = "TEXT"};
}

Binding placed(std::vector<Keys::Entry>& field) {
  return {
      .put = [&field](const Key::Rules& rules, const std::string& text, bool store) -> Complaint {
        auto complaint = not_among(rules, text);
        if (!complaint && store) {
          field.push_back({"", text, {}});
        }
        return complaint;
      },
      .clear = [&field] { field.clear(); },
      .place = [&field](const Origin& origin) { field.back().origin = origin; },
      .get =
          [&field] {
            std::vector<std::string> texts;
            std::ranges::transform(field, std::back_inserter(texts), &Keys::Entry::value);
            return texts;
          },
      .is_flag = false,
      .is_repeated = true,
      .type_word = "TEXT"};
}

Form<double> seconds_form() {
  return {[](const std::string& text) { return parse_seconds(text); },
          [](const double& value) { return exact(value); },
          "a duration such as 90, 15m or 02:30:00", "TIME"};
}

Form<std::uint64_t> bytes_form() {
  return {[](const std::string& text) { return parse_bytes(text); },
          [](const std::uint64_t& value) { return std::to_string(value); },
          "a size such as 512, 64K or 1.5GB", "SIZE"};
}

template <class Field>
struct Chosen {
  static Binding of(Field& field) { return plain(field, form_of<Field>()); }
};
template <class T>
struct Chosen<std::optional<T>> {
  static Binding of(std::optional<T>& field) { return optional(field, form_of<T>()); }
};
template <class T>
struct Chosen<std::vector<T>> {
  static Binding of(std::vector<T>& field) { return list(field, form_of<T>()); }
};
template <>
struct Chosen<std::vector<std::string>> {
  static Binding of(std::vector<std::string>& field) { return repeated(field); }
};
template <>
struct Chosen<std::vector<Keys::Entry>> {
  static Binding of(std::vector<Keys::Entry>& field) { return placed(field); }
};

}  // namespace

template <class Field>
Binding binding_of(Field& field) {
  return Chosen<Field>::of(field);
}
template Binding binding_of(bool&);
template Binding binding_of(int&);
template Binding binding_of(std::int64_t&);
template Binding binding_of(std::uint64_t&);
template Binding binding_of(double&);
template Binding binding_of(std::string&);
template Binding binding_of(std::optional<bool>&);
template Binding binding_of(std::optional<int>&);
template Binding binding_of(std::optional<std::int64_t>&);
template Binding binding_of(std::optional<std::uint64_t>&);
template Binding binding_of(std::optional<double>&);
template Binding binding_of(std::optional<std::string>&);
template Binding binding_of(std::vector<int>&);
template Binding binding_of(std::vector<double>&);
template Binding binding_of(std::vector<std::string>&);
template Binding binding_of(std::vector<Keys::Entry>&);

Binding binding_of_seconds(double& field) {
  return plain(field, seconds_form());
}
Binding binding_of_seconds(std::optional<double>& field) {
  return optional(field, seconds_form());
}
Binding binding_of_bytes(std::uint64_t& field) {
  return plain(field, bytes_form());
}
Binding binding_of_bytes(std::optional<std::uint64_t>& field) {
  return optional(field, bytes_form());
}

}  // namespace muster
