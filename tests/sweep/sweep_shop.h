/// SweepShop: a directory with a job on the bundled digits and a sweep of it, and the real `muster`
/// to run it: what the tests of sweeps with workers drive.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "hpo/journal.h"
#include "runtime/base/text.h"
#include "tests/launcher/muster_program.h"

namespace muster::test {

inline std::string muster_program() {
  return (program("").parent_path().parent_path() / "bin" / "muster").string();
}
inline std::string rank_program() {
  return (program("").parent_path().parent_path() / "bin" / "muster-rank").string();
}

class SweepShop {
 public:
  SweepShop() {
    write("job.ini", "[data]\npath = " + std::string(std::getenv("MUSTER_DIGITS")) +
                         "\nvalidation_fraction = 0.2\n[model]\nkind = mlp\nhidden = 16\n"
                         "[optimizer]\nkind = sgd\nlr = 0.1\nmomentum = 0.9\n"
                         "[train]\nepochs = 3\nbatch_size = 64\nthreads = 1\n");
  }
  const Path& path() const { return directory_.path(); }
  void write(const std::string& name, const std::string& text) const {
    write_file_atomically(path() / name, text);
  }
  /// sweep.ini: `tune` are lines of [tune], beside an objective, a seed and random search.
  void sweep(const std::string& tune, const std::string& search = "",
             const std::string& trial = "job = job.ini\n") const {
    write("sweep.ini",
          "[tune]\nseed = 7\nobjective = max val_accuracy\nsearcher = random\n" + tune +
              "[search]\n" +
              (search.empty() ? "optimizer.lr = log 0.01 0.5\nmodel.hidden = int 8 24\n" : search) +
              "[trial]\n" + trial);
  }
  Running start(const std::string& name, std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"tune", "sweep.ini", "--name=" + name};
    words.insert(words.end(), more.begin(), more.end());
    return {path(), std::move(words)};
  }
  Path root(const std::string& name) const { return path() / "sweeps" / name; }
  std::string file(const std::string& name, const std::string& inside) const {
    return read_file_if_there(root(name) / inside).value_or("");
  }
  /// What a sweep came to, without times, slots and retries: a line a trial.
  std::string table(const std::string& name) const {
    std::string text;
    for (const auto& line : split(file(name, "trials.csv"), '\n')) {
      auto cells = split(line, ',');  // trial,state,value,resource,worker,started,...
      if (cells.size() > 8) {
        cells.erase(cells.begin() + 4, cells.begin() + 8);
        text += join(cells, ",") + "\n";
      }
    }
    return text;
  }
  /// The records of a sweep's journal, in order.
  std::vector<std::string> journal(const std::string& name) const {
    std::vector<std::string> records;
    hpo::read_journal(root(name) / "journal",
                      [&](std::string_view record) { records.emplace_back(record); });
    return records;
  }
  std::vector<pid_t> workers(const std::string& name) const {
    std::vector<pid_t> pids;
    for (const pid_t pid : processes_with(root(name).string())) {
      const auto line = read_file_if_there("/proc/" + std::to_string(pid) + "/cmdline");
      if (line && line->find("--worker") != std::string::npos) {
        pids.push_back(pid);
      }
    }
    return pids;
  }

 private:
  TemporaryDirectory directory_;
};

}  // namespace muster::test
