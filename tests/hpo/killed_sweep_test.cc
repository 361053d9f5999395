// kill -9 at random moments of a simulated sweep: whatever was cut off, the same command ends with
// the same table. MUSTER_KILLS says how many moments (100 unless given); the seed is printed.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "hpo/coordinator.h"
#include "hpo/simulated_runner.h"
#include "tests/hpo/sweep_fixture.h"

namespace muster::hpo {
namespace {

StudySetup killed_setup() {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 400;
  setup.retries = 1;
  setup.seed = 11;
  return setup;
}

/// Some trials always fail: how often one fails may not depend on when it is killed.
Simulation killed_simulation() {
  Simulation simulation{.value = bowl};
  simulation.fault = [](const Launch& launch, double) {
    return launch.trial % 17 == 0 ? std::optional(TrialState::failed) : std::nullopt;
  };
  return simulation;
}

class KilledSweepTest : public SweepFixture {
 protected:
  std::string run_to_the_end(const Path& journal) {
    VirtualClock clock;
    Study study(killed_setup(), journal, clock, files_);
    SimulatedRunner runner(killed_simulation(), 1, clock);
    Coordinator(study, runner, clock, {.thinks_aside = false}).run();
    return final_table(study.state());
  }

  /// True when the child finished before its end came.
  bool run_in_child(std::chrono::microseconds life) {
    const pid_t child = ::fork();
    if (child == 0) {
      std::thread([life] {
        std::this_thread::sleep_for(life);
        ::kill(::getpid(), SIGKILL);
      }).detach();
      run_to_the_end(journal());
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status);
  }
};

TEST_F(KilledSweepTest, EndsWithTheTableOfTheUndisturbedOne) {
  const char* wanted = std::getenv("MUSTER_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 100;
  const auto seed =
      static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  std::cout << "seed " << seed << ", " << kills << " kills\n";
  Random random(seed);
  const auto start = std::chrono::steady_clock::now();
  const std::string expected = run_to_the_end(directory_ / "undisturbed");
  const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - start);

  int sweeps = 0;
  for (int killed = 0; killed < kills;) {
    const auto most = static_cast<std::uint64_t>(whole.count()) / 3 + 1;
    if (!run_in_child(std::chrono::microseconds(random.below(most)))) {
      ++killed;
      continue;
    }
    ++sweeps;
    ASSERT_EQ(run_to_the_end(journal()), expected) << "seed " << seed;
    posix_file_system().remove(journal());
  }
  EXPECT_EQ(run_to_the_end(journal()), expected) << "seed " << seed;
  std::cout << sweeps + 1 << " sweeps were finished in pieces\n";
}

}  // namespace
}  // namespace muster::hpo
