// What people are told of a sweep, and how they steer it: show, logs, resume, set, enqueue, stop.
// Trials are programs, most of them bad ones.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>

#include "tests/sweep/sweep_shop.h"

namespace muster::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A program that behaves as its argument says.
constexpr const char* many_ways = R"sh(case $2 in
  good) for i in 1 2 3; do echo "acc=0.$i"; sleep 0.1; done ;;
  crash) echo acc=0.5; echo "ValueError: no such layer" >&2; exit 3 ;;
  hang) sleep 1000 ;;
  silent) echo accuracy: 0.5 ;;
  nan) echo acc=nan; sleep 1000 ;;
  forks) setsid sleep 1000 & echo $! > child; echo acc=0.2 ;;
  full) echo acc=0.4; head -c 9 /dev/zero > /dev/full ;;
  memory) head -c 900000000 /dev/zero | tail -c 899999999 > /dev/null ;;
  segv) kill -SEGV $$ ;;
  deaf) trap '' TERM; echo acc=0.1; while :; do sleep 0.05; done ;;
esac
)sh";

class SweepCommands : public testing::Test {
 protected:
  /// The output of a command; it must end with `code`.
  std::string says(std::vector<std::string> words, int code = 0) const {
    Running command(shop_.path(), std::move(words));
    EXPECT_EQ(command.wait(), code) << command.output();
    return command.output();
  }
  void sweep(const std::string& tune, const std::string& search, const std::string& trial) const {
    shop_.write("many.sh", many_ways);
    shop_.sweep(tune, search,
                "command = sh many.sh\nmetric.acc = acc=([a-z0-9.]+)\ngrace = 0.3\n" + trial);
  }
  SweepShop shop_;
};

TEST_F(SweepCommands, EveryBadTrialSaysWhyInTheTableAndInItsDirectoryAndTheSweepGoesOn) {
  sweep("retries = 0\nparallel = 3\n",
        "kind = choice good crash hang silent nan forks full memory segv deaf\n",
        "timeout = 2\nmemory = 200M\n");
  const std::vector<std::string> kinds{"good",  "crash", "hang",   "silent", "nan",
                                       "forks", "full",  "memory", "segv",   "deaf"};
  const std::map<std::string, std::string> reasons{
      {"crash", "exited with 3: ValueError: no such layer"},
      {"hang", "ran longer than trial.timeout = 2.0 s"},
      {"silent", "ended without a value of acc: metric acc: no line of the output matched"},
      {"nan", "its acc was not a finite number"},
      {"full", "No space left on device"},
      {"memory", ""},  // a control group's sentence, or the allocator's own
      {"segv", "was killed by SIGSEGV"},
      {"deaf", "ran longer than trial.timeout = 2.0 s"}};
  says({"tune", "sweep.ini", "--name=bad", "--tune.objective=max acc", "--tune.searcher=grid"});
  const auto shown = says({"show", "bad"});
  const auto rows = nlohmann::json::parse(says({"show", "bad", "--json"}))["trials"];
  ASSERT_EQ(rows.size(), kinds.size());
  for (const auto& row : rows) {
    const auto kind = row["params"]["kind"].get<std::string>();
    const auto reason = row["reason"].get<std::string>();
    const auto number = row["trial"].get<int>();
    const auto trial = (number < 10 ? "trials/000" : "trials/00") + std::to_string(number);
    const auto file = shop_.file("bad", trial + "/failure");
    const auto status = shop_.file("bad", trial + "/status.json");
    if (!reasons.contains(kind)) {
      EXPECT_EQ(row["state"], "complete") << kind;
      EXPECT_EQ(file, "") << kind;
      continue;
    }
    EXPECT_EQ(row["state"], "failed") << kind;
    EXPECT_THAT(reason, HasSubstr(reasons.at(kind))) << kind;
    EXPECT_THAT(reason, Not(testing::IsEmpty())) << kind;
    EXPECT_THAT(shown, HasSubstr(reason)) << kind;
    EXPECT_THAT(file, HasSubstr(reason)) << kind;
    EXPECT_THAT(status, HasSubstr("\"state\": \"Failed\"")) << kind;
    EXPECT_EQ(row["retries"], 0) << kind;
  }
  EXPECT_THAT(shown, HasSubstr("finished: every configuration of the space was tried"));
}

TEST_F(SweepCommands, OneTrialIsShownAndItsOutput) {
  sweep("retries = 0\n", "kind = choice good crash\n", "");
  says({"tune", "sweep.ini", "--name=two", "--tune.objective=max acc", "--tune.searcher=grid"});
  const auto table = nlohmann::json::parse(says({"show", "two", "--json"}))["trials"];
  const std::string good = table[0]["params"]["kind"] == "good" ? "1" : "2";
  const std::string bad = good == "1" ? "2" : "1";
  EXPECT_THAT(says({"show", "two", good}), HasSubstr("complete after 3 reports, the best"));
  EXPECT_THAT(says({"show", "sweeps/two/trials/000" + good}),
              HasSubstr("trial " + good + " of two"));
  EXPECT_THAT(says({"show", "two", bad}), HasSubstr("exited with 3: ValueError: no such layer"));
  EXPECT_EQ(says({"logs", "two", bad}), "acc=0.5\nValueError: no such layer\n");
  Running again(shop_.path(), {}, (shop_.root("two") / "best" / "run.sh").string());
  EXPECT_EQ(again.wait(), 0) << again.output();
  EXPECT_THAT(read_file(shop_.path() / "runs" / "two-best" / "log" / "rank-0.log"),
              HasSubstr("acc=0.3"));
  EXPECT_THAT(says({"show", "two", "7"}, 64), HasSubstr("numbered from 1 to 2"));
  EXPECT_THAT(says({"report", "tow"}, 64), HasSubstr("no sweep 'tow' in sweeps (did you mean"));
  EXPECT_FALSE(
      posix_file_system().list(shop_.root("two") / "trials" / "0001" / "tensorboard").empty());
}

TEST_F(SweepCommands, ARunningSweepIsSteeredAndAStoppedOneGoesOnWithMore) {
  sweep("max_trials = 1000\nparallel = 2\n", "x = int 1 1000\n", "");
  shop_.write("many.sh", "echo acc=$2; sleep 0.1\n");
  auto running = shop_.start("long", {"--tune.objective=max acc"});
  ASSERT_TRUE(eventually([&] { return !shop_.file("long", "trials/0003/config.ini").empty(); }));
  EXPECT_THAT(says({"ls"}), HasSubstr("running"));
  EXPECT_THAT(says({"enqueue", "long", "x=1001"}, 64), HasSubstr("x"));
  says({"enqueue", "long", "x=777"});
  EXPECT_TRUE(eventually([&] {
    return nlohmann::json::parse(says({"show", "long", "--json"})).dump().find("\"x\":777") !=
           std::string::npos;
  }));
  says({"set", "long", "tune.max_trials=500"});
  EXPECT_THAT(says({"stop", "long", "--wait"}), HasSubstr("muster resume long goes on"));
  EXPECT_EQ(running.wait(), 77) << running.output();
  EXPECT_THAT(says({"show", "long"}), HasSubstr("stopped: muster resume long goes on"));
  EXPECT_THAT(says({"set", "long", "tune.max_trials=5"}, 64), HasSubstr("muster resume long"));
  const auto resumed = says({"resume", "long", "--sweeps=sweeps", "--tune.max_trials", "20"});
  EXPECT_THAT(resumed, HasSubstr("continuing sweep long"));
  EXPECT_THAT(says({"show", "long"}), HasSubstr("finished: "));
}

}  // namespace
}  // namespace muster::test
