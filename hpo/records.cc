// SPDX-License-Identifier: Apache-2.0
#include "hpo/records.h"

#include <algorithm>
#include <cmath>

#include "hpo/bytes.h"
#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

void write(ByteWriter& out, const std::optional<double>& value) {
  out.byte(value ? 1 : 0);
  if (value) {
    out.number(*value);
  }
}
std::optional<double> read_optional(ByteReader& in) {
  return in.byte() != 0 ? std::optional(in.number()) : std::nullopt;
}

void write(ByteWriter& out, const Config& config) {
  out.integer(config.values.size());
  for (const double value : config.values) {
    out.number(value);
  }
}
Config read_config(ByteReader& in) {
  Config config;
  const std::uint64_t size = in.integer();
  for (std::uint64_t i = 0; i < size; ++i) {
    config.values.push_back(in.number());
  }
  return config;
}

template <class Enum>
Enum read_enum(ByteReader& in, Enum last) {
  const std::uint8_t value = in.byte();
  if (value > static_cast<std::uint8_t>(last)) {
    throw Error(Fault::io, "a state or decision of another version");
  }
  return static_cast<Enum>(value);
}

void write(ByteWriter& out, const SweepOpened& event) {
  out.text(event.identity);
  out.number(event.wall);
}
void read(ByteReader& in, SweepOpened& event) {
  event.identity = in.text();
  event.wall = in.number();
}

void write(ByteWriter& out, const AttemptStarted& event) {
  out.number(event.wall);
}
void read(ByteReader& in, AttemptStarted& event) {
  event.wall = in.number();
}

void write(ByteWriter& out, const TrialAsked& event) {
  out.integer(event.trial);
  write(out, event.config);
  out.text(event.origin);
  out.byte(event.is_proposal ? 1 : 0);
  out.integer(event.seen);
  out.text(event.searcher_state);
  write(out, event.expected_gain);
}
void read(ByteReader& in, TrialAsked& event) {
  event.trial = in.integer_as<TrialId>();
  event.config = read_config(in);
  event.origin = in.text();
  event.is_proposal = in.byte() != 0;
  event.seen = in.integer();
  event.searcher_state = in.text();
  event.expected_gain = read_optional(in);
}

void write(ByteWriter& out, const TrialLaunched& event) {
  out.integer(event.trial);
  out.integer(event.bracket);
  out.number(event.to);
  out.integer(event.slot);
  out.byte(event.again ? 1 : 0);
}
void read(ByteReader& in, TrialLaunched& event) {
  event.trial = in.integer_as<TrialId>();
  event.bracket = in.integer_as<std::uint32_t>();
  event.to = in.number();
  event.slot = in.integer_as<std::uint32_t>();
  event.again = in.byte() != 0;
}

void write(ByteWriter& out, const TrialReported& event) {
  out.integer(event.trial);
  write(out, event.resource);
  out.number(event.value);
  out.byte(static_cast<std::uint8_t>(event.verdict.decision));
  if (event.verdict.decision == Decision::keep_going) {
    out.number(event.verdict.to);
  }
  out.number(event.seconds);
  out.integer(event.metrics.size());
  for (const auto& [number, value] : event.metrics) {
    out.integer(number);
    out.number(value);
  }
  out.text(event.info);
}
void read(ByteReader& in, TrialReported& event) {
  event.trial = in.integer_as<TrialId>();
  event.resource = read_optional(in);
  event.value = in.number();
  event.verdict.decision = read_enum(in, Decision::complete);
  if (event.verdict.decision == Decision::keep_going) {
    event.verdict.to = in.number();
  }
  event.seconds = in.number();
  const std::uint64_t metrics = in.integer();
  for (std::uint64_t i = 0; i < metrics; ++i) {
    const auto number = in.integer_as<std::uint32_t>();
    event.metrics.emplace_back(number, in.number());
  }
  event.info = in.text();
}

void write(ByteWriter& out, const TrialEnded& event) {
  out.integer(event.trial);
  out.byte(static_cast<std::uint8_t>(event.state));
  out.byte(event.is_failure ? 1 : 0);
  out.text(event.reason);
}
void read(ByteReader& in, TrialEnded& event) {
  event.trial = in.integer_as<TrialId>();
  event.state = read_enum(in, TrialState::complete);
  event.is_failure = in.byte() != 0;
  event.reason = in.text();
}

void write(ByteWriter& out, const MetricNamed& event) {
  out.integer(event.number);
  out.text(event.name);
}
void read(ByteReader& in, MetricNamed& event) {
  event.number = in.integer_as<std::uint32_t>();
  event.name = in.text();
}

void write(ByteWriter& out, const ResultAdded& event) {
  out.integer(event.trial);
  write(out, event.config);
  write(out, event.resource);
  out.number(event.value);
  out.byte(event.failed ? 1 : 0);
  out.text(event.source);
}
void read(ByteReader& in, ResultAdded& event) {
  event.trial = in.integer_as<TrialId>();
  event.config = read_config(in);
  event.resource = read_optional(in);
  event.value = in.number();
  event.failed = in.byte() != 0;
  event.source = in.text();
}

void write(ByteWriter& out, const LimitsSet& event) {
  const Limits& limits = event.limits;
  for (const auto& limit : {limits.max_trials, limits.max_wall, limits.max_slot_hours,
                            limits.target, limits.patience, limits.max_failures}) {
    write(out, limit);
  }
  out.byte(limits.converged ? 1 : 0);
  out.byte(event.by_hand ? 1 : 0);
}
void read(ByteReader& in, LimitsSet& event) {
  Limits& limits = event.limits;
  for (auto* limit : {&limits.max_trials, &limits.max_wall, &limits.max_slot_hours, &limits.target,
                      &limits.patience, &limits.max_failures}) {
    *limit = read_optional(in);
  }
  limits.converged = in.byte() != 0;
  event.by_hand = in.byte() != 0;
}

void write(ByteWriter& out, const SweepOver& event) {
  out.text(event.reason);
}
void read(ByteReader& in, SweepOver& event) {
  event.reason = in.text();
}

void write(ByteWriter& out, const RowLent& event) {
  out.integer(event.source);
  write(out, event.config);
  write(out, event.resource);
  out.number(event.value);
  out.byte(event.failed ? 1 : 0);
}
void read(ByteReader& in, RowLent& event) {
  event.source = in.integer_as<std::uint32_t>();
  event.config = read_config(in);
  event.resource = read_optional(in);
  event.value = in.number();
  event.failed = in.byte() != 0;
}

void write(ByteWriter& out, const SlotsCounted& event) {
  out.integer(event.count);
}
void read(ByteReader& in, SlotsCounted& event) {
  event.count = in.integer_as<std::uint32_t>();
}

template <std::size_t Index = 0>
Event read_event(std::size_t type, ByteReader& in) {
  if constexpr (Index < std::variant_size_v<Event>) {
    if (type != Index) {
      return read_event<Index + 1>(type, in);
    }
    std::variant_alternative_t<Index, Event> event;
    read(in, event);
    return event;
  } else {
    throw Error(Fault::io, "a record of type " + std::to_string(type) +
                               ", which this version does not know: a later one wrote the journal");
  }
}

}  // namespace

std::string encode(const Record& record) {
  ByteWriter out;
  out.byte(static_cast<std::uint8_t>(record.event.index()));
  out.integer(static_cast<std::uint64_t>(std::llround(std::max(0.0, record.seconds) * 1e6)));
  std::visit([&](const auto& event) { write(out, event); }, record.event);
  return out.bytes();
}

Record decode(std::string_view bytes) {
  ByteReader in(bytes);
  const std::size_t type = in.byte();
  Record record;
  record.seconds = static_cast<double>(in.integer()) * 1e-6;
  record.event = read_event(type, in);
  if (!in.at_end()) {
    throw Error(Fault::io, "a record is longer than this version writes it");
  }
  return record;
}

}  // namespace muster::hpo
