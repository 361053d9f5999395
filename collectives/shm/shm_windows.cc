// SPDX-License-Identifier: Apache-2.0
#include "collectives/shm/shm_windows.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/base/error.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::uint64_t page_bytes = 4096;

std::string human(std::uint64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

[[noreturn]] void refuse(std::uint64_t bytes, std::uint64_t free, std::string_view where,
                         std::string_view remedy) {
  throw Error(
      Fault::io,
      fmt::format("the ranks of this machine need {} of shared memory and {} has {} left: {}",
                  human(bytes), where, human(free), remedy));
}

/// Reserving more than there is would wake the kernel's killer instead of failing.
void check_memory(std::uint64_t bytes) {
  if (const auto left = memory_left(); left && left->bytes < bytes) {
    refuse(bytes, left->bytes, left->where,
           "use fewer ranks on it, a smaller model, or a machine with more memory");
  }
}

void check_dev_shm(std::uint64_t bytes) {
  struct statvfs info {};
  if (::statvfs("/dev/shm", &info) == 0 && info.f_bavail * info.f_frsize < bytes) {
    refuse(bytes, info.f_bavail * info.f_frsize, "/dev/shm",
           "give the container more (docker run --shm-size=...)");
  }
}

class Mapping final : public SharedMemory {
 public:
  Mapping(void* base, std::size_t bytes) : base_(static_cast<std::byte*>(base)), bytes_(bytes) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() override { ::munmap(base_, bytes_); }
  std::span<std::byte> bytes() noexcept override { return {base_, bytes_}; }

 private:
  std::byte* base_;
  std::size_t bytes_;
};

void set_size(int descriptor, std::size_t bytes) {
  if (::ftruncate(descriptor, static_cast<off_t>(bytes)) != 0) {
    throw_errno(fmt::format("size {} of shared memory", human(bytes)), errno);
  }
}

/// The member's share of the pages, so that each lies in the memory nearest to who will use it
/// most.
void reserve_part(int descriptor, std::size_t bytes, int member, int size) {
  const std::uint64_t pages = (bytes + page_bytes - 1) / page_bytes;
  const auto cut = [&](int at) {
    return std::min<std::uint64_t>(
        bytes, pages * static_cast<unsigned>(at) / static_cast<unsigned>(size) * page_bytes);
  };
  const auto from = cut(member);
  const auto to = cut(member + 1);
  const int error = from == to ? 0
                               : ::posix_fallocate(descriptor, static_cast<off_t>(from),
                                                   static_cast<off_t>(to - from));
  if (error != 0) {
    throw_errno(fmt::format("reserve {} of shared memory", human(to - from)), error);
  }
}

}  // namespace

ShmWindows::~ShmWindows() {
  all_attached();
}

std::string ShmWindows::make(std::size_t bytes, int way) {
  return way == 0 && allow_memfd_ ? make_memfd(bytes) : make_shm(bytes);
}

std::string ShmWindows::make_memfd(std::size_t bytes) {
  check_memory(bytes);
  made_.reset(::memfd_create("muster-window", MFD_CLOEXEC));
  if (!made_) {
    throw_errno("make shared memory", errno);
  }
  set_size(made_.get(), bytes);
  return fmt::format("/proc/{}/fd/{}", ::getpid(), made_.get());
}

std::string ShmWindows::make_shm(std::size_t bytes) {
  check_memory(bytes);
  check_dev_shm(bytes);
  const auto name = fmt::format("/muster-{}-{}", ::getpid(), ++count_);
  made_.reset(::shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made_) {
    throw_errno(fmt::format("make shared memory /dev/shm{}", name), errno);
  }
  unlink_ = name;
  set_size(made_.get(), bytes);
  return name;
}

std::unique_ptr<SharedMemory> ShmWindows::attach(const std::string& name, std::size_t bytes,
                                                 int member, int size) {
  const bool is_path = name.starts_with("/proc/");
  const Descriptor descriptor(is_path ? ::open(name.c_str(), O_RDWR | O_CLOEXEC)
                                      : ::shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0));
  if (!descriptor) {
    throw_errno(fmt::format("open the shared memory {} of another rank", name), errno);
  }
  reserve_part(descriptor.get(), bytes, member, size);
  // Populated: the first step should not pay a fault for every 4 KiB.
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      descriptor.get(), 0);
  if (base == MAP_FAILED) {
    throw_errno(fmt::format("map {} of shared memory", human(bytes)), errno);
  }
  return std::make_unique<Mapping>(base, bytes);
}

void ShmWindows::all_attached() noexcept {
  made_.reset();
  if (!unlink_.empty()) {
    ::shm_unlink(unlink_.c_str());
    unlink_.clear();
  }
}

}  // namespace muster
