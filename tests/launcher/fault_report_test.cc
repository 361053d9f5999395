// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/fault_report.h"

#include <gmock/gmock.h>

#include <csignal>

namespace muster {
namespace {

using testing::HasSubstr;

RankFault fault(int rank, std::int64_t time, Fault kind, bool recorded = true) {
  RankFault one;
  one.rank = rank;
  one.time_ns = time;
  one.fault = kind;
  one.recorded = recorded;
  one.text = "reading data\n  because: short read";
  return one;
}

TEST(FaultReport, TheEarliestWinsAndTheRestAreCounted) {
  const auto report =
      first_fault({fault(2, 30, Fault::io), fault(1, 10, Fault::io), fault(0, 20, Fault::io)});
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->first.rank, 1);
  EXPECT_EQ(report->consequences, 2);
  EXPECT_EQ(report->sentence(),
            "rank 1: reading data: short read (2 more ranks failed in consequence)");
}

TEST(FaultReport, WhoBlamesAnotherIsNeverTheCause) {
  const auto report =
      first_fault({fault(0, 5, Fault::communication), fault(1, 9, Fault::io, false)});
  EXPECT_EQ(report->first.rank, 1);
  EXPECT_EQ(first_fault({fault(3, 1, Fault::communication)})->first.rank, 3)
      << "unless nothing else is on record";
}

TEST(FaultReport, WhomWeKilledIsNeverTheCause) {
  auto killed = fault(0, 1, Fault::io, false);
  killed.killed_by_us = true;
  EXPECT_EQ(first_fault({killed, fault(1, 2, Fault::communication)})->first.rank, 1);
}

TEST(FaultReport, ARankThatHangsAndIsKilledForItIsNotItsOwnConsequence) {
  auto killed = fault(1, 20, Fault::io, false);
  killed.killed_by_us = true;
  auto other = fault(0, 20, Fault::io, false);
  other.killed_by_us = true;
  const auto report = first_fault({fault(1, 10, Fault::io), other, killed});
  EXPECT_EQ(report->first.rank, 1);
  EXPECT_EQ(report->consequences, 1);
}

TEST(FaultReport, TellsSignalStepAndOperation) {
  auto page = ControlPage::create(1);
  page.slot(0).step = 17;
  { const FlightScope scope(&page.slot(0), "all_reduce float32", 1000); }
  Ended ended;
  ended.status = SIGSEGV;
  const auto report = first_fault({fault_of_rank(0, &page.slot(0), ended, 99)});
  EXPECT_EQ(report->sentence(),
            "rank 0 was killed by SIGSEGV, at step 17, last operation all_reduce float32 of 1.0 kB "
            "(left)");
  EXPECT_THAT(remedy_for(*report, "log/rank-0.log"), HasSubstr("it crashed"));
}

TEST(FaultReport, TheRemedyOfAHangNamesTheStacks) {
  auto hang = fault(1, 1, Fault::io);
  hang.stacks = "log/stacks-1.txt";
  EXPECT_THAT(remedy_for(*first_fault({hang}), "log/rank-1.log"),
              HasSubstr("log/stacks-1.txt says where every rank was"));
}

TEST(FaultReport, SaysAHangOnce) {
  RankFault fault;
  fault.rank = 1;
  fault.host = "n2";
  fault.recorded = true;
  fault.text = "rank 1 (pid 71) hangs: at step 17, computing, for 31 s";
  fault.step = 17;
  EXPECT_EQ((FaultReport{fault, 1}.sentence()),
            "rank 1 (pid 71) hangs: at step 17, computing, for 31 s, on n2 (1 more rank failed in "
            "consequence)");
}

TEST(FaultReport, PrefersWhatTheRankWroteItself) {
  auto page = ControlPage::create(1);
  record_failure(page.slot(0), static_cast<int>(Fault::bad_input), "train.lr = x: not a number");
  Ended ended;
  ended.status = 64 << 8;
  page.slot(0).step = 17;
  { const FlightScope scope(&page.slot(0), "barrier", 0); }
  const auto report =
      first_fault({fault_of_rank(0, &page.slot(0), ended, 99), fault(1, INT64_MAX, Fault::io)});
  EXPECT_EQ(report->first.fault, Fault::bad_input);
  EXPECT_EQ(report->sentence(), "rank 0: train.lr = x: not a number")
      << "where it was, and that others ended with it, helps nobody here";
  const std::vector<std::string> lines{"line a", "line b"};
  const auto text = report->file_text(lines, remedy_for(*report, "f"));
  EXPECT_THAT(text, HasSubstr("The rank exited with 64."));
  EXPECT_THAT(text, HasSubstr("correct the configuration"));
  EXPECT_THAT(text, HasSubstr("  line b\n"));
}

/// Its end took longer than those who heard of it waited.
TEST(FaultReport, ARankThatFailedAndWasKilledThenIsNotSaidToBeKilled) {
  auto page = ControlPage::create(1);
  record_failure(page.slot(0), static_cast<int>(Fault::io),
                 "writing the model: Input/output error");
  Ended ended;
  ended.status = SIGKILL;
  const auto report = first_fault({fault_of_rank(0, &page.slot(0), ended, 99)});
  const auto text = report->file_text({}, remedy_for(*report, "log/rank-0.log"));
  EXPECT_THAT(text, HasSubstr("writing the model: Input/output error"));
  EXPECT_THAT(text, testing::Not(HasSubstr("killed")));
}

TEST(FaultReport, SaysThatAFullDiskWantsSpace) {
  auto full = fault(0, 1, Fault::io);
  full.text = "writing runs/a/metrics.jsonl\n  because: write: No space left on device";
  EXPECT_THAT(remedy_for(FaultReport{full, 1}, "log"), HasSubstr("free space on that disk"));
}

TEST(FaultReport, SaysWhatTakesLessOfAGpusMemory) {
  auto beyond = fault(0, 1, Fault::io);
  beyond.text = "out of memory on the GPU: 4.0 GB asked for, 1.0 GB free";
  EXPECT_THAT(remedy_for(FaultReport{beyond, 1}, "log"), HasSubstr("train.batch_size"));
}

TEST(FaultReport, SaysHowToAskWhetherTheCardIsAtFault) {
  auto lost = fault(0, 1, Fault::io);
  for (const char* text :
       {"a GPU kernel or copy: an illegal memory access was encountered, on GPU 0000:4a:00.0",
        "CUDA error: unspecified launch failure",
        "this run has trained on GPUs, and n1 has none for it now: CUDA finds no GPU"}) {
    lost.text = text;
    const auto remedy = remedy_for(FaultReport{lost, 0}, "log/rank-0.log");
    EXPECT_THAT(remedy, HasSubstr("dmesg | grep Xid")) << text;
    EXPECT_THAT(remedy, HasSubstr("log/rank-0.log")) << text;
  }
}

TEST(FaultReport, SaysWhoMayHaveABusyCard) {
  auto busy = fault(0, 1, Fault::io);
  busy.text =
      "cudaStreamCreate: CUDA-capable device(s) is/are busy or unavailable, on GPU 0000:4a:00.0";
  EXPECT_THAT(remedy_for(FaultReport{busy, 0}, "log"), HasSubstr("nvidia-smi -q -d COMPUTE"));
}

}  // namespace
}  // namespace muster
