// Workers as processes, and when they come again.
// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/process_workers.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "tests/support/temporary_directory.h"

namespace muster::test {
namespace {

using std::chrono::milliseconds;

class ProcessWorkersTest : public testing::Test {
 protected:
  std::unique_ptr<ProcessWorkers> workers(const std::string& shell) {
    ProcessWorkersPlan plan;
    plan.command = {"/bin/sh", "-c", shell};
    plan.shares = {Share{.cpus = {}, .threads = 1, .gpus = {"3"}}};
    plan.log = folder_.path() / "workers.log";
    return std::make_unique<ProcessWorkers>(std::move(plan), clock_);
  }
  /// Takes the worker that has joined, and lets it end.
  void see_one_die(ProcessWorkers& workers) {
    auto joined = workers.joined();
    ASSERT_EQ(joined.size(), 1U);
    EXPECT_TRUE(workers.joined().empty());
    while (!joined.front()->ended()) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    std::vector<std::string> lines;
    joined.front()->receive(lines);
  }
  TemporaryDirectory folder_;
  VirtualClock clock_;
};

TEST_F(ProcessWorkersTest, OneThatDiesWithoutAWordComesAgainLaterAndLater) {
  const auto source = workers("exit 127");
  for (const int each : {50, 100, 200, 400, 500, 500}) {
    const milliseconds pause(each);
    see_one_die(*source);
    EXPECT_TRUE(source->joined().empty());
    EXPECT_LE(source->look_every(), pause);
    clock_.advance(pause - milliseconds(1));
    EXPECT_TRUE(source->joined().empty());
    clock_.advance(milliseconds(1));
  }
  see_one_die(*source);
}

TEST_F(ProcessWorkersTest, OneThatHasSpokenComesAgainAtOnce) {
  const auto mark = (folder_.path() / "spoken").string();
  const auto source = workers("[ -e " + mark + " ] && echo '{}'; exit 3");
  see_one_die(*source);
  EXPECT_TRUE(source->joined().empty());
  clock_.advance(milliseconds(50));
  std::ofstream(mark) << "now";
  see_one_die(*source);
  see_one_die(*source);
  EXPECT_TRUE(std::filesystem::remove(mark));
  see_one_die(*source);  // the last that spoke was before it
  EXPECT_TRUE(source->joined().empty());
}

TEST_F(ProcessWorkersTest, EachSeesItsOwnCardAndDoesNotComeBackWithoutOne) {
  const auto said = (folder_.path() / "said").string();
  const auto source = workers("echo \"$CUDA_VISIBLE_DEVICES $0\" >> " + said +
                              R"(; echo '{"op":"ready","trial":0,"card":"a card","seconds":0}')");
  see_one_die(*source);
  see_one_die(*source);
  EXPECT_EQ(read_file(said), "3 /bin/sh\n3 --needs-gpu\n");
}

}  // namespace
}  // namespace muster::test
