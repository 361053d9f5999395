// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/control_page.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

TEST(ControlPage, KeepsWhatADeadRankWrote) {
  auto page = ControlPage::create(2);
  const auto path = page.path();
  const pid_t child = ::fork();
  if (child == 0) {
    auto mine = ControlPage::open(path);
    mine.slot(1).step = 7;
    mine.slot(1).phase = Phase::exchange;
    const FlightScope never_left(&mine.slot(1), "all_reduce float32", 4096);
    record_failure(mine.slot(1), 3, "the first error");
    record_failure(mine.slot(1), 3, "a later one");
    ::_exit(9);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  auto& slot = page.slot(1);
  EXPECT_EQ(slot.step.load(), 7U);
  EXPECT_EQ(name_of(slot.phase.load()), "exchanging");
  EXPECT_EQ(slot.failed.load(), 1U);
  EXPECT_STREQ(slot.error.data(), "the first error");
  EXPECT_EQ(slot.flight_count.load(), 1U);
  EXPECT_STREQ(slot.flight[0].operation.data(), "all_reduce float32");
  EXPECT_EQ(slot.flight[0].end_ns.load(), 0);
}

TEST(ControlPage, FlightRecordKeepsTheLastThousand) {
  auto page = ControlPage::create(1);
  auto& slot = page.slot(0);
  for (int i = 0; i < 1500; ++i) {
    const FlightScope scope(&slot, "barrier", 0);
  }
  EXPECT_EQ(slot.flight_count.load(), 1500U);
  EXPECT_EQ(slot.flight[1499 % RankSlot::flight_length].sequence.load(), 1500U);
  EXPECT_GT(slot.flight[0].end_ns.load(), 0);
}

TEST(ControlPage, RefusesWhatIsNoPage) {
  EXPECT_THROW(ControlPage::open("/proc/self/nothing"), Error);
  EXPECT_THROW(ControlPage::open("/dev/null"), Error);
}

/// Who looks for a rank's page sees its file before there is anything in it.
TEST(ControlPage, IsNotThereForOthersBeforeItIsMade) {
  const Descriptor file(::memfd_create("muster-control", MFD_CLOEXEC));
  const auto path = fmt::format("/proc/self/fd/{}", file.get());
  EXPECT_FALSE(ControlPage::open_if_made(path));
  ASSERT_EQ(::ftruncate(file.get(), 1 << 20), 0);
  EXPECT_FALSE(ControlPage::open_if_made(path)) << "reserved, and nothing written";
  const std::uint64_t magic = 1;
  ASSERT_EQ(::pwrite(file.get(), &magic, sizeof magic, offsetof(ControlHeader, magic)), 8);
  EXPECT_THROW(ControlPage::open_if_made(path), Error) << "of another version";
  EXPECT_FALSE(ControlPage::open_if_made("/proc/self/fd/9999")) << "its maker has ended";
  const auto page = ControlPage::create(2);
  EXPECT_EQ(ControlPage::open_if_made(page.path())->slots(), 2);
}

}  // namespace
}  // namespace muster
