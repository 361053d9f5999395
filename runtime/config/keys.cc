// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/config/bindings.h"

namespace muster {
namespace {

std::string section_of(const std::string& name) {
  const auto dot = name.find('.');
  return dot == std::string::npos ? "" : name.substr(0, dot);
}

std::string_view tail_of(std::string_view name) {
  const auto dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

/// "lr" of "learning_rate"; nothing of a single word.
std::string initials_of(std::string_view name) {
  std::string result;
  for (const auto& word : split(name, '_')) {
    result += word.substr(0, 1);
  }
  return result.size() < 2 ? "" : result;
}

Key& declare(Keys::Impl& impl, const std::string& name, const std::string& help, Binding binding) {
  require(!impl.by_name.contains(name), "the key " + name + " is declared twice");
  auto fallback = binding.get();
  auto& declared = impl.declared.emplace_back(Keys::Impl::Declared{
      name, section_of(name), help, Key{}, std::move(binding), std::move(fallback)});
  impl.by_name[name] = &declared;
  if (!impl.has_declared_section(declared.section)) {
    impl.sections.push_back({declared.section, ""});
  }
  return declared.key;
}

}  // namespace

std::string Origin::text() const {
  switch (kind) {
    case Kind::file:
      return fmt::format("{}:{}", name, line);
    case Kind::environment:
      return name;
    case Kind::command_line:
      return "the command line";
    case Kind::fallback:
      break;
  }
  return "the default";
}

Key& Key::at_least(double bound) {
  rules.least = bound;
  return *this;
}
Key& Key::above(double bound) {
  rules.beyond = bound;
  return *this;
}
Key& Key::at_most(double bound) {
  rules.most = bound;
  return *this;
}
Key& Key::below(double bound) {
  rules.under = bound;
  return *this;
}
Key& Key::one_of(std::vector<std::string> words) {
  rules.words = std::move(words);
  return *this;
}
Key& Key::or_plugin() {
  rules.takes_plugin = true;
  return *this;
}
Key& Key::without(std::vector<std::string> words, std::string instead) {
  rules.absent = std::move(words);
  rules.instead = std::move(instead);
  return *this;
}
Key& Key::may_change() {
  rules.changeable = true;
  return *this;
}
Key& Key::only_on_command_line() {
  rules.command_only = true;
  return *this;
}
Key& Key::hidden() {
  rules.is_hidden = true;
  return *this;
}
Key& Key::placeholder(std::string word) {
  rules.placeholder = std::move(word);
  return *this;
}

Keys::Keys() : impl_(std::make_unique<Impl>()) {}
Keys::~Keys() = default;
Keys::Keys(Keys&&) noexcept = default;
Keys& Keys::operator=(Keys&&) noexcept = default;

Keys::Impl::Declared* Keys::Impl::find(std::string_view name) {
  const auto at = by_name.find(name);
  return at == by_name.end() ? nullptr : at->second;
}

const Keys::Impl::Declared* Keys::Impl::find(std::string_view name) const {
  const auto at = by_name.find(name);
  return at == by_name.end() ? nullptr : at->second;
}

const Keys::Impl::Open* Keys::Impl::find_open(std::string_view name) const {
  const auto covers = [&](const Open& each) {
    return name.size() > each.prefix.size() + 1 && name.starts_with(each.prefix) &&
           name[each.prefix.size()] == '.';
  };
  const auto at = std::ranges::find_if(open, covers);
  return at == open.end() ? nullptr : &*at;
}

bool Keys::Impl::has_declared_section(std::string_view name) const {
  return std::ranges::count(sections, name, &Section::name) != 0;
}

void Keys::section(const std::string& name, const std::string& heading) {
  const auto at = std::ranges::find(impl_->sections, name, &Impl::Section::name);
  if (at == impl_->sections.end()) {
    impl_->sections.push_back({name, heading});
  } else {
    at->heading = heading;
  }
}

#define MUSTER_ADD(Type)                                                          \
  Key& Keys::add(const std::string& name, Type& field, const std::string& help) { \
    return declare(*impl_, name, help, binding_of(field));                        \
  }
MUSTER_ADD(bool)
MUSTER_ADD(int)
MUSTER_ADD(std::int64_t)
MUSTER_ADD(std::uint64_t)
MUSTER_ADD(double)
MUSTER_ADD(std::string)
MUSTER_ADD(std::optional<bool>)
MUSTER_ADD(std::optional<int>)
MUSTER_ADD(std::optional<std::int64_t>)
MUSTER_ADD(std::optional<std::uint64_t>)
MUSTER_ADD(std::optional<double>)
MUSTER_ADD(std::optional<std::string>)
MUSTER_ADD(std::vector<int>)
MUSTER_ADD(std::vector<double>)
MUSTER_ADD(std::vector<std::string>)
MUSTER_ADD(std::vector<Keys::Entry>)
#undef MUSTER_ADD

Key& Keys::add_seconds(const std::string& name, double& field, const std::string& help) {
  return declare(*impl_, name, help, binding_of_seconds(field));
}
Key& Keys::add_seconds(const std::string& name, std::optional<double>& field,
                       const std::string& help) {
  return declare(*impl_, name, help, binding_of_seconds(field));
}
Key& Keys::add_bytes(const std::string& name, std::uint64_t& field, const std::string& help) {
  return declare(*impl_, name, help, binding_of_bytes(field));
}
Key& Keys::add_bytes(const std::string& name, std::optional<std::uint64_t>& field,
                     const std::string& help) {
  return declare(*impl_, name, help, binding_of_bytes(field));
}

Key& Keys::open_section(const std::string& prefix, std::vector<Entry>& entries,
                        const std::string& help) {
  auto& open = impl_->open.emplace_back(Impl::Open{prefix, help, &entries, Key{}});
  if (!impl_->has_declared_section(open.section())) {
    impl_->sections.push_back({open.section(), ""});
  }
  return open.key;
}

void Keys::check(const std::string& name, std::function<std::optional<std::string>()> complaint) {
  impl_->checks.push_back({name, std::move(complaint)});
}

void Keys::without(const std::string& name, const std::string& instead) {
  impl_->absent[name] = instead;
}

std::vector<std::string> Keys::names() const {
  std::vector<std::string> result;
  std::ranges::transform(impl_->declared, std::back_inserter(result), &Impl::Declared::name);
  return result;
}

std::optional<std::string> Keys::complaint_about(const std::string& name,
                                                 const std::string& value) const {
  const auto* declared = impl_->find(name);
  if (declared == nullptr) {
    if (impl_->find_open(name) != nullptr) {
      return std::nullopt;
    }
    if (const auto absent = impl_->absent.find(name); absent != impl_->absent.end()) {
      return fmt::format("no key '{}': {}", name, absent->second);
    }
    const auto near = nearest_key(*this, name);
    return fmt::format("unknown key '{}'{}", name,
                       near ? fmt::format(" (did you mean '{}'?)", *near) : "");
  }
  if (const auto must = declared->binding.put(declared->key.rules, value, false)) {
    const auto& rules = declared->key.rules;
    const bool is_absent = std::ranges::count(rules.absent, value) != 0;
    return fmt::format("{} must be {}, not '{}'{}", name, *must, value,
                       is_absent ? ": " + rules.instead : "");
  }
  return std::nullopt;
}

std::optional<std::string> nearest_key(const Keys& keys, std::string_view unknown) {
  std::vector<std::string> known;
  // The right word under the wrong section ("train.lr"), or written out ("learning_rate").
  std::vector<std::string> same_tail;
  for (const auto& each : keys.impl().declared) {
    if (!each.key.rules.is_hidden) {
      known.push_back(each.name);
      if (tail_of(each.name) == tail_of(unknown) ||
          tail_of(each.name) == initials_of(tail_of(unknown))) {
        same_tail.push_back(each.name);
      }
    }
  }
  if (same_tail.empty()) {
    return nearest(unknown, known);
  }
  const auto near = nearest(unknown, same_tail);
  return near ? near : same_tail.front();
}

std::string variable_of(std::string_view key) {
  std::string name = "MUSTER_";
  for (const char c : key) {
    name +=
        c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

}  // namespace muster
