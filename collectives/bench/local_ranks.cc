// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/local_ranks.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "collectives/node/shared_text.h"
#include "collectives/shm/shm_node_group.h"
#include "collectives/thread/thread_node_group.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

[[noreturn]] void be_rank(const std::string& path, int rank, int ranks, const RankBody& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto page = ControlPage::open(path);
  try {
    const auto group = shm_node_group(page, rank, ranks);
    body(*group);
    std::fflush(stdout);
    ::_exit(0);
  } catch (const std::exception& error) {
    record_failure(page.slot(rank), static_cast<int>(fault_of(error)), report(error));
    ::_exit(1);
  }
}

/// The earliest failure over all ranks is the cause, the rest are consequences.
[[noreturn]] void throw_first_failure(ControlPage& page) {
  RankSlot* first = nullptr;
  for (int rank = 0; rank < page.slots(); ++rank) {
    auto& slot = page.slot(rank);
    if (slot.failed != 0 && (first == nullptr || slot.failed_ns < first->failed_ns)) {
      first = &slot;
    }
  }
  if (first == nullptr) {
    throw Error(Fault::communication, "a rank died without a word");
  }
  throw Error(static_cast<Fault>(first->fault.load()), read_shared(first->error));
}

}  // namespace

void run_as_threads(int ranks, const RankBody& body) {
  auto groups = thread_node_groups(ranks);
  std::exception_ptr first;
  std::mutex mutex;
  std::vector<std::jthread> threads;
  for (const auto& group : groups) {
    threads.emplace_back([&] {
      try {
        body(*group);
      } catch (const std::exception& error) {
        const std::lock_guard lock(mutex);
        first = first ? first : std::current_exception();
        group->abort(error.what());
      }
    });
  }
  threads.clear();
  if (first) {
    std::rethrow_exception(first);
  }
}

void run_as_processes(int ranks, const RankBody& body) {
  auto page = ControlPage::create(ranks);
  std::fflush(stdout);
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      be_rank(page.path(), rank, ranks, body);
    }
    children.push_back(child);
  }
  bool failed = false;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    failed = failed || status != 0;
  }
  if (failed) {
    throw_first_failure(page);
  }
}

}  // namespace muster
