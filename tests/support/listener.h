/// Listener: a TrainObserver that lets training go on, and keeps what it was told.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/train/trainer.h"

namespace muster::test {

class Listener final : public TrainObserver {
 public:
  Verdict on_report(const TrainReport& report) override {
    reports.push_back(report);
    return Verdict::go_on;
  }
  void on_remark(const std::string& text) override { remarks.push_back(text); }
  void on_progress(const TrainReport& /*report*/) override {}
  std::vector<TrainReport> reports;
  std::vector<std::string> remarks;
};

}  // namespace muster::test
