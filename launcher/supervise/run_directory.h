/// RunDirectory: the files of a run (interfaces.md, "Files of a run"). Who owns them is an
/// OwnerLock's affair.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "runtime/base/file_system.h"

namespace muster {

struct RunFiles {
  Path root;
  Path config() const { return root / "config.ini"; }
  Path status() const { return root / "status.json"; }
  Path metrics() const { return root / "metrics.jsonl"; }
  Path logs() const { return root / "log"; }
  Path rank_log(int rank) const { return logs() / ("rank-" + std::to_string(rank) + ".log"); }
  Path merged_log() const { return logs() / "all.log"; }
  Path checkpoints() const { return root / "checkpoints"; }
  Path model() const { return root / "model"; }
  Path failure() const { return root / "failure"; }
  Path control() const { return root / "control"; }

  /// Whether what was started here failed before it left a checkpoint, a metric or a model.
  bool came_to_nothing() const;
};

/// A name is a directory's name: letters, digits, '-', '_', '.', not beginning with '.'. Throws
/// bad_input that says so.
void check_run_name(std::string_view name);

}  // namespace muster
