/// ShmWindows: shared memory between processes of one machine. A memfd that the others open through
/// /proc, so that the size of /dev/shm does not matter; else shm_open, unlinked as soon as all have
/// it. Pages are reserved: a full machine fails here, not later.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "collectives/node/local_group.h"
#include "runtime/base/handle.h"

namespace muster {

class ShmWindows final : public WindowSource {
 public:
  explicit ShmWindows(bool allow_memfd = true) : allow_memfd_(allow_memfd) {}
  ~ShmWindows() override;
  int ways() const noexcept override { return allow_memfd_ ? 2 : 1; }
  std::string make(std::size_t bytes, int way) override;
  std::unique_ptr<SharedMemory> attach(const std::string& name, std::size_t bytes, int member,
                                       int size) override;
  void all_attached() noexcept override;

 private:
  std::string make_memfd(std::size_t bytes);
  std::string make_shm(std::size_t bytes);

  bool allow_memfd_;
  Descriptor made_;
  std::string unlink_;  // name under /dev/shm that is still there
  int count_ = 0;
};

}  // namespace muster
