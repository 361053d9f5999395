// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/back_trace.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "launcher/engine/tool.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

/// "/path/program(name+0x1f) [0x55d0]": the name is empty for a program's own functions.
struct Frame {
  std::string file;
  std::string name;
  std::string offset;  ///< "+0x1f"
};

std::optional<Frame> frame_of(const std::string& line) {
  const auto open = line.find('(');
  const auto plus = line.find("+0x", open);
  const auto close = line.find(')', plus);
  if (open == std::string::npos || plus == std::string::npos || close == std::string::npos ||
      line.find("[0x", close) == std::string::npos) {
    return std::nullopt;
  }
  return Frame{line.substr(0, open), line.substr(open + 1, plus - open - 1),
               line.substr(plus, close - plus)};
}

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 && text ? std::string(text.get()) : name;
}

/// "muster::save() at runtime/save.cc:17", or nothing.
std::string source_of(const Frame& frame) {
  if (find_program("addr2line").empty()) {
    return "";
  }
  const auto answer =
      run_tool({"addr2line", "-Cfpe", frame.file, frame.offset.substr(1)}, std::chrono::seconds(5));
  const std::string text(trim(answer.output));
  return answer.ended.finished() && !text.starts_with("??") ? text : "";
}

std::string readable(const Frame& frame) {
  std::string what = frame.name.empty() ? source_of(frame) : demangled(frame.name);
  if (what.empty()) {
    what = frame.offset;
  }
  return fmt::format("  {}  ({})", what, frame.file.substr(frame.file.rfind('/') + 1));
}

}  // namespace

bool is_frame(std::string_view line) {
  return frame_of(std::string(line)).has_value();
}

std::string readable_back_trace(const std::string& text) {
  std::vector<std::string> lines;
  for (const auto& line : split(text, '\n')) {
    const auto frame = frame_of(line);
    try {
      lines.push_back(frame ? readable(*frame) : line);
    } catch (const std::exception&) {  // addr2line cannot be started: the frame as it is
      lines.push_back(line);
    }
  }
  return join(lines, "\n");
}

}  // namespace muster
