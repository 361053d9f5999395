// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/stop_signals.h"

#include <pthread.h>

#include <array>
#include <csignal>
#include <cstring>
#include <ctime>

#include "runtime/base/thread_name.h"

namespace muster {
namespace {

constexpr std::array taken{SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCONT};

sigset_t taken_set() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : taken) {
    sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

StopSignals::StopSignals(std::function<void(int)> on_signal) {
  const sigset_t set = taken_set();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::jthread([set, act = std::move(on_signal)](const std::stop_token& stop) {
    name_thread("signals");
    while (!stop.stop_requested()) {
      constexpr std::timespec at_most{0, 50'000'000};
      siginfo_t info;
      if (const int signal = sigtimedwait(&set, &info, &at_most); signal > 0) {
        act(signal);
      }
    }
  });
}

StopSignals::~StopSignals() {
  thread_.request_stop();
  thread_.join();
  // Who has heeded the first must not be killed by a second on the last steps to its exit code.
  for (const int signal : taken) {
    std::signal(signal, SIG_IGN);
  }
  const sigset_t set = taken_set();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void StopSignals::restore_in_child() noexcept {
  const sigset_t set = taken_set();
  for (const int signal : taken) {
    std::signal(signal, SIG_DFL);
  }
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : std::string("SIG") + name;
}

}  // namespace muster
