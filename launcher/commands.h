/// The commands of `muster`. Each is a file launcher/command_NAME.cc; the table is in commands.cc.
/// To add one: declare it here, add its row there, list its file in CMakeLists.txt.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "launcher/cli/command.h"

namespace muster {

int command_ask_tell(const Arguments& arguments);
int command_attend(const Arguments& arguments);  ///< what engines start beside each rank
int command_bench(const Arguments& arguments);
int command_bench_allreduce(const Arguments& arguments);  ///< `muster bench allreduce`
int command_checkpoint(const Arguments& arguments);
int command_convert(const Arguments& arguments);
int command_doctor(const Arguments& arguments);
int command_logs(const Arguments& arguments);
int command_ls(const Arguments& arguments);
int command_resume(const Arguments& arguments);
int command_run(const Arguments& arguments);
int command_show(const Arguments& arguments);
int command_stop(const Arguments& arguments);
int command_submit(const Arguments& arguments);
int command_train(const Arguments& arguments);
int command_enqueue(const Arguments& arguments);
int command_report(const Arguments& arguments);
int command_set(const Arguments& arguments);
int command_tune(const Arguments& arguments);
int command_worker(const Arguments& arguments);

std::span<const Command> commands();

}  // namespace muster
