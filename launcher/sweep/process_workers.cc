// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/process_workers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "launcher/engine/line_reader.h"
#include "launcher/engine/process.h"
#include "launcher/supervise/last_words.h"
#include "launcher/sweep/worker_messages.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::chrono::milliseconds shortest_pause(50);
constexpr std::chrono::milliseconds longest_pause(500);

/// Is it the `ready` of a worker on a GPU?
bool tells_card(const std::string& line) {
  return line.find("\"card\":") != std::string::npos && !event_from(line).card.empty();
}

}  // namespace

class ProcessWorkers::Link final : public WorkerLink {
 public:
  Link(const ProcessWorkersPlan& plan, std::size_t index, std::shared_ptr<File> log,
       std::shared_ptr<Heard> heard, bool needs_card)
      : index_(index),
        slots_(plan.slots_each),
        log_file_(plan.log),
        log_(std::move(log)),
        heard_(std::move(heard)) {
    Pipe input = input_pipe();
    Pipe output = output_pipe();
    Pipe error = output_pipe();
    ProcessSpec spec;
    spec.command = plan.command;
    if (needs_card) {
      spec.command.emplace_back("--needs-gpu");
    }
    spec.environment = plan.environment;
    spec.cpus = plan.shares[index].cpus;
    if (const auto& cards = plan.shares[index].gpus; !cards.empty()) {
      spec.environment["CUDA_VISIBLE_DEVICES"] = join(cards, ",");
    }
    spec.input = input.theirs.get();
    spec.output = output.theirs.get();
    spec.error = error.theirs.get();
    process_ = std::make_unique<Process>(Process::start(spec));
    input_ = std::move(input.ours);
    output_ = LineReader(std::move(output.ours));
    error_ = LineReader(std::move(error.ours));
  }

  /// What it has paused may still be on its way to the disk: without orders it ends by itself.
  ~Link() override {
    try {
      input_.reset();
      wait_for_end(std::chrono::seconds(60));
    } catch (const std::exception& error) {
      log::warning(report(error));
    }
  }

  std::string name() const override { return fmt::format("worker {}", index_); }
  std::size_t slots() const override { return slots_; }

  void send(std::string_view lines) override {
    unsent_ += lines;
    flush();
  }

  bool renew() override {
    input_.reset();  // without orders it ends
    is_renewed_ = true;
    return true;
  }

  std::optional<WorkerEnd> ended() override {
    const auto ended = process_->poll();
    if (!ended) {
      return std::nullopt;
    }
    read_errors();
    const bool had_no_memory = ended->signal() == SIGKILL && out_of_memory_kills() > kills_before_;
    const auto why = ended->finished() ? "" : last_words_.why(*ended);
    return WorkerEnd{
        .text = is_renewed_ && ended->finished()
                    ? "begins anew: no memory of earlier trials is in the way then"
                    : ended->text() + (had_no_memory ? " for want of memory" : "") +
                          (why.empty() ? "" : ": " + why) +
                          (last_words_.has_back_trace()
                               ? fmt::format(" (its back-trace is in {})", log_file_.string())
                               : ""),
        .is_misuse = ended->code() == exit_usage,
        .is_leaving = ended->finished(),
        .had_no_memory = had_no_memory};
  }

  void receive(std::vector<std::string>& lines) override {
    flush();
    output_.read(lines);
    for (const auto& line : lines) {
      heard_->anything = true;
      heard_->card = heard_->card || tells_card(line);
    }
    read_errors();
  }

  void add_descriptors(std::vector<pollfd>& waits) const override {
    waits.push_back({process_->descriptor(), POLLIN, 0});
    waits.push_back({output_.descriptor(), POLLIN, 0});
    waits.push_back({error_.descriptor(), POLLIN, 0});
    waits.push_back({unsent_.empty() ? -1 : input_.get(), POLLOUT, 0});
  }

 private:
  /// A worker that has died is found by its end, not by a broken pipe.
  void flush() {
    while (!unsent_.empty()) {
      const auto put = ::write(input_.get(), unsent_.data(), unsent_.size());
      if (put < 0 && errno == EINTR) {
        continue;
      }
      if (put < 0) {
        return;
      }
      unsent_.erase(0, static_cast<std::size_t>(put));
    }
  }

  void wait_for_end(std::chrono::seconds patience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    std::vector<std::string> last_events;
    while (!process_->wait_for(10) && std::chrono::steady_clock::now() < until) {
      output_.read(last_events);
      read_errors();
    }
    read_errors();
  }

  void read_errors() {
    std::vector<std::string> lines;
    error_.read(lines);
    for (const std::string& line : lines) {
      last_words_.hear(line);
    }
    if (!lines.empty()) {
      log_->append(as_bytes(join(lines, "\n") + "\n"));
    }
  }

  std::size_t index_;
  std::size_t slots_;
  Path log_file_;
  std::shared_ptr<File> log_;
  std::shared_ptr<Heard> heard_;
  std::uint64_t kills_before_ = out_of_memory_kills();
  std::unique_ptr<Process> process_;
  Descriptor input_;  // what we say to it
  LineReader output_{Descriptor()};
  LineReader error_{Descriptor()};
  std::string unsent_;
  bool is_renewed_ = false;
  LastWords last_words_;
};

ProcessWorkers::ProcessWorkers(ProcessWorkersPlan plan, Clock& clock)
    : plan_(std::move(plan)),
      clock_(clock),
      log_(posix_file_system().open(plan_.log, OpenMode::append)),
      seats_(plan_.shares.size()) {}

ProcessWorkers::~ProcessWorkers() = default;

std::vector<std::unique_ptr<WorkerLink>> ProcessWorkers::joined() {
  std::vector<std::unique_ptr<WorkerLink>> links;
  for (std::size_t index = 0; index < seats_.size(); ++index) {
    Seat& seat = seats_[index];
    if (seat.heard.use_count() > 1) {
      continue;
    }
    if (seat.heard) {  // it is gone
      const auto heard = *std::exchange(seat.heard, nullptr);
      seat.had_card = seat.had_card || heard.card;
      seat.pause = !heard.anything ? std::clamp(2 * seat.pause, shortest_pause, longest_pause)
                                   : std::chrono::milliseconds(0);
      seat.not_before = clock_.now() + seat.pause;
    }
    if (clock_.now() >= seat.not_before) {
      seat.heard = std::make_shared<Heard>();
      links.push_back(std::make_unique<Link>(plan_, index, log_, seat.heard, seat.had_card));
    }
  }
  return links;
}

std::chrono::milliseconds ProcessWorkers::look_every() const {
  const bool one_waits =
      std::ranges::any_of(seats_, [](const Seat& seat) { return seat.heard == nullptr; });
  return one_waits ? shortest_pause : WorkerSource::look_every();
}

}  // namespace muster
