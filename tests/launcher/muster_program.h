/// Runs the real `muster` with the test rank, in a directory of its own: what the tests of the
/// supervisor drive.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launcher/engine/line_reader.h"
#include "launcher/engine/process.h"
#include "tests/launcher/programs.h"

namespace muster::test {

/// One `muster`, or another program, that runs: one that lies beside it, or any by its whole path.
class Running {
 public:
  Running(const Path& directory, std::vector<std::string> arguments,
          const std::string& name = "muster") {
    Pipe pipe = output_pipe();
    ProcessSpec spec;
    spec.command = std::move(arguments);
    spec.command.insert(spec.command.begin(),
                        (program("").parent_path().parent_path() / "bin" / name).string());
    spec.environment = without_places(process_environment());
    spec.environment.erase("SLURM_JOB_ID");
    spec.directory = directory;
    spec.output = spec.error = pipe.theirs.get();
    process_ = std::make_unique<Process>(Process::start(spec));
    reader_ = std::make_unique<LineReader>(std::move(pipe.ours));
  }
  Process& process() { return *process_; }
  const std::string& output() {
    std::vector<std::string> lines;
    reader_->read(lines);
    for (const auto& line : lines) {
      output_ += line + "\n";
    }
    return output_;
  }
  bool says(const std::string& text, int seconds = 30) {
    return eventually([&] { return output().find(text) != std::string::npos; }, seconds);
  }
  /// The exit code; -signal when one ended it; 999 when it does not end.
  int wait(int seconds = 60) {
    std::optional<Ended> ended;
    eventually(
        [&] {
          output();  // a full pipe would hold it up
          ended = process_->wait_for(20);
          return ended.has_value();
        },
        seconds);
    output();
    return !ended ? 999 : ended->code().value_or(-ended->signal().value_or(0));
  }

 private:
  std::unique_ptr<Process> process_;
  std::unique_ptr<LineReader> reader_;
  std::string output_;
};

/// A directory with a job file, and `muster` in it.
class Workshop {
 public:
  Workshop() { write_file_atomically(path() / "job.ini", "ranks = 2\n"); }
  const Path& path() const { return directory_.path(); }
  Path run(const std::string& name = "job") const { return path() / "runs" / name; }
  Running start(std::vector<std::string> arguments) const { return {path(), std::move(arguments)}; }
  /// Trains with the test rank, which takes its words from MUSTER_TEST_RANK.
  Running train(const std::string& rank_words, std::vector<std::string> more = {}) const {
    const Path script =
        path() /
        "rank.sh";  // the rank program gets config.ini and options; ours has words of its own
    write_file_atomically(
        script, "#!/bin/sh\nexport MUSTER_CHECKPOINT_DIR=" + (run() / "checkpoints").string() +
                    "\nexec " + program("muster_test_rank").string() + " " + rank_words + "\n");
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    more.insert(more.begin(), {"train", "job.ini", "--rank_program=" + script.string()});
    return start(std::move(more));
  }
  nlohmann::json status(const std::string& name = "job") const {
    return nlohmann::json::parse(read_file_if_there(run(name) / "status.json").value_or("{}"),
                                 nullptr, false);
  }
  std::uint64_t step() const { return status().value("step", std::uint64_t{0}); }
  std::string file(const std::string& name) const {
    return read_file_if_there(run() / name).value_or("");
  }

 private:
  TemporaryDirectory directory_;
};

/// The pids of all processes whose command line holds `text`.
inline std::vector<pid_t> processes_with(const std::string& text) {
  std::vector<pid_t> pids;
  for (const auto& name : posix_file_system().list("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    try {
      const auto line = read_file_if_there("/proc/" + name + "/cmdline").value_or("");
      if (line.find(text) != std::string::npos && alive(std::stoi(name))) {
        pids.push_back(std::stoi(name));
      }
    } catch (const std::exception&) {  // it ended while we looked
    }
  }
  return pids;
}

}  // namespace muster::test
