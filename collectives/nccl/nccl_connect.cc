// SPDX-License-Identifier: Apache-2.0
// How a group of NCCL ranks comes together.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "collectives/nccl/nccl_communicator.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

/// Names of machines may repeat; NCCL too takes what was booted as one for one machine.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace

/// NCCL's own words for this send people looking in the wrong place.
void NcclCommunicator::refuse_shared_gpus() {
  struct Card {
    std::array<char, 64> machine{};
    std::array<char, 40> boot{};
    std::array<char, 32> bus{};
  };
  Card mine;
  ::gethostname(mine.machine.data(), mine.machine.size() - 1);
  if (const char* named =
          std::getenv("NCCL_HOSTID")) {  // NCCL itself goes by it: tests on one card
    std::strncpy(mine.machine.data(), named, mine.machine.size() - 1);
  } else {
    boot_id().copy(mine.boot.data(), mine.boot.size() - 1);
  }
  check_cuda(cuda_.pci_bus_id(mine.bus.data(), static_cast<int>(mine.bus.size()), options_.device),
             "cudaDeviceGetPCIBusId");
  std::vector<Card> cards(static_cast<std::size_t>(size()));
  host_
      .all_gather(
          {.data = &mine, .count = sizeof mine, .dtype = DType::uint8},
          {.data = cards.data(), .count = cards.size() * sizeof(Card), .dtype = DType::uint8})
      .wait();
  for (std::size_t a = 0; a < cards.size(); ++a) {
    for (std::size_t b = a + 1; b < cards.size(); ++b) {
      if (cards[a].machine == cards[b].machine && cards[a].boot == cards[b].boot &&
          cards[a].bus == cards[b].bus) {
        throw Error(fault_of_sharing(a, b),
                    fmt::format("ranks {} and {} both use GPU {} of {}{}: start one rank for each "
                                "GPU, or give each its own "
                                "with CUDA_VISIBLE_DEVICES",
                                a, b, cards[a].bus.data(), cards[a].machine.data(),
                                options_.had_own ? ", which had one for each before" : ""));
      }
    }
  }
}

/// Of the machine's faults, that machine's ranks alone are the cause.
Fault NcclCommunicator::fault_of_sharing(std::size_t a, std::size_t b) const {
  const auto own = static_cast<std::size_t>(rank());
  return !options_.had_own      ? Fault::bad_input
         : own == a || own == b ? Fault::io
                                : Fault::communication;
}

void NcclCommunicator::connect() {
  int version = 0;
  check(table_.get_version(&version), "ncclGetVersion");
  if (version < nccl::Config::oldest_version) {
    throw Error(
        Fault::io,
        fmt::format("NCCL {} is older than the oldest that Muster supports, 2.18", version));
  }
  nccl::UniqueId id;
  if (rank() == 0) {
    check(table_.get_unique_id(&id), "ncclGetUniqueId");
  }
  host_.broadcast({.data = id.bytes.data(), .count = id.bytes.size(), .dtype = DType::uint8}, 0)
      .wait();
  nccl::Config config;
  config.blocking = 0;
  const auto result = table_.init_rank_config(&comm_, size(), id, rank(), &config);
  if (result != nccl::in_progress) {
    check(result, "ncclCommInitRankConfig");
  }
  settle(fmt::format("connecting {} ranks", size()),
         "; NCCL_DEBUG=INFO tells how it tries to reach the others, and NCCL_SOCKET_IFNAME names "
         "the network that it takes");
}

/// Calls on a non-blocking communicator are over when it no longer says "in progress": after some
/// microseconds for an operation, which a step waits for, and after seconds for a connection.
void NcclCommunicator::settle(std::string_view what, std::string_view remedy) {
  const auto start = std::chrono::steady_clock::now();
  const auto give_up = start + options_.start_deadline;
  constexpr std::chrono::milliseconds soon{2};
  auto state = nccl::in_progress;
  while (true) {
    check_alive();
    check(ask(&state), "ncclCommGetAsyncError");
    if (state != nccl::in_progress) {
      break;
    }
    const auto now = std::chrono::steady_clock::now();
    if (now > give_up) {
      const auto sentence = fmt::format(
          "NCCL: {} took longer than {} s on rank {}{}", what,
          std::chrono::duration<double>(options_.start_deadline).count(), rank(), remedy);
      fail(sentence);
      throw Error(Fault::communication, sentence);
    }
    if (now - start < soon) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  check(state, what);
}

}  // namespace muster
