// SPDX-License-Identifier: Apache-2.0
#include "launcher/notice/notice_source.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <map>

#include "launcher/notice/http.h"
#include "runtime/base/error.h"
#include "runtime/base/handle.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

const WallTime noon = WallTime{} + std::chrono::hours(24 * 365 * 56);

/// A metadata service on the loopback: answers paths that it knows, 404 else, and keeps what it was
/// asked.
class Stub {
 public:
  Stub() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    socklen_t size = sizeof address;
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    ::listen(listener_.get(), 8);
    thread_ = std::jthread([this] { serve(); });
  }
  ~Stub() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void answer(const std::string& line, const std::string& body) {
    const std::lock_guard lock(mutex_);
    bodies_[line] = body;
  }
  std::string asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  void serve() {
    for (;;) {
      const Descriptor peer(::accept(listener_.get(), nullptr, nullptr));
      if (!peer) {
        return;
      }
      std::string request;
      char buffer[2048];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const auto got = ::recv(peer.get(), buffer, sizeof buffer, 0);
        if (got <= 0) {
          break;
        }
        request.append(buffer, static_cast<std::size_t>(got));
      }
      const std::lock_guard lock(mutex_);
      asked_ += request;
      const auto found = bodies_.find(request.substr(0, request.find(" HTTP")));
      const std::string answer = found == bodies_.end() ? "HTTP/1.0 404 Not Found\r\n\r\n"
                                                        : "HTTP/1.0 200 OK\r\n\r\n" + found->second;
      ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }
  Descriptor listener_;
  int port_ = 0;
  std::mutex mutex_;
  std::map<std::string, std::string> bodies_;
  std::string asked_;
  std::jthread thread_;
};

TEST(CloudNotice, AwsIsSilentUntilTheActionIsThere) {
  Stub stub;
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
  Stub stub;
  stub.answer("GET /computeMetadata/v1/instance/preempted", "FALSE");
  const auto source = cloud_notice(Cloud::gcp, stub.address());
  EXPECT_FALSE(source->ask(Monotonic{}, noon).has_value());
  stub.answer("GET /computeMetadata/v1/instance/preempted", "TRUE\n");
  EXPECT_EQ(source->ask(Monotonic{} + 5s, noon)->deadline, Monotonic{} + 35s);
  EXPECT_THAT(stub.asked(), HasSubstr("Metadata-Flavor: Google"));
}

TEST(CloudNotice, AzureAnnouncesAPreemptEvent) {
  Stub stub;
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
  Stub stub;
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
