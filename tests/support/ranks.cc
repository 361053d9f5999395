// SPDX-License-Identifier: Apache-2.0
#include "tests/support/ranks.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "collectives/node/shared_text.h"
#include "collectives/thread/thread_node_group.h"
#include "runtime/base/error.h"

namespace muster::test {
namespace {

std::string ending_of(const std::function<void()>& body) {
  try {
    body();
    return {};
  } catch (const std::exception& error) {
    return report(error);
  }
}

using Words = std::array<char, 2048>;

[[noreturn]] void be_rank(const std::string& page_path, int rank, int ranks, const Body& body,
                          const ShmOptions& options, Words& words) {
  const auto ending = ending_of([&] {
    auto page = ControlPage::open(page_path);
    const auto group = shm_node_group(page, rank, ranks, options);
    body(*group);
  });
  write_shared(words, ending);
  ::_exit(ending.empty() ? 0 : 1);
}

std::string how_it_ended(pid_t child, const Words& words) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? fmt::format("killed by signal {}", WTERMSIG(status))
                             : read_shared(words);
}

}  // namespace

Endings run_threads(int ranks, const Body& body) {
  auto groups = thread_node_groups(ranks);
  Endings endings(static_cast<std::size_t>(ranks));
  std::vector<std::jthread> threads;
  for (std::size_t rank = 0; rank < endings.size(); ++rank) {
    threads.emplace_back([&, rank] { endings[rank] = ending_of([&] { body(*groups[rank]); }); });
  }
  threads.clear();
  return endings;
}

Endings run_processes(int ranks, const Body& body, const ShmOptions& options) {
  const auto page = ControlPage::create(ranks);
  const auto count = static_cast<std::size_t>(ranks);
  void* memory = ::mmap(nullptr, count * sizeof(Words), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* words = static_cast<Words*>(memory);
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      be_rank(page.path(), rank, ranks, body, options, words[rank]);
    }
    children.push_back(child);
  }
  Endings endings;
  for (std::size_t rank = 0; rank < count; ++rank) {
    endings.push_back(how_it_ended(children[rank], words[rank]));
  }
  ::munmap(memory, count * sizeof(Words));
  return endings;
}

}  // namespace muster::test
