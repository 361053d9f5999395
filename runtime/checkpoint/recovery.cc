// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/recovery.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/agreement.h"
#include "runtime/checkpoint/checkpoint_reader.h"

namespace muster {
namespace {

/// One checkpoint being tried by all ranks.
class Attempt {
 public:
  Attempt(const CheckpointStore& store, Communicator& group, Path path, const Manifest& manifest,
          std::string_view file)
      : store_(store), group_(group), path_(std::move(path)), file_(*manifest.find(file)) {}

  /// Another model, another configuration: the user's, not damage.
  void require_same(const StateTree& tree, const CheckpointInfo& expected) const {
    const std::string model = model_difference(file_, tree);
    if (!model.empty()) {
      throw Error(
          Fault::bad_input,
          fmt::format("{} is of another model: {}. Give the run another name (--name NEW), or "
                      "the model it was saved with",
                      path_.string(), model));
    }
    const auto settings = setting_differences(file_.info.settings, expected.settings);
    if (!settings.empty()) {
      throw Error(Fault::bad_input, fmt::format("{} was saved by another configuration: {}. Give "
                                                "the run another name (--name NEW), or "
                                                "set these back",
                                                path_.string(), fmt::join(settings, "; ")));
    }
  }

  /// Empty when every byte holds, on all ranks; else what the first rank found.
  std::string load(StateTree& tree, Mover& mover) {
    CheckpointReader reader(path_ / file_.name, file_, tree, store_.files());
    auto covered = reader.needed_blocks();
    agree_on_max(group_, covered);
    std::vector<std::int64_t> also(covered.size(), 0);
    std::size_t turn = 0;  // blocks that nobody needs are checked in turn
    for (std::size_t i = 0; i < covered.size(); ++i) {
      if (covered[i] == 0 &&
          static_cast<int>(turn++ % static_cast<std::size_t>(group_.size())) == group_.rank()) {
        also[i] = 1;
      }
    }
    std::string problem;
    try {
      reader.read(also);
    } catch (const Error& error) {
      problem = error.what();
    }
    problem = first_failure(group_, problem);
    if (problem.empty()) {
      reader.fill(tree, mover);
    }
    return problem;
  }

  const CheckpointInfo& info() const { return file_.info; }
  const Path& path() const { return path_; }

 private:
  const CheckpointStore& store_;
  Communicator& group_;
  Path path_;
  const ManifestFile& file_;
};

/// The next manifest that parses and holds `file`, as rank 0 sees it: its name and text, or
/// nothing.
std::pair<std::string, std::string> next_candidate(const CheckpointStore& store,
                                                   std::vector<Path>& left, std::string_view file,
                                                   std::vector<CheckpointEntry>& skipped) {
  while (!left.empty()) {
    const Path path = left.front();
    left.erase(left.begin());
    try {
      const Manifest manifest = read_manifest(path, store.files());
      if (manifest.find(file) != nullptr) {
        return {path.filename().string(), text_of(manifest)};
      }
    } catch (const Error& error) {
      if (error.fault() == Fault::bad_input) {
        throw;
      }
      skipped.push_back({.path = path, .problem = error.what()});
    }
  }
  return {};
}

std::vector<std::string> warnings_of(const CheckpointInfo& there, const CheckpointInfo& here) {
  std::vector<std::string> warnings;
  for (const std::string& difference : setting_differences(there.environment, here.environment)) {
    warnings.push_back("the environment has changed since the checkpoint: " + difference);
  }
  for (const std::string& setting : unknown_settings(there.settings, here.settings)) {
    warnings.push_back("a setting cannot be compared with the checkpoint's: " + setting);
  }
  return warnings;
}

void tell_skipped(const Communicator& group, const std::vector<CheckpointEntry>& skipped) {
  if (group.rank() != 0) {
    return;  // one of them is enough
  }
  for (const CheckpointEntry& entry : skipped) {
    log::warning(fmt::format("a checkpoint is skipped, an older one is taken: {}", entry.problem));
  }
}

}  // namespace

std::optional<Restored> recover(const CheckpointStore& store, Communicator& group,
                                std::string_view file, StateTree& tree,
                                const CheckpointInfo& expected, Mover& mover) {
  std::vector<CheckpointEntry> skipped;
  std::vector<Path> left;
  for (bool is_first = true;; is_first = false) {
    std::pair<std::string, std::string> candidate;
    all_or_none(group, [&] {
      if (group.rank() == 0) {
        left = is_first ? store.names() : left;
        candidate = next_candidate(store, left, file, skipped);
      }
    });
    const std::string name = broadcast_text(group, candidate.first);
    if (name.empty()) {
      tell_skipped(group, skipped);
      return std::nullopt;
    }
    const Manifest manifest = parse_manifest(broadcast_text(group, candidate.second), name);
    Attempt attempt(store, group, store.directory() / name, manifest, file);
    all_or_none(group, [&] { attempt.require_same(tree, expected); });
    const std::string problem = attempt.load(tree, mover);
    if (problem.empty()) {
      tell_skipped(group, skipped);
      return Restored{.path = attempt.path(),
                      .info = attempt.info(),
                      .skipped = std::move(skipped),
                      .warnings = warnings_of(attempt.info(), expected)};
    }
    skipped.push_back({.path = attempt.path(), .step = attempt.info().step, .problem = problem});
  }
}

}  // namespace muster
