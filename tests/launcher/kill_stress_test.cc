// kill -9 of a random rank, again and again, in one job of the real muster-rank: it goes on within
// seconds each time, finishes, and leaves the model of an undisturbed run, byte for byte.
// MUSTER_STRESS_KILLS (6; 50 for the table) and MUSTER_STRESS_SEED. SPDX-License-Identifier:
// Apache-2.0
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <memory>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/base/text.h"
#include "runtime/comm/control_page.h"
#include "tests/launcher/real_job.h"

namespace muster::test {
namespace {

std::int64_t setting(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return *parse_int(value == nullptr ? fallback : value);
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

/// The ranks of one attempt, as the page shows them.
class Ranks {
 public:
  explicit Ranks(Running& muster) : muster_(muster) {}

  /// Waits for ranks that are not those of `old` and have completed a step since they started.
  bool started_after(pid_t old) {
    std::uint64_t first = 0;
    return eventually(
        [&] {
          muster_.output();  // keeps the pipe empty
          page_ = muster_.process().poll() ? nullptr : page_of(muster_.process().pid());
          if (!page_ || page_->slot(0).pid == 0 || page_->slot(0).pid == old) {
            return false;
          }
          const auto step = slowest();
          first = first == 0 ? step : first;
          return first != 0 && step > first;
        },
        120);
  }
  bool saves_once_more() {
    const auto before = page_->header().last_checkpoint_step.load();
    return eventually([&] { return page_->header().last_checkpoint_step > before; }, 120);
  }
  int count() const { return page_->slots(); }
  pid_t pid(int rank) const { return page_->slot(rank).pid; }

 private:
  std::uint64_t slowest() const {
    std::uint64_t step = ~std::uint64_t{0};
    for (int rank = 0; rank < page_->slots(); ++rank) {
      step = std::min<std::uint64_t>(step, page_->slot(rank).step);
    }
    return step;
  }
  Running& muster_;
  std::unique_ptr<ControlPage> page_;
};

/// What the supervisor takes for the newest checkpoint, to reset its budget by, is where the next
/// attempt starts.
void expect_newest_is_known(const std::string& output) {
  const auto after = [](const std::string& line, std::string_view words) {
    const auto at = line.find(words);
    return at == std::string::npos
               ? std::string()
               : line.substr(at + words.size(), line.find(',', at) - at - words.size());
  };
  std::string known;
  int restarts = 0;
  for (const auto& line : split(output, '\n')) {
    if (const auto step = after(line, "starting again from the checkpoint of step ");
        !step.empty()) {
      known = step;
    } else if (const auto resumed = after(line, "Z resumed at step "); !resumed.empty()) {
      EXPECT_EQ(known, resumed) << "at restart " << ++restarts;
    }
  }
  EXPECT_FALSE(known.empty()) << output;
}

void print_quantiles(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  const auto at = [&](double share) {
    return seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size() - 1))];
  };
  fmt::print(
      "failure to the next completed step: median {:.2f} s, 95th percentile {:.2f} s, most {:.2f} "
      "s\n",
      at(0.5), at(0.95), seconds.back());
}

TEST(KillStress, AJobSurvivesTheDeathOfItsRanksWithTheSameBits) {
  if (!has_muster_rank()) {
    GTEST_SKIP() << "this build has no muster-rank";
  }
  const auto seed = static_cast<std::uint64_t>(setting("MUSTER_STRESS_SEED", "1"));
  const auto kills = setting("MUSTER_STRESS_KILLS", "6");
  fmt::print("seed {}, {} kills\n", seed, kills);
  Random random(seed);
  const Workshop shop;
  write_real_job(shop.path() / "job.ini", static_cast<int>(24 * kills));
  auto muster = shop.start({"train", "job.ini", "--restarts_per_hour=1000"});
  Ranks ranks(muster);
  ASSERT_TRUE(ranks.started_after(0)) << muster.output();
  std::vector<double> seconds;
  for (long kill = 0; kill < kills; ++kill) {
    ASSERT_TRUE(ranks.saves_once_more()) << "after " << kill << " kills\n" << muster.output();
    std::this_thread::sleep_for(std::chrono::milliseconds(random.below(20)));
    const pid_t first = ranks.pid(0);
    const auto victim =
        ranks.pid(static_cast<int>(random.below(static_cast<std::uint64_t>(ranks.count()))));
    const auto killed = std::chrono::steady_clock::now();
    ASSERT_EQ(::kill(victim, SIGKILL), 0) << "it ended before its " << kill << ". kill";
    ASSERT_TRUE(ranks.started_after(first)) << muster.output();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - killed).count());
  }
  EXPECT_EQ(muster.wait(300), 0) << muster.output();
  EXPECT_EQ(shop.status()["restarts"], kills);
  expect_newest_is_known(muster.output());
  auto undisturbed = shop.start({"train", "job.ini", "--name=undisturbed"});
  EXPECT_EQ(undisturbed.wait(300), 0) << undisturbed.output();
  expect_same_model(shop.run() / "model", shop.run("undisturbed") / "model");
  print_quantiles(seconds);
}

}  // namespace
}  // namespace muster::test
