// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "launcher/commands.h"
#include "launcher/job/job_plan.h"
#include "launcher/request/request.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage =
        "muster train JOB.ini [--section.key value ...]\nmuster train REQUEST.json [--aws FILE] "
        "[--strict]",
    .about =
        "Trains the job: on this machine, in the Slurm allocation it finds itself in, or over "
        "--hosts. Its directory is "
        "RUNS/NAME: settings, metrics, logs, checkpoints, the trained model.\n\n"
        "Running the same command again continues from the newest valid checkpoint; a finished run "
        "says so. TERM, HUP, USR1 "
        "and notices of clouds and of Slurm save and exit 75; Ctrl-C, muster stop and a spent "
        "max_runtime save and exit 77; a "
        "second Ctrl-C leaves at once.\n\n"
        "A JSON file is read as the body of a CreateTrainingJob call: its program runs as 'muster "
        "run' would run it, once an instance; [aws] in --aws FILE says what its images, paths and "
        "machine types are "
        "here.",
    .examples = {{"muster train configs/digits_mlp.ini --ranks 2", "two ranks on this machine"},
                 {"muster train job.ini --hosts a:4,b:4", "eight ranks by mpirun"},
                 {"muster train job.ini --optimizer.lr 0.01 --name slow",
                  "another setting is another run"}}};

/// The first word that names a file with a request in it.
std::optional<std::string> request_among(const Arguments& arguments) {
  for (const auto& word : arguments) {
    const auto text = word.ends_with(".json") ? read_file_if_there(word) : std::nullopt;
    if (text && is_request(*text)) {
      return word;
    }
  }
  return std::nullopt;
}

int train_request(const std::string& file, const Arguments& arguments) {
  Keys keys;
  ProgramSettings program;
  program.job.restarts_per_hour = 0;
  describe_program(keys, program);
  std::string aws;
  bool strict = false;
  bool print_config = false;
  keys.add("aws", aws, "The file whose [aws] section maps what the request names")
      .only_on_command_line()
      .placeholder("FILE");
  keys.add("strict", strict, "The managed service's own limits hold").only_on_command_line();
  keys.add("print_config", print_config, "Show the resolved settings and where each comes from")
      .only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  Keys first;  // --aws decides what is loaded, so it is read first
  first.add("aws", aws, "").only_on_command_line();
  first.add("strict", strict, "").only_on_command_line();
  Sources early;
  std::ranges::copy_if(line->options, std::back_inserter(early.arguments),
                       [](const std::string& option) {
                         return option.starts_with("--aws=") || option.starts_with("--strict=");
                       });
  load(first, early);
  const auto request = translate_training_request(
      read_file(file), aws.empty() ? AwsMap() : AwsMap::from_file(aws), strict);
  for (const auto& note : request.notes) {
    log::info(note);
  }
  Sources sources{
      .file = {}, .environment = current_environment(), .arguments = request.arguments()};
  sources.arguments.insert(sources.arguments.end(), line->options.begin(), line->options.end());
  const auto resolved = load(keys, sources);
  if (const auto note = missing_modules_note(program.command)) {
    log::warning(*note);
  }
  if (print_config) {
    fmt::print("{}", resolved.explained_text);
    return exit_finished;
  }
  return run_program(keys, program, resolved);
}

}  // namespace

int command_train(const Arguments& arguments) {
  if (const auto request = request_among(arguments)) {
    return train_request(*request, arguments);
  }
  Keys keys;
  JobSettings job;
  describe(keys, job);
  std::string rank_program;
  bool print_config = false;
  keys.add("rank_program", rank_program, "The rank program, if not the muster-rank beside this one")
      .only_on_command_line()
      .hidden();
  keys.add("print_config", print_config, "Show the resolved settings and where each comes from")
      .only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1 || line->has_rest) {
    throw Error(Fault::bad_input,
                "it takes one job file: muster train JOB.ini [--section.key value ...]");
  }
  const auto& file = line->words.front();
  job.name = stem_of(file);
  const auto resolved = load(keys, {file, current_environment(), line->options});
  if (print_config) {
    fmt::print("{}", resolved.explained_text);
    return exit_finished;
  }
  return train(keys, job, resolved, rank_program);
}

}  // namespace muster
