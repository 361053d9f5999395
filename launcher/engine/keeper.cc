// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "runtime/base/stop_signals.h"

namespace muster::keeper {
namespace {

constexpr int link_place = 3;
constexpr std::size_t most_processes = 8192;

struct Parentage {
  int pid;
  int parent;
  bool below;
};

/// Reads "pid (name) state parent ..." of /proc/PID/stat; the name may hold anything, so the last
/// ')' counts.
int parent_of(const char* pid_text) noexcept {
  std::array<char, 64> path{};
  std::strcpy(path.data(), "/proc/");
  std::strncat(path.data(), pid_text, 20);
  std::strcat(path.data(), "/stat");
  const int file = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return -1;
  }
  std::array<char, 512> text{};
  const auto got = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  const char* end = got > 0 ? std::strrchr(text.data(), ')') : nullptr;
  if (end == nullptr || end[1] == '\0' || end[2] == '\0' || end[2] == 'Z') {
    return -1;  // a zombie needs no killing
  }
  int parent = 0;
  for (const char* at = end + 4; *at >= '0' && *at <= '9'; ++at) {
    parent = parent * 10 + (*at - '0');
  }
  return parent;
}

/// All processes with their parents, without malloc: getdents64 into a buffer on the stack.
std::size_t list_processes(Parentage* into) noexcept {
  struct Entry {
    std::uint64_t inode;
    std::int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];
  };
  const int directory = ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::size_t count = 0;
  alignas(8) std::array<char, 16384> buffer;
  for (long got = 0;
       (got = ::syscall(SYS_getdents64, directory, buffer.data(), buffer.size())) > 0;) {
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer.data() + at);
      const char* name = buffer.data() + at + offsetof(Entry, name);
      at += entry->length;
      if (*name < '1' || *name > '9' || count == most_processes) {
        continue;
      }
      int pid = 0;
      for (const char* digit = name; *digit != '\0'; ++digit) {
        pid = pid * 10 + (*digit - '0');
      }
      if (const int parent = parent_of(name); parent > 0) {
        into[count++] = {pid, parent, false};
      }
    }
  }
  ::close(directory);
  return count;
}

void kill_everything() noexcept {
  const int self = ::getpid();
  for (;;) {
    kill_below(self);
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG) != 0 && errno == ECHILD) {
      return;  // no children: nothing was adopted either, since all are dead
    }
    if (info.si_pid == 0) {
      ::poll(nullptr, 0, 1);
    }
  }
}

void take_descriptors(const Prepared& prepared) noexcept {
  std::array<int, 3> high{};
  for (std::size_t i = 0; i < high.size(); ++i) {
    high[i] = prepared.standard[i] >= 0 ? ::fcntl(prepared.standard[i], F_DUPFD_CLOEXEC, 16)
                                        : ::open("/dev/null", O_RDWR | O_CLOEXEC);
  }
  const int link = ::fcntl(prepared.link, F_DUPFD_CLOEXEC, 16);
  for (int i = 0; i < 3; ++i) {
    ::dup2(high[static_cast<std::size_t>(i)], i);
  }
  ::dup3(link, link_place, O_CLOEXEC);
  if (::syscall(SYS_close_range, link_place + 1, ~0U, 0) != 0) {
    for (int i = link_place + 1; i < 4096; ++i) {
      ::close(i);
    }
  }
}

void tell(Message::Kind kind, int value, std::int64_t peak_bytes = 0) noexcept {
  const Message message{kind, value, peak_bytes};
  [[maybe_unused]] const auto sent = ::send(link_place, &message, sizeof message, MSG_NOSIGNAL);
}

[[noreturn]] void become(const Prepared& prepared, int keeper) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != keeper) {
    ::_exit(127);
  }
  if (prepared.own_session) {
    ::setpgid(0, 0);
  }
  sigset_t none;
  sigemptyset(&none);
  StopSignals::restore_in_child();
  std::signal(SIGPIPE, SIG_DFL);
  std::signal(SIGCHLD, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (prepared.cpus != nullptr) {
    ::sched_setaffinity(0, sizeof *prepared.cpus, prepared.cpus);
  }
  if (prepared.directory == nullptr || ::chdir(prepared.directory) == 0) {
    ::execvpe(prepared.command[0], const_cast<char* const*>(prepared.command),
              const_cast<char* const*>(prepared.environment));
  }
  tell(Message::Kind::exec_failed, errno);
  ::_exit(127);
}

/// Returns when the child has left, or has had its time. It stays to be reaped.
void ask_to_leave(pid_t child, int milliseconds) noexcept {
  if (milliseconds == 0) {
    return;
  }
  ::kill(child, SIGTERM);
  for (int passed = 0; passed < milliseconds; passed += 10) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == child) {
      return;
    }
    ::poll(nullptr, 0, 10);
  }
}

/// Follows one order. False when the owner is gone.
bool obey(pid_t child, int ask_first_ms) noexcept {
  Order order;
  const auto got = ::recv(link_place, &order, sizeof order, MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
    return false;
  }
  if (got == static_cast<ssize_t>(sizeof order)) {
    if (order.signal == 0) {
      ask_to_leave(child, ask_first_ms);
      kill_below(::getpid());
    } else if (::kill(-child, order.signal) != 0) {
      ::kill(child, order.signal);
    }
  }
  return true;
}

}  // namespace

int kill_below(int root) noexcept {
  std::array<Parentage, most_processes> all;  // 96 KiB of stack
  const std::size_t count = list_processes(all.data());
  bool grew = true;
  while (grew) {
    grew = false;
    for (std::size_t i = 0; i < count; ++i) {
      const bool child = all[i].parent == root ||
                         std::any_of(all.data(), all.data() + count, [&](const Parentage& other) {
                           return other.below && other.pid == all[i].parent;
                         });
      if (child && !all[i].below) {
        all[i].below = grew = true;
      }
    }
  }
  int killed = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (all[i].below) {
      ::kill(all[i].pid, SIGKILL);
      ++killed;
    }
  }
  return killed;
}

std::vector<int> children_of(int parent) {
  std::vector<Parentage> all(most_processes);
  all.resize(list_processes(all.data()));
  std::vector<int> children;
  for (const auto& process : all) {
    if (process.parent == parent) {
      children.push_back(process.pid);
    }
  }
  return children;
}

void run(const Prepared& prepared) noexcept {
  if (prepared.own_session) {
    ::setsid();
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_NAME, "muster-keeper");
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  std::signal(SIGCHLD, SIG_DFL);
  take_descriptors(prepared);
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  const int deaths = ::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  const pid_t self = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    become(prepared, self);
  }
  if (child < 0) {
    tell(Message::Kind::exec_failed, errno);
    ::_exit(1);
  }
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < 3; ++i) {
    ::dup2(nowhere, i);  // the pipes are the program's alone: they end when it does
  }
  tell(Message::Kind::started, child);
  for (;;) {
    std::array<pollfd, 2> waits{{{link_place, POLLIN, 0}, {deaths, POLLIN, 0}}};
    ::poll(waits.data(), waits.size(), -1);
    if (waits[0].revents != 0 && !obey(child, prepared.ask_first_ms)) {
      ask_to_leave(child, prepared.ask_first_ms);
      kill_everything();
      ::_exit(0);
    }
    signalfd_siginfo ignored;
    while (::read(deaths, &ignored, sizeof ignored) > 0) {
    }
    int status = 0;
    rusage usage{};
    for (pid_t pid = 0; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) {
      if (pid == child) {
        kill_everything();
        tell(Message::Kind::ended, status, usage.ru_maxrss * 1024);
        ::_exit(0);
      }
    }
  }
}

}  // namespace muster::keeper
