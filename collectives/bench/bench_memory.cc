// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/bench_memory.h"

#include <cstring>

namespace muster {
namespace {

class HostMemory final : public BenchMemory {
 public:
  HostMemory(std::size_t bytes, NodeGroup* node) : bytes_(bytes) {
    if (node == nullptr) {
      own_.resize(bytes);
      data_ = own_.data();
      return;
    }
    const std::size_t padded = (bytes + 4095) / 4096 * 4096;
    window_ = node->share(padded * static_cast<std::size_t>(node->size()));
    data_ = window_->bytes().data() + padded * static_cast<std::size_t>(node->rank());
  }
  void keep(std::vector<std::byte> values) override { kept_ = std::move(values); }
  void rewrite() override { std::memcpy(data_, kept_.data(), bytes_); }
  void* data() const override { return data_; }
  Device device() const override { return {}; }
  std::span<const std::byte> contents() override { return {data_, bytes_}; }
  void settle() override {}

 private:
  std::size_t bytes_;
  std::vector<std::byte> kept_;
  std::vector<std::byte> own_;
  std::unique_ptr<SharedMemory> window_;
  std::byte* data_ = nullptr;
};

}  // namespace

BenchMemorySource plain_memory() {
  return [](std::size_t bytes) { return std::make_unique<HostMemory>(bytes, nullptr); };
}

BenchMemorySource window_memory(NodeGroup& node) {
  return [&node](std::size_t bytes) { return std::make_unique<HostMemory>(bytes, &node); };
}

}  // namespace muster
