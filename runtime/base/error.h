/// Error: the one exception type of Muster. What went wrong, whose fault it is, and the chain of
/// what was being done. Throw it where a function cannot do its job; expected outcomes are values
/// (std::optional, enums), never errors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace muster {

/// Whose fault an error is. It decides the exit code and whether a supervisor may try again.
enum class Fault {
  bug,            ///< ours: an invariant does not hold
  bad_input,      ///< the user's: exit 64, never retried
  io,             ///< the machine's: disk, file system, a system call
  communication,  ///< another rank, the network, a library between ranks
  cancelled,      ///< somebody asked for it
};

/// The place in the source that raised an error. Filled in by default arguments.
struct Where {
  const char* file = "";
  int line = 0;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return Where{file, line};
  }
};

class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message, Where where = Where::here())
      : std::runtime_error(message), fault_(fault), where_(where) {}
  Fault fault() const noexcept { return fault_; }
  Where where() const noexcept { return where_; }

 private:
  Fault fault_;
  Where where_;
};

/// Throws what `errno` says, with what was tried: "open runs/a/config.ini: No such file or
/// directory".
[[noreturn]] void throw_errno(std::string_view what, int error_number, Where where = Where::here());

/// A caller's mistake, checked in all builds.
inline void require(bool holds, std::string_view message, Where where = Where::here()) {
  if (!holds) {
    throw Error(Fault::bug, std::string(message), where);
  }
}

/// Rethrows the exception being handled with `context` in front of it. For `within`.
[[noreturn]] void rethrow_within(std::string_view context);

/// Runs `body`; whatever it throws gets `context` ("saving step 900") as one more link of the
/// chain.
template <class Body>
decltype(auto) within(std::string_view context, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    rethrow_within(context);
  }
}

/// The chain, outermost first: "training trial 17\n  because: saving step 900\n  because: write: No
/// space left on device".
std::string report(const std::exception& error);

/// The fault of the innermost Error of the chain; `bug` when there is none.
Fault fault_of(const std::exception& error) noexcept;

/// 64 for bad input, 1 for everything else (interfaces.md, exit codes).
int exit_code_of(const std::exception& error) noexcept;

}  // namespace muster
