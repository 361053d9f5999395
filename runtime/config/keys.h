/// Keys: what a program can be told, each key bound to the field of a typed struct that it fills. Boost.Program_options reads them.
/// One list serves the INI file, the command line (--section.key), the environment (MUSTER_SECTION_KEY), --help and --print-config.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

/// Where a value came from, for messages: "job.ini:12", "the command line", "MUSTER_OPTIMIZER_LR", "the default".
struct Origin {
  enum class Kind { fallback, file, environment, command_line };
  Kind kind = Kind::fallback;
  std::string name;  ///< the file, or the variable
  int line = 0;
  std::string text() const;
};

/// One key while it is being declared; refine it with the calls below. Valid until the next add().
class Key {
 public:
  Key& at_least(double bound);
  Key& above(double bound);
  Key& at_most(double bound);
  Key& one_of(std::vector<std::string> words);   ///< and the message proposes the nearest
  /// Limits, hosts, ranks, logging: may differ when a stopped run is continued (interfaces.md, "Same command, again").
  Key& may_change();
  Key& hidden();                                  ///< not in --help
  Key& placeholder(std::string word);             ///< "--optimizer.lr RATE" in --help

  struct Rules {
    std::optional<double> least, beyond, most;
    std::vector<std::string> words;
    bool changeable = false;
    bool is_hidden = false;
    std::string placeholder;
  } rules;
};

/// Sections keep the order in which they were declared; --help and --print-config follow it.
class Keys {
 public:
  Keys();
  ~Keys();
  Keys(Keys&&) noexcept;
  Keys& operator=(Keys&&) noexcept;

  /// "optimizer" and "How parameters move": the heading of its group in --help.
  void section(const std::string& name, const std::string& heading);
  /// The field's present value is the default. `double` fields named in `*_seconds` style take durations through add_seconds.
  Key& add(const std::string& name, bool& field, const std::string& help);
  Key& add(const std::string& name, int& field, const std::string& help);
  Key& add(const std::string& name, std::int64_t& field, const std::string& help);
  Key& add(const std::string& name, std::uint64_t& field, const std::string& help);
  Key& add(const std::string& name, double& field, const std::string& help);
  Key& add(const std::string& name, std::string& field, const std::string& help);
  Key& add(const std::string& name, std::optional<int>& field, const std::string& help);
  Key& add(const std::string& name, std::optional<double>& field, const std::string& help);
  Key& add(const std::string& name, std::optional<std::string>& field, const std::string& help);
  Key& add(const std::string& name, std::vector<std::string>& field, const std::string& help);  ///< a key that may be repeated
  Key& add_seconds(const std::string& name, std::optional<double>& field, const std::string& help);  ///< "90", "15m", "02:30:00"
  Key& add_bytes(const std::string& name, std::optional<std::uint64_t>& field, const std::string& help);
  /// A section whose keys are the user's own ([search], [slurm], trial.metric.NAME): kept as (key, value, origin) in file order.
  struct Entry {
    std::string key;    ///< without the section
    std::string value;
    Origin origin;
  };
  void open_section(const std::string& prefix, std::vector<Entry>& entries, const std::string& help);

  struct Impl;
  Impl& impl() { return *impl_; }
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// What is read, weakest first. Command line beats environment beats file beats default.
struct Sources {
  std::optional<std::string> file;                    ///< path
  std::map<std::string, std::string> environment;     ///< only MUSTER_* is looked at
  std::vector<std::string> arguments;                 ///< "--train.epochs" "3", or "--train.epochs=3"
};

/// The outcome of a load: the fields are filled; this remembers from where.
struct Resolved {
  std::map<std::string, Origin> origins;
  /// The resolved file: reads back to the same settings. What --print-config shows and config.ini holds.
  std::string file_text;
  /// Keys whose value differs from that of an earlier run's config.ini and that may not change.
  std::vector<std::string> differences;
};

/// Fills the fields, or throws one Error(bad_input) that lists every violation with its place: unknown key (and the nearest known
/// one), wrong type, out of range, missing file, the traps of the INI parser (interfaces.md).
Resolved load(Keys& keys, const Sources& sources);
/// The settings of `keys` against an earlier resolved file: which keys differ that may not (see Key::may_change).
std::vector<std::string> forbidden_differences(const Keys& keys, const std::string& resolved_now, const std::string& resolved_before);
/// The option groups for --help: aligned, wrapped to `width`, defaults shown.
std::string help_text(const Keys& keys, int width);
/// This process's environment as a map.
std::map<std::string, std::string> current_environment();

}  // namespace muster
