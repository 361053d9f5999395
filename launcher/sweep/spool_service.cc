// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/spool_service.h"

#include <fmt/format.h>
#include <poll.h>

#include <thread>

#include "launcher/engine/machine_place.h"
#include "launcher/sweep/program_worker.h"
#include "launcher/sweep/trial_plans.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

constexpr std::chrono::milliseconds poll_interval{10};

/// Waits for a coordinator. Nothing when somebody asked us to leave.
std::optional<SpoolSession> await_session(const SpoolService& service) {
  for (bool is_told = false; !service.wants_out(); is_told = true) {
    if (auto session = read_spool_session(service.sweep / "spool")) {
      return session;
    }
    if (!is_told) {
      log::info(fmt::format("nobody coordinates {} yet: waiting ('muster tune' starts it)",
                            service.sweep.string()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  return std::nullopt;
}

void wait_for(const SweepWorker& worker) {
  std::vector<pollfd> waits;
  worker.add_descriptors(waits);
  ::poll(waits.data(), waits.size(), static_cast<int>(poll_interval.count()));
}

/// One session, to its end or until we are to leave.
void serve_session(const SpoolService& service, const SpoolSession& session) {
  SpoolCrew crew = service.crew(session);
  const bool are_fixed = service.slots > 0;
  const auto slots = are_fixed ? static_cast<std::size_t>(service.slots) : crew.slots;
  SystemClock clock;
  SpoolSeat seat(service.sweep / "spool", session, service.name,
                 {.count = slots, .are_fixed = are_fixed}, clock);
  const auto worker = crew.make([&seat](const WorkerEvent& event) { seat.say(line_of(event)); });
  log::info(fmt::format("joined {} as {}", service.sweep.string(), seat.name()));
  while (!service.wants_out() && seat.holds()) {
    std::vector<std::string> lines;
    seat.orders(lines);
    for (const auto& line : lines) {
      worker->obey(order_from(line));
    }
    worker->advance();
    wait_for(*worker);
  }
  save_all(*worker);
  seat.leave();
}

}  // namespace

void save_all(SweepWorker& worker) {
  WorkerOrder end;
  end.kind = WorkerOrder::Kind::suspend;
  worker.obey(end);
  while (!worker.is_idle()) {
    worker.advance();
    wait_for(worker);
  }
}

int serve_spool(const SpoolService& service) {
  while (const auto session = await_session(service)) {
    if (session->is_over) {
      log::info("the sweep is over");
      return exit_finished;
    }
    serve_session(service, *session);
  }
  log::info("left, with all running trials saved");
  return exit_saved;
}

SweepSettings settings_of(const Path& sweep) {
  SweepSettings settings;
  Keys keys;
  describe(keys, settings);
  const Path file = sweep / "sweep.ini";
  load_text(keys, read_file(file), file.string());
  settings.name = sweep.filename().string();
  settings.ranks = settings.tune.parallel = 0;  // of the whole sweep, not of one worker
  return settings;
}

bool is_for_programs(const SpoolSession& session) {
  return session.words.size() == 2 && session.words[0] == "--programs";
}

SpoolCrew program_crew(const SpoolService& service, const SpoolSession& session,
                       const std::string& muster) {
  require(is_for_programs(session), "the session is of a sweep whose trials are processes");
  std::filesystem::current_path(session.words[1]);  // what the sweep names is meant from there
  const auto settings = settings_of(service.sweep);
  auto plan = program_plan(settings, service.sweep, process_environment(), muster);
  Machine machine = this_machine();
  machine.gpus = own_cards(machine.gpus, machine_place(process_environment()));
  const auto natural = trials_at_once(settings, machine);
  const auto slots = service.slots > 0 ? static_cast<std::size_t>(service.slots) : natural;
  return {.slots = natural, .make = [=](SweepWorker::Say say) {
            static SystemClock clock;
            return std::make_unique<ProgramWorker>(plan, machine, slots, clock, std::move(say));
          }};
}

}  // namespace muster
