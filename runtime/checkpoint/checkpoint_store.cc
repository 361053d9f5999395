// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checkpoint_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_reader.h"

namespace muster {
namespace {

constexpr std::string_view prefix = "step-";

/// "step-00000900", or "step-00000900.2" for the second of that step: (900, 2).
std::optional<std::pair<std::int64_t, std::int64_t>> number_of(std::string_view name) {
  if (!name.starts_with(prefix)) {
    return std::nullopt;
  }
  name.remove_prefix(prefix.size());
  const auto dot = name.find('.');
  const auto step = parse_int(name.substr(0, dot));
  const auto attempt = dot == std::string_view::npos ? 1 : parse_int(name.substr(dot + 1));
  if (!step || !attempt) {
    return std::nullopt;
  }
  return std::pair(*step, *attempt);
}

CheckpointEntry describe(const Path& path, Scrutiny scrutiny, FileSystem& files) {
  CheckpointEntry entry{.path = path};
  entry.step =
      number_of(path.filename().string()).value_or(std::pair<std::int64_t, std::int64_t>{}).first;
  try {
    const Manifest manifest = read_manifest(path, files);
    entry.bytes = manifest.bytes();
    entry.created = manifest.created;
    entry.score = manifest.files.front().info.score;
    if (scrutiny == Scrutiny::full) {
      verify_checkpoint(path, files);
    }
    entry.is_valid = true;
  } catch (const Error& error) {
    if (fault_of(error) == Fault::bad_input) {
      throw;  // a newer format: nothing is wrong with it
    }
    entry.problem = error.what();
  }
  return entry;
}

void remove_or_warn(const Path& path, FileSystem& files) {
  try {
    files.remove(path);
  } catch (const Error& error) {
    log::warning(fmt::format("an old checkpoint stays: {}", error.what()));
  }
}

}  // namespace

Manifest read_manifest(const Path& checkpoint, FileSystem& files) {
  const Path path = checkpoint / manifest_name;
  const auto text = read_file_if_there(path, files);
  if (!text) {
    throw Error(Fault::io,
                fmt::format("{}: there is no manifest: the save was cut off", checkpoint.string()));
  }
  Manifest manifest;
  try {
    manifest = parse_manifest(*text, path.string());
  } catch (const Error& error) {
    if (error.fault() == Fault::bad_input) {
      throw;
    }
    throw Error(Fault::io, fmt::format("{}: {}", path.string(), error.what()));
  }
  if (manifest.files.empty()) {
    throw Error(Fault::io, fmt::format("{}: it lists no file", path.string()));
  }
  for (const ManifestFile& file : manifest.files) {
    const std::uint64_t size = files.open(checkpoint / file.name, OpenMode::read)->size();
    if (size != file.bytes) {
      throw Error(Fault::io, fmt::format("{}: {} bytes, {} were written",
                                         (checkpoint / file.name).string(), size, file.bytes));
    }
  }
  return manifest;
}

void verify_checkpoint(const Path& checkpoint, FileSystem& files) {
  for (const ManifestFile& file : read_manifest(checkpoint, files).files) {
    read_blocks(checkpoint / file.name, file.blocks, files,
                [](const Block&, std::span<const std::byte>) {});
  }
}

std::vector<Path> CheckpointStore::names() const {
  std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, std::string>> found;
  for (const std::string& name : files_.list(directory_)) {
    if (const auto number = number_of(name)) {
      found.emplace_back(*number, name);
    }
  }
  std::ranges::sort(found, std::greater{});
  std::vector<Path> paths;
  for (const auto& [number, name] : found) {
    paths.push_back(directory_ / name);
  }
  return paths;
}

std::vector<CheckpointEntry> CheckpointStore::list(Scrutiny scrutiny) const {
  std::vector<CheckpointEntry> entries;
  for (const Path& path : names()) {
    try {
      entries.push_back(describe(path, scrutiny, files_));
    } catch (const Error& error) {
      entries.push_back({.path = path, .problem = error.what()});
    }
  }
  return entries;
}

std::optional<Path> CheckpointStore::newest(std::vector<CheckpointEntry>* skipped,
                                            Scrutiny scrutiny) const {
  for (const Path& path : names()) {
    CheckpointEntry entry = describe(path, scrutiny, files_);
    if (entry.is_valid) {
      return path;
    }
    if (skipped != nullptr) {
      skipped->push_back(std::move(entry));
    }
  }
  return std::nullopt;
}

Path CheckpointStore::free_name(std::int64_t step) const {
  const Path plain = directory_ / fmt::format("{}{:08}", prefix, step);
  Path name = plain;
  for (int attempt = 2; files_.exists(name); ++attempt) {
    name = plain;
    name += fmt::format(".{}", attempt);
  }
  return name;
}

void CheckpointStore::remove_debris() const {
  for (const std::string& name : files_.list(directory_)) {
    if (name.starts_with(".tmp-")) {
      remove_or_warn(directory_ / name, files_);
    }
  }
}

void CheckpointStore::retain(int keep, int keep_best, const std::vector<Path>& also) const {
  std::set<Path> kept;
  std::vector<CheckpointEntry> valid;
  std::set<std::int64_t> steps;
  for (CheckpointEntry& entry : list(Scrutiny::quick)) {
    // Of several of one step only the newest counts.
    if (entry.is_valid && std::ranges::find(also, entry.path) == also.end() &&
        steps.insert(entry.step).second) {
      valid.push_back(std::move(entry));
    } else if (!entry.is_valid) {
      kept.insert(entry.path);  // recovery says why it was skipped; only then is it `also`
    }
  }
  for (std::size_t i = 0; i < valid.size() && i < static_cast<std::size_t>(std::max(keep, 1));
       ++i) {
    kept.insert(valid[i].path);
  }
  std::erase_if(
      valid, [](const CheckpointEntry& entry) { return !entry.score || std::isnan(*entry.score); });
  std::ranges::stable_sort(valid, std::greater{},
                           [](const CheckpointEntry& entry) { return *entry.score; });
  for (std::size_t i = 0; i < valid.size() && i < static_cast<std::size_t>(std::max(keep_best, 0));
       ++i) {
    kept.insert(valid[i].path);
  }
  for (const Path& path : also) {
    kept.erase(path);
  }
  for (const Path& path : names()) {
    if (!kept.contains(path)) {
      remove_or_warn(path, files_);
    }
  }
}

std::optional<Path> CheckpointStore::newest_with(std::string_view file) const {
  for (const Path& path : names()) {
    try {
      const Manifest manifest = read_manifest(path, files_);
      if (const ManifestFile* found = manifest.find(file)) {
        read_blocks(path / found->name, found->blocks, files_,
                    [](const Block&, std::span<const std::byte>) {});
        return path;
      }
    } catch (const Error& error) {
      if (fault_of(error) == Fault::bad_input) {
        throw;
      }
      log::warning(fmt::format("skipping a group of checkpoints: {}", error.what()));
    }
  }
  return std::nullopt;
}

void CheckpointStore::retain_members(const std::vector<std::string>& live) const {
  std::set<std::string> wanted(live.begin(), live.end());
  for (const Path& path : names()) {
    bool is_needed = false;
    try {
      for (const ManifestFile& file : read_manifest(path, files_).files) {
        is_needed = wanted.erase(file.name) > 0 || is_needed;
      }
    } catch (const Error&) {
      continue;  // damaged: newest_with() tells; never deleted unseen
    }
    if (!is_needed) {
      remove_or_warn(path, files_);
    }
  }
}

}  // namespace muster
