/// A single HTTP/1.0 request with a deadline: all that the metadata services of clouds need. No
/// TLS, no redirects.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace muster {

struct HttpAnswer {
  int status = 0;
  std::string body;
};
/// `address` is "host" or "host:port" of numbers. Nothing when nobody answers in time: outside of a
/// cloud that is no error.
std::optional<HttpAnswer> http_request(const std::string& address, const std::string& method,
                                       const std::string& path,
                                       const std::vector<std::string>& headers,
                                       std::chrono::milliseconds at_most = std::chrono::seconds(1));

}  // namespace muster
