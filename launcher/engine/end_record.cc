// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/end_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace muster {

Path end_record_path(const Path& log_directory, int rank) {
  return log_directory / fmt::format("rank-{}.end", rank);
}

void write_end_record(const Path& log_directory, const RankEvent& event, bool over) {
  const nlohmann::json json{{"rank", event.rank},
                            {"over", over},
                            {"host", event.host},
                            {"status", event.ended.status},
                            {"exec_error", event.ended.exec_error},
                            {"peak_bytes", event.ended.peak_bytes},
                            {"cause", event.cause},
                            {"fault", static_cast<int>(event.fault)},
                            {"step", event.step},
                            {"time_ns", event.time_ns},
                            {"operation", event.operation}};
  write_file_atomically(end_record_path(log_directory, event.rank),
                        json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::optional<RankEvent> read_end_record(const Path& log_directory, int rank, bool so_far) {
  const auto text = read_file_if_there(end_record_path(log_directory, rank));
  const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
  if (!json.is_object() || !(so_far || json.value("over", true))) {
    return std::nullopt;
  }
  RankEvent event;
  event.kind = RankEvent::Kind::ended;
  event.rank = rank;
  event.host = json.value("host", "");
  event.ended = {json.value("status", 0), json.value("exec_error", 0),
                 json.value("peak_bytes", std::int64_t{0})};
  event.cause = json.value("cause", "");
  event.fault = static_cast<Fault>(json.value("fault", 0));
  event.step = json.value("step", std::uint64_t{0});
  event.time_ns = json.value("time_ns", std::int64_t{0});
  event.operation = json.value("operation", "");
  return event;
}

}  // namespace muster
