/// LineReader: turns what a pipe gives into whole lines. Carriage returns end lines too (progress
/// bars); a line longer than 64 KiB is handed over in pieces. Never blocks on a non-blocking
/// descriptor.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/base/handle.h"

namespace muster {

struct OutputLine {
  std::string text;
  bool is_live = false;  ///< ended by a bare carriage return: the next one takes its place
};

class LineReader {
 public:
  explicit LineReader(Descriptor descriptor);
  int descriptor() const noexcept { return descriptor_.get(); }
  bool open() const noexcept { return static_cast<bool>(descriptor_); }
  /// Appends the lines that are there now. The end of the pipe closes it and hands over an
  /// unfinished line.
  void read(std::vector<OutputLine>& lines);
  void read(std::vector<std::string>& lines);

 private:
  void cut(std::vector<OutputLine>& lines);
  Descriptor descriptor_;
  std::string pending_;
};

/// Both ends of a pipe; ours does not block and neither survives exec.
struct Pipe {
  Descriptor ours;    ///< to read from
  Descriptor theirs;  ///< to give to a process, then close
};
Pipe output_pipe();
/// The other way round: `ours` to write to.
Pipe input_pipe();

}  // namespace muster
