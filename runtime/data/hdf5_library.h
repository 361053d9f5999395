/// What the sources of h5:: share: the lock around libhdf5, its errors as exceptions, its types and
/// spaces as handles. The one header that names the library.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hdf5.h>

#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/data/hdf5.h"

namespace muster::h5 {

static_assert(std::is_same_v<hid_t, std::int64_t>, "Id keeps hid_t without naming it");

/// Held around every libhdf5 call. Silences the library's printing, a setting of each thread.
class Session {
 public:
  Session();

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

/// What the library's error stack says, which is empty afterwards.
std::string library_says();
/// Throws `what` with the library's reason.
[[noreturn]] void fail(Fault fault, std::string_view what);

template <class Result>
Result check(Result result, Fault fault, std::string_view what) {
  if (result < 0) {
    fail(fault, what);
  }
  return result;
}

inline Id own(hid_t id, Fault fault, std::string_view what) {
  return Id(check(id, fault, what));
}

Id type_of(Scalar scalar);
/// What a file's type is to us; nothing for text, compounds, and numbers of other widths. h5py's
/// booleans are an enum of one byte.
std::optional<Scalar> scalar_of_type(hid_t type);
Shape shape_of(hid_t space);
Id space_of(const Shape& shape);

}  // namespace muster::h5
