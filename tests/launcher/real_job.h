/// A job small enough for a test that trains with the real muster-rank, and the comparison of what
/// it leaves behind.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include "tests/launcher/muster_program.h"

namespace muster::test {

/// False where this build has no libtorch and so no rank program.
inline bool has_muster_rank() {
  return posix_file_system().exists(program("").parent_path().parent_path() / "bin" /
                                    "muster-rank");
}

/// 32 steps an epoch, each of a millisecond or less; a checkpoint every 20 steps. `hidden` makes
/// steps longer.
inline void write_real_job(const Path& file, int epochs, int hidden = 64) {
  write_file_atomically(file, fmt::format("ranks = 2\n"
                                          "[data]\nformat = synthetic\nrows = 2048\nshape = 16\n"
                                          "classes = 4\n"
                                          "[model]\nkind = mlp\nhidden = {}\n"
                                          "[train]\nepochs = {}\nbatch_size = 64\n"
                                          "[checkpoint]\nevery_steps = 20\n",
                                          hidden, epochs));
}

/// tests/slurm/paced_model.cc: each step takes at least PACED_MODEL_MS.
inline Path paced_model() {
  return program("").parent_path().parent_path() / "lib" / "libpaced_model.so";
}

/// The same steps with a model that keeps its pace: there is time to disturb it on a machine of any
/// speed.
inline void write_paced_job(const Path& file, int epochs) {
  write_file_atomically(file, fmt::format("ranks = 2\n"
                                          "[data]\nformat = synthetic\nrows = 2048\nshape = 16\n"
                                          "classes = 4\n"
                                          "[model]\nkind = plugin:{}\n"
                                          "[train]\nepochs = {}\nbatch_size = 64\nsave = hdf5\n"
                                          "[checkpoint]\nevery_steps = 20\n",
                                          paced_model().string(), epochs));
}

/// Every file of two model directories, byte for byte.
inline void expect_same_model(const Path& one, const Path& other) {
  auto& files = posix_file_system();
  ASSERT_FALSE(files.list(one).empty()) << one << " is empty";
  ASSERT_EQ(files.list(one), files.list(other));
  for (const auto& name : files.list(one)) {
    EXPECT_EQ(read_file(one / name), read_file(other / name)) << name << " differs";
  }
}

}  // namespace muster::test
