/// MetadataStub: a cloud's metadata service on the loopback, for tests of notices.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/base/handle.h"

namespace muster::test {

/// A metadata service on the loopback: answers paths that it knows, 404 else, and keeps what it was
/// asked.
class MetadataStub {
 public:
  MetadataStub() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
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
  ~MetadataStub() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  MetadataStub(const MetadataStub&) = delete;
  MetadataStub& operator=(const MetadataStub&) = delete;
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

}  // namespace muster::test
