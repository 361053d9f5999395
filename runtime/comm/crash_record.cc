// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/crash_record.h"

#include <execinfo.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/saved_registers.h"

namespace muster {
namespace {

constexpr std::array crashes{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr int frames_of_ours = 2;  // the handler, and the kernel's way into it

std::atomic<RankSlot*> the_slot{nullptr};
std::atomic_flag crashing = ATOMIC_FLAG_INIT;
int scratch = -1;  ///< a file in memory: backtrace_symbols_fd writes to descriptors only
alignas(16) std::array<char, 65536> handler_stack;

/// Text in a fixed place, for where nothing may allocate.
class Words {
 public:
  void add(const char* text) noexcept {
    const auto room = text_.size() - used_;
    const auto length = std::min(std::strlen(text), room);
    std::memcpy(text_.data() + used_, text, length);
    used_ += length;
  }
  void add_address(const void* address) noexcept {
    auto rest = reinterpret_cast<std::uintptr_t>(address);
    std::array<char, 20> digits{};
    auto* at = digits.data() + digits.size() - 1;
    do {
      *--at = "0123456789abcdef"[rest % 16];
    } while ((rest /= 16) != 0);
    add("0x");
    add(at);
  }
  /// What the scratch file holds.
  void add_scratch() noexcept {
    const auto got = ::pread(scratch, text_.data() + used_, text_.size() - used_, 0);
    used_ += got > 0 ? static_cast<std::size_t>(got) : 0;
  }
  std::string_view view() const noexcept { return {text_.data(), used_}; }

 private:
  std::array<char, sizeof(RankSlot::error) - 1> text_{};
  std::size_t used_ = 0;
};

const char* name_of_crash(int signal) noexcept {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    case SIGILL:
      return "SIGILL";
    default:
      return "SIGABRT";
  }
}

/// A call of a function that is not there (address 0) has no frame to begin at. While this lives,
/// its caller's is where the crash was.
class CallerOfNothing {
 public:
  CallerOfNothing(int signal, const siginfo_t& info, void* context) noexcept {
    const auto there = saved_registers(context);
    if (signal != SIGSEGV || there.counter == nullptr ||
        *there.counter != reinterpret_cast<long long>(info.si_addr)) {
      return;
    }
    registers_ = there;
    at_ = std::exchange(*there.counter, *reinterpret_cast<long long*>(*there.stack));
    *there.stack += size_of_place;
  }
  ~CallerOfNothing() {
    if (registers_.counter != nullptr) {  // for the core
      *registers_.counter = at_;
      *registers_.stack -= size_of_place;
    }
  }
  CallerOfNothing(const CallerOfNothing&) = delete;
  CallerOfNothing& operator=(const CallerOfNothing&) = delete;

 private:
  static constexpr long long size_of_place = sizeof(void*);
  SavedRegisters registers_;
  long long at_ = 0;
};

void add_back_trace(Words& words) noexcept {
  std::array<void*, 40> frames{};
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  if (scratch < 0 || count <= frames_of_ours) {
    return;
  }
  ::backtrace_symbols_fd(frames.data() + frames_of_ours, count - frames_of_ours, scratch);
  words.add("\nback-trace:\n");
  words.add_scratch();
}

void on_crash(int signal, siginfo_t* info, void* context) noexcept {
  if (!crashing.test_and_set()) {  // another thread, or we ourselves, may crash meanwhile
    Words words;
    words.add("crashed with ");
    words.add(name_of_crash(signal));
    if (signal != SIGABRT && info->si_code > 0) {  // not sent by somebody
      words.add(" at address ");
      words.add_address(info->si_addr);
    }
    std::array<char, 17> thread{};
    ::prctl(PR_GET_NAME, thread.data());
    words.add(", in thread ");
    words.add(thread.data());
    {
      const CallerOfNothing caller(signal, *info, context);
      add_back_trace(words);
    }
    [[maybe_unused]] const auto written =
        ::write(STDERR_FILENO, words.view().data(), words.view().size());
    if (RankSlot* slot = the_slot.load()) {
      record_failure(*slot, static_cast<int>(Fault::bug), words.view());
    }
  }
  // SA_RESETHAND has put the default action back: the process ends by this signal, with a core
  // where cores are on.
  ::raise(signal);
}

}  // namespace

void install_crash_record() {
  std::array<void*, 2> frames{};
  ::backtrace(frames.data(), 2);  // loads what it needs now, since it allocates the first time
  scratch = ::memfd_create("muster-crash", MFD_CLOEXEC);
  stack_t stack{};
  stack.ss_sp = handler_stack.data();
  stack.ss_size = handler_stack.size();
  ::sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | static_cast<int>(SA_RESETHAND);
  for (const int signal : crashes) {
    ::sigaction(signal, &action, nullptr);
  }
}

void crash_record_goes_to(RankSlot* slot) noexcept {
  the_slot = slot;
}

}  // namespace muster
