/// WorkerLink: the way to one worker of a sweep and back, whatever carries it: the pipes of a
/// process, files on a shared file system, MPI messages. Lines are those of worker_messages.h. One
/// thread, the coordinator's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

/// How a worker ended.
struct WorkerEnd {
  std::string text;            ///< "was killed by SIGKILL"
  bool is_misuse = false;      ///< it cannot work at all: another one could not either
  bool is_leaving = false;     ///< it went as it was asked to: nothing is wrong
  bool had_no_memory = false;  ///< the kernel killed it for that
};

class WorkerLink {
 public:
  virtual ~WorkerLink() = default;
  virtual std::string name() const = 0;   ///< "worker 0", "worker node7-4711"
  virtual std::size_t slots() const = 0;  ///< trials at once
  /// Somebody has said how many: measuring does not change it.
  virtual bool is_fixed() const { return false; }
  /// Queues whole lines. Never blocks, never throws for a worker that is gone.
  virtual void send(std::string_view lines) = 0;
  /// Ends it, so that its source brings a fresh one. It has no trials. False where nobody can.
  virtual bool renew() { return false; }
  /// How it ended, once it has; what it said last is still to be received.
  virtual std::optional<WorkerEnd> ended() = 0;
  /// Whole lines that have come. Also moves on what is queued.
  virtual void receive(std::vector<std::string>& lines) = 0;
  /// What to wait for; nothing where somebody has to look (WorkerSource::look_every).
  virtual void add_descriptors(std::vector<pollfd>& /*waits*/) const {}
};

/// WorkerSource: where workers come from, and come from again.
class WorkerSource {
 public:
  virtual ~WorkerSource() = default;
  /// Workers that were not there at the last call.
  virtual std::vector<std::unique_ptr<WorkerLink>> joined() = 0;
  /// How often somebody has to look, where no descriptor tells.
  virtual std::chrono::milliseconds look_every() const { return std::chrono::hours(1); }
  /// No more will come, and those that are there should go: the sweep is over, or leaves.
  virtual void close(bool /*is_over*/) {}
};

}  // namespace muster
