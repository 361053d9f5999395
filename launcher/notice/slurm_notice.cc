// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "launcher/engine/tool.h"
#include "launcher/notice/notice_source.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

class SlurmNotice final : public NoticeSource {
 public:
  using AskTimeLeft = std::function<std::optional<double>(const std::string&)>;
  SlurmNotice(std::string job, AskTimeLeft ask_time_left)
      : job_(std::move(job)), ask_time_left_(std::move(ask_time_left)) {}

  void hurry() override { next_ = Monotonic{}; }

  std::optional<NoticeEvent> ask(Monotonic now, WallTime /*wall*/) override {
    if (said_ || now < next_) {
      return std::nullopt;
    }
    next_ = now + std::chrono::seconds(15);
    const auto left = ask_time_left_(job_);
    if (!left) {
      return std::nullopt;
    }
    lead_ = lead_.value_or(std::clamp(*left / 10, 20.0, 120.0));
    if (*left > *lead_) {
      return std::nullopt;
    }
    said_ = true;
    return NoticeEvent{
        Notice::preempted,
        now + std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(*left)),
        fmt::format("Slurm job {} ends in {:.0f} s", job_, *left)};
  }

 private:
  std::string job_;
  std::optional<double> lead_;
  Monotonic next_{};
  AskTimeLeft ask_time_left_;
  bool said_ = false;
};

}  // namespace

std::optional<double> slurm_seconds_left(const std::string& job) {
  const auto answer = run_tool({"squeue", "-h", "-j", job, "-o", "%L"}, std::chrono::seconds(10));
  if (!answer.ended.finished()) {
    return std::nullopt;
  }
  const std::string text(trim(answer.output));  // "1-02:03:04", "12:30", "UNLIMITED", "INVALID"
  const auto parts = split(text, ':');
  if (text.find('-') == std::string::npos && parts.size() == 2 && parse_int(parts[0]) &&
      parse_int(parts[1])) {
    return static_cast<double>(*parse_int(parts[0]) * 60 +
                               *parse_int(parts[1]));  // Slurm's two parts are minutes and seconds
  }
  return parts.size() == 3 ? parse_seconds(text) : std::nullopt;
}

std::unique_ptr<NoticeSource> slurm_notice(
    std::string job, std::function<std::optional<double>(const std::string&)> ask_time_left) {
  return std::make_unique<SlurmNotice>(
      std::move(job), ask_time_left ? std::move(ask_time_left) : slurm_seconds_left);
}

}  // namespace muster
