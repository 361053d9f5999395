/// How a record lies in the file: little-endian numbers, one byte for a boolean, texts padded with
/// zeros.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include "runtime/checkpoint/state_tree.h"

namespace muster {

inline void put_record(const RecordRef& value, std::span<std::byte> into) {
  std::ranges::fill(into, std::byte{0});
  std::visit(
      [&](const auto* field) {
        if constexpr (std::is_same_v<decltype(field), const std::string*>) {
          std::memcpy(into.data(), field->data(), std::min(field->size(), into.size()));
        } else {
          std::memcpy(into.data(), field, sizeof *field);
        }
      },
      value);
}

inline void get_record(std::span<const std::byte> from, const RecordRef& value) {
  std::visit(
      [&](auto* field) {
        if constexpr (std::is_same_v<decltype(field), std::string*>) {
          const auto* text = reinterpret_cast<const char*>(from.data());
          field->assign(text, ::strnlen(text, from.size()));
        } else {
          std::memcpy(field, from.data(), sizeof *field);
        }
      },
      value);
}

}  // namespace muster
