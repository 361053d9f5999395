/// AskTell: a study for other languages: one JSON object a line in, one answer a line out, in order
/// (the protocol is documented under "Ask and tell"). Requests that are handed over together share
/// one commit; no answer is returned before it is durable.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "hpo/study.h"

namespace muster::hpo {

class AskTell {
 public:
  /// `open` makes the study: once now, and again after a commit failed, when nothing of the failed
  /// requests may stay.
  explicit AskTell(std::function<std::unique_ptr<Study>()> open);

  /// The answers, each with its newline. Blank lines are passed over.
  std::string answer(std::span<const std::string_view> lines);
  const Study& study() const { return *study_; }

 private:
  std::string answer_one(std::string_view line);
  std::string hello() const;
  std::string ask(const std::set<TrialId>& holding);
  std::string launched(const Launch& launch, bool again) const;

  std::function<std::unique_ptr<Study>()> open_;
  std::unique_ptr<Study> study_;
};

}  // namespace muster::hpo
