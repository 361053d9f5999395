// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/owner_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/error.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

const WallTime noon = WallTime{} + std::chrono::hours(24 * 365 * 56);
void silent(const std::string& /*text*/) {}

std::string lock_text(const std::string& host, pid_t pid, WallTime beat) {
  const auto at = std::chrono::duration_cast<std::chrono::seconds>(beat.time_since_epoch()).count();
  return "{\"host\":\"" + host + "\",\"pid\":" + std::to_string(pid) +
         ",\"slurm_job\":\"33\",\"since\":\"x\",\"beat\":" + std::to_string(at) + "}\n";
}

/// A process that has ended and was waited for.
pid_t dead_process() {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST(OwnerLock, RefusesASecondOwnerWithASentence) {
  const test::TemporaryDirectory directory;
  VirtualClock clock(noon);
  OwnerLock lock(directory.path(), clock, silent);
  EXPECT_TRUE(is_owned(directory.path(), noon));
  clock.advance(3s);
  try {
    const OwnerLock second(directory.path(), clock, silent);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("is in use by pid " + std::to_string(::getpid())));
    EXPECT_THAT(error.what(), HasSubstr("heartbeat 3 s ago"));
    EXPECT_THAT(error.what(), HasSubstr("muster stop"));
  }
  lock.release();
  EXPECT_FALSE(is_owned(directory.path(), noon));
  EXPECT_NO_THROW(OwnerLock(directory.path(), clock, silent));
}

TEST(OwnerLock, TakesOverWhatADeadOwnerLeftAndSaysSo) {
  const test::TemporaryDirectory directory;
  const VirtualClock clock(noon);
  const pid_t owner = ::fork();
  if (owner == 0) {
    const OwnerLock lock(directory.path(), clock, silent);
    ::_exit(0);  // as a kill -9 would
  }
  ::waitpid(owner, nullptr, 0);
  EXPECT_FALSE(is_owned(directory.path(), noon));
  std::string said;
  const OwnerLock lock(directory.path(), clock, [&said](const std::string& text) { said = text; });
  EXPECT_THAT(said, HasSubstr("over from pid " + std::to_string(owner)));
}

TEST(OwnerLock, WaitsForWhatADeadOwnerStarted) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "lock";
  write_file_atomically(file, lock_text(this_host(), dead_process(), noon));
  Descriptor leftover(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::flock(leftover.get(), LOCK_EX), 0);
  const VirtualClock clock(noon);
  std::string said;
  const OwnerLock lock(directory.path(), clock, [&](const std::string& text) {
    said += text + "\n";
    leftover.reset();  // the last of them ends
  });
  EXPECT_THAT(said, HasSubstr("is gone; what it started is still ending"));
  EXPECT_THAT(said, HasSubstr("taking " + directory.path().string() + " over"));
}

TEST(OwnerLock, BelievesTheHeartbeatOfAnotherHostForAMinute) {
  const test::TemporaryDirectory directory;
  write_file_atomically(directory.path() / "lock", lock_text("elsewhere", 7, noon));
  VirtualClock clock(noon);
  clock.advance(59s);
  EXPECT_TRUE(is_owned(directory.path(), clock.wall()));
  try {
    const OwnerLock lock(directory.path(), clock, silent);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("pid 7 on elsewhere (Slurm job 33)"));
  }
  clock.advance(2s);
  EXPECT_FALSE(is_owned(directory.path(), clock.wall()));
  EXPECT_NO_THROW(OwnerLock(directory.path(), clock, silent));
}

TEST(OwnerLock, KeepsItsHeartbeat) {
  const test::TemporaryDirectory directory;
  VirtualClock clock(noon);
  const OwnerLock lock(directory.path(), clock, silent, 1ms);
  const auto first = owner_of(directory.path());
  ASSERT_TRUE(first);
  clock.advance(40s);
  for (int tries = 0;
       tries < 10000 && owner_of(directory.path()).value_or(*first).beat == first->beat; ++tries) {
    std::this_thread::yield();
  }
  EXPECT_EQ(owner_of(directory.path())->beat, first->beat + 40);
}

}  // namespace
}  // namespace muster
