// kill -9 of a random rank, again and again, in one job: it finishes, with the same result, and
// goes on within seconds each time. MUSTER_STRESS_KILLS (10; 50 for the table), MUSTER_STRESS_SEED,
// and MUSTER_STRESS_JOB, a job file to train with muster-rank instead of the test rank.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/base/text.h"
#include "runtime/comm/control_page.h"
#include "tests/launcher/muster_program.h"

namespace muster::test {
namespace {

std::string setting(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : value;
}

/// The page that `muster` made for its present attempt, found among its open files.
std::unique_ptr<ControlPage> page_of(pid_t muster) {
  const Path folder = fmt::format("/proc/{}/fd", muster);
  for (const auto& name : posix_file_system().list(folder)) {
    std::error_code code;
    const auto target = std::filesystem::read_symlink(folder / name, code);
    if (!code && target.string().find("muster-control") != std::string::npos) {
      try {
        return std::make_unique<ControlPage>(ControlPage::open((folder / name).string()));
      } catch (const Error&) {  // it is being made this moment, or is gone again
        return nullptr;
      }
    }
  }
  return nullptr;
}

bool all_step_beyond(ControlPage& page, std::uint64_t step) {
  for (int rank = 0; rank < page.slots(); ++rank) {
    if (page.slot(rank).pid == 0 || page.slot(rank).step <= step) {
      return false;
    }
  }
  return true;
}

TEST(KillStress, AJobSurvivesTheDeathOfItsRanks) {
  const auto seed = static_cast<std::uint64_t>(*parse_int(setting("MUSTER_STRESS_SEED", "1")));
  const auto kills = *parse_int(setting("MUSTER_STRESS_KILLS", "10"));
  const auto job = setting("MUSTER_STRESS_JOB", "");
  fmt::print("seed {}, {} kills\n", seed, kills);
  Random random(seed);
  const Workshop shop;
  auto muster = job.empty() ? shop.train("--steps 3000 --step-ms 2 --every 5")
                            : shop.start({"train", job, "--runs=runs", "--name=job", "--ranks=2"});
  std::vector<double> seconds;
  std::uint64_t before = 0;
  for (long kill = 0; kill < kills; ++kill) {
    std::unique_ptr<ControlPage> page;
    ASSERT_TRUE(eventually(
        [&] {
          if (muster.process().poll()) {
            return true;  // it has ended: the test below says so
          }
          page = page_of(muster.process().pid());
          return page && all_step_beyond(*page, before) &&
                 page->header().last_checkpoint_step > before;
        },
        120))
        << "no progress beyond step " << before << "\n"
        << muster.output();
    ASSERT_FALSE(muster.process().poll()) << muster.output();
    std::this_thread::sleep_for(std::chrono::milliseconds(random.below(20)));
    const auto victim = static_cast<int>(random.below(static_cast<std::uint64_t>(page->slots())));
    const pid_t pid = page->slot(victim).pid;
    const auto killed = std::chrono::steady_clock::now();
    ::kill(pid, SIGKILL);
    before = page->header().last_checkpoint_step;
    std::unique_ptr<ControlPage> next;
    ASSERT_TRUE(eventually(
        [&] {
          next = page_of(muster.process().pid());
          return next && next->slot(victim).pid != pid && all_step_beyond(*next, before);
        },
        120))
        << muster.output();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - killed).count());
    muster.output();  // keeps the pipe empty
  }
  EXPECT_EQ(muster.wait(600), 0) << muster.output();
  EXPECT_EQ(shop.status()["restarts"], kills);
  std::ranges::sort(seconds);
  const auto at = [&](double share) {
    return seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size() - 1))];
  };
  fmt::print(
      "failure to the next completed step: median {:.2f} s, 95th percentile {:.2f} s, most {:.2f} "
      "s\n",
      at(0.5), at(0.95), seconds.back());
}

}  // namespace
}  // namespace muster::test
