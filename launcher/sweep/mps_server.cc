// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/mps_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr const char* folder_name = "muster-mps-";
constexpr int no_such_program = 127;

Path pipes_in(const Path& folder) {
  return folder / "pipe";
}
Path logs_in(const Path& folder) {
  return folder / "log";
}

/// The environment of this process with the daemon's two folders. It serves all cards: it would
/// number those that are named anew, and its clients name them as they are. A slice it must be
/// given.
std::vector<std::string> daemon_environment(const Path& folder) {
  std::vector<std::string> list;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view setting = *entry;
    const bool names_cards = setting.starts_with("CUDA_VISIBLE_DEVICES=") &&
                             !setting.starts_with("CUDA_VISIBLE_DEVICES=MIG-");
    if (!setting.starts_with("CUDA_MPS_") && !names_cards) {
      list.emplace_back(*entry);
    }
  }
  list.push_back("CUDA_MPS_PIPE_DIRECTORY=" + pipes_in(folder).string());
  list.push_back("CUDA_MPS_LOG_DIRECTORY=" + logs_in(folder).string());
  return list;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

/// With a command: sends it to the daemon. Without: starts the daemon, which leaves its starter.
int control(const std::string& program, const Path& folder, const std::string& command) {
  std::vector<std::string> words{program};
  if (command.empty()) {
    words.emplace_back("-d");
  }
  std::vector<std::string> settings = daemon_environment(folder);
  int ends[2] = {-1, -1};  // NOLINT(modernize-avoid-c-arrays): pipe() fills it
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw_errno("pipe", errno);
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, program.c_str(), &actions, nullptr,
                                     pointers_to(words).data(), pointers_to(settings).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[0]);
  if (failure == 0 && !command.empty()) {
    [[maybe_unused]] const auto written = ::write(ends[1], command.data(), command.size());
  }
  ::close(ends[1]);
  if (failure != 0) {
    return no_such_program;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// "ended with 1: Failed to start: another daemon is running", by the last line of its log.
std::string last_words(const Path& folder) {
  const auto log = read_file_if_there(logs_in(folder) / "control.log").value_or("");
  const auto text = trim(log);
  const auto line = text.substr(text.rfind('\n') + 1);
  return line.empty() ? "" : ": " + std::string(line);
}

/// Of this user, with a daemon's folder inside, and nobody's any more.
bool is_left(const Path& folder) {
  struct stat facts {};
  return ::lstat(folder.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode) &&
         facts.st_uid == ::geteuid() && posix_file_system().exists(pipes_in(folder)) &&
         !is_owned(folder, std::chrono::system_clock::now());
}

/// A name that nobody could have taken before.
Path private_folder(const Path& temporary) {
  std::string name = temporary / (folder_name + std::string("XXXXXX"));
  if (::mkdtemp(name.data()) == nullptr) {
    throw_errno("make a folder in " + temporary.string(), errno);
  }
  return name;
}

}  // namespace

MpsServer::MpsServer(MpsOptions options)
    : options_(std::move(options)),
      owner_(options_.folder, clock_, [](const std::string& text) { log::info(text); }) {
  posix_file_system().make_directory(pipes_in(options_.folder));  // owned already: see is_left
  posix_file_system().make_directory(logs_in(options_.folder));
  const int code = control(options_.program, options_.folder, "");
  is_running_ = code == 0;
  if (!is_running_) {
    why_ = code == no_such_program ? fmt::format("there is no {} here", options_.program)
                                   : fmt::format("{} -d ended with {}{}", options_.program, code,
                                                 last_words(options_.folder));
  }
}

MpsServer::~MpsServer() {
  if (is_running_ && control(options_.program, options_.folder, "quit\n") != 0) {
    log::warning(fmt::format("{} did not quit; its folder is {}", options_.program,
                             options_.folder.string()));
    return;
  }
  std::error_code stays;
  std::filesystem::remove_all(options_.folder, stays);
}

std::vector<std::pair<std::string, std::string>> MpsServer::environment(
    std::uint64_t memory_bytes) const {
  if (!is_running_) {
    return {};
  }
  std::vector<std::pair<std::string, std::string>> settings{
      {"CUDA_MPS_PIPE_DIRECTORY", pipes_in(options_.folder).string()},
      {"CUDA_MPS_LOG_DIRECTORY", logs_in(options_.folder).string()}};
  if (memory_bytes > 0) {
    settings.emplace_back("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
                          fmt::format("0={}M", std::max<std::uint64_t>(1, memory_bytes >> 20)));
  }
  return settings;
}

void quit_left_servers(const Path& temporary, const std::string& program) {
  for (const std::string& name : posix_file_system().list(temporary)) {
    const Path folder = temporary / name;
    if (!name.starts_with(folder_name) || !is_left(folder)) {
      continue;
    }
    if (control(program, folder, "quit\n") == no_such_program) {
      return;
    }
    log::info(fmt::format("the MPS daemon of a sweep that was killed has been told to quit ({})",
                          folder.string()));
    std::error_code stays;
    std::filesystem::remove_all(folder, stays);
  }
}

std::unique_ptr<MpsServer> share_cards(const Machine& machine, std::size_t trials,
                                       Environment& environment) {
  if (machine.gpus.empty() || trials <= machine.gpus.size()) {
    return nullptr;
  }
  const Path temporary = std::filesystem::temp_directory_path();
  MpsOptions options;
  quit_left_servers(temporary, options.program);
  options.folder = private_folder(temporary);
  auto server = std::make_unique<MpsServer>(std::move(options));
  if (!server->is_running()) {
    log::info(fmt::format("trials take turns on the GPU, without MPS: {}", server->why()));
    return nullptr;
  }
  for (const auto& [name, value] : server->environment(0)) {
    environment[name] = value;
  }
  return server;
}

}  // namespace muster
