/// The control directory: how others steer a running sweep, without a socket. A request is a JSON
/// file renamed into sweeps/NAME/control; the coordinator reads it within a second and writes the
/// answer beside it.
/// {"op":"stop"}, {"op":"stop","trial":17}, {"op":"set","max_trials":200},
/// {"op":"enqueue","params":{..}}, {"op":"add",..}, {"op":"best"}
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hpo/study.h"
#include "runtime/base/file_system.h"

namespace muster::hpo {

struct ControlRequest {
  std::string name;  ///< of the file, without its ending
  std::string text;
};

/// The coordinator's side.
class ControlDirectory {
 public:
  explicit ControlDirectory(Path directory, FileSystem& files = posix_file_system());
  /// In the order of their names. One whose answer is there already was obeyed before a crash: it
  /// is only removed.
  std::vector<ControlRequest> requests();
  void reply(const ControlRequest& request, const std::string& answer);

 private:
  Path directory_;
  FileSystem& files_;
};

struct ControlEffect {
  std::string answer;            ///< one JSON object
  std::vector<TrialId> stopped;  ///< running until now: tell the runner
  bool stop_sweep = false;
};
ControlEffect obey(Study& study, const std::string& request);

/// The other side: puts a request in; its name, for answer_to(). `unique` keeps names apart and in
/// order, such as a time and a pid.
std::string post(const Path& directory, const std::string& unique, const std::string& request,
                 FileSystem& files = posix_file_system());
/// The answer, once: it is removed.
std::optional<std::string> answer_to(const Path& directory, const std::string& name,
                                     FileSystem& files = posix_file_system());

}  // namespace muster::hpo
