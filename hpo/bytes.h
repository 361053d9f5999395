/// ByteWriter and ByteReader: small binary records. Variable-length integers, doubles that cost one
/// to three bytes when they are small whole numbers, counted text. The reader throws Error(io)
/// instead of reading past its end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "runtime/base/error.h"

namespace muster::hpo {

class ByteWriter {
 public:
  void byte(std::uint8_t value) { bytes_.push_back(static_cast<char>(value)); }
  void integer(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) {
      byte(static_cast<std::uint8_t>(value | 0x80U));
    }
    byte(static_cast<std::uint8_t>(value));
  }
  /// Whole numbers below 2^30 as integers with the lowest bit set; all else as its eight bytes
  /// behind a zero.
  /// NaN and infinity cost one byte.
  void number(double value) {
    if (std::isnan(value)) {
      return byte(2);
    }
    if (value == std::numeric_limits<double>::infinity()) {
      return byte(4);
    }
    if (value == std::trunc(value) && std::fabs(value) < 1073741824.0 && !is_negative_zero(value)) {
      const auto whole = static_cast<std::int64_t>(value);
      const auto zigzag = static_cast<std::uint64_t>((whole << 1) ^ (whole >> 63));
      integer((zigzag << 1U) | 1U);
      return;
    }
    byte(0);
    const auto bits = std::bit_cast<std::uint64_t>(value);
    char raw[sizeof bits];
    std::memcpy(raw, &bits, sizeof bits);
    bytes_.append(raw, sizeof raw);
  }
  void text(std::string_view value) {
    integer(value.size());
    bytes_ += value;
  }
  const std::string& bytes() const { return bytes_; }
  void clear() { bytes_.clear(); }

 private:
  static bool is_negative_zero(double value) { return value == 0.0 && std::signbit(value); }
  std::string bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  bool at_end() const { return bytes_.empty(); }
  std::uint8_t byte() {
    need(1);
    const auto value = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return value;
  }
  std::uint64_t integer() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = byte();
      value |= static_cast<std::uint64_t>(next & 0x7fU) << shift;
      if ((next & 0x80U) == 0) {
        return value;
      }
    }
    throw Error(Fault::io, "an integer of more than 64 bits");
  }
  template <class Narrow>
  Narrow integer_as() {
    const std::uint64_t value = integer();
    if (value > std::numeric_limits<Narrow>::max()) {
      throw Error(Fault::io, "a number is out of range");
    }
    return static_cast<Narrow>(value);
  }
  double number() {
    const std::uint64_t first = integer();
    if ((first & 1U) != 0) {
      const std::uint64_t zigzag = first >> 1U;
      return static_cast<double>(static_cast<std::int64_t>(zigzag >> 1U) ^
                                 -static_cast<std::int64_t>(zigzag & 1U));
    }
    if (first == 2) {
      return std::numeric_limits<double>::quiet_NaN();
    }
    if (first == 4) {
      return std::numeric_limits<double>::infinity();
    }
    if (first != 0) {
      throw Error(Fault::io, "neither a whole number nor a double");
    }
    std::uint64_t bits = 0;
    need(sizeof bits);
    std::memcpy(&bits, bytes_.data(), sizeof bits);
    bytes_.remove_prefix(sizeof bits);
    return std::bit_cast<double>(bits);
  }
  std::string_view text() {
    const std::uint64_t size = integer();
    need(size);
    const std::string_view value = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return value;
  }

 private:
  void need(std::uint64_t size) const {
    if (bytes_.size() < size) {
      throw Error(Fault::io, "a record ends in the middle of a field");
    }
  }
  std::string_view bytes_;
};

}  // namespace muster::hpo
