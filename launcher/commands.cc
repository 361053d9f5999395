// SPDX-License-Identifier: Apache-2.0
#include "launcher/commands.h"

#include <array>

namespace muster {
namespace {

// Groups, in order: Run, Watch, Steer, Tools.
constexpr std::array table{
    Command{"Run", "train", "Train a job: here, in the Slurm allocation, or over hosts",
            command_train},
    Command{"Run", "tune", "Search for the best trial: a sweep on this machine", command_tune},
    Command{"Run", "run", "Run any program as N ranks", command_run},
    Command{"Run", "submit", "Give a job to Slurm, as a script you can read", command_submit},
    Command{"Run", "ask-tell", "The tuner for programs in any language, by JSON lines",
            command_ask_tell},
    Command{"Run", "worker", "Join a running sweep of programs from another machine",
            command_worker},
    Command{"Run", "resume", "Run the stored command of a run or sweep again", command_resume},
    Command{"Watch", "ls", "What has run and what runs", command_ls},
    Command{"Watch", "show", "How a run or a sweep went", command_show},
    Command{"Watch", "report", "A sweep as one HTML file: curves, importance, every trial",
            command_report},
    Command{"Watch", "logs", "What its ranks print", command_logs},
    Command{"Steer", "stop", "Ask a run, a sweep or a trial to save and stop", command_stop},
    Command{"Steer", "set", "Change the limits of a running sweep", command_set},
    Command{"Steer", "enqueue", "Put a configuration in front of a running sweep", command_enqueue},
    Command{"Tools", "bench", "Measure this machine: an all-reduce, a training step",
            command_bench},
    Command{"Tools", "checkpoint", "Verify checkpoints, export them to other formats",
            command_checkpoint},
    Command{"Tools", "convert", "Any data set as HDF5 that trains fastest, with checksums",
            command_convert},
    Command{"Tools", "doctor", "What this machine offers, and how to get what is missing",
            command_doctor},
    Command{"", "attend", "", command_attend},  // not in the overview
};

}  // namespace

std::span<const Command> commands() {
  return table;
}

}  // namespace muster
