// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "runtime/base/exit_codes.h"

namespace muster {
namespace {

std::string message_of(void (*body)(), int* exit_code = nullptr) {
  try {
    body();
  } catch (const std::exception& error) {
    if (exit_code != nullptr) {
      *exit_code = exit_code_of(error);
    }
    return report(error);
  }
  return "nothing was thrown";
}

TEST(Error, ReadsAsAChainFromTheTaskToTheCause) {
  EXPECT_EQ(message_of([] {
              within("training trial 17", [] {
                within("saving step 900", [] { throw_errno("write model.h5", ENOSPC); });
              });
            }),
            "training trial 17\n  because: saving step 900\n  because: write model.h5: No space "
            "left on device");
}

TEST(Error, KeepsTheInnermostFaultForTheExitCode) {
  int code = 0;
  message_of(
      [] { within("reading job.ini", [] { throw Error(Fault::bad_input, "no such key"); }); },
      &code);
  EXPECT_EQ(code, exit_usage);
  message_of([] { within("saving", [] { throw_errno("write", ENOSPC); }); }, &code);
  EXPECT_EQ(code, exit_failed);
  message_of([] { within("anything", [] { throw std::runtime_error("of the library"); }); }, &code);
  EXPECT_EQ(code, exit_failed);
}

TEST(Error, PassesResultsThrough) {
  EXPECT_EQ(within("adding", [] { return 2 + 3; }), 5);
}

TEST(Error, RequireNamesTheCallersMistake) {
  EXPECT_EQ(message_of([] { require(false, "a control page needs at least one rank"); }),
            "a control page needs at least one rank");
}

}  // namespace
}  // namespace muster
