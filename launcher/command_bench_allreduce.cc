// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "collectives/bench/all_reduce_report.h"
#include "collectives/bench/bench_values.h"
#include "collectives/bench/gpu_memory.h"
#include "collectives/bench/local_ranks.h"
#include "collectives/nccl/nccl_communicator.h"
#include "collectives/node/node_communicator.h"
#include "launcher/cli/build_info.h"
#include "launcher/commands.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/comm/launch_context.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster bench allreduce [--backend NAME] [--ranks N] [--sizes LIST] [--json]",
    .about =
        "Times the all-reduce that training uses, and compares every element with the exact sum. "
        "Every rank rewrites its whole buffer before each call; times are medians of the slowest "
        "rank.\n\n"
        "algbw is bytes / time; busbw is algbw * 2 (n - 1) / n, as nccl-tests calls them. In place "
        "over shm and thread, buffers lie in shared windows, as gradients do. Out of place is "
        "a copy first, which belongs to the time. Exits 1 when an element is wrong.\n\n"
        "shm: processes of this machine. thread: threads of one process. mpi: Open MPI's messages "
        "alone. two-level: shared memory inside each machine, MPI between them. nccl: a GPU each.",
    .examples = {{"muster bench allreduce --ranks 2", "64 B to 512 MB in shared memory"},
                 {"muster bench allreduce --backend mpi --ranks 4 --sizes 4M,64M --json",
                  "a JSON object a line"},
                 {"muster bench allreduce --backend two-level --ranks 4 --machines 2",
                  "as if two machines had two ranks each"}}};

struct Choice {
  std::string backend = "shm";
  int ranks = 2;
  std::string sizes = "64..512M";
  std::string dtype = "float32";
  std::string place = "both";
  double seconds = 0.3;
  std::optional<std::string> hosts;
  std::optional<int> machines;
  bool json = false;
  bool uses_mpi() const { return backend == "mpi" || backend == "two-level"; }
};

void describe(Keys& keys, Choice& choice) {
  keys.add("backend", choice.backend, "What carries it")
      .one_of({"shm", "thread", "mpi", "two-level", "nccl"});
  keys.add("ranks", choice.ranks, "How many").at_least(1).at_most(BenchValues::most_ranks);
  keys.add("sizes", choice.sizes, "Bytes: 64,4K or a range that doubles, 64..512M");
  keys.add("dtype", choice.dtype, "Type of the elements")
      .one_of({"float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8"});
  keys.add("place", choice.place, "In place, out of place, or both").one_of({"in", "out", "both"});
  keys.add("seconds", choice.seconds, "About how long to measure each").above(0);
  keys.add("hosts", choice.hosts, "mpi, two-level: a:2,b:2, as mpirun takes them");
  keys.add("machines", choice.machines, "two-level: pretend that the ranks lie on so many")
      .at_least(2);
  keys.add("json", choice.json, "One JSON object a line");
  keys.check("hosts", [&]() -> std::optional<std::string> {
    return choice.hosts && !choice.uses_mpi()
               ? std::optional(choice.backend + " stays on this machine: take mpi or two-level")
               : std::nullopt;
  });
  keys.check("machines", [&]() -> std::optional<std::string> {
    if (choice.machines && choice.backend != "two-level") {
      return "only two-level tells machines apart: add --backend two-level";
    }
    return choice.machines && choice.ranks % *choice.machines != 0
               ? std::optional(fmt::format("{} ranks do not spread evenly over {} machines",
                                           choice.ranks, *choice.machines))
               : std::nullopt;
  });
}

void measure_in_windows(const Choice& choice, const AllReducePlan& plan, LocalGroup& group) {
  NodeCommunicator comm(group);
  print_all_reduce({.measured = comm, .control = comm, .memory = window_memory(group)}, plan,
                   choice.backend, choice.json);
}

/// The wheels of libtorch bring both libraries along, where no loader looks.
std::vector<std::string> names_with_wheels(std::vector<std::string> names,
                                           std::string_view folder) {
  const auto torch = build_torch_libraries();
  if (!torch.empty()) {
    const auto wheels = std::filesystem::path(torch).parent_path().parent_path() / "nvidia";
    names.push_back((wheels / folder / names.front()).string());
  }
  return names;
}

/// The libraries are loaded by each rank: a process that has spoken with the driver cannot fork.
void measure_on_gpu(const Choice& choice, const AllReducePlan& plan, LocalGroup& group) {
  const auto cuda = nccl::load_cuda(
      names_with_wheels({"libcudart.so.13", "libcudart.so.12", "libcudart.so"}, "cu13/lib"));
  check_gpus(cuda, group.size());
  const auto table = nccl::load_nccl(names_with_wheels({"libnccl.so.2", "libnccl.so"}, "nccl/lib"));
  NodeCommunicator host(group);
  NcclCommunicator comm(table, cuda, host, {.device = group.rank()});
  print_all_reduce({.measured = comm, .control = host, .memory = gpu_memory(cuda, group.rank())},
                   plan, choice.backend, choice.json);
}

void measure_here(const Choice& choice, const AllReducePlan& plan) {
  check_room(plan, choice.ranks);
  if (choice.backend == "thread") {
    run_as_threads(choice.ranks,
                   [&](LocalGroup& group) { measure_in_windows(choice, plan, group); });
  } else {
    const auto measure = choice.backend == "nccl" ? measure_on_gpu : measure_in_windows;
    run_as_processes(choice.ranks, [&](LocalGroup& group) { measure(choice, plan, group); });
  }
}

std::vector<std::string> mpirun_words(const Choice& choice, const AllReducePlan& plan) {
  const auto program =
      std::filesystem::read_symlink("/proc/self/exe").replace_filename("muster-bench-mpi");
  if (!std::filesystem::exists(program)) {
    throw Error(Fault::bad_input, fmt::format("{} is not there: this Muster was built without Open "
                                              "MPI (install libopenmpi-dev and build again)",
                                              program.string()));
  }
  std::vector<std::string> words{"mpirun", "--oversubscribe", "-np", std::to_string(choice.ranks)};
  if (::geteuid() == 0) {
    words.emplace_back("--allow-run-as-root");
  }
  if (choice.hosts) {
    words.insert(words.end(), {"--host", *choice.hosts});
  }
  const int per_machine = choice.machines ? choice.ranks / *choice.machines : 0;
  words.insert(words.end(), {program.string(), choice.backend, std::to_string(per_machine),
                             choice.json ? "json" : "table"});
  const auto rest = words_of(plan);
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

/// mpirun takes this process's place: its output and its exit code are ours. It must not think that
/// it is a rank of the launcher that may have started us.
[[noreturn]] void become_mpirun(const Choice& choice, const AllReducePlan& plan) {
  if (!choice.hosts) {
    check_room(plan, choice.ranks);
  }
  std::vector<std::string> words = mpirun_words(choice, plan);
  std::vector<char*> arguments;
  for (auto& word : words) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  for (const auto& [variable, value] : process_environment()) {
    if (places_a_rank(variable) && !variable.starts_with("OMPI_MCA_")) {
      ::unsetenv(variable.c_str());
    }
  }
  ::execvp("mpirun", arguments.data());
  throw_errno("start mpirun (is Open MPI installed, and in PATH?)", errno);
}

}  // namespace

int command_bench_allreduce(const Arguments& arguments) {
  Choice choice;
  Keys keys;
  describe(keys, choice);
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (!line->words.empty()) {
    throw Error(Fault::bad_input,
                fmt::format("bench allreduce takes options only, not '{}'", line->words[0]));
  }
  load(keys, {.file = {}, .environment = {}, .arguments = line->options});
  const AllReducePlan plan{.sizes = sizes_named(choice.sizes),
                           .dtype = dtype_named(choice.dtype),
                           .placements = placements_named(choice.place),
                           .seconds_each = choice.seconds};
  if (choice.uses_mpi()) {
    become_mpirun(choice, plan);
  }
  measure_here(choice, plan);
  return exit_finished;
}

}  // namespace muster
