// kill -9 at random moments of real sweeps: of the coordinator, of workers, of trials. No result is
// lost, none is counted twice, and the final table is that of the sweep that nobody disturbed.
// MUSTER_KILLS says how many moments (20 unless given), MUSTER_SEED repeats a run.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <map>
#include <variant>

#include "hpo/records.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "tests/sweep/sweep_shop.h"

namespace muster::test {
namespace {

int kills_wanted() {
  const char* wanted = std::getenv("MUSTER_KILLS");
  return wanted != nullptr ? std::atoi(wanted) : 20;
}

std::uint64_t seed_wanted() {
  const char* wanted = std::getenv("MUSTER_SEED");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10)
                           : static_cast<std::uint64_t>(
                                 std::chrono::system_clock::now().time_since_epoch().count());
}

/// Each trial's reports go forward: one that came twice would not.
void expect_each_report_once(const std::vector<std::string>& records) {
  std::map<hpo::TrialId, double> reached;
  for (const auto& bytes : records) {
    const hpo::Record record = hpo::decode(bytes);
    if (const auto* report = std::get_if<hpo::TrialReported>(&record.event)) {
      const double resource = report->resource.value_or(0);
      EXPECT_GT(resource, reached[report->trial]) << "trial " << report->trial;
      reached[report->trial] = resource;
    }
  }
}

/// Empty where the process has ended meanwhile.
std::string environment_of(pid_t pid) {
  try {
    return read_file("/proc/" + std::to_string(pid) + "/environ");
  } catch (const Error&) {
    return {};
  }
}

class KilledSweeps : public testing::Test {
 protected:
  /// Runs sweep after sweep, kills what `victims` names, or the coordinator, at random moments, and
  /// holds each to the table of the undisturbed one.
  void disturb(const std::vector<std::string>& how,
               const std::function<std::vector<pid_t>(const std::string&)>& victims) {
    const auto seed = seed_wanted();
    const int wanted = kills_wanted();
    std::cout << "MUSTER_SEED=" << seed << " MUSTER_KILLS=" << wanted << "\n";
    const auto start = std::chrono::steady_clock::now();
    auto quiet = shop_.start("quiet", how);
    ASSERT_EQ(quiet.wait(300), 0) << quiet.output();
    const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start);
    Random random(seed);
    int sweeps = 0;
    std::map<std::string, int> killed;
    for (int kills = 0; kills < wanted; ++sweeps) {
      const std::string name = "s" + std::to_string(sweeps);
      std::vector<std::string> before;
      for (bool is_over = false; !is_over;) {
        auto sweep = shop_.start(name, how);
        const auto life = std::chrono::milliseconds(
            random.below(static_cast<std::uint64_t>(whole.count()) + 100));
        const auto ended = kills < wanted ? sweep.process().wait_for(static_cast<int>(life.count()))
                                          : std::nullopt;
        if (!ended && kills < wanted) {
          const auto prey = victims(name);
          const bool is_coordinator = prey.empty() || random.below(2) == 0;
          ::kill(is_coordinator ? sweep.process().pid() : prey[random.below(prey.size())], SIGKILL);
          ++killed[is_coordinator ? "coordinators" : "others"];
          ++kills;
        }
        const int code = sweep.wait(300);
        ASSERT_TRUE(code == 0 || code == -SIGKILL) << code << "\n" << sweep.output();
        is_over = code == 0;
        auto after = shop_.journal(name);
        ASSERT_GE(after.size(), before.size()) << "records were lost";
        ASSERT_TRUE(std::equal(before.begin(), before.end(), after.begin()))
            << "what was acknowledged has changed";
        before = std::move(after);
      }
      expect_each_report_once(before);
      ASSERT_EQ(shop_.table(name), shop_.table("quiet")) << "seed " << seed << ", sweep " << name;
      std::filesystem::remove_all(shop_.root(name));
    }
    std::cout << sweeps << " sweeps in pieces: " << killed["coordinators"] << " coordinators and "
              << killed["others"] << " others killed\n";
  }

  SweepShop shop_;
};

TEST_F(KilledSweeps, CoordinatorsAndWorkersOfPackedTrials) {
  shop_.sweep("scheduler = asha\nmin_resource = 1\nmax_resource = 9\nmax_trials = 12\n");
  disturb({"--tune.parallel=1", "--ranks=1"},
          [&](const std::string& name) { return shop_.workers(name); });
}

TEST_F(KilledSweeps, CoordinatorsAndProgramsThatAreTrials) {
  shop_.write("trial.sh",
              "while [ $# -gt 0 ]; do case $1 in --x) x=$2;; --epochs) to=$2;; esac; shift; done\n"
              "done=$(cat $MUSTER_CHECKPOINT_DIR/done 2>/dev/null || echo 0)\n"
              "while [ $done -lt $to ]; do sleep 0.01; done=$((done + 1))\n"
              "echo \"{\\\"epochs\\\":$done,\\\"val_accuracy\\\":$((x * 100 + done))}\" >> "
              "$MUSTER_METRICS\n"
              "echo $done > $MUSTER_CHECKPOINT_DIR/new; "
              "mv $MUSTER_CHECKPOINT_DIR/new $MUSTER_CHECKPOINT_DIR/done; done\n");
  shop_.sweep(
      "scheduler = asha\nmin_resource = 1\nmax_resource = 9\nmax_trials = 20\nresource = epochs\n"
      "retries = 1000\n",
      "x = int 1 100\n", "command = sh trial.sh\nresumes = true\n");
  disturb({"--tune.parallel=1"}, [&](const std::string& name) {
    std::vector<pid_t> pids;
    for (const pid_t pid : processes_with("trial.sh")) {
      if (environment_of(pid).find(shop_.root(name).string() + "/") != std::string::npos) {
        pids.push_back(pid);
      }
    }
    return pids;
  });
}

}  // namespace
}  // namespace muster::test
