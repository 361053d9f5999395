// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/control_page.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>

#include "runtime/base/error.h"

namespace muster {
namespace {

std::size_t bytes_for(int slots) {
  return sizeof(ControlHeader) + static_cast<std::size_t>(slots) * sizeof(RankSlot);
}

template <std::size_t N>
void copy_text(std::array<char, N>& into, std::string_view text) noexcept {
  const auto length = std::min(text.size(), N - 1);
  std::memcpy(into.data(), text.data(), length);
  into[length] = '\0';
}

void* map(int descriptor, std::size_t bytes) {
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (base == MAP_FAILED) {
    throw_errno("map the control page", errno);
  }
  return base;
}

}  // namespace

std::string_view name_of(Phase phase) {
  constexpr std::array<std::string_view, 9> names{
      "starting",   "loading data",        "waiting for data", "computing", "exchanging",
      "evaluating", "saving a checkpoint", "finishing",        "finished"};
  const auto index = static_cast<std::size_t>(phase);
  return index < names.size() ? names[index] : "?";
}

ControlPage::ControlPage(Descriptor descriptor, void* base, std::size_t bytes)
    : descriptor_(std::move(descriptor)), base_(base), bytes_(bytes) {}

ControlPage ControlPage::create(int slots) {
  require(slots > 0, "a control page needs at least one rank");
  const std::size_t bytes = bytes_for(slots);
  Descriptor descriptor(::memfd_create("muster-control", MFD_CLOEXEC));
  if (!descriptor) {
    throw_errno("create the control page", errno);
  }
  if (const int error = ::posix_fallocate(descriptor.get(), 0, static_cast<off_t>(bytes));
      error != 0) {
    throw_errno(fmt::format("reserve {} bytes for the control page", bytes), error);
  }
  void* base = map(descriptor.get(), bytes);
  auto* header = new (base) ControlHeader;
  auto* first = static_cast<std::byte*>(base) + sizeof(ControlHeader);
  for (int slot = 0; slot < slots; ++slot) {
    new (first + static_cast<std::size_t>(slot) * sizeof(RankSlot)) RankSlot;
  }
  header->slots = slots;
  std::atomic_ref(header->magic).store(ControlHeader::magic_value, std::memory_order_release);
  return {std::move(descriptor), base, bytes};
}

ControlPage ControlPage::open(const std::string& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!descriptor) {
    throw_errno(
        fmt::format("open the control page {} (has the program that started this rank ended?)",
                    path),
        errno);
  }
  return adopt(std::move(descriptor), path);
}

ControlPage ControlPage::adopt(Descriptor descriptor, const std::string& path) {
  struct stat info {};
  if (::fstat(descriptor.get(), &info) != 0) {
    throw_errno("stat the control page", errno);
  }
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes < sizeof(ControlHeader)) {
    throw Error(Fault::communication,
                fmt::format("{} is not a control page: {} bytes", path, bytes));
  }
  void* base = map(descriptor.get(), bytes);
  ControlPage page(std::move(descriptor), base, bytes);
  const auto& header = page.header();
  if (header.magic != ControlHeader::magic_value || bytes != bytes_for(header.slots)) {
    throw Error(
        Fault::communication,
        fmt::format("{} was made by another version of muster: use one installation on all ranks",
                    path));
  }
  return page;
}

std::optional<ControlPage> ControlPage::open_if_made(const std::string& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  decltype(ControlHeader::magic) magic = 0;  // the last to be written
  const auto read =
      descriptor ? ::pread(descriptor.get(), &magic, sizeof magic, offsetof(ControlHeader, magic))
                 : 0;
  return read == static_cast<ssize_t>(sizeof magic) && magic != 0
             ? std::optional(adopt(std::move(descriptor), path))
             : std::nullopt;
}

ControlPage::ControlPage(ControlPage&& other) noexcept
    : descriptor_(std::move(other.descriptor_)),
      base_(std::exchange(other.base_, nullptr)),
      bytes_(other.bytes_) {}

ControlPage& ControlPage::operator=(ControlPage&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

ControlPage::~ControlPage() {
  if (base_ != nullptr) {
    ::munmap(base_, bytes_);
  }
}

ControlHeader& ControlPage::header() noexcept {
  return *static_cast<ControlHeader*>(base_);
}
int ControlPage::slots() const noexcept {
  return static_cast<ControlHeader*>(base_)->slots;
}

RankSlot& ControlPage::slot(int local_rank) {
  require(local_rank >= 0 && local_rank < slots(), "local rank outside the control page");
  auto* first = static_cast<std::byte*>(base_) + sizeof(ControlHeader);
  return *reinterpret_cast<RankSlot*>(first +
                                      static_cast<std::size_t>(local_rank) * sizeof(RankSlot));
}

std::string ControlPage::path() const {
  return fmt::format("/proc/{}/fd/{}", ::getpid(), descriptor_.get());
}

void record_failure(RankSlot& slot, int fault, std::string_view text) noexcept {
  if (slot.failed.load() != 0) {
    return;
  }
  copy_text(slot.error, text);
  slot.fault = fault;
  slot.failed_ns = monotonic_ns();
  slot.failed.store(1, std::memory_order_release);
}

std::int64_t monotonic_ns() noexcept {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

FlightEntry* begin_flight(RankSlot* slot, std::string_view operation,
                          std::uint64_t bytes) noexcept {
  if (slot == nullptr) {
    return nullptr;
  }
  const auto sequence = slot->flight_count.load(std::memory_order_relaxed) + 1;
  auto* entry = &slot->flight[(sequence - 1) % RankSlot::flight_length];
  entry->sequence.store(0, std::memory_order_relaxed);
  entry->end_ns.store(0, std::memory_order_relaxed);
  copy_text(entry->operation, operation);
  entry->bytes.store(bytes, std::memory_order_relaxed);
  entry->start_ns.store(monotonic_ns(), std::memory_order_relaxed);
  entry->sequence.store(sequence, std::memory_order_release);
  slot->flight_count.store(sequence, std::memory_order_release);
  return entry;
}

void end_flight(FlightEntry* entry) noexcept {
  if (entry != nullptr) {
    entry->end_ns.store(monotonic_ns(), std::memory_order_release);
  }
}

}  // namespace muster
