// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/tool.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "launcher/engine/line_reader.h"
#include "runtime/base/text.h"

namespace muster {

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  for (const auto& directory : split(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    const Path candidate = Path(directory) / name;
    if (::access(candidate.c_str(), X_OK) == 0) {
      return candidate.string();
    }
  }
  return "";
}

ToolAnswer run_tool(const std::vector<std::string>& command, std::chrono::milliseconds at_most) {
  Pipe pipe = output_pipe();
  ProcessSpec spec;
  spec.command = command;
  spec.environment = process_environment();
  spec.output = spec.error = pipe.theirs.get();
  Process process = Process::start(spec);
  pipe.theirs.reset();
  const auto until = std::chrono::steady_clock::now() + at_most;
  ToolAnswer answer;
  std::array<char, 4096> buffer;
  const auto drain = [&] {
    for (ssize_t got = 0; (got = ::read(pipe.ours.get(), buffer.data(), buffer.size())) > 0;) {
      answer.output.append(buffer.data(), static_cast<std::size_t>(got));
    }
  };
  for (;;) {
    std::array<pollfd, 2> waits{{{process.descriptor(), POLLIN, 0}, {pipe.ours.get(), POLLIN, 0}}};
    ::poll(waits.data(), waits.size(), 100);
    drain();
    if (const auto ended = process.poll()) {
      drain();
      answer.ended = *ended;
      return answer;
    }
    if (std::chrono::steady_clock::now() > until) {
      process.kill_tree();
    }
  }
}

}  // namespace muster
