// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/trace.h"

#include <ATen/record_function.h>
#include <fmt/format.h>

#include <vector>

#include "runtime/comm/control_page.h"

namespace muster {

struct Trace::State {
  struct Event {
    std::string name;
    const char* category = "operator";
    std::int64_t start_ns = 0;
    std::int64_t end_ns = 0;
    std::int64_t step = -1;
  };
  int rank = 0;
  std::vector<Event> events;
  at::CallbackHandle handle = 0;
};

namespace {

thread_local Trace::State* recording = nullptr;

struct OperatorStart final : at::ObserverContext {
  std::int64_t start_ns = monotonic_ns();
};

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& /*function*/) {
  return std::make_unique<OperatorStart>();
}

void on_end(const at::RecordFunction& function, at::ObserverContext* context) {
  if (recording != nullptr && context != nullptr) {
    recording->events.push_back({.name = function.name(),
                                 .start_ns = static_cast<OperatorStart*>(context)->start_ns,
                                 .end_ns = monotonic_ns()});
  }
}

}  // namespace

Trace::Trace(int rank) : state_(std::make_unique<State>()) {
  state_->rank = rank;
  recording = state_.get();
  state_->handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(on_start, on_end)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

Trace::~Trace() {
  at::removeCallback(state_->handle);
  recording = nullptr;
}

void Trace::phase(std::string_view name, std::int64_t start_ns, std::int64_t end_ns,
                  std::uint64_t step) {
  state_->events.push_back({.name = std::string(name),
                            .category = "phase",
                            .start_ns = start_ns,
                            .end_ns = end_ns,
                            .step = static_cast<std::int64_t>(step)});
}

std::string Trace::text() const {
  std::string text = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
  text += fmt::format(
      R"({{"name": "process_name", "ph": "M", "pid": {0}, "args": {{"name": "rank {0}"}}}})",
      state_->rank);
  for (const State::Event& event : state_->events) {
    text += fmt::format(
        ",\n"
        R"({{"name": "{}", "cat": "{}", "ph": "X", "pid": {}, "tid": 0, "ts": {:.3f}, "dur": {:.3f})",
        event.name, event.category, state_->rank, static_cast<double>(event.start_ns) / 1e3,
        static_cast<double>(event.end_ns - event.start_ns) / 1e3);
    text += event.step < 0 ? "}" : fmt::format(R"(, "args": {{"step": {}}}}})", event.step);
  }
  return text + "\n]}\n";
}

}  // namespace muster
