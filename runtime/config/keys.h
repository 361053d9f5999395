/// Keys: what a program can be told, each key bound to the field of a typed struct that it fills.
/// One list serves the INI file, the command line (--section.key), the environment
/// (MUSTER_SECTION_KEY), --help and --print-config. The fields must outlive the Keys.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

/// Where a value came from, for messages: "job.ini:12", "the command line", "MUSTER_OPTIMIZER_LR".
struct Origin {
  enum class Kind { fallback, file, environment, command_line };
  Kind kind = Kind::fallback;
  std::string name;  ///< the file, or the variable
  int line = 0;
  std::string text() const;
};
/// Of each key that was given, the places that gave it: one a value of a repeated key, else the
/// last of them holds.
using Origins = std::map<std::string, std::vector<Origin>>;

/// One key while it is being declared; refine it with these calls. Valid as long as its Keys.
class Key {
 public:
  Key& at_least(double bound);
  Key& above(double bound);
  Key& at_most(double bound);
  Key& below(double bound);
  Key& one_of(std::vector<std::string> words);  ///< and the message proposes the nearest
  Key& or_plugin();                             ///< "plugin:LIB.so" too
  /// Words that people bring from elsewhere: refused like others, and what there is instead.
  Key& without(std::vector<std::string> words, std::string instead);
  /// Limits, hosts, ranks, logging: may differ when a stopped run is continued (interfaces.md).
  Key& may_change();
  /// A flag of the command (--json, --print-config): not of the file, not of the environment.
  Key& only_on_command_line();
  Key& hidden();                       ///< not in --help
  Key& placeholder(std::string word);  ///< "--optimizer.lr RATE" in --help

  struct Rules {
    std::optional<double> least, beyond, most, under;
    std::vector<std::string> words;
    bool takes_plugin = false;
    std::vector<std::string> absent;
    std::string instead;
    bool changeable = false;
    bool command_only = false;
    bool is_hidden = false;
    std::string placeholder;
  } rules;
};

/// Sections keep the order in which they were declared; --help and --print-config follow it.
/// A default is the value a field has when its key is added. Not thread-safe.
class Keys {
 public:
  Keys();
  ~Keys();
  Keys(Keys&&) noexcept;
  Keys& operator=(Keys&&) noexcept;

  /// A value that keeps the place it came from.
  struct Entry {
    std::string key;  ///< without the prefix
    std::string value;
    Origin origin;
  };

  /// ("optimizer", "How parameters move"): the heading of its group in --help. Keys without a
  /// section belong to "".
  void section(const std::string& name, const std::string& heading);

  Key& add(const std::string& name, bool& field, const std::string& help);
  Key& add(const std::string& name, int& field, const std::string& help);
  Key& add(const std::string& name, std::int64_t& field, const std::string& help);
  Key& add(const std::string& name, std::uint64_t& field, const std::string& help);
  Key& add(const std::string& name, double& field, const std::string& help);
  Key& add(const std::string& name, std::string& field, const std::string& help);
  Key& add(const std::string& name, std::optional<bool>& field, const std::string& help);
  Key& add(const std::string& name, std::optional<int>& field, const std::string& help);
  Key& add(const std::string& name, std::optional<std::int64_t>& field, const std::string& help);
  Key& add(const std::string& name, std::optional<std::uint64_t>& field, const std::string& help);
  Key& add(const std::string& name, std::optional<double>& field, const std::string& help);
  Key& add(const std::string& name, std::optional<std::string>& field, const std::string& help);
  /// A list in one line, "0.9 0.999" or "0.9, 0.999"; bounds hold for each element.
  Key& add(const std::string& name, std::vector<int>& field, const std::string& help);
  Key& add(const std::string& name, std::vector<double>& field, const std::string& help);
  /// A key that may be repeated, one element a line.
  Key& add(const std::string& name, std::vector<std::string>& field, const std::string& help);
  /// The same, each element with the place that it came from; its own key stays empty.
  Key& add(const std::string& name, std::vector<Entry>& field, const std::string& help);
  /// A duration: "90", "15m", "02:30:00". The field holds seconds.
  Key& add_seconds(const std::string& name, double& field, const std::string& help);
  Key& add_seconds(const std::string& name, std::optional<double>& field, const std::string& help);
  /// A size: "512", "64K", "1.5GB".
  Key& add_bytes(const std::string& name, std::uint64_t& field, const std::string& help);
  Key& add_bytes(const std::string& name, std::optional<std::uint64_t>& field,
                 const std::string& help);

  /// Keys that are the user's own ([search], [slurm], trial.metric.NAME): kept in file order, raw.
  Key& open_section(const std::string& prefix, std::vector<Entry>& entries,
                    const std::string& help);

  /// A rule over several keys, asked once every key has its value: a sentence, or nothing. It is
  /// reported with the place that set `name`.
  void check(const std::string& name, std::function<std::optional<std::string>()> complaint);

  /// A key that people bring from elsewhere: refused by name, with a sentence on what there is
  /// instead.
  void without(const std::string& name, const std::string& instead);

  /// "optimizer.lr" and so on, in order of declaration; open sections are not among them.
  std::vector<std::string> names() const;
  /// Why `value` would be refused for `name` (also when there is no such key), or nothing. Sets
  /// nothing. This is how a search space is checked before the first trial starts.
  std::optional<std::string> complaint_about(const std::string& name,
                                             const std::string& value) const;

  struct Impl;
  Impl& impl() { return *impl_; }
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// The known key that an unknown one most likely means.
std::optional<std::string> nearest_key(const Keys& keys, std::string_view unknown);
/// MUSTER_OPTIMIZER_LR for optimizer.lr.
std::string variable_of(std::string_view key);
/// The option groups for --help: aligned, wrapped to `width`, defaults shown. With `section`, only
/// that one ("" is the keys without a section).
std::string help_text(const Keys& keys, int width,
                      const std::optional<std::string>& section = std::nullopt);

}  // namespace muster
