// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cctype>
#include <cstdlib>
#include <memory>
#include <random>
#include <sstream>
#include <string_view>
#include <vector>

#include "tests/gpu/pretend_card/card.h"

thread_local uint3 threadIdx;
thread_local uint3 blockIdx;
thread_local dim3 blockDim;
thread_local dim3 gridDim;

namespace muster::pretend {
namespace {

constexpr std::size_t stack_bytes = std::size_t{64} << 10;
constexpr unsigned warp = 32;

/// Those that wait for each other. Who has ended is not waited for.
struct Meeting {
  unsigned members = 0;
  unsigned arrived = 0;
  std::uint64_t round = 0;

  void end_if_all() {
    if (arrived > 0 && arrived == members) {
      arrived = 0;
      ++round;
    }
  }
};

struct Fiber {
  std::unique_ptr<char[]> stack;  // NOLINT(modernize-avoid-c-arrays)
  ucontext_t context{};
  jmp_buf place{};
  bool has_begun = false;
  bool is_over = false;
};

/// The block that this thread runs. Fibers are kept for the next one.
struct Block {
  std::vector<Fiber> fibers;
  std::vector<unsigned> order;
  std::vector<Meeting> warps;
  std::vector<std::uint64_t> words;
  Meeting all;
  const std::function<void()>* thread = nullptr;
  unsigned current = 0;
  jmp_buf scheduler{};
  std::minstd_rand random{1};

  void run(unsigned threads, const std::function<void()>& body);
  void resume(unsigned number);
  void leave();  // to the scheduler, until it is this fiber's turn again
  void meet(Meeting& meeting);
};

Block& block() {
  thread_local Block own;
  return own;
}

/// A thread of the block, and then of the next one.
void begin_fiber() {
  Block& own = block();
  for (;;) {
    (*own.thread)();
    own.fibers[own.current].is_over = true;
    own.leave();
  }
}

void Block::resume(unsigned number) {
  current = number;
  threadIdx = {number, 0, 0};
  Fiber& fiber = fibers[number];
  if (_setjmp(scheduler) != 0) {
    return;
  }
  if (fiber.has_begun) {
    _longjmp(fiber.place, 1);
  }
  fiber.has_begun = true;
  ::getcontext(&fiber.context);
  fiber.context.uc_stack = {.ss_sp = fiber.stack.get(), .ss_flags = 0, .ss_size = stack_bytes};
  fiber.context.uc_link = nullptr;
  ::makecontext(&fiber.context, begin_fiber, 0);
  ::setcontext(&fiber.context);
}

void Block::leave() {
  Fiber& fiber = fibers[current];
  if (_setjmp(fiber.place) == 0) {
    _longjmp(scheduler, 1);
  }
}

void Block::meet(Meeting& meeting) {
  const std::uint64_t round = meeting.round;
  ++meeting.arrived;
  meeting.end_if_all();
  while (meeting.round == round) {
    leave();
  }
}

void Block::run(unsigned threads, const std::function<void()>& body) {
  while (fibers.size() < threads) {
    fibers.emplace_back().stack.reset(new char[stack_bytes]);
  }
  thread = &body;
  warps.assign((threads + warp - 1) / warp, {});
  words.assign(warps.size() * warp, 0);
  order.resize(threads);
  for (unsigned i = 0; i < threads; ++i) {
    fibers[i].is_over = false;
    ++warps[i / warp].members;
    order[i] = i;
  }
  all = {.members = threads, .arrived = 0, .round = 0};
  std::shuffle(order.begin(), order.end(), random);
  for (unsigned left = threads; left > 0;) {
    for (const unsigned number : order) {
      if (fibers[number].is_over) {
        continue;
      }
      resume(number);
      if (fibers[number].is_over) {
        --left;
        --all.members;
        --warps[number / warp].members;
        all.end_if_all();
        warps[number / warp].end_if_all();
      }
    }
  }
}

/// "... [with Parameters = {...}; Arguments = ...]": which kernel it was is in the arguments'
/// types.
std::string short_name(const std::string& pretty) {
  constexpr std::string_view before = "Parameters = {";
  const std::size_t begin = pretty.find(before);
  const std::size_t end = pretty.find("}; Arguments", begin);
  return begin == std::string::npos
             ? pretty
             : "ours(" + pretty.substr(begin + before.size(), end - begin - before.size()) + ")";
}

/// Where PRETEND_CARD_RUNS names kernels by their jobs ("NormJob DecideJob"), only those compute:
/// to see in little time what a large model queues.
bool computes(const std::string& what) {
  static const char* only = std::getenv("PRETEND_CARD_RUNS");
  if (only == nullptr) {
    return true;
  }
  std::istringstream names(only);
  for (std::string name; names >> name;) {
    const std::size_t end = what.find("::" + name);
    if (end != std::string::npos && std::isalnum(what[end + 2 + name.size()]) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

void meet_block() {
  block().meet(block().all);
}

std::uint64_t swap_in_warp(std::uint64_t own, unsigned lane_mask) {
  Block& running = block();
  Meeting& meeting = running.warps[running.current / warp];
  running.words[running.current] = own;
  running.meet(meeting);
  const std::uint64_t other = running.words[running.current ^ lane_mask];
  running.meet(meeting);
  return other;
}

cudaError_t run_kernel(const char* name, const cudaLaunchConfig_t& how,
                       std::function<void()> thread) {
  const std::string what = short_name(name) + " <" + std::to_string(how.gridDim.x) + "x" +
                           std::to_string(how.gridDim.y) + ", " + std::to_string(how.blockDim.x) +
                           ">";
  if (how.gridDim.x == 0 || how.gridDim.y == 0 || how.gridDim.y > 65535 || how.blockDim.x == 0 ||
      how.blockDim.x > 1024) {
    return card().fault(cudaErrorInvalidConfiguration, what);
  }
  const dim3 grid = how.gridDim;
  const dim3 size = how.blockDim;
  if (!computes(what)) {
    return card().add(how.stream, what, {});
  }
  return card().add(how.stream, what, [grid, size, body = std::move(thread)] {
    gridDim = grid;
    blockDim = size;
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, 0};
        block().run(size.x, body);
      }
    }
  });
}

}  // namespace muster::pretend
