// SPDX-License-Identifier: Apache-2.0
#include "launcher/notice/http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "runtime/base/error.h"
#include "runtime/base/handle.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

sockaddr_in socket_address(const std::string& text) {
  const auto parts = split(text, ':');
  const auto port = parts.size() > 1 ? parse_int(parts[1]) : std::optional<std::int64_t>(80);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (parts.size() > 2 || !port || *port < 1 || *port > 65535 ||
      ::inet_pton(AF_INET, parts[0].c_str(), &address.sin_addr) != 1) {
    throw Error(
        Fault::bad_input,
        fmt::format("'{}' is no address: write numbers, as in 169.254.169.254 or 127.0.0.1:8080",
                    text));
  }
  address.sin_port = htons(static_cast<std::uint16_t>(*port));
  return address;
}

bool wait_for(int descriptor, short what, SteadyTime until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                        until - std::chrono::steady_clock::now())
                        .count();
  pollfd wait{descriptor, what, 0};
  return left > 0 && ::poll(&wait, 1, static_cast<int>(left)) > 0;
}

Descriptor connected(const sockaddr_in& address, SteadyTime until) {
  Descriptor descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::connect(descriptor.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
          0 &&
      (errno != EINPROGRESS || !wait_for(descriptor.get(), POLLOUT, until))) {
    return Descriptor();
  }
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(descriptor.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? std::move(descriptor) : Descriptor();
}

std::optional<std::string> read_all(const Descriptor& descriptor, SteadyTime until) {
  std::string text;
  std::array<char, 4096> buffer;
  while (text.size() < 1 << 20) {
    const auto got = ::recv(descriptor.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got == 0) {
      return text;
    } else if (errno != EAGAIN || !wait_for(descriptor.get(), POLLIN, until)) {
      return std::nullopt;
    }
  }
  return text;
}

}  // namespace

std::optional<HttpAnswer> http_request(const std::string& address, const std::string& method,
                                       const std::string& path,
                                       const std::vector<std::string>& headers,
                                       std::chrono::milliseconds at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  const auto descriptor = connected(socket_address(address), until);
  if (!descriptor) {
    return std::nullopt;
  }
  std::string request =
      fmt::format("{} {} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n", method, path, address);
  for (const auto& header : headers) {
    request += header + "\r\n";
  }
  request += "\r\n";
  if (::send(descriptor.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return std::nullopt;
  }
  const auto text = read_all(descriptor, until);
  const auto head = text ? words(text->substr(0, text->find('\r'))) : std::vector<std::string>();
  const auto status = head.size() < 2 ? std::nullopt : parse_int(head[1]);
  if (!status) {
    return std::nullopt;
  }
  const auto body = text->find("\r\n\r\n");
  return HttpAnswer{static_cast<int>(*status),
                    body == std::string::npos ? "" : text->substr(body + 4)};
}

}  // namespace muster
