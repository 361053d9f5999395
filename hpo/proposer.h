/// Proposer: asks the searcher for one proposal at a time, on a thread of its own or at once. While
/// it thinks, reports are taken and decided: a slow fit never delays a stop.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "hpo/searcher.h"
#include "hpo/study.h"

namespace muster::hpo {

class Proposer {
 public:
  /// `when_ready` is called from the thread; without one, ask() computes before it returns.
  Proposer(Searcher& searcher, std::function<void()> when_ready);
  ~Proposer();
  Proposer(const Proposer&) = delete;
  Proposer& operator=(const Proposer&) = delete;

  void ask(OwnedQuestion question);  ///< only when not busy
  bool is_busy() const { return is_busy_; }
  struct Answer {
    std::optional<Proposal> proposal;  ///< nothing: the space is exhausted
  };
  /// The answer, once; rethrows what the searcher threw.
  std::optional<Answer> take();

 private:
  void serve(const std::stop_token& stop);
  void compute(const OwnedQuestion& question);

  Searcher& searcher_;
  std::function<void()> when_ready_;
  bool is_busy_ = false;  // the caller's view
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<OwnedQuestion> question_;
  std::optional<Answer> answer_;
  std::exception_ptr failure_;
  std::jthread thread_;
};

}  // namespace muster::hpo
