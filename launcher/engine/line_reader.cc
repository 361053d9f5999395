// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/line_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::size_t longest_line = 64 * 1024;

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw_errno("make a pipe", errno);
  }
  return ends;
}

}  // namespace

LineReader::LineReader(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

void LineReader::read(std::vector<std::string>& lines) {
  std::vector<OutputLine> whole;
  read(whole);
  std::ranges::transform(whole, std::back_inserter(lines),
                         [](OutputLine& line) { return std::move(line.text); });
}

void LineReader::read(std::vector<OutputLine>& lines) {
  std::array<char, 16384> buffer;
  while (descriptor_) {
    const auto got = ::read(descriptor_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && errno == EAGAIN) {
      break;
    }
    if (got <= 0) {
      descriptor_.reset();
      break;
    }
    pending_.append(buffer.data(), static_cast<std::size_t>(got));
    cut(lines);
  }
  if (!descriptor_ && !pending_.empty()) {
    lines.push_back({std::move(pending_)});
    pending_.clear();
  }
}

void LineReader::cut(std::vector<OutputLine>& lines) {
  std::size_t from = 0;
  for (std::size_t end; (end = pending_.find_first_of("\r\n", from)) != std::string::npos;
       from = end + 1) {
    const bool bare_return_or_text = end > from || pending_[end] == '\n';
    if (bare_return_or_text && !(end == from && end > 0 && pending_[end - 1] == '\r')) {
      const bool is_live =
          pending_[end] == '\r' && !(end + 1 < pending_.size() && pending_[end + 1] == '\n');
      lines.push_back({pending_.substr(from, end - from), is_live});
    }
  }
  pending_.erase(0, from);
  while (pending_.size() > longest_line) {
    lines.push_back({pending_.substr(0, longest_line)});
    pending_.erase(0, longest_line);
  }
}

Pipe output_pipe() {
  const auto ends = make_pipe();
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

Pipe input_pipe() {
  const auto ends = make_pipe();
  return {Descriptor(ends[1]), Descriptor(ends[0])};
}

}  // namespace muster
