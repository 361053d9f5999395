// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <utility>

namespace muster {
namespace {

struct Screen {
  std::mutex mutex;
  bool has_live = false;
};
Screen& screen() {
  static auto* the_screen = new Screen;  // as the log: never destroyed  NOLINT
  return *the_screen;
}

/// As much of `text` as fits: a character is a column.
std::string_view cut(std::string_view text, std::size_t columns) {
  const auto begins = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (begins(text[at]) && columns-- == 0) {
      return text.substr(0, at);
    }
  }
  return text;
}

std::size_t width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void put(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(descriptor, bytes.data(), bytes.size());
    if (written <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

constexpr std::string_view cleared = "\r\x1b[K";

}  // namespace

bool console::is_terminal() {
  static const bool is_one = ::isatty(STDERR_FILENO) == 1;
  return is_one;
}

void console::line(int descriptor, std::string_view text) {
  const std::lock_guard lock(screen().mutex);
  if (std::exchange(screen().has_live, false)) {
    put(STDERR_FILENO, cleared);
  }
  put(descriptor, std::string(text) + "\n");
}

void console::live(std::string_view text) {
  const std::lock_guard lock(screen().mutex);
  screen().has_live = true;
  put(STDERR_FILENO, std::string(cleared) + std::string(cut(text, width() - 1)));
}

bool KeptLives::keeps(Monotonic now) {
  if (last_ && now - *last_ < std::chrono::seconds(30)) {
    return false;
  }
  last_ = now;
  return true;
}

}  // namespace muster
