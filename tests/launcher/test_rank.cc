// A rank without a model: it beats, checkpoints a counter, honours notices, and misbehaves on
// demand. test_rank --steps 100 --step-ms 5 [--crash-at S | --crash-after N] [--rank R --how
// segv|call|abort|exit:K|kill|hang|ignore|fork|error] [--once FILE] With --once, only the process
// that manages to create FILE misbehaves, so that a restarted job goes on.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/file_system.h"
#include "runtime/base/stop_signals.h"
#include "runtime/comm/control_page.h"
#include "runtime/comm/crash_record.h"
#include "runtime/comm/launch_context.h"

namespace {

using namespace muster;

struct Rank {
  std::map<std::string, std::string> options;
  int rank = 0;
  int place = 0;    ///< on the page
  int meeting = 1;  ///< ranks that share the page: those of another launcher count each for itself
  std::optional<ControlPage> page;
  Path checkpoints;
  std::uint64_t step = 0;
  std::uint32_t hints = 0;  ///< that were followed

  long number(const std::string& name, long fallback) const {
    const auto found = options.find(name);
    return found == options.end() ? fallback : std::stol(found->second);
  }

  /// checkpoints/step-00000020/counter: the newest counts.
  void load() {
    auto names = posix_file_system().list(checkpoints);
    std::erase_if(names, [](const std::string& name) { return name.ends_with(".new"); });
    if (!names.empty()) {
      step = static_cast<std::uint64_t>(
          std::stoull(read_file(checkpoints / names.back() / "counter")));
      slot().step = step;
      fmt::print("resumed at step {}\n", step);
    }
  }

  void save() {
    if (rank != 0) {
      return;
    }
    const auto directory = checkpoints / fmt::format("step-{:08}", step);
    posix_file_system().make_directory(directory.string() + ".new");
    write_file_durably(directory.string() + ".new/counter", std::to_string(step));
    posix_file_system().remove(directory);
    posix_file_system().rename(directory.string() + ".new", directory);
    page->header().last_checkpoint_step = step;
    page->header().last_checkpoint_ns = monotonic_ns();
  }

  RankSlot& slot() { return page->slot(place); }

  void meet() {
    const FlightScope scope(&slot(), "meet", 8);
    slot().phase = Phase::exchange;
    for (int other = 0; other < meeting; ++other) {
      while (page->slot(other).step < step) {
        if (page->header().aborted != 0) {
          throw Error(Fault::communication,
                      fmt::format("rank {} has left", page->header().aborted - 1));
        }
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    }
    slot().phase = Phase::compute;
  }

  bool chosen() const {
    const auto once = options.find("--once");
    return once == options.end() ||
           ::open(once->second.c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0666) >= 0;
  }

  void misbehave(const std::string& how) {
    fmt::print("rank {} misbehaves at step {}: {}\n", rank, step, how);
    std::fflush(stdout);
    if (how == "segv") {
      write_where_nothing_is();
    } else if (how == "call") {
      call_what_is_not_there();
    } else if (how == "abort") {
      std::abort();
    } else if (how == "kill") {
      ::kill(::getpid(), SIGKILL);
    } else if (how == "hang") {
      const FlightScope scope(&slot(), "all_reduce float32", 4096);
      std::this_thread::sleep_for(std::chrono::hours(1));
    } else if (how == "fork") {
      fork_children();
    } else if (how == "error") {
      throw Error(Fault::io, "the disk of this test is full");
    } else if (how == "input") {
      throw Error(Fault::bad_input, "train.epochs = -1: must be at least 1");
    } else if (how.starts_with("exit:")) {
      ::_exit(std::stoi(how.substr(5)));
    }
  }

  [[gnu::noinline, gnu::no_sanitize("undefined", "address")]] static void call_what_is_not_there() {
    using Function = void (*)();
    volatile Function nothing = nullptr;
    nothing();
    fmt::print("it came back\n");
  }

  [[gnu::noinline, gnu::no_sanitize("undefined", "address")]] static void write_where_nothing_is() {
    volatile int* volatile nothing = nullptr;
    *nothing = 1;
  }

  /// A child, and a grandchild in a session of its own: the kind that outlives careless launchers.
  /// Both ignore TERM.
  static void fork_children() {
    for (int i = 0; i < 2; ++i) {
      if (::fork() == 0) {
        if (::fork() == 0) {
          ::setsid();
        }
        std::signal(SIGTERM, SIG_IGN);
        std::this_thread::sleep_for(std::chrono::hours(1));
      }
    }
  }

  /// A phase that takes its time, for those who watch.
  void linger(Phase phase) {
    slot().phase = phase;
    std::this_thread::sleep_for(std::chrono::milliseconds(number("--linger-ms", 0)));
  }

  int run() {
    linger(Phase::loading);
    load();
    const auto steps = static_cast<std::uint64_t>(number("--steps", 10));
    const auto started = step;
    const bool ignores = options.contains("--ignore");
    while (step < steps) {
      std::this_thread::sleep_for(std::chrono::milliseconds(number("--step-ms", 5)));
      const bool its_time = static_cast<long>(step) == number("--crash-at", -1) ||
                            static_cast<long>(step - started) == number("--crash-after", -1);
      if (its_time && rank == number("--rank", 0) && chosen()) {
        misbehave(options.at("--how"));
      }
      auto& header = page->header();
      if (place == 0 && header.notice != Notice::none &&
          header.stop_after_step == ~std::uint64_t{0} && !ignores) {
        header.stop_after_step = step + 1;
      }
      slot().step = ++step;
      slot().step_ns = number("--step-ms", 5) * 1'000'000;
      meet();
      if (step % static_cast<std::uint64_t>(number("--every", 10)) == 0) {
        save();
      }
      if (place == 0 && header.checkpoint_hint != hints) {
        hints = header.checkpoint_hint;
        save();
        fmt::print("saved on a hint at step {}\n", step);
      }
      if (step >= header.stop_after_step) {
        save();
        const bool on_purpose =
            header.notice == Notice::stopped || header.notice == Notice::time_limit;
        return on_purpose ? exit_stopped : exit_saved;
      }
    }
    linger(Phase::finishing);
    save();
    slot().phase = Phase::finished;
    fmt::print("finished at step {}\n", step);
    return exit_finished;
  }
};

}  // namespace

int main(int argc, char** argv) {
  install_crash_record();
  Rank rank;
  for (int i = 1; i + 1 < argc; i += 2) {
    rank.options[argv[i]] = argv[i + 1];
  }
  const auto launch = launch_context(process_environment());
  rank.rank = launch.rank;
  const bool shared = !launch.control.empty();
  rank.place = shared ? launch.rank : 0;
  rank.meeting = shared ? launch.size : 1;
  rank.page = shared ? ControlPage::open(launch.control) : ControlPage::create(1);
  const char* directory = std::getenv("MUSTER_CHECKPOINT_DIR");
  rank.checkpoints = directory == nullptr ? "checkpoints" : directory;
  const StopSignals signals([&rank](int signal) {
    auto none = Notice::none;
    if (signal == SIGCONT) {
      ++rank.page->header().checkpoint_hint;
    } else {
      rank.page->header().notice.compare_exchange_strong(none, Notice::preempted);
    }
  });
  rank.slot().pid = ::getpid();
  rank.slot().global_rank = rank.rank;
  crash_record_goes_to(&rank.slot());
  try {
    return rank.run();
  } catch (const std::exception& error) {
    record_failure(rank.slot(), static_cast<int>(fault_of(error)), report(error));
    fmt::print(stderr, "{}\n", report(error));
    std::fflush(nullptr);
    ::_exit(exit_code_of(error));
  }
}
