/// kill_stress DIRECTORY KILLS [SEED]: a run that checkpoints all the time is killed with signal 9
/// at random moments and started again, until it was killed KILLS times; then it ends, and its
/// state must be that of a run nobody disturbed, bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/random.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_engine.h"

namespace muster {
namespace {

/// A training run in miniature: every step changes everything, by numbers that depend on all that
/// went before.
struct Walk {
  std::vector<float> weight = std::vector<float>(60000);
  std::vector<double> sums = std::vector<double>(17);
  std::int64_t step = 0;
  std::string generator = Random(42).state();

  StateTree tree() {
    StateTree tree;
    tree.add_whole("model/weight", std::span(weight), {300, 200});
    tree.add_whole("metrics/sums", std::span(sums));
    tree.record("step", &step);
    tree.record("generator", &generator);
    return tree;
  }
  void advance() {
    Random random = Random::from_state(generator);
    ++step;
    for (std::size_t i = 0; i < weight.size(); i += 7) {
      weight[i] =
          0.9F * weight[(i * 31 + 1) % weight.size()] + static_cast<float>(random.uniform());
      sums[i % sums.size()] += weight[i];
    }
    generator = random.state();
  }
  bool operator==(const Walk&) const = default;
};

constexpr int exit_wrong_state = 3;

/// The child: continues from the newest valid checkpoint, whose state must be exactly that of its
/// step.
[[noreturn]] void run(const Path& directory, std::int64_t until) {
  log::set_threshold(log::Level::error);
  Walk walk;
  StateTree tree = walk.tree();
  const auto alone = solo_communicator();
  SystemClock clock;
  CheckpointEngine engine({.directory = directory, .interval = {.steps = 1}, .keep = 2}, *alone,
                          posix_file_system(), clock);
  const auto restored = engine.restore(tree, {});
  if (restored && restored->info.step != walk.step) {
    std::_Exit(exit_wrong_state);
  }
  engine.prepare(tree);
  while (walk.step < until) {
    walk.advance();
    engine.save(tree, {.step = walk.step});
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  engine.save_now(tree, {.step = walk.step});
  std::_Exit(0);
}

pid_t start(const Path& directory, std::int64_t until) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      run(directory, until);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", report(error).c_str());
      std::_Exit(1);
    }
  }
  return child;
}

std::int64_t newest_step(const Path& directory) {
  const auto newest = CheckpointStore(directory).newest();
  return newest ? read_manifest(*newest).files.front().info.step : 0;
}

/// True when the finished run holds what an undisturbed one would.
bool is_right(const Path& directory, std::int64_t until) {
  Walk undisturbed;
  while (undisturbed.step < until) {
    undisturbed.advance();
  }
  Walk walk;
  StateTree tree = walk.tree();
  const auto alone = solo_communicator();
  SystemClock clock;
  CheckpointEngine engine({.directory = directory}, *alone, posix_file_system(), clock);
  return engine.restore(tree, {}) && walk == undisturbed;
}

int stress(const Path& directory, int kills, std::uint64_t seed) {
  std::printf("seed %llu, %d kills\n", static_cast<unsigned long long>(seed), kills);
  Random random(seed);
  int lost_ground = 0;
  for (int i = 0; i < kills; ++i) {
    const std::int64_t before = newest_step(directory);
    const pid_t child = start(directory, std::numeric_limits<std::int64_t>::max());
    std::this_thread::sleep_for(std::chrono::microseconds(500 + random.below(60000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFSIGNALED(status)) {
      std::printf("kill %d: the run had ended by itself with status %d\n", i, status);
      return 1;
    }
    lost_ground += newest_step(directory) < before ? 1 : 0;
  }
  const std::int64_t until = newest_step(directory) + 5;
  int status = 0;
  ::waitpid(start(directory, until), &status, 0);
  const bool right = status == 0 && is_right(directory, until);
  std::printf("%d kills, step %lld, lost ground %d times, final state %s\n", kills,
              static_cast<long long>(until), lost_ground, right ? "right" : "WRONG");
  return right && lost_ground == 0 && until > 5 ? 0 : 1;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: kill_stress DIRECTORY KILLS [SEED]\n");
    return 64;
  }
  const auto kills = muster::parse_int(argv[2]);
  const auto seed = argc > 3 ? muster::parse_int(argv[3]) : 7;
  if (!kills || !seed) {
    std::fprintf(stderr, "kill_stress: KILLS and SEED are numbers\n");
    return 64;
  }
  std::filesystem::remove_all(argv[1]);
  const int result =
      muster::stress(argv[1], static_cast<int>(*kills), static_cast<std::uint64_t>(*seed));
  std::filesystem::remove_all(argv[1]);
  return result;
}
