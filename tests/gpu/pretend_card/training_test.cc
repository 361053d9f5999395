// Jobs as users start them, on the pretended card: what they learn is what they learn on the CPU.
// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/on_card.h"

namespace muster::test {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(OnCard, ModelsLearnWhatTheyLearnOnTheCpu) {
  for (const auto& [name, text] :
       {std::pair("mlp", mlp), std::pair("cnn", cnn), std::pair("resnet", resnet)}) {
    const auto on_card = train(text, fmt::format("{}-card", name), "--train.device cuda");
    ASSERT_EQ(on_card.code, 0) << on_card.output;
    EXPECT_THAT(on_card.output, HasSubstr("a pretended card"));
    EXPECT_THAT(on_card.output, Not(HasSubstr("loss nan")));
    const auto on_cpu = train(text, fmt::format("{}-cpu", name), "--train.device cpu");
    ASSERT_EQ(on_cpu.code, 0) << on_cpu.output;
    expect_same(fmt::format("{}-card", name), fmt::format("{}-cpu", name), 1e-4);
  }
}

TEST_F(OnCard, AGraphLearnsWhatEagerStepsLearn) {
  for (const std::string amp : {"none", "bf16", "fp16"}) {
    const std::string options = "--train.device cuda --train.amp " + amp + " --train.graph ";
    const auto graph = train(gpt, "graph-" + amp, options + "on");
    ASSERT_EQ(graph.code, 0) << graph.output;
    const auto eager = train(gpt, "eager-" + amp, options + "off");
    ASSERT_EQ(eager.code, 0) << eager.output;
    expect_same("graph-" + amp, "eager-" + amp, 0);
  }
}

/// Eight steps an epoch, and whether they are short is known after 64.
TEST_F(OnCard, AGraphOfSeveralStepsLearnsWhatSingleOnesLearn) {
  const std::string options = "--train.device cuda --model.dropout 0.2 --train.short_ms 1e6 ";
  const auto eager = train(mlp, "eager", options + "--train.graph off", 12);
  ASSERT_EQ(eager.code, 0) << eager.output;
  const auto blocks = train(mlp, "blocks", options + "--train.graph_steps 4", 10);
  ASSERT_EQ(blocks.code, 0) << blocks.output;
  EXPECT_THAT(blocks.output, HasSubstr("finished after 80 steps [graph of 4 steps]"));
  const auto rest = train(mlp, "blocks", options + "--train.graph_steps 4", 12);
  ASSERT_EQ(rest.code, 0) << rest.output;
  expect_same("eager", "blocks", 0);
}

TEST_F(OnCard, BlocksThatAreRunAgainLearnTheSame) {
  const std::string frozen = "--model.freeze wte --model.freeze wpe ";
  for (const auto& [name, more] : {std::pair("all", std::string()), std::pair("blocks", frozen)}) {
    const std::string options = "--train.device cuda " + more;
    const auto kept = train(gpt, fmt::format("kept-{}", name), options);
    ASSERT_EQ(kept.code, 0) << kept.output;
    const auto again =
        train(gpt, fmt::format("again-{}", name), options + "--train.recompute true");
    ASSERT_EQ(again.code, 0) << again.output;
    expect_same(fmt::format("kept-{}", name), fmt::format("again-{}", name), 1e-6);
  }
}

TEST_F(OnCard, AccumulationLearnsTheSame) {
  const auto whole = train(mlp, "whole", "--train.device cuda");
  ASSERT_EQ(whole.code, 0) << whole.output;
  const auto parts = train(mlp, "parts", "--train.device cuda --train.accumulate 4");
  ASSERT_EQ(parts.code, 0) << parts.output;
  expect_same("whole", "parts", 1e-5);
}

TEST_F(OnCard, TwoRanksLearnWhatOneDoes) {
  const auto one = train(gpt, "one", "--train.device cuda --model.dropout 0");
  ASSERT_EQ(one.code, 0) << one.output;
  for (const std::string sharded : {"false", "true"}) {
    ::setenv("PRETEND_CARD_COUNT", "2", 1);
    const auto both = train(gpt, "two-" + sharded,
                            "--train.device cuda --model.dropout 0 --ranks 2 "
                            "--train.shard_optimizer " +
                                sharded);
    ::unsetenv("PRETEND_CARD_COUNT");
    ASSERT_EQ(both.code, 0) << both.output;
    expect_same("one", "two-" + sharded, 1e-5);
  }
}

TEST_F(OnCard, ARunGoesOnFromItsCheckpointBitForBit) {
  const auto whole = train(gpt, "whole", "--train.device cuda", 4);
  ASSERT_EQ(whole.code, 0) << whole.output;
  const auto half = train(gpt, "halves", "--train.device cuda", 2);
  ASSERT_EQ(half.code, 0) << half.output;
  const auto rest = train(gpt, "halves", "--train.device cuda", 4);
  ASSERT_EQ(rest.code, 0) << rest.output;
  expect_same("whole", "halves", 0);
}

/// Lanes come and go while others are at work.
TEST_F(OnCard, TrialsOfASweepShareACard) {
  const auto sweep = tune("shared", "min_resource = 1\n");
  EXPECT_EQ(sweep.code, 0) << sweep.output;
  EXPECT_THAT(sweep.output, HasSubstr("shared: 8 trials, over"));
  EXPECT_THAT(sweep.output, Not(HasSubstr("killed")));
}

/// CUDA refuses everything to a process after a fault: its trials are not to blame.
TEST_F(OnCard, TrialsGoOnInAnotherProcessWhenTheirCardIsLost) {
  const auto whole = tune("whole", "searcher = random\nscheduler = fifo\n");
  ASSERT_EQ(whole.code, 0) << whole.output;
  std::ofstream(folder.path() / "breaks") << "once";
  ::setenv("PRETEND_CARD_BREAKS", (folder.path() / "breaks").c_str(), 1);
  const auto sweep = tune("lost", "searcher = random\nscheduler = fifo\n");
  ::unsetenv("PRETEND_CARD_BREAKS");
  EXPECT_EQ(sweep.code, 0) << sweep.output;
  EXPECT_THAT(sweep.output, HasSubstr("worker 0 exited with 1"));
  EXPECT_THAT(sweep.output, Not(HasSubstr("failed:")));
  for (int trial = 1; trial <= 8; ++trial) {
    expect_same(fmt::format("sweeps/whole/trials/{:04}", trial),
                fmt::format("sweeps/lost/trials/{:04}", trial), 0);
  }
}

TEST_F(OnCard, TrialsThatDoNotFitTogetherComeFewerAtOnce) {
  ::setenv("PRETEND_CARD_MEMORY", "26000000", 1);
  const auto sweep = tune("tight", "searcher = random\nscheduler = fifo\n");
  ::unsetenv("PRETEND_CARD_MEMORY");
  EXPECT_EQ(sweep.code, 0) << sweep.output;
  EXPECT_THAT(sweep.output, HasSubstr("tight: 8 trials, over"));
  EXPECT_THAT(sweep.output, HasSubstr("did not fit beside the others"));
  EXPECT_THAT(sweep.output, Not(testing::AnyOf(HasSubstr("failed:"), HasSubstr("killed"),
                                               HasSubstr("without a CUDA graph"))));
}

TEST_F(OnCard, ARunThatLosesItsCardDoesNotGoOnOnTheCpu) {
  ASSERT_EQ(train(mlp, "lost", "").code, 0);
  ::setenv("PRETEND_CARD_COUNT", "0", 1);
  const auto finished = train(mlp, "lost", "");
  const auto lost = train(mlp, "lost", "", 4);
  const auto insists = train(mlp, "lost", "--train.device cuda", 4);
  const auto by_hand = train(mlp, "lost", "--train.device cpu", 4);
  const auto after = train(mlp, "lost", "", 5);
  ::unsetenv("PRETEND_CARD_COUNT");
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("has finished"));
  for (const auto& run : {lost, insists}) {
    EXPECT_EQ(run.code, 1) << run.output;
    EXPECT_THAT(run.output, HasSubstr("this run has trained on GPUs"));
    EXPECT_THAT(run.output, HasSubstr("no CUDA-capable device is detected"));
    EXPECT_THAT(run.output, HasSubstr("--train.device=cpu goes on without"));
    EXPECT_THAT(run.output, HasSubstr("dmesg | grep Xid"));
    EXPECT_THAT(run.output, HasSubstr("starting again")) << "another try may find it";
  }
  EXPECT_EQ(by_hand.code, 0) << by_hand.output;
  EXPECT_THAT(by_hand.output, HasSubstr("finished after 32 steps"));
  EXPECT_EQ(after.code, 0) << after.output;
}

TEST_F(OnCard, RanksOfALostCardDoNotShareAnothers) {
  ::setenv("PRETEND_CARD_COUNT", "2", 1);
  ASSERT_EQ(train(mlp, "both", "--ranks 2").code, 0);
  ::setenv("PRETEND_CARD_COUNT", "1", 1);
  const auto lost = train(mlp, "both", "--ranks 2", 4);
  ::unsetenv("PRETEND_CARD_COUNT");
  EXPECT_EQ(lost.code, 1) << lost.output;
  EXPECT_THAT(lost.output, HasSubstr("which had one for each before"));
  EXPECT_THAT(lost.output, HasSubstr("dmesg | grep Xid"));
}

TEST_F(OnCard, AMachineWithoutItsCardIsNoFaultOfTheUser) {
  ::setenv("PRETEND_CARD_COUNT", "0", 1);
  const auto run = train(mlp, "none", "--train.device cuda");
  ::unsetenv("PRETEND_CARD_COUNT");
  EXPECT_EQ(run.code, 1) << run.output;
  EXPECT_THAT(run.output, HasSubstr("no CUDA-capable device is detected"));
}

TEST_F(OnCard, WhichRankHasNoCardIsSaid) {
  ::setenv("PRETEND_CARD_LACKS", "1", 1);
  const auto run = ranks(2, "one", "--train.epochs 1");
  ::unsetenv("PRETEND_CARD_LACKS");
  EXPECT_EQ(run.code, 0) << run.output;
  EXPECT_THAT(run.output, testing::ContainsRegex("the run is on CPUs.*rank 1 on .* has no GPU"));
  EXPECT_THAT(run.output, HasSubstr("no CUDA-capable device is detected"));
}

TEST_F(OnCard, AFaultNamesItsCard) {
  std::ofstream(folder.path() / "breaks") << "once";
  ::setenv("PRETEND_CARD_BREAKS", (folder.path() / "breaks").c_str(), 1);
  const auto run = train(mlp, "fault", "--restarts_per_hour 0 --train.graph off", 12);
  ::unsetenv("PRETEND_CARD_BREAKS");
  EXPECT_EQ(run.code, 1) << run.output;
  EXPECT_THAT(run.output, HasSubstr("a pretended card at 0000:00:00.0"));
  EXPECT_THAT(run.output, HasSubstr("an error of the pretended card, on GPU 0000:00:00.0"));
}

TEST_F(OnCard, RanksThatShareACardAreRefused) {
  const auto both = train(mlp, "shared", "--train.device cuda --ranks 2");
  EXPECT_NE(both.code, 0);
  EXPECT_THAT(both.output, HasSubstr("both use GPU 0000:00:00.0"));
}

}  // namespace
}  // namespace muster::test
