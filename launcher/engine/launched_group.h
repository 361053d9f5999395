/// LaunchedGroup: ranks that a launcher (mpirun, srun) started over hosts, each under an attendant.
/// What happens to them is read from the files of the run, which every host sees; the launcher
/// itself is only started, signalled and killed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "launcher/engine/beats.h"
#include "launcher/engine/engine.h"
#include "launcher/engine/line_reader.h"
#include "launcher/engine/orders.h"

namespace muster {

class LaunchedGroup final : public RankGroup {
 public:
  /// `explain` turns the launcher's own last words into a sentence with the remedy, or gives
  /// nothing.
  using Explain = std::function<std::optional<std::string>(const std::vector<std::string>& words)>;
  LaunchedGroup(const JobLaunch& launch, std::vector<std::string> command, Environment environment,
                Explain explain);

  void poll(std::chrono::milliseconds at_most, int wake, std::vector<RankEvent>& events) override;
  bool running() const override { return !over_; }
  void signal(int signal) override;
  void tell_deadline(Monotonic deadline) override;
  void kill() override;
  ControlPage* page() override { return nullptr; }
  pid_t pid_of(int /*rank*/) const override { return -1; }

 private:
  struct Followed {
    std::uint64_t read = 0;
    std::string unfinished;
    bool ended = false;
  };
  void follow(int rank, std::vector<RankEvent>& events);
  void read_launcher(std::vector<RankEvent>& events);
  void miss_silent_ranks(std::vector<RankEvent>& events);
  void close(const Ended& ended, std::vector<RankEvent>& events);

  std::string why_none_ended(const Ended& launcher) const;

  Path logs_;
  std::string launcher_;  ///< "mpirun", "srun"
  Orders orders_;
  BeatWatch beats_;
  bool killed_ = false;
  Explain explain_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<LineReader> words_;
  std::vector<std::string> last_words_;
  std::vector<Followed> ranks_;
  std::optional<std::chrono::steady_clock::time_point> launcher_ended_;
  bool over_ = false;
};

/// The command that wraps a rank on its host: this program's own hidden command `attend`.
std::vector<std::string> attended(const JobLaunch& launch);

}  // namespace muster
