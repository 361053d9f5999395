/// rank_kill_stress DIRECTORY KILLS [SEED] [RANKS]: a real training run that checkpoints after
/// every step (muster-rank; from two RANKS on `muster train`) is killed with signal 9 at random
/// moments and started again, KILLS times; then it ends. Each start must go on from the newest
/// checkpoint that is valid, none may lie behind the one before, and the last one must be, byte for
/// byte, that of a run which nobody disturbed and which saved only once.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <thread>

#include "launcher/engine/process.h"
#include "runtime/base/error.h"
#include "runtime/base/handle.h"
#include "runtime/base/random.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_store.h"

namespace muster {
namespace {

/// Dropout, momentum, a moving average, a validation set: much that a careless resume would lose.
constexpr const char* job_text = R"([data]
format = synthetic
shape = 32
classes = 4
rows = 720
validation_rows = 64
[model]
kind = mlp
hidden = 192
dropout = 0.1
[optimizer]
lr = 0.005
momentum = 0.9
[train]
epochs = 100000000
batch_size = 48
ema = 0.99
progress = false
tensorboard = false
save = hdf5
threads = 1
)";

class Stress {
 public:
  Stress(Path directory, std::uint64_t seed, int ranks)
      : directory_(std::filesystem::absolute(directory)), random_(seed), ranks_(ranks) {
    std::filesystem::remove_all(directory_);
    posix_file_system().make_directory(directory_);
    write_file_atomically(directory_ / "job.ini", job_text);
  }

  int run(int kills) {
    for (int i = 0; i < kills; ++i) {
      const auto problem = kill_once();
      if (!problem.empty()) {
        fmt::print("kill {}: {}\n", i, problem);
        return 1;
      }
    }
    const std::int64_t until = newest_step() + 5;
    const bool ended = finish("killed", until, {"--checkpoint.every_steps=1"}) &&
                       finish("undisturbed", until, {"--checkpoint.every=never"});
    const bool equal = ended && last_state("killed") == last_state("undisturbed");
    fmt::print(
        "{} kills ({} before the first step of a start), {} steps, lost ground 0 times, "
        "final state {}\n",
        kills, early_, until, equal ? "equal bit for bit" : "WRONG");
    return equal ? 0 : 1;
  }

 private:
  Path checkpoints(const std::string& name) const {
    return directory_ / "runs" / name / "checkpoints";
  }
  std::int64_t newest_step() const {
    const auto newest = CheckpointStore(checkpoints("killed")).newest();
    return newest ? read_manifest(*newest).files.front().info.step : 0;
  }
  std::string last_state(const std::string& name) const {
    const auto newest = CheckpointStore(checkpoints(name)).newest();
    return newest ? read_file(*newest / "state.h5") : "nothing";
  }

  Process start(const std::string& name, const std::vector<std::string>& more) {
    const Path programs =
        std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "bin";
    ProcessSpec spec;
    spec.command = ranks_ == 1 ? std::vector<std::string>{(programs / "muster-rank").string()}
                               : std::vector<std::string>{(programs / "muster").string(), "train"};
    spec.command.insert(spec.command.end(), {"job.ini", "--name=" + name});
    if (ranks_ > 1) {
      spec.command.push_back("--ranks=" + std::to_string(ranks_));
    }
    spec.command.insert(spec.command.end(), more.begin(), more.end());
    spec.environment = without_places(process_environment());
    spec.directory = directory_;
    output_ = made(directory_ / "output");
    spec.output = spec.error = output_.get();
    return Process::start(spec);
  }
  static Descriptor made(const Path& path) {
    Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!descriptor) {
      throw_errno("make " + path.string(), errno);
    }
    return descriptor;
  }
  std::string said() const { return read_file_if_there(directory_ / "output").value_or(""); }

  /// One start and its end. Every fourth dies on its way up, the others while they save.
  std::string kill_once() {
    const std::int64_t before = newest_step();
    Process run = start("killed", {"--checkpoint.every_steps=1", "--checkpoint.keep=2"});
    const auto begun = std::chrono::steady_clock::now();
    const bool early = random_.below(4) == 0;
    const auto wait = std::chrono::microseconds(random_.below(early ? way_up_us_ : 150'000));
    if (!early && !see_new_checkpoint(run, before)) {
      return "no checkpoint beyond step " + std::to_string(before) + ":\n" + said();
    }
    if (!early) {
      way_up_us_ = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                                  std::chrono::steady_clock::now() - begun)
                                                  .count());
    }
    std::this_thread::sleep_for(wait);
    if (const auto ended = run.poll()) {
      return "the run had ended by itself: it " + ended->text() + "\n" + said();
    }
    ::kill(run.pid(), SIGKILL);
    while (!run.wait_for(1000)) {
    }
    run.kill_tree();
    const std::int64_t after = newest_step();
    early_ += after == before ? 1 : 0;
    const auto words = said();
    const auto resumed = words.find("resumed at step ");
    if (resumed != std::string::npos) {
      const auto digits = words.substr(
          resumed + 16, words.find_first_not_of("0123456789", resumed + 16) - resumed - 16);
      const auto step = parse_int(digits);
      if (step != before) {
        return fmt::format("resumed at step {}, and the newest was {}", step.value_or(-1), before);
      }
    }
    return after < before ? fmt::format("step {} after step {}", after, before) : "";
  }

  bool see_new_checkpoint(Process& run, std::int64_t before) const {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (!run.poll() && std::chrono::steady_clock::now() < until) {
      for (const Path& path : CheckpointStore(checkpoints("killed")).names()) {
        const auto step = parse_int(path.filename().string().substr(5, 8));
        if (step.value_or(0) > before) {
          return true;
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }

  bool finish(const std::string& name, std::int64_t until, std::vector<std::string> more) {
    more.push_back("--train.steps=" + std::to_string(until));
    Process run = start(name, more);
    std::optional<Ended> ended;
    while (!(ended = run.wait_for(1000))) {
    }
    if (!ended->finished()) {
      fmt::print("{}: it {}\n{}", name, ended->text(), said());
    }
    return ended->finished();
  }

  Path directory_;
  Random random_;
  int ranks_;
  std::uint64_t way_up_us_ = 500'000;
  int early_ = 0;
  Descriptor output_;
};

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  using namespace muster;
  std::vector<std::int64_t> numbers;
  for (int i = 2; i < argc; ++i) {
    numbers.push_back(parse_int(argv[i]).value_or(0));
  }
  if (numbers.empty() || numbers[0] < 1 || (numbers.size() > 2 && numbers[2] < 1)) {
    std::fprintf(stderr, "usage: rank_kill_stress DIRECTORY KILLS [SEED] [RANKS]\n");
    return 64;
  }
  const auto seed = static_cast<std::uint64_t>(numbers.size() > 1 ? numbers[1] : 7);
  const int ranks = numbers.size() > 2 ? static_cast<int>(numbers[2]) : 1;
  fmt::print("seed {}, {} kills, {} rank{}\n", seed, numbers[0], ranks, ranks == 1 ? "" : "s");
  std::fflush(stdout);
  try {
    const int result = Stress(argv[1], seed, ranks).run(static_cast<int>(numbers[0]));
    if (result == 0) {
      std::filesystem::remove_all(argv[1]);
    }
    return result;
  } catch (const std::exception& error) {
    fmt::print("{}\n", report(error));
    return 1;
  }
}
