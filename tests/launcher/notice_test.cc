// SPDX-License-Identifier: Apache-2.0
#include "launcher/notice/notice_source.h"

#include <gmock/gmock.h>

#include <atomic>

#include "launcher/notice/http.h"
#include "runtime/base/error.h"
#include "tests/launcher/metadata_stub.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using namespace std::chrono_literals;
using test::MetadataStub;
using testing::HasSubstr;

const WallTime noon = WallTime{} + std::chrono::hours(24 * 365 * 56);

TEST(CloudNotice, AwsIsSilentUntilTheActionIsThere) {
  MetadataStub stub;
  stub.answer("PUT /latest/api/token", "secret");
  const auto source = cloud_notice(Cloud::aws, stub.address());
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
  stub.answer("GET /latest/meta-data/events/recommendations/rebalance", "{\"noticeTime\":\"x\"}");
  EXPECT_FALSE(source->ask(Monotonic{} + 1s, noon).has_value()) << "asked every 5 s only";
  const auto hint = source->ask(Monotonic{} + 5s, noon);
  ASSERT_TRUE(hint.has_value());
  EXPECT_TRUE(hint->hint_only);
  EXPECT_FALSE(source->ask(Monotonic{} + 10s, noon).has_value());
  stub.answer(
      "GET /latest/meta-data/spot/instance-action",
      "{\"action\": \"terminate\", \"time\": \"" + iso_time(noon + 90s).substr(0, 19) + "Z\"}");
  const auto event = source->ask(Monotonic{} + 15s, noon);
  ASSERT_TRUE(event.has_value());
  EXPECT_FALSE(event->hint_only);
  EXPECT_EQ(event->deadline, Monotonic{} + 105s);
  EXPECT_THAT(event->text, HasSubstr("AWS will terminate this machine"));
  EXPECT_THAT(stub.asked(), HasSubstr("X-aws-ec2-metadata-token: secret"));
  EXPECT_FALSE(source->ask(Monotonic{} + 30s, noon).has_value()) << "said once";
}

TEST(CloudNotice, GcpSaysTrue) {
  MetadataStub stub;
  stub.answer("GET /computeMetadata/v1/instance/preempted", "FALSE");
  const auto source = cloud_notice(Cloud::gcp, stub.address());
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
  stub.answer("GET /computeMetadata/v1/instance/preempted", "TRUE\n");
  EXPECT_EQ(source->ask(Monotonic{} + 5s, noon)->deadline, Monotonic{} + 35s);
  EXPECT_THAT(stub.asked(), HasSubstr("Metadata-Flavor: Google"));
}

TEST(CloudNotice, AzureAnnouncesAPreemptEvent) {
  MetadataStub stub;
  const auto source = cloud_notice(Cloud::azure, stub.address());
  stub.answer("GET /metadata/scheduledevents?api-version=2020-07-01",
              R"({"Events":[{"EventType":"Reboot"}]})");
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
  stub.answer("GET /metadata/scheduledevents?api-version=2020-07-01",
              R"({"Events":[{"EventType":"Preempt","NotBefore":""}]})");
  EXPECT_EQ(source->ask(Monotonic{} + 5s, noon)->deadline, Monotonic{} + 35s);
  EXPECT_THAT(stub.asked(), HasSubstr("Metadata: true"));
}

TEST(CloudNotice, OutsideACloudNobodyAnswersAndThatIsFine) {
  MetadataStub stub;
  const auto source = cloud_notice(Cloud::aws, "127.0.0.1:1");
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
  EXPECT_THROW(http_request("metadata.example", "GET", "/", {}), Error);
  EXPECT_THROW(http_request("127.0.0.1:99999", "GET", "/", {}), Error);
}

TEST(FileNotice, SpeaksOnceWithTheTimeLeft) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "leave";
  const auto source = file_notice(file, Notice::file);
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
  write_file_atomically(file, "90\n");
  const auto event = source->ask(Monotonic{}, noon);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->reason, Notice::file);
  EXPECT_EQ(event->deadline, Monotonic{} + 90s);
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
}

TEST(BudgetNotice, SpeaksWhenTheTimeIsSpent) {
  const auto source = budget_notice(5s, Monotonic{});
  EXPECT_FALSE(source->ask(Monotonic{} + 4s, noon).has_value());
  EXPECT_EQ(source->ask(Monotonic{} + 5s, noon)->reason, Notice::time_limit);
  EXPECT_FALSE(source->ask(Monotonic{} + 6s, noon).has_value());
}

TEST(SlurmNotice, AsksForTheTrueEnd) {
  std::optional<double> left = 300;
  const auto source = slurm_notice("12", [&left](const std::string& job) {
    EXPECT_EQ(job, "12");
    return left;
  });
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
  left.reset();  // squeue does not answer
  EXPECT_FALSE(source->ask(Monotonic{} + 15s, noon).has_value());
  left = 19;  // preempted: the end has moved
  EXPECT_FALSE(source->ask(Monotonic{} + 16s, noon).has_value()) << "asked a second ago";
  source->hurry();
  const auto event = source->ask(Monotonic{} + 17s, noon);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->deadline, Monotonic{} + 36s);
  EXPECT_EQ(event->reason, Notice::preempted);
}

TEST(NoticeWatch, TellsWhatItsSourcesSay) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "stop";
  std::atomic<int> told{0};
  std::vector<std::unique_ptr<NoticeSource>> sources;
  sources.push_back(cloud_notice(Cloud::gcp, "no address"));  // fails each time, and harms nobody
  sources.push_back(file_notice(file, Notice::stopped));
  NoticeWatch watch(std::move(sources), 1h, [&told](const NoticeEvent& event) {
    EXPECT_EQ(event.reason, Notice::stopped);
    ++told;
  });
  write_file_atomically(file, "");
  EXPECT_TRUE(test::eventually([&] {
    watch.ask_now();
    return told == 1;
  }));
}

}  // namespace
}  // namespace muster
