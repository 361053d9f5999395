/// mpi_ranks DIRECTORY RANKS_PER_MACHINE, under mpirun: all ranks save into one file and load it
/// again, also when they pretend to sit on several machines (0: as they are). Prints what is wrong.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>

#include "collectives/mpi/open_ranks.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "tests/support/ranks.h"
#include "tests/support/sample_state.h"

namespace muster::test {
namespace {

constexpr std::int64_t last_step = 5;

CheckpointInfo info_of(std::int64_t step) {
  return {.step = step, .settings = {{"model", "sample"}}, .environment = {}};
}

EngineOptions options(const Path& directory) {
  return {.directory = directory, .interval = {.steps = 1}, .poison = true};
}

void save_all(Communicator& world, const Path& directory) {
  SystemClock clock;
  SampleState state;
  const StateTree tree = state.tree(world.rank(), world.size());
  CheckpointEngine engine(options(directory), world, posix_file_system(), clock);
  engine.prepare(tree);
  for (std::int64_t step = 1; step <= last_step; ++step) {
    state.fill(step);
    demand(engine.save(tree, info_of(step)), "a save did not begin");
    state.fill(step + 1000);  // what comes after must not get in
    engine.wait();
  }
  demand(engine.last_committed() == last_step, "the last save was not committed");
}

void load(Communicator& world, const Path& directory, std::int64_t step) {
  SystemClock clock;
  SampleState state;
  StateTree tree = state.tree(world.rank(), world.size());
  CheckpointEngine engine(options(directory), world, posix_file_system(), clock);
  const auto restored = engine.restore(tree, info_of(0));
  demand(restored && restored->info.step == step,
         "step " + std::to_string(restored ? restored->info.step : -1) + " was restored, not " +
             std::to_string(step));
  SampleState right;
  right.fill(step);
  const StateTree then = right.tree(world.rank(), world.size());
  for (std::size_t i = 0; i < then.slices().size(); ++i) {
    demand(std::ranges::equal(tree.slices()[i].bytes, then.slices()[i].bytes),
           then.slices()[i].name + " differs");
  }
  demand(state.step == right.step && state.generator == right.generator, "a record differs");
}

/// The bytes of the file are those that one rank alone writes.
void compare_with_one_rank(const Path& directory) {
  const auto alone = solo_communicator();
  SystemClock clock;
  SampleState state;
  const StateTree tree = state.tree();
  CheckpointEngine engine(options(directory / "alone"), *alone, posix_file_system(), clock);
  engine.prepare(tree);
  state.fill(last_step);
  engine.save_now(tree, info_of(last_step));
  const Path file = Path("step-00000005") / "state.h5";
  demand(read_file(directory / "all" / file) == read_file(directory / "alone" / file),
         "the file depends on the number of ranks");
}

void damage_newest(const Path& directory) {
  auto file =
      posix_file_system().open(directory / "step-00000005" / "state.h5", OpenMode::read_write);
  std::byte last{};
  file->read_at(file->size() - 1, {&last, 1});
  last ^= std::byte{1};
  file->write_at(file->size() - 1, {&last, 1});
}

void run(const Path& directory, int ranks_per_machine) {
  const auto ranks =
      open_ranks(launch_context(process_environment()), {.ranks_per_machine = ranks_per_machine});
  Communicator& world = ranks->world();
  const bool is_first = world.rank() == 0;
  demand(ranks_per_machine == 0 || world.local_size() <= ranks_per_machine,
         "the ranks share a machine");
  if (is_first) {
    posix_file_system().remove(directory);
  }
  world.barrier();
  save_all(world, directory / "all");
  load(world, directory / "all", last_step);
  if (is_first) {
    compare_with_one_rank(directory);
    damage_newest(directory / "all");
  }
  world.barrier();
  load(world, directory / "all", last_step - 1);
  world.barrier();
  if (is_first) {
    posix_file_system().remove(directory);
  }
  ranks->finish();
}

}  // namespace
}  // namespace muster::test

int main(int argc, char** argv) {
  try {
    muster::test::run(argv[argc > 1 ? 1 : 0],
                      static_cast<int>(muster::parse_int(argc > 2 ? argv[2] : "0").value_or(0)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED %s\n", muster::report(error).c_str());
    return 1;
  }
}
