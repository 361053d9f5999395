// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/stack_dumps.h"

#include <fmt/format.h>

#include <memory>

#include "launcher/engine/line_reader.h"
#include "launcher/engine/process.h"
#include "launcher/engine/tool.h"
#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::vector<std::string> debugger_command(pid_t process) {
  const std::string pid = std::to_string(process);
  if (const auto gdb = find_program("gdb"); !gdb.empty()) {
    return {gdb,
            "-p",
            pid,
            "-batch",
            "-nx",
            "-ex",
            "set pagination off",
            "-ex",
            "thread apply all bt 24"};
  }
  if (const auto stack = find_program("eu-stack"); !stack.empty()) {
    return {stack, "-p", pid, "-n", "24"};
  }
  return {};
}

struct Dump {
  pid_t process;
  std::unique_ptr<Process> debugger;
  LineReader reader;
  std::vector<std::string> lines;
};

bool interesting(const std::string& line) {
  return line.starts_with("#") || line.starts_with("Thread ") || line.starts_with("TID ");
}

std::string text_of(const Dump& dump) {
  std::string text = fmt::format("process {}:\n", dump.process);
  bool any = false;
  for (const auto& line : dump.lines) {
    if (interesting(line)) {
      text += "  " + line + "\n";
      any = any || line.starts_with("#");
    }
  }
  return any ? text : text + kernel_view(dump.process);
}

}  // namespace

std::string kernel_view(pid_t process) {
  const auto first_line = [](const Path& path) {
    try {
      const auto text = read_file_if_there(path).value_or("?");
      return std::string(trim(text.substr(0, text.find('\n'))));
    } catch (const std::exception&) {  // the kernel may refuse, the process may be gone
      return std::string("?");
    }
  };
  std::string text;
  const Path root = fmt::format("/proc/{}", process);
  for (const auto& thread : posix_file_system().list(root / "task")) {
    const Path task = root / "task" / thread;
    text +=
        fmt::format("  thread {} ({}): in {}, system call {}\n", thread, first_line(task / "comm"),
                    first_line(task / "wchan"), first_line(task / "syscall"));
  }
  return text.empty() ? "  it is gone\n" : text;
}

std::string stack_dumps(const std::vector<pid_t>& processes, std::chrono::milliseconds at_most) {
  std::vector<Dump> dumps;
  const auto until = std::chrono::steady_clock::now() + at_most;
  for (const pid_t process : processes) {
    Pipe output = output_pipe();
    ProcessSpec spec;
    spec.command = debugger_command(process);
    spec.environment = {{"PATH", "/usr/bin:/bin"}, {"LC_ALL", "C"}};
    spec.output = output.theirs.get();
    auto debugger =
        spec.command.empty() ? nullptr : std::make_unique<Process>(Process::start(spec));
    dumps.push_back({process, std::move(debugger), LineReader(std::move(output.ours)), {}});
  }
  std::string text;
  for (auto& dump : dumps) {
    while (dump.debugger && !dump.debugger->wait_for(20) &&
           std::chrono::steady_clock::now() < until) {
      dump.reader.read(dump.lines);
    }
    dump.debugger.reset();  // ends one that is late
    dump.reader.read(dump.lines);
    text += text_of(dump);
  }
  return text;
}

}  // namespace muster
