// Sweeps on machines of several pretended cards: who works on which.
// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "runtime/base/text.h"
#include "tests/gpu/pretend_card/on_card.h"

namespace muster::test {
namespace {

using testing::HasSubstr;

constexpr auto four_cards = "PRETEND_CARD_COUNT=4 CUDA_VISIBLE_DEVICES=3,2,1,0";

class SweepsOnCards : public OnCard {
 protected:
  void write(const std::string& trial) const {
    std::ofstream(folder.path() / "job.ini") << mlp << "[train]\nbatch_size = 32\nepochs = 2\n";
    std::ofstream(folder.path() / "sweep.ini")
        << "[tune]\nobjective = min train_loss\nmax_trials = 6\nsearcher = random\nscheduler = "
           "fifo\n[search]\noptimizer.lr = log 1e-3 1\n[trial]\njob = job.ini\n"
        << trial;
  }
  ShellOutcome run(const std::string& command) const {
    return shell(fmt::format("cd {} && export {} && {{ {}; }}", folder.path().string(), four_cards,
                             command));
  }
  static std::string card_program(const std::string& words) {
    return fmt::format("{} {} {}", PRETEND_CARD_RUN, PRETEND_CARD_FOLDER, words);
  }
  /// The cards of which some worker has said that its trials share it, each as often as it did.
  static std::multiset<std::string> cards_in(const std::string& text) {
    std::multiset<std::string> cards;
    for (const auto& line : split(text, '\n')) {
      if (const auto at = line.find("trials share a GPU"); at != std::string::npos) {
        cards.insert(line.substr(at));
      }
    }
    return cards;
  }
  std::string workers_log(const std::string& name) const {
    return read_file(folder.path() / "sweeps" / name / "workers.log");
  }
};

TEST_F(SweepsOnCards, AWorkerWorksOnEachCard) {
  write("");
  const auto sweep = run(card_program("muster tune sweep.ini --name each"));
  ASSERT_EQ(sweep.code, 0) << sweep.output;
  const auto cards = cards_in(workers_log("each"));
  EXPECT_EQ(cards.size(), 4U) << workers_log("each");
  EXPECT_EQ(std::set(cards.begin(), cards.end()).size(), 4U) << workers_log("each");
}

TEST_F(SweepsOnCards, FewerWorkersThanCardsAreToldOf) {
  write("");
  const auto sweep = run(card_program("muster tune sweep.ini --name few --ranks 1"));
  ASSERT_EQ(sweep.code, 0) << sweep.output;
  EXPECT_THAT(sweep.output, HasSubstr("1 worker: 3 of 4 GPUs idle (--ranks=0 uses all)"));
  EXPECT_EQ(cards_in(workers_log("few")).size(), 1U) << workers_log("few");
}

TEST_F(SweepsOnCards, TrialsThatAreToUseNoneRunOnCores) {
  write("gpus = 0\n");
  const auto sweep = run(card_program("muster tune sweep.ini --name none"));
  ASSERT_EQ(sweep.code, 0) << sweep.output;
  EXPECT_EQ(cards_in(workers_log("none")).size(), 0U) << workers_log("none");
}

/// One that joins by itself, as those that srun starts do, takes the card of its place.
TEST_F(SweepsOnCards, AWorkerThatJoinsTakesTheCardOfItsPlace) {
  write("");
  const auto sweep =
      run("SLURM_LOCALID=1 " + card_program("muster-rank --worker --spool sweeps/joined & ") +
          card_program("muster tune sweep.ini --name joined --tune.max_trials 30 --ranks 1; wait"));
  ASSERT_EQ(sweep.code, 0) << sweep.output;
  EXPECT_THAT(sweep.output, HasSubstr("trials share a GPU (a pretended card at 0000:02:00.0)"));
}

}  // namespace
}  // namespace muster::test
