// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/worker_messages.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

template <class Kind, std::size_t N>
using Names = std::array<std::pair<Kind, const char*>, N>;

constexpr Names<WorkerOrder::Kind, 3> order_names{{{WorkerOrder::Kind::start, "start"},
                                                   {WorkerOrder::Kind::answer, "answer"},
                                                   {WorkerOrder::Kind::suspend, "suspend"}}};
constexpr Names<WorkerEvent::Kind, 7> event_names{{{WorkerEvent::Kind::ready, "ready"},
                                                   {WorkerEvent::Kind::report, "report"},
                                                   {WorkerEvent::Kind::ended, "ended"},
                                                   {WorkerEvent::Kind::idle, "idle"},
                                                   {WorkerEvent::Kind::remark, "remark"},
                                                   {WorkerEvent::Kind::alive, "alive"},
                                                   {WorkerEvent::Kind::left, "left"}}};

template <class Kind, std::size_t N>
const char* name_in(const Names<Kind, N>& names, Kind kind) {
  return names[static_cast<std::size_t>(kind)].second;
}

template <class Kind, std::size_t N>
Kind kind_in(const Names<Kind, N>& names, const Json& object, std::string_view line) {
  const auto found = object.find("op");
  for (const auto& [kind, name] : names) {
    if (found != object.end() && *found == name) {
      return kind;
    }
  }
  throw Error(Fault::communication,
              fmt::format("a line that is no message between coordinator and worker: {}",
                          line.substr(0, 200)));
}

/// JSON has neither infinity nor NaN: null is NaN, "inf" is no limit.
Json number(double value) {
  if (std::isinf(value)) {
    return value > 0 ? "inf" : "-inf";
  }
  return std::isnan(value) ? Json(nullptr) : Json(value);
}

double number_from(const Json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end()) {
    return 0;
  }
  if (found->is_string()) {
    return (*found == "-inf" ? -1 : 1) * std::numeric_limits<double>::infinity();
  }
  return found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

Json parsed(std::string_view line) {
  Json object = Json::parse(line, nullptr, false);
  return object.is_object() ? object : Json::object();
}

}  // namespace

std::string line_of(const WorkerOrder& order) {
  Json object{{"op", name_in(order_names, order.kind)}, {"trial", order.trial}};
  if (order.kind == WorkerOrder::Kind::start) {
    object["params"] = Json::object();
    for (const auto& [key, word] : order.parameters) {
      object["params"][key] = word;
    }
    object["from"] = number(order.from);
  }
  if (order.kind == WorkerOrder::Kind::answer) {
    object["decision"] = order.decision;
  }
  if (order.kind != WorkerOrder::Kind::suspend) {
    object["to"] = number(order.to);
  }
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

WorkerOrder order_from(std::string_view line) {
  const Json object = parsed(line);
  WorkerOrder order;
  order.kind = kind_in(order_names, object, line);
  order.trial = object.value("trial", 0U);
  order.from = number_from(object, "from");
  order.to = number_from(object, "to");
  order.decision = object.value("decision", "");
  if (const auto found = object.find("params"); found != object.end()) {
    for (const auto& [key, word] : found->items()) {
      order.parameters.emplace_back(key, word.get<std::string>());
    }
  }
  return order;
}

std::string line_of(const WorkerEvent& event) {
  Json object{{"op", name_in(event_names, event.kind)}, {"trial", event.trial}};
  if (event.kind == WorkerEvent::Kind::report) {
    object["resource"] = number(event.resource);
    object["value"] = number(event.value);
    object["metrics"] = Json::object();
    for (const auto& [name, value] : event.metrics) {
      object["metrics"][name] = number(value);
    }
  }
  if (event.kind == WorkerEvent::Kind::ended) {
    object["state"] = event.state;
    if (event.final_value) {
      object["final"] = number(*event.final_value);
    }
  }
  if (event.memory > 0) {
    object["memory"] = event.memory;
  }
  if (!event.reason.empty()) {
    object["reason"] = event.reason;
  }
  if (!event.machine.empty()) {
    object["machine"] = event.machine;
  }
  if (!event.card.empty()) {
    object["card"] = event.card;
  }
  object["seconds"] = event.seconds;
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

WorkerEvent event_from(std::string_view line) {
  const Json object = parsed(line);
  WorkerEvent event;
  event.kind = kind_in(event_names, object, line);
  event.trial = object.value("trial", 0U);
  event.resource = number_from(object, "resource");
  event.value = number_from(object, "value");
  event.seconds = number_from(object, "seconds");
  event.memory = object.value("memory", std::uint64_t{0});
  event.state = object.value("state", "");
  event.reason = object.value("reason", "");
  event.machine = object.value("machine", "");
  event.card = object.value("card", "");
  if (object.contains("final")) {
    event.final_value = number_from(object, "final");
  }
  if (const auto found = object.find("metrics"); found != object.end()) {
    for (const auto& [name, value] : found->items()) {
      event.metrics.emplace_back(name, number_from(*found, name.c_str()));
    }
  }
  return event;
}

}  // namespace muster
