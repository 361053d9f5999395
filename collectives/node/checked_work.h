/// checked_work: the Work of an operation that is already over. Waiting costs nothing; dropping it
/// unwaited is still reported, so that code written on one back-end does not fail on the next.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "runtime/base/log.h"
#include "runtime/comm/communicator.h"

namespace muster {

inline constexpr std::string_view dropped_work =
    "the work of an operation was dropped: every Work must be waited for";

/// `abort` is called with the sentence when the work is dropped; what it refers to must outlive the
/// work.
template <class Abort>
Work checked_work(Abort abort) {
  class Over final : public Work::State {
   public:
    explicit Over(Abort how) : abort_(std::move(how)) {}
    void wait() override {}
    bool done() override { return true; }
    void dropped() noexcept override {
      log::error(dropped_work);
      abort_(dropped_work);
    }

   private:
    Abort abort_;
  };
  return Work(std::make_unique<Over>(std::move(abort)));
}

}  // namespace muster
