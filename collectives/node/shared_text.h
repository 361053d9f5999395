/// Text in shared memory: fixed arrays, always ended by a zero, cut where they do not fit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

namespace muster {

template <std::size_t N>
void write_shared(std::array<char, N>& into, std::string_view text) noexcept {
  const auto length = std::min(text.size(), N - 1);
  std::memcpy(into.data(), text.data(), length);
  into[length] = '\0';
}

template <std::size_t N>
std::string read_shared(const std::array<char, N>& from) {
  return {from.data(), ::strnlen(from.data(), N)};
}

}  // namespace muster
