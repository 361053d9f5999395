// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "launcher/commands.h"
#include "launcher/doctor/doctor.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster doctor [--json] [--disk DIR]",
    .about =
        "Looks at what training and tuning on this machine can use: MPI, PMIx, Slurm, GPUs, "
        "NCCL, the BLAS inside libtorch, cores, memory, shared memory and how fast the disk "
        "takes a durable write (64 MB in --disk, removed again). For each thing missing it "
        "says what does not work without it and how to get it.\n\n"
        "Exits 0 also when things are missing; scripts look at 'ok' of --json.",
    .examples = {{"muster doctor", "a table for people"},
                 {"muster doctor --json", "the same for programs"}}};

}  // namespace

int command_doctor(const Arguments& arguments) {
  Keys keys;
  bool json = false;
  std::string disk = ".";
  keys.add("json", json, "One JSON object instead of the table").only_on_command_line();
  keys.add("disk", disk, "Where to measure the disk").only_on_command_line().placeholder("DIR");
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, arguments});
  const auto findings = examine(system_world(), disk);
  fmt::print("{}", json ? findings_json(findings) : findings_text(findings));
  return exit_finished;
}

}  // namespace muster
