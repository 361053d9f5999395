// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>

#include "runtime/base/crc32c.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// Protobuf's wire format: a key (field << 3 | kind), then a varint (0), 8 bytes (1), a length and
// bytes (2), or 4 bytes (5).
void put_varint(std::string& into, std::uint64_t value) {
  for (; value > 0x7f; value >>= 7) {
    into += static_cast<char>((value & 0x7f) | 0x80);
  }
  into += static_cast<char>(value);
}

template <class Number>
void put_raw(std::string& into, Number number) {
  std::array<char, sizeof(Number)> bytes{};
  std::memcpy(bytes.data(), &number,
              sizeof number);  // little-endian, as everywhere that Muster runs
  into.append(bytes.data(), bytes.size());
}

void put_int(std::string& into, unsigned field, std::uint64_t value) {
  put_varint(into, field << 3);
  put_varint(into, value);
}

void put_double(std::string& into, unsigned field, double value) {
  put_varint(into, field << 3 | 1);
  put_raw(into, value);
}

void put_float(std::string& into, unsigned field, float value) {
  put_varint(into, field << 3 | 5);
  put_raw(into, value);
}

void put_bytes(std::string& into, unsigned field, std::string_view bytes) {
  put_varint(into, field << 3 | 2);
  put_varint(into, bytes.size());
  into += bytes;
}

std::string event(double wall_seconds, std::uint64_t step) {
  std::string message;
  put_double(message, 1, wall_seconds);
  if (step > 0) {
    put_int(message, 2, step);
  }
  return message;
}

/// A google.protobuf.Value: a number (2), text (3) or a boolean (4).
std::string any_value(const std::string& word) {
  std::string value;
  if (word == "true" || word == "false") {
    put_int(value, 4, word == "true" ? 1 : 0);
  } else if (const auto number = parse_double(word)) {
    put_double(value, 2, *number);
  } else {
    put_bytes(value, 3, word);
  }
  return value;
}

std::string text_value(std::string_view tag, std::string_view text) {
  std::string plugin, metadata, dimension, shape, tensor, value;
  put_bytes(plugin, 1, "text");
  put_bytes(metadata, 1, plugin);
  put_int(dimension, 1, 1);
  put_bytes(shape, 2, dimension);
  put_int(tensor, 1, 7);  // DT_STRING
  put_bytes(tensor, 2, shape);
  put_bytes(tensor, 8, text);
  put_bytes(value, 1, tag);
  put_bytes(value, 8, tensor);
  put_bytes(value, 9, metadata);
  return value;
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(0, bytes.data(), bytes.size()), 15) + 0xa282ead8U;
}

std::string tensorboard_record(std::string_view payload) {
  std::string length;
  put_raw(length, std::uint64_t{payload.size()});
  std::string record = length;
  put_raw(record, masked_crc32c(length));
  record += payload;
  put_raw(record, masked_crc32c(payload));
  return record;
}

std::string version_event(double wall_seconds) {
  std::string message = event(wall_seconds, 0);
  put_bytes(message, 3, "brain.Event:2");
  return message;
}

std::string restart_event(double wall_seconds, std::uint64_t step) {
  std::string session;
  put_int(session, 1, 1);  // START
  std::string message = event(wall_seconds, step);
  put_bytes(message, 7, session);
  return message;
}

std::string scalars_event(double wall_seconds, std::uint64_t step,
                          const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, number] : values) {
    std::string value;
    put_bytes(value, 1, tag);
    put_float(value, 2, static_cast<float>(number));
    put_bytes(summary, 1, value);
  }
  std::string message = event(wall_seconds, step);
  put_bytes(message, 5, summary);
  return message;
}

std::string text_event(double wall_seconds, std::uint64_t step, std::string_view tag,
                       std::string_view text) {
  std::string summary;
  put_bytes(summary, 1, text_value(tag, text));
  std::string message = event(wall_seconds, step);
  put_bytes(message, 5, summary);
  return message;
}

std::string hyperparameters_event(double wall_seconds, std::string_view group,
                                  const std::vector<std::pair<std::string, std::string>>& words) {
  std::string start, data, plugin, metadata, value, summary;
  for (const auto& [key, word] : words) {
    std::string entry;
    put_bytes(entry, 1, key);
    put_bytes(entry, 2, any_value(word));
    put_bytes(start, 1, entry);
  }
  put_bytes(start, 4, group);
  put_double(start, 5, wall_seconds);
  put_bytes(data, 3, start);  // HParamsPluginData.session_start_info
  put_bytes(plugin, 1, "hparams");
  put_bytes(plugin, 2, data);
  put_bytes(metadata, 1, plugin);
  put_bytes(value, 1, "_hparams_/session_start_info");
  put_bytes(value, 9, metadata);
  put_bytes(summary, 1, value);
  std::string message = event(wall_seconds, 0);
  put_bytes(message, 5, summary);
  return message;
}

std::string event_file_name(WallTime start) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(start.time_since_epoch()).count();
  return fmt::format("events.out.tfevents.{}.{}.{}.0", seconds, host.data(), ::getpid());
}

}  // namespace muster
