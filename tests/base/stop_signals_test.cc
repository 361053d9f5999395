// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/stop_signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

namespace muster {
namespace {

TEST(StopSignals, OneThreadTakesEachOfThem) {
  std::atomic<int> last{0};
  const StopSignals signals([&](int signal) {
    last = signal;
    last.notify_one();
  });
  for (const int signal : {SIGTERM, SIGTERM, SIGUSR1, SIGUSR2, SIGINT, SIGHUP, SIGCONT}) {
    last = 0;
    ::kill(::getpid(), signal);
    last.wait(0);
    EXPECT_EQ(last.load(), signal);
  }
}

TEST(StopSignals, KillNobodyAfterwards) {
  {
    const StopSignals signals([](int /*signal*/) {});
  }
  for (const int signal : {SIGTERM, SIGUSR1}) {
    std::raise(signal);
    std::signal(signal, SIG_DFL);
  }
}

TEST(StopSignals, HaveNames) {
  EXPECT_EQ(signal_name(SIGTERM), "SIGTERM");
  EXPECT_EQ(signal_name(SIGKILL), "SIGKILL");
  EXPECT_EQ(signal_name(12345), "signal 12345");
}

}  // namespace
}  // namespace muster
