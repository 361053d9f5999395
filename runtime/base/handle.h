/// Handle: owns one C resource (a descriptor, hid_t, MPI_Comm, a stream) and closes it once.
/// Move-only. Traits are six lines: `using type`, `static type none()`, `static void close(type)
/// noexcept`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <utility>

namespace muster {

template <class Traits>
class Handle {
 public:
  using type = typename Traits::type;

  Handle() noexcept : value_(Traits::none()) {}
  explicit Handle(type value) noexcept : value_(value) {}
  Handle(Handle&& other) noexcept : value_(other.release()) {}
  Handle& operator=(Handle&& other) noexcept {
    reset(other.release());
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  type get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return !(value_ == Traits::none()); }
  /// Gives the resource up without closing it.
  type release() noexcept { return std::exchange(value_, Traits::none()); }
  void reset(type value = Traits::none()) noexcept {
    if (auto old = std::exchange(value_, value); !(old == Traits::none())) {
      Traits::close(old);
    }
  }

 private:
  type value_;
};

struct DescriptorTraits {
  using type = int;
  static int none() noexcept { return -1; }
  static void close(int descriptor) noexcept { ::close(descriptor); }
};
using Descriptor = Handle<DescriptorTraits>;

}  // namespace muster
