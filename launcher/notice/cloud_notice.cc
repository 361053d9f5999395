// The three clouds' ways to say that a machine is taken back (facts of their documentation, tested
// against local stubs). SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <time.h>

#include <nlohmann/json.hpp>

#include "launcher/notice/http.h"
#include "launcher/notice/notice_source.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::json;

/// "2026-11-21T04:00:00Z", or "Sat, 21 Nov 2026 04:00:00 GMT".
std::optional<WallTime> parse_time(const std::string& text) {
  for (const char* format : {"%Y-%m-%dT%H:%M:%SZ", "%a, %d %b %Y %H:%M:%S GMT"}) {
    tm parts{};
    if (::strptime(text.c_str(), format, &parts) != nullptr) {
      return std::chrono::system_clock::from_time_t(::timegm(&parts));
    }
  }
  return std::nullopt;
}

std::optional<Monotonic> as_deadline(const std::string& time, Monotonic now, WallTime wall) {
  const auto when = parse_time(time);
  return when ? std::optional(now + std::chrono::duration_cast<Nanoseconds>(*when - wall))
              : std::nullopt;
}

std::string text_field(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_string()
             ? json[key].get<std::string>()
             : std::string();
}

class CloudNotice : public NoticeSource {
 public:
  explicit CloudNotice(std::string address) : address_(std::move(address)) {}
  void hurry() override { next_ = Monotonic{}; }
  std::optional<NoticeEvent> ask(Monotonic now, WallTime wall) override {
    if (said_ || now < next_) {
      return std::nullopt;
    }
    next_ = now + std::chrono::seconds(5);  // what the services ask of their users
    auto event = look(now, wall);
    said_ = event && !event->hint_only;
    return event;
  }

 protected:
  virtual std::optional<NoticeEvent> look(Monotonic now, WallTime wall) = 0;
  std::optional<std::string> get(const std::string& path,
                                 const std::vector<std::string>& headers) const {
    const auto answer = http_request(address_, "GET", path, headers);
    return answer && answer->status == 200 ? std::optional(answer->body) : std::nullopt;
  }
  std::string address_;

 private:
  Monotonic next_{};
  bool said_ = false;
};

class AwsNotice final : public CloudNotice {
 public:
  using CloudNotice::CloudNotice;
  std::optional<NoticeEvent> look(Monotonic now, WallTime wall) override {
    const auto token = http_request(address_, "PUT", "/latest/api/token",
                                    {"X-aws-ec2-metadata-token-ttl-seconds: 300"});
    std::vector<std::string> headers;
    if (token && token->status == 200) {  // without one, the older form of the service is asked
      headers.push_back("X-aws-ec2-metadata-token: " + token->body);
    }
    if (const auto body = get("/latest/meta-data/spot/instance-action", headers)) {
      const auto json = Json::parse(*body, nullptr, false);
      const auto time = text_field(json, "time");
      return NoticeEvent{
          Notice::cloud, as_deadline(time, now, wall).value_or(now + std::chrono::seconds(120)),
          fmt::format("AWS will {} this machine at {}", text_field(json, "action"), time)};
    }
    if (!rebalance_said_ && get("/latest/meta-data/events/recommendations/rebalance", headers)) {
      rebalance_said_ = true;
      return NoticeEvent{Notice::cloud, std::nullopt,
                         "AWS warns that it may take this machine back", true};
    }
    return std::nullopt;
  }

 private:
  bool rebalance_said_ = false;
};

class GcpNotice final : public CloudNotice {
 public:
  using CloudNotice::CloudNotice;
  std::optional<NoticeEvent> look(Monotonic now, WallTime /*wall*/) override {
    const auto body = get("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor: Google"});
    if (!body || trim(*body) != "TRUE") {
      return std::nullopt;
    }
    return NoticeEvent{Notice::cloud, now + std::chrono::seconds(30),
                       "Google Cloud preempts this machine within 30 s"};
  }
};

class AzureNotice final : public CloudNotice {
 public:
  using CloudNotice::CloudNotice;
  std::optional<NoticeEvent> look(Monotonic now, WallTime wall) override {
    const auto body = get("/metadata/scheduledevents?api-version=2020-07-01", {"Metadata: true"});
    const auto json = Json::parse(body.value_or(""), nullptr, false);
    if (!json.is_object() || !json.contains("Events") || !json["Events"].is_array()) {
      return std::nullopt;
    }
    for (const auto& event : json["Events"]) {
      const auto type = text_field(event, "EventType");
      if (type == "Preempt" || type == "Terminate") {
        const auto time = text_field(event, "NotBefore");
        return NoticeEvent{
            Notice::cloud, as_deadline(time, now, wall).value_or(now + std::chrono::seconds(30)),
            fmt::format("Azure takes this machine back ({}), not before {}", type, time)};
      }
    }
    return std::nullopt;
  }
};

}  // namespace

std::unique_ptr<NoticeSource> cloud_notice(Cloud cloud, std::string address) {
  if (cloud == Cloud::gcp) {
    return std::make_unique<GcpNotice>(address.empty() ? "169.254.169.254" : std::move(address));
  }
  if (cloud == Cloud::azure) {
    return std::make_unique<AzureNotice>(address.empty() ? "169.254.169.254" : std::move(address));
  }
  return std::make_unique<AwsNotice>(address.empty() ? "169.254.169.254" : std::move(address));
}

}  // namespace muster
