// muster-bench-gpu: checks and measures the GPU path, part by part. benchmarks/gpu/run_all.sh runs
// all of them beside PyTorch. SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "benchmarks/gpu/gpu_bench.h"
#include "launcher/cli/command.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/keys.h"
#include "runtime/config/load.h"
#include "runtime/gpu/host_gpu.h"
#include "runtime/gpu/open_gpus.h"

namespace muster::bench {
namespace {

class StandIn final : public Gpus {
 public:
  int count() const override { return 1; }
  std::unique_ptr<Gpu> lane(int /*index*/) override { return host_gpu(); }
};

int run_part(const std::string& part, Gpus& gpus, const GpuBench& bench) {
  if (part == "kernels") {
    return check_kernels(*gpus.lane(0));
  }
  if (part == "training") {
    return check_training(gpus, bench);
  }
  if (part == "ranks") {
    return check_ranks(bench.stand_in ? nullptr : &gpus, bench);
  }
  if (part == "step") {
    return time_step(gpus, bench);
  }
  if (part == "adamw") {
    return time_adamw(gpus, bench);
  }
  if (part == "packed") {
    return time_packed(gpus, bench);
  }
  if (part == "checkpoint") {
    return time_checkpoints(gpus, bench);
  }
  if (part == "memory") {
    return predict_memory(gpus, bench);
  }
  throw Error(Fault::bad_input, "'" + part +
                                    "' is no part; there are kernels, training, ranks, step, "
                                    "adamw, packed, checkpoint, memory");
}

int run(const std::vector<std::string>& arguments) {
  GpuBench bench;
  Keys keys;
  keys.add("model", bench.model, "mlp, cnn, resnet50 or gpt");
  keys.add("batch", bench.batch, "Samples a step; 0 is the table's");
  keys.add("steps", bench.steps, "Timed steps (memory: trials); 0 is the table's");
  keys.add("trials", bench.trials, "Of the packed part").at_least(1);
  keys.add("graph", bench.graph, "auto, on or off");
  keys.add("directory", bench.directory, "Where checkpoints go");
  keys.add("seconds", bench.seconds, "After which memory begins no other trial");
  keys.add("start_at", bench.start_at, "Unix time at which step begins to be timed");
  keys.add("stand_in", bench.stand_in, "The CPU instead of a card: to try this program");
  keys.add("small", bench.small, "Small sizes, for the same");
  const auto line = take_command_line(
      keys, arguments,
      {.usage = "muster-bench-gpu PART [--model NAME] [--stand_in|--small]",
       .about = "Checks (kernels, training, ranks) and measures (step, adamw, packed, checkpoint, "
                "memory) the GPU path. One JSON object a line; ends with 1 where a check fails. "
                "Several ranks (part ranks) are started with torchrun's variables."});
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input, "muster-bench-gpu takes one part; see --help");
  }
  load(keys, {.file = {}, .environment = {}, .arguments = line->options});
  bench.small = bench.small || bench.stand_in;
  StandIn stand_in;
  std::string why;
  if (line->words[0] == "packed" || line->words[0] == "memory") {
    ask_for_queues();
  }
  Gpus* gpus = bench.stand_in ? &stand_in : open_gpus("cuda", why);
  if (gpus == nullptr) {
    throw Error(Fault::io, "no GPU: " + why);
  }
  at::set_num_threads(1);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what is cut short keeps the lines that it has
  const int wrong = run_part(line->words[0], *gpus, bench);
  std::fflush(stdout);
  return wrong == 0 ? exit_finished : exit_failed;
}

}  // namespace
}  // namespace muster::bench

int main(int count, char** words) {
  try {
    return muster::bench::run({words + 1, words + count});
  } catch (const std::exception& error) {
    std::fputs((muster::report(error) + "\n").c_str(), stderr);
    return muster::exit_code_of(error);
  }
}
