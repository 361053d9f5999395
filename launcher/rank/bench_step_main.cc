// muster-bench-step: the ranks behind `muster bench step`, as processes that it forks itself.
// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <optional>
#include <vector>

#include "collectives/node/node_communicator.h"
#include "collectives/shm/shm_node_group.h"
#include "launcher/cli/command.h"
#include "launcher/rank/step_bench.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/load.h"
#include "runtime/train/gradient_pool.h"

namespace muster {
namespace {

struct Settings {
  StepBenchPlan plan;
  int ranks = 2;
  int threads = 1;
  std::uint64_t batch = 0;
  bool json = false;
};

/// Nothing when help was asked for.
std::optional<Settings> read_settings(const std::vector<std::string>& arguments) {
  Settings settings;
  Keys keys;
  keys.add("model", settings.plan.model, "The network").one_of({"mlp", "deep", "wide", "resnet18"});
  keys.add("ranks", settings.ranks, "Processes").at_least(1);
  keys.add("batch", settings.batch, "Samples of each rank; 0 is the table's");
  keys.add("blocks", settings.plan.blocks, "Interleaved blocks").at_least(1);
  keys.add("optimizer", settings.plan.optimizer, "The rule").one_of({"sgd", "adamw"});
  keys.add("threads", settings.threads, "Of each rank").at_least(1);
  keys.add("json", settings.json, "One JSON object");
  const auto line = take_command_line(
      keys, arguments,
      {.usage = "muster bench step [--model NAME] [--ranks N] [--json]",
       .about = "Times a training step of N ranks of this machine beside N single processes. In "
                "interleaved blocks, the slowest rank counts: 'alone' is N steps of one rank each, "
                "'coupled' the same and an empty barrier, 'together' the real step. Efficiency is "
                "alone / together. Where coupled is far above alone, the machine was too busy to "
                "judge.",
       .examples = {{"muster bench step --model wide --ranks 2 --json", "one JSON object"}}});
  if (!line) {
    return std::nullopt;
  }
  if (!line->words.empty()) {
    throw Error(Fault::bad_input, "bench step takes options only, not '" + line->words[0] + "'");
  }
  load(keys, {.file = {}, .environment = {}, .arguments = line->options});
  settings.plan.batch = settings.batch;
  return settings;
}

int run_rank(const std::string& page_path, int rank, const Settings& settings) {
  try {
    GradientPool::install();
    at::set_num_threads(settings.threads);
    ControlPage page = ControlPage::open(page_path);
    const auto node = shm_node_group(page, rank, settings.ranks);
    NodeCommunicator world(*node);
    const auto across = solo_communicator();
    const StepBenchResult result = bench_step({*node, *across, world}, settings.plan);
    if (rank == 0) {
      std::fputs((settings.json ? json_of(result) + "\n" : table_of(result)).c_str(), stdout);
    }
    std::fflush(stdout);
    return exit_finished;
  } catch (const std::exception& error) {
    std::fputs(fmt::format("rank {}: {}\n", rank, report(error)).c_str(), stderr);
    return exit_code_of(error);
  }
}

int run(const std::vector<std::string>& arguments) {
  const auto read = read_settings(arguments);
  if (!read) {
    return exit_finished;
  }
  const Settings& settings = *read;
  const ControlPage page = ControlPage::create(settings.ranks);
  std::vector<pid_t> children;
  for (int rank = 0; rank < settings.ranks; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::_exit(run_rank(page.path(), rank, settings));
    }
    children.push_back(child);
  }
  int code = exit_finished;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    const int own = WIFEXITED(status) ? WEXITSTATUS(status) : exit_failed;
    code = code == exit_finished ? own : code;
  }
  return code;
}

}  // namespace
}  // namespace muster

int main(int count, char** words) {
  try {
    return muster::run({words + 1, words + count});
  } catch (const std::exception& error) {
    std::fputs((muster::report(error) + "\n").c_str(), stderr);
    return muster::exit_code_of(error);
  }
}
