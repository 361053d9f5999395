// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/spool.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "launcher/sweep/worker_messages.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string host_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return host.data();
}

std::string unique_name() {
  return fmt::format("{}-{}-{}", host_name(), ::getpid(),
                     std::chrono::system_clock::now().time_since_epoch().count());
}

}  // namespace

void AppendedLines::read(std::vector<std::string>& lines) {
  auto& files = posix_file_system();
  if (!files.exists(file_)) {
    return;
  }
  const auto file = files.open(file_, OpenMode::read);  // anew: what other machines wrote is seen
  std::array<std::byte, 65536> block{};
  for (std::size_t got = 1; got > 0;) {
    got = file->read_at(offset_, block);
    offset_ += got;
    rest_.append(reinterpret_cast<const char*>(block.data()), got);
  }
  for (std::size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
    lines.push_back(rest_.substr(0, end));
    rest_.erase(0, end + 1);
  }
}

class SpoolWorkers::Link final : public WorkerLink {
 public:
  Link(Path place, std::size_t slots, bool is_fixed, const Clock& clock, std::shared_ptr<int> token)
      : place_(std::move(place)),
        slots_(slots),
        is_fixed_(is_fixed),
        clock_(clock),
        token_(std::move(token)),
        events_(place_ / "events"),
        heard_(clock.now()) {}
  ~Link() override {
    try {
      write_file_atomically(place_ / "gone", "");
    } catch (const std::exception& error) {
      log::warning(report(error));
    }
  }

  std::string name() const override { return "worker " + place_.filename().string(); }
  std::size_t slots() const override { return slots_; }
  bool is_fixed() const override { return is_fixed_; }

  void send(std::string_view lines) override {
    try {
      posix_file_system().open(place_ / "orders", OpenMode::append)->append(as_bytes(lines));
    } catch (const Error& error) {  // it will be missed, and end as one that is silent
      log::warning(report(error));
    }
  }

  std::optional<WorkerEnd> ended() override {
    look();
    if (has_left_) {
      return WorkerEnd{.text = "has left", .is_leaving = true};
    }
    if (clock_.now() - heard_ > spool_patience) {
      return WorkerEnd{.text = fmt::format("has been silent for {} s", spool_patience.count())};
    }
    return std::nullopt;
  }

  void receive(std::vector<std::string>& lines) override {
    look();
    std::ranges::move(lines_, std::back_inserter(lines));
    lines_.clear();
  }

 private:
  void look() {
    std::vector<std::string> fresh;
    events_.read(fresh);
    for (auto& line : fresh) {
      heard_ = clock_.now();
      const auto kind = event_from(line).kind;
      has_left_ = has_left_ || kind == WorkerEvent::Kind::left;
      if (kind != WorkerEvent::Kind::left && kind != WorkerEvent::Kind::alive) {
        lines_.push_back(std::move(line));
      }
    }
  }

  Path place_;
  std::size_t slots_;
  bool is_fixed_;
  const Clock& clock_;
  std::shared_ptr<int> token_;
  AppendedLines events_;
  std::vector<std::string> lines_;
  Monotonic heard_;
  bool has_left_ = false;
};

SpoolWorkers::SpoolWorkers(Path spool, const std::vector<std::string>& words, const Clock& clock)
    : spool_(std::move(spool)), clock_(clock), session_(unique_name()) {
  auto& files = posix_file_system();
  files.make_directory(spool_);
  for (const auto& name : files.list(spool_)) {  // of an earlier coordinator
    if (files.exists(spool_ / name / "hello")) {
      files.remove(spool_ / name);
    }
  }
  beat();
  write_file_durably(spool_ / "session", session_ + "\n" + join(words, "\n") + "\n");
}

SpoolWorkers::~SpoolWorkers() {
  try {
    close(false);
  } catch (const std::exception& error) {
    log::warning(report(error));
  }
}

void SpoolWorkers::close(bool is_over) {
  if (!std::exchange(is_closed_, true)) {
    if (is_over) {
      write_file_durably(spool_ / "session", "over\n");
    } else {
      posix_file_system().remove(spool_ / "session");
    }
  }
}

void SpoolWorkers::beat() {
  write_file_atomically(spool_ / "beat", fmt::format("{} {}\n", session_, ++beats_));
  next_beat_ = clock_.now() + spool_beat;
}

std::chrono::milliseconds SpoolWorkers::look_every() const {
  const bool is_used =
      std::ranges::any_of(known_, [](const auto& entry) { return entry.second.use_count() > 1; });
  return std::chrono::milliseconds(is_used ? 20 : 500);
}

std::vector<std::unique_ptr<WorkerLink>> SpoolWorkers::joined() {
  std::vector<std::unique_ptr<WorkerLink>> links;
  if (clock_.now() < next_look_ || is_closed_) {
    return links;
  }
  next_look_ = clock_.now() + std::chrono::milliseconds(250);
  if (clock_.now() >= next_beat_) {
    beat();
  }
  auto& files = posix_file_system();
  for (const auto& name : files.list(spool_)) {
    if (known_.contains(name) || !files.exists(spool_ / name / "hello")) {
      continue;
    }
    const auto hello = read_file_if_there(spool_ / name / "hello");
    const auto said = hello ? words(*hello) : std::vector<std::string>();
    if (said.size() != 3 || said[0] != session_) {
      continue;
    }
    auto token = std::make_shared<int>(0);
    known_[name] = token;
    const auto slots = parse_int(said[1]).value_or(1);
    log::info(fmt::format("worker {} has joined with {} slots", name, slots));
    links.push_back(std::make_unique<Link>(spool_ / name, static_cast<std::size_t>(slots),
                                           said[2] == "fixed", clock_, std::move(token)));
  }
  return links;
}

std::optional<SpoolSession> read_spool_session(const Path& spool) {
  const auto text = read_file_if_there(spool / "session");
  if (!text) {
    return std::nullopt;
  }
  auto lines = split(trim(*text), '\n');
  SpoolSession session;
  session.id = lines.front();
  session.is_over = session.id == "over";
  session.words.assign(lines.begin() + 1, lines.end());
  return session;
}

SpoolSeat::SpoolSeat(const Path& spool, const SpoolSession& session, const std::string& name,
                     const SpoolSlots& slots, const Clock& clock)
    : spool_(spool),
      session_(session.id),
      clock_(clock),
      name_((name.empty() ? "" : name + "-") + unique_name()),
      orders_(spool / name_ / "orders"),
      beat_seen_(clock.now()) {
  auto& files = posix_file_system();
  files.make_directory(spool_ / name_);
  events_ = files.open(spool_ / name_ / "events", OpenMode::append);
  write_file_atomically(
      spool_ / name_ / "hello",
      fmt::format("{} {} {}\n", session_, slots.count, slots.are_fixed ? "fixed" : "measured"));
}

void SpoolSeat::say(std::string_view lines) {
  const std::lock_guard lock(saying_);
  events_->append(as_bytes(lines));
}

bool SpoolSeat::holds() {
  const auto now = clock_.now();
  if (now < next_beat_) {
    return true;
  }
  next_beat_ = now + spool_beat / 4;
  WorkerEvent alive;
  alive.kind = WorkerEvent::Kind::alive;
  say(line_of(alive));
  const auto beat = read_file_if_there(spool_ / "beat").value_or("");
  if (beat != beat_) {
    beat_ = beat;
    beat_seen_ = now;
  }
  const auto session = read_spool_session(spool_);
  return session && session->id == session_ && now - beat_seen_ < spool_patience &&
         !posix_file_system().exists(spool_ / name_ / "gone");
}

void SpoolSeat::leave() {
  WorkerEvent left;
  left.kind = WorkerEvent::Kind::left;
  say(line_of(left));
}

}  // namespace muster
