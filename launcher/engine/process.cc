// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/process.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <mutex>
#include <set>

#include "launcher/engine/keeper.h"
#include "runtime/base/error.h"
#include "runtime/base/stop_signals.h"

namespace muster {
namespace {

/// The keepers of this process, to tell adopted orphans from them.
struct Keepers {
  std::mutex mutex;
  std::set<pid_t> pids;
};
Keepers& keepers() {
  static auto* the_keepers = new Keepers;  // outlives every Process  NOLINT
  return *the_keepers;
}

std::vector<const char*> pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> result;
  for (const auto& text : texts) {
    result.push_back(text.c_str());
  }
  result.push_back(nullptr);
  return result;
}

/// Nothing: not now. A message of kind `lost`: the keeper was killed.
std::optional<keeper::Message> receive(int link) {
  keeper::Message message;
  const auto got = ::recv(link, &message, sizeof message, MSG_DONTWAIT);
  if (got == static_cast<ssize_t>(sizeof message)) {
    return message;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    return std::nullopt;
  }
  return keeper::Message{keeper::Message::Kind::lost, SIGKILL, 0};
}

}  // namespace

std::optional<int> Ended::code() const noexcept {
  return WIFEXITED(status) ? std::optional<int>(WEXITSTATUS(status)) : std::nullopt;
}

std::optional<int> Ended::signal() const noexcept {
  return WIFSIGNALED(status) ? std::optional<int>(WTERMSIG(status)) : std::nullopt;
}

std::string Ended::text() const {
  if (exec_error != 0) {
    return fmt::format("could not be started: {}", std::strerror(exec_error));
  }
  if (const auto by = signal()) {
    return fmt::format("was killed by {}", signal_name(*by));
  }
  return fmt::format("exited with {}", code().value_or(-1));
}

Process Process::start(const ProcessSpec& spec) {
  require(!spec.command.empty(), "a process needs a command");
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw_errno("make the link to a keeper", errno);
  }
  Descriptor theirs(ends[1]);
  Process process;
  process.link_ = Descriptor(ends[0]);
  const auto command = pointers(spec.command);
  std::vector<std::string> variables;
  for (const auto& [name, value] : spec.environment) {
    variables.push_back(name + "=" + value);
  }
  const auto environment = pointers(variables);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const int cpu : spec.cpus) {
    CPU_SET(static_cast<std::size_t>(cpu), &cpus);
  }
  const keeper::Prepared prepared{command.data(),
                                  environment.data(),
                                  spec.directory.empty() ? nullptr : spec.directory.c_str(),
                                  spec.cpus.empty() ? nullptr : &cpus,
                                  {spec.input, spec.output, spec.error},
                                  theirs.get(),
                                  spec.own_session,
                                  spec.ask_first_ms};
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // should a keeper be killed, its orphans come to us
  {
    const std::lock_guard lock(keepers().mutex);
    process.keeper_ = ::fork();
    if (process.keeper_ == 0) {
      keeper::run(prepared);
    }
    if (process.keeper_ < 0) {
      throw_errno(fmt::format("start {}", spec.command.front()), errno);
    }
    keepers().pids.insert(process.keeper_);
  }
  theirs.reset();
  while (process.pid_ < 0 && !process.ended_) {
    process.poll();
    if (process.pid_ < 0 && !process.ended_) {
      pollfd wait{process.link_.get(), POLLIN, 0};
      ::poll(&wait, 1, -1);
    }
  }
  return process;
}

std::optional<Ended> Process::poll() {
  while (!ended_ && link_) {
    const auto message = receive(link_.get());
    if (!message) {
      return std::nullopt;
    }
    switch (message->kind) {
      case keeper::Message::Kind::started:
        pid_ = message->value;
        if (exec_error_ == 0) {
          return std::nullopt;
        }
        break;
      case keeper::Message::Kind::exec_failed:
        exec_error_ = message->value;
        break;
      case keeper::Message::Kind::lost:
        // The program went with its keeper, by the parent-death signal. What it had started comes
        // to us, but only once the keeper is wholly gone.
        reap();
        kill_adopted_orphans();
        ended_ = Ended{message->value, exec_error_, 0};
        break;
      case keeper::Message::Kind::ended:
        ended_ = Ended{message->value, exec_error_, message->peak_bytes};
        break;
    }
  }
  return ended_;
}

std::optional<Ended> Process::wait_for(int milliseconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  for (;;) {
    if (auto ended = poll()) {
      return ended;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      return std::nullopt;
    }
    pollfd wait{link_.get(), POLLIN, 0};
    ::poll(&wait, 1, static_cast<int>(left.count()));
  }
}

void Process::signal(int signal) noexcept {
  const keeper::Order order{signal};
  if (link_ && !ended_) {
    [[maybe_unused]] const auto sent =
        ::send(link_.get(), &order, sizeof order, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

void Process::kill_tree() noexcept {
  signal(0);
}

void Process::reap() noexcept {
  if (keeper_ > 0) {
    while (::waitpid(keeper_, nullptr, 0) < 0 && errno == EINTR) {
    }
    const std::lock_guard lock(keepers().mutex);
    keepers().pids.erase(keeper_);
    keeper_ = -1;
  }
}

void Process::close() noexcept {
  link_.reset();  // the keeper takes this as the order to end everything
  reap();
}

Process::Process(Process&& other) noexcept {
  *this = std::move(other);
}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    close();
    link_ = std::move(other.link_);
    keeper_ = std::exchange(other.keeper_, -1);
    pid_ = other.pid_;
    exec_error_ = other.exec_error_;
    ended_ = other.ended_;
  }
  return *this;
}

Process::~Process() {
  close();
}

int kill_adopted_orphans() noexcept {
  int killed = 0;
  const std::lock_guard lock(keepers().mutex);
  for (bool any = true; any;) {  // the death of one may bring us its children
    any = false;
    for (const pid_t child : keeper::children_of(::getpid())) {
      if (!keepers().pids.contains(child)) {
        keeper::kill_below(child);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        ++killed;
        any = true;
      }
    }
  }
  return killed;
}

}  // namespace muster
