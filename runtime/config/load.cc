// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/load.h"

#include <fmt/format.h>
#include <boost/program_options.hpp>

#include <algorithm>
#include <set>

#include "runtime/base/file_system.h"
#include "runtime/base/text.h"
#include "runtime/config/bindings.h"
#include "runtime/config/ini.h"
#include "runtime/config/resolved.h"

namespace muster {
namespace {

namespace options = boost::program_options;
using Texts = std::vector<std::string>;

/// One key with a value, as one source gave it.
struct Given {
  std::string key;
  std::string value;
  Origin origin;
};

/// Reads the sources, weakest last in `given_`, and hands the winners to the fields.
class Loader {
 public:
  explicit Loader(Keys& keys) : keys_(keys), impl_(keys.impl()) {}

  void take_arguments(const Texts& arguments) {
    const auto line = split_command_line(keys_, arguments);
    for (const auto& word : line.words) {
      violations_.push_back(fmt::format("the command line: unexpected word '{}'", word));
    }
    for (const auto& option : line.options) {
      const auto equals = option.find('=');
      take({option.substr(2, equals - 2),
            option.substr(equals + 1),
            {Origin::Kind::command_line, "", 0}});
    }
    close_source();
  }

  void take_environment(const std::map<std::string, std::string>& environment) {
    std::map<std::string, std::string> keys_by_variable;
    for (const auto& each : impl_.declared) {
      keys_by_variable[variable_of(each.name)] = each.name;
    }
    for (const auto& [variable, value] : environment) {
      if (!variable.starts_with("MUSTER_") || is_reserved_variable(variable) || value.empty()) {
        continue;
      }
      const Origin origin{Origin::Kind::environment, variable, 0};
      if (const auto at = keys_by_variable.find(variable); at == keys_by_variable.end()) {
        take_unknown_variable(variable);
      } else if (!impl_.find(at->second)->key.rules.command_only) {
        take({at->second, value, origin});
      }
    }
    close_source();
  }

  void take_file(const std::string& text, const std::string& name) {
    auto ini = read_ini(text, name);
    std::ranges::copy(ini.violations, std::back_inserter(violations_));
    refuse_unknown_sections(ini, name);
    refuse_duplicates(ini, name);
    for (const auto& entry : ini.entries) {
      const Origin origin{Origin::Kind::file, name, entry.line};
      const bool is_open = impl_.find_open(entry.key) != nullptr && !impl_.find(entry.key);
      take({entry.key, is_open ? entry.value : ini_unescaped(entry.value), origin});
    }
    close_source();
  }

  Resolved finish() {
    store_winners();
    store_open_entries();
    if (violations_.empty()) {
      run_checks();
    }
    if (!violations_.empty()) {
      throw_violations(violations_);
    }
    resolved_.file_text = resolved_text(keys_, nullptr);
    resolved_.explained_text = resolved_text(keys_, &resolved_.origins);
    return std::move(resolved_);
  }

 private:
  void complain(const Origin& origin, const std::string& sentence) {
    violations_.push_back(fmt::format("{}: {}", origin.text(), sentence));
  }

  void take(const Given& given) {
    const auto* declared = impl_.find(given.key);
    if (declared == nullptr && impl_.find_open(given.key) != nullptr) {
      open_.push_back(given);
      return;
    }
    if (declared != nullptr && declared->key.rules.command_only &&
        given.origin.kind != Origin::Kind::command_line) {
      complain(given.origin, fmt::format("'{}' belongs on the command line", given.key));
      return;
    }
    if (const auto complaint = keys_.complaint_about(given.key, given.value)) {
      complain(given.origin, *complaint);
      return;
    }
    current_.push_back(given);
  }

  /// Boost's map takes the sources strongest first: the first to name a key keeps it.
  void close_source() {
    options::options_description known;
    for (const auto& each : impl_.declared) {
      known.add_options()(each.name.c_str(), options::value<Texts>());
    }
    std::set<std::string> named;
    options::parsed_options parsed(&known);
    for (const auto& given : current_) {
      if (map_.count(given.key) == 0) {
        resolved_.origins[given.key].push_back(given.origin);
      }
      named.insert(given.key);
      parsed.options.emplace_back(given.key, Texts{given.value});
    }
    options::store(parsed, map_);
    current_.clear();
    std::ranges::move(open_, std::back_inserter(open_entries_.emplace_back()));
    open_.clear();
  }

  void take_unknown_variable(const std::string& variable) {
    const std::string rest = variable.substr(std::string_view("MUSTER_").size());
    Texts names;
    for (const auto& each : impl_.declared) {
      names.push_back(variable_of(each.name));
    }
    for (const auto& section : impl_.sections) {
      if (!section.name.empty() && variable.starts_with(variable_of(section.name) + "_")) {
        const auto near = nearest(variable, names);
        complain({Origin::Kind::environment, variable, 0},
                 "no such key" + (near ? fmt::format(" (did you mean {}?)", *near) : ""));
        return;
      }
    }
    const auto meant = std::ranges::find_if(
        names, [&](const std::string& name) { return name.ends_with("_" + rest); });
    if (meant != names.end()) {
      resolved_.warnings.push_back(fmt::format(
          "the variable {} is no key and has no effect; did you mean {}?", variable, *meant));
    }
  }

  void refuse_unknown_sections(IniText& ini, const std::string& name) {
    Texts known;
    for (const auto& section : impl_.sections) {
      known.push_back(section.name);
    }
    for (const auto& section : ini.sections) {
      if (impl_.has_declared_section(section.name)) {
        continue;
      }
      const auto near = nearest(section.name, known);
      complain({Origin::Kind::file, name, section.line},
               fmt::format("unknown section [{}]{}", section.name,
                           near ? fmt::format(" (did you mean [{}]?)", *near) : ""));
      std::erase_if(ini.entries, [&](const IniEntry& entry) {
        return entry.key.starts_with(section.name + ".");
      });
    }
  }

  void refuse_duplicates(IniText& ini, const std::string& name) {
    std::map<std::string, int> seen;
    std::erase_if(ini.entries, [&](const IniEntry& entry) {
      const auto* declared = impl_.find(entry.key);
      if (declared == nullptr || declared->binding.is_repeated) {
        return false;
      }
      const auto [at, is_first] = seen.emplace(entry.key, entry.line);
      if (!is_first) {
        complain({Origin::Kind::file, name, entry.line},
                 fmt::format("{} is given twice, first in line {}", entry.key, at->second));
      }
      return !is_first;
    });
  }

  void store_winners() {
    for (auto& each : impl_.declared) {
      if (map_.count(each.name) == 0) {
        continue;
      }
      const auto& texts = map_[each.name].as<Texts>();
      if (each.binding.is_repeated) {
        put_all(each, texts);
      } else {
        put(each, texts.back());
      }
    }
  }

  static void put(Keys::Impl::Declared& declared, const std::string& text) {
    declared.binding.put(declared.key.rules, text, true);
  }

  void put_all(Keys::Impl::Declared& declared, const Texts& texts) {
    const auto& origins = resolved_.origins.at(declared.name);
    declared.binding.clear();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      put(declared, texts[i]);
      if (declared.binding.place) {
        declared.binding.place(origins[i]);
      }
    }
  }

  /// Sources strongest first: a key of an open section belongs to the first that names it.
  void store_open_entries() {
    for (auto& open : impl_.open) {
      open.entries->clear();
    }
    std::set<std::string> owned;
    for (auto source = open_entries_.begin(); source != open_entries_.end(); ++source) {
      std::set<std::string> here;
      for (const auto& given : *source) {
        if (!owned.contains(given.key)) {
          const auto* open = impl_.find_open(given.key);
          open->entries->push_back(
              {given.key.substr(open->prefix.size() + 1), given.value, given.origin});
          here.insert(given.key);
        }
      }
      owned.merge(here);
    }
  }

  void run_checks() {
    for (const auto& check : impl_.checks) {
      if (const auto complaint = check.complaint()) {
        const auto at = resolved_.origins.find(check.name);
        at == resolved_.origins.end() ? violations_.push_back(*complaint)
                                      : complain(at->second.back(), *complaint);
      }
    }
  }

  Keys& keys_;
  Keys::Impl& impl_;
  options::variables_map map_;
  std::vector<Given> current_;
  std::vector<Given> open_;
  std::vector<std::vector<Given>> open_entries_;
  Texts violations_;
  Resolved resolved_;
};

std::string read_configuration(const std::string& path) {
  if (auto text = read_file_if_there(path)) {
    return *text;
  }
  std::string sentence = fmt::format("the configuration file '{}' does not exist", path);
  const Path wanted(path);
  const auto directory = wanted.has_parent_path() ? wanted.parent_path() : Path(".");
  auto there = posix_file_system().list(directory);
  std::erase_if(there, [](const std::string& name) { return !name.ends_with(".ini"); });
  if (const auto near = nearest(wanted.filename().string(), there)) {
    sentence += fmt::format(" (did you mean '{}'?)",
                            wanted.has_parent_path() ? (directory / *near).string() : *near);
  }
  throw Error(Fault::bad_input, sentence);
}

}  // namespace

Resolved load(Keys& keys, const Sources& sources) {
  Loader loader(keys);
  loader.take_arguments(sources.arguments);
  loader.take_environment(sources.environment);
  if (sources.file) {
    loader.take_file(read_configuration(*sources.file), *sources.file);
  }
  return loader.finish();
}

Resolved load_text(Keys& keys, const std::string& text, const std::string& name) {
  Loader loader(keys);
  loader.take_file(text, name);
  return loader.finish();
}

}  // namespace muster
