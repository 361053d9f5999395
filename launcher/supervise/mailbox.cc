// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

namespace muster {

Mailbox::Mailbox() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Mailbox::ring() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void Mailbox::signal(int signal) {
  {
    const std::lock_guard lock(mutex_);
    content_.signals.push_back(signal);
  }
  ring();
}

void Mailbox::notice(const NoticeEvent& notice) {
  {
    const std::lock_guard lock(mutex_);
    content_.notices.push_back(notice);
  }
  ring();
}

Mailbox::Content Mailbox::take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  return std::exchange(content_, {});
}

}  // namespace muster
