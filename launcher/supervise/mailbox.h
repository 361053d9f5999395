/// Mailbox: what reaches a supervisor from outside, from any thread: signals and notices. Wakes it
/// up.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <vector>

#include "launcher/notice/notice_source.h"
#include "runtime/base/handle.h"

namespace muster {

class Mailbox {
 public:
  Mailbox();
  void signal(int signal);
  void notice(const NoticeEvent& notice);
  int wake_descriptor() const noexcept { return wake_.get(); }
  struct Content {
    std::vector<int> signals;
    std::vector<NoticeEvent> notices;
  };
  Content take();

 private:
  void ring() noexcept;
  Descriptor wake_;
  std::mutex mutex_;
  Content content_;
};

}  // namespace muster
