// SPDX-License-Identifier: Apache-2.0
#include "hpo/proposer.h"

#include <utility>

#include "runtime/base/error.h"

namespace muster::hpo {

Proposer::Proposer(Searcher& searcher, std::function<void()> when_ready)
    : searcher_(searcher), when_ready_(std::move(when_ready)) {
  if (when_ready_) {
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
}

Proposer::~Proposer() {
  thread_.request_stop();
  changed_.notify_all();
}

void Proposer::ask(OwnedQuestion question) {
  require(!is_busy_, "one proposal at a time");
  is_busy_ = true;
  if (!when_ready_) {
    compute(question);
    return;
  }
  const std::lock_guard lock(mutex_);
  question_ = std::move(question);
  changed_.notify_all();
}

std::optional<Proposer::Answer> Proposer::take() {
  const std::lock_guard lock(mutex_);
  if (failure_) {
    is_busy_ = false;
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
  std::optional<Answer> answer = std::exchange(answer_, std::nullopt);
  is_busy_ = is_busy_ && !answer;
  return answer;
}

void Proposer::compute(const OwnedQuestion& question) {
  std::optional<Answer> answer;
  std::exception_ptr failure;
  try {
    answer = Answer{searcher_.propose(question.view())};
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  answer_ = std::move(answer);
  failure_ = failure;
}

void Proposer::serve(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::optional<OwnedQuestion> question;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [this] { return question_.has_value(); });
      question = std::exchange(question_, std::nullopt);
    }
    if (question) {
      compute(*question);
      when_ready_();
    }
  }
}

}  // namespace muster::hpo
