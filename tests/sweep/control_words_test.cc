// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/control_words.h"

#include <gtest/gtest.h>

#include "hpo/control.h"
#include "runtime/base/error.h"
#include "tests/hpo/sweep_fixture.h"

namespace muster {
namespace {

/// What the coordinator itself answers, as people read it.
class ControlWords : public hpo::SweepFixture {
 protected:
  std::string words(const std::string& request) {
    return control_words("small", hpo::obey(study_, request).answer);
  }
  VirtualClock clock_;
  hpo::Study study_{hpo::small_setup(), journal(), clock_, files_};
};

TEST_F(ControlWords, SayWhatIsLimitedNow) {
  EXPECT_EQ(words(R"({"op":"set","max_trials":200,"max_wall":3600})"),
            "small runs on, limited by max_trials 200, max_wall 3600");
  EXPECT_EQ(words(R"({"op":"set","max_trials":null,"max_wall":null})"),
            "small runs on without limits");
}

TEST_F(ControlWords, SayWhichTrialItIs) {
  EXPECT_EQ(words(R"({"op":"enqueue","params":{"lr":0.05,"depth":3,"kind":"cnn"}})"),
            "small: trial 1 is queued: depth 3, kind cnn, lr 0.05");
  EXPECT_EQ(words(R"({"op":"stop","trial":1})"), "small: trial 1 is stopped");
  EXPECT_EQ(words(R"({"op":"stop"})"),
            "small saves its running trials and stops; muster resume small goes on");
}

TEST_F(ControlWords, ARefusalIsAnErrorInTheSweepsOwnWords) {
  for (const char* request : {R"({"op":"stop","trial":99})", R"({"op":"set","max_trials":-1})",
                              R"({"op":"set"})", R"({"op":"enqueue","params":{"lr":7}})"}) {
    try {
      words(request);
      ADD_FAILURE() << request;
    } catch (const Error& error) {
      EXPECT_EQ(fault_of(error), Fault::bad_input) << request;
      EXPECT_EQ(report(error).find("{"), std::string::npos) << report(error);
    }
  }
}

}  // namespace
}  // namespace muster
