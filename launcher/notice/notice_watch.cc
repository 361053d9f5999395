// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "launcher/notice/notice_source.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/base/thread_name.h"

namespace muster {
namespace {

class FileNotice final : public NoticeSource {
 public:
  FileNotice(Path path, Notice reason, std::string who)
      : path_(std::move(path)), reason_(reason), who_(std::move(who)) {}

  std::optional<NoticeEvent> ask(Monotonic now, WallTime /*wall*/) override {
    const auto text = said_ ? std::nullopt : read_file_if_there(path_);
    if (!text) {
      return std::nullopt;
    }
    said_ = true;
    NoticeEvent event{reason_, std::nullopt, who_};
    if (const auto left = parse_seconds(trim(*text))) {
      event.deadline =
          now + std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(*left));
    }
    return event;
  }

 private:
  Path path_;
  Notice reason_;
  std::string who_;
  bool said_ = false;
};

class BudgetNotice final : public NoticeSource {
 public:
  explicit BudgetNotice(Monotonic end) : end_(end) {}
  std::optional<NoticeEvent> ask(Monotonic now, WallTime /*wall*/) override {
    if (said_ || now < end_) {
      return std::nullopt;
    }
    said_ = true;
    return NoticeEvent{Notice::time_limit, std::nullopt, "max_runtime is spent"};
  }

 private:
  Monotonic end_;
  bool said_ = false;
};

}  // namespace

std::unique_ptr<NoticeSource> file_notice(Path path, Notice reason, std::string who) {
  if (who.empty()) {
    who = path.string() + " asks for it";
  }
  return std::make_unique<FileNotice>(std::move(path), reason, std::move(who));
}

std::unique_ptr<NoticeSource> budget_notice(std::chrono::milliseconds left, Monotonic now) {
  return std::make_unique<BudgetNotice>(now + left);
}

NoticeWatch::NoticeWatch(std::vector<std::unique_ptr<NoticeSource>> sources,
                         std::chrono::milliseconds period,
                         std::function<void(const NoticeEvent&)> on_notice)
    : sources_(std::move(sources)), period_(period), on_notice_(std::move(on_notice)) {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    name_thread("notices");
    run(stop);
  });
}

NoticeWatch::~NoticeWatch() {
  thread_.request_stop();
  thread_.join();
}

void NoticeWatch::ask_now() {
  const std::lock_guard lock(mutex_);
  now_ = true;
  wake_.notify_all();
}

void NoticeWatch::run(const std::stop_token& stop) {
  bool hurry = false;
  while (!stop.stop_requested()) {
    for (const auto& source : sources_) {
      try {
        if (hurry) {
          source->hurry();
        }
        if (const auto event =
                source->ask(std::chrono::steady_clock::now(), std::chrono::system_clock::now())) {
          on_notice_(*event);
        }
      } catch (const std::exception& error) {  // a source that fails is no reason to end a job
        log::warning(fmt::format("cannot ask for notices: {}", error.what()));
      }
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, period_, [this] { return now_; });
    hurry = std::exchange(now_, false);
  }
}

}  // namespace muster
