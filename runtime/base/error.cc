// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/error.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/exit_codes.h"

namespace muster {

void throw_errno(std::string_view what, int error_number, Where where) {
  throw Error(Fault::io, std::string(what) + ": " + std::strerror(error_number), where);
}

void rethrow_within(std::string_view context) {
  auto fault = Fault::bug;
  try {
    throw;
  } catch (const std::exception& inner) {
    fault = fault_of(inner);
  } catch (...) {  // not ours and not the library's: the chain still gets its context
  }
  std::throw_with_nested(Error(fault, std::string(context)));
}

std::string report(const std::exception& error) {
  std::string text = error.what();
  for (const char* end :
       {"\nException raised from ",  // libtorch's frames, and its advice
        "\nSearch for `", "\nCUDA kernel errors might", " Of the allocated memory "}) {
    text.resize(std::min(text.size(), text.find(end)));
  }
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& inner) {
    text += "\n  because: " + report(inner);
  } catch (...) {
    text += "\n  because: an exception of unknown type";
  }
  return text;
}

Fault fault_of(const std::exception& error) noexcept {
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& inner) {
    return fault_of(inner);
  } catch (...) {
    return Fault::bug;
  }
  const auto* ours = dynamic_cast<const Error*>(&error);
  return ours == nullptr ? Fault::bug : ours->fault();
}

int exit_code_of(const std::exception& error) noexcept {
  return fault_of(error) == Fault::bad_input ? exit_usage : exit_failed;
}

}  // namespace muster
