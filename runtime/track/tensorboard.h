/// TensorBoard event files, written by hand: length-prefixed records with masked CRC32C, each a
/// protobuf Event. One file a start of the run; a restart says so, upon which TensorBoard drops
/// what came after the step it continues from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"

namespace muster {

/// The bytes of one record: u64 length, masked crc of it, payload, masked crc of that.
std::string tensorboard_record(std::string_view payload);
std::uint32_t masked_crc32c(std::string_view bytes);

// The payloads: Event messages.
std::string version_event(double wall_seconds);
std::string restart_event(double wall_seconds, std::uint64_t step);
std::string scalars_event(double wall_seconds, std::uint64_t step,
                          const std::vector<std::pair<std::string, double>>& values);
std::string text_event(double wall_seconds, std::uint64_t step, std::string_view tag,
                       std::string_view text);
/// The hyper-parameters of one trial, as TensorBoard's HParams page reads them: words that are
/// numbers or booleans as such. `group` tells trials apart.
std::string hyperparameters_event(double wall_seconds, std::string_view group,
                                  const std::vector<std::pair<std::string, std::string>>& words);

/// "events.out.tfevents.1732158543.host.4711.0"
std::string event_file_name(WallTime start);

}  // namespace muster
