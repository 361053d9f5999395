/// Bindings: how the text of a key becomes the value of a field, and back. Inside of Keys; programs
/// include keys.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config/keys.h"

namespace muster {

/// A field behind its key. `put` says what the text must be ("a whole number") when it is not.
struct Binding {
  std::function<std::optional<std::string>(const Key::Rules&, const std::string&, bool store)> put;
  std::function<void()> clear;                    ///< of a repeated key, before the first put
  std::function<void(const Origin&)> place{};     ///< after a put, where a key keeps the place
  std::function<std::vector<std::string>()> get;  ///< texts that put takes; none when unset
  bool is_flag = false;                           ///< "--key" alone means true
  bool is_repeated = false;
  std::string type_word;  ///< "NUMBER", for --help
};

struct Keys::Impl {
  struct Declared {
    std::string name;
    std::string section;
    std::string help;
    Key key;
    Binding binding;
    std::vector<std::string> fallback;  ///< what get() said when the key was added
  };
  struct Open {
    std::string prefix;
    std::string help;
    std::vector<Entry>* entries;
    Key key;
    std::string section() const { return prefix.substr(0, prefix.find('.')); }
    /// What precedes a key of it on a line of its section: "" for slurm, "metric." for
    /// trial.metric.
    std::string lead() const {
      return prefix.size() == section().size() ? "" : prefix.substr(section().size() + 1) + ".";
    }
  };
  struct Section {
    std::string name;
    std::string heading;
  };
  struct Check {
    std::string name;
    std::function<std::optional<std::string>()> complaint;
  };
  std::deque<Declared> declared;  // a deque: references to its keys stay valid
  std::map<std::string, Declared*, std::less<>> by_name;
  std::deque<Open> open;
  std::vector<Section> sections;
  std::vector<Check> checks;
  std::map<std::string, std::string, std::less<>> absent;  // and what there is instead

  Declared* find(std::string_view name);
  const Declared* find(std::string_view name) const;
  const Open* find_open(std::string_view name) const;
  bool has_declared_section(std::string_view name) const;
};

template <class Field>
Binding binding_of(Field& field);
Binding binding_of_seconds(double& field);
Binding binding_of_seconds(std::optional<double>& field);
Binding binding_of_bytes(std::uint64_t& field);
Binding binding_of_bytes(std::optional<std::uint64_t>& field);

}  // namespace muster
