/// MemoryCap: what the processes of one trial may take together. A control group of its own holds
/// them to it where this process may make one; elsewhere each process gets a coarse limit, so that
/// one that runs wild cannot take the machine before somebody looks. The group ends with the
/// object, which must outlive the processes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "runtime/base/file_system.h"

namespace muster {

class MemoryCap {
 public:
  /// `name`: a word for the group. `with_group` false: as where there are none.
  MemoryCap(const std::string& name, std::uint64_t bytes, bool with_group = true);
  ~MemoryCap();
  MemoryCap(const MemoryCap&) = delete;
  MemoryCap& operator=(const MemoryCap&) = delete;

  /// The process, and what it starts from now on.
  void hold(pid_t process) const;
  bool has_group() const { return !group_.empty(); }
  const Path& group() const { return group_; }  ///< empty: there is none
  /// The kernel has killed in the group.
  bool is_breached() const;

 private:
  std::uint64_t bytes_;
  Path group_;  // empty: there is none
  bool is_version_one_ = false;
};

/// Resident bytes of a process and of everything below it.
std::uint64_t resident_below(pid_t process);

}  // namespace muster
