/// TrainingRun: the real programs on the digits that come along, in a directory of its own, and
/// what they leave behind. By `muster train`, by mpirun, or a rank alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_directory.h"

namespace muster::test {

using Ending = ShellOutcome;

/// Runs a line of shell in the source's directory.
inline Ending in_source(const std::string& line) {
  return shell("cd '" + std::string(std::getenv("MUSTER_SOURCE")) + "' && (" + line + ")");
}

using Values = std::vector<float>;

class TrainingRun : public testing::Test {
 protected:
  const Path& root() const { return root_; }
  Path directory(const std::string& name) const { return root_ / name; }
  static std::string program(const std::string& name) {
    return "'" + (Path(std::getenv("MUSTER_RANK")).parent_path() / name).string() + "'";
  }
  /// Two epochs of `job`, as the run `name`; `options` come last and win.
  std::string words(const std::string& job, const std::string& name,
                    const std::string& options) const {
    return " " + job + " --train.epochs 2 --train.progress false --train.threads 1 --runs '" +
           root_.string() + "' --name " + name + " " + options;
  }
  Ending alone(const std::string& name, const std::string& options,
               const std::string& job = "configs/digits_mlp.ini") const {
    return in_source("timeout 100 " + program("muster-rank") + words(job, name, options));
  }
  Ending supervised(const std::string& name, int ranks, const std::string& options,
                    const std::string& job = "configs/digits_mlp.ini") const {
    return in_source("timeout 100 " + program("muster") + " train" + words(job, name, options) +
                     " --ranks " + std::to_string(ranks));
  }

  /// The tensors of the trained model, by name.
  std::map<std::string, Values> model(const std::string& name) const {
    const std::string bytes = read_file(directory(name) / "model" / "model.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    const auto header = nlohmann::json::parse(bytes.substr(8, length));
    std::map<std::string, Values> tensors;
    for (const auto& [key, entry] : header.items()) {
      if (key == "__metadata__" || entry["dtype"] != "F32") {
        continue;
      }
      const std::size_t begin = entry["data_offsets"][0];
      const std::size_t end = entry["data_offsets"][1];
      Values& values = tensors[key];
      values.resize((end - begin) / sizeof(float));
      std::memcpy(values.data(), bytes.data() + 8 + length + begin, end - begin);
    }
    return tensors;
  }
  /// Every record of metrics.jsonl that holds `metric`: its values.
  std::vector<double> metric(const std::string& name, const std::string& metric) const {
    std::istringstream lines(read_file(directory(name) / "metrics.jsonl"));
    std::vector<double> values;
    for (std::string line; std::getline(lines, line);) {
      const auto record = nlohmann::json::parse(line);
      if (record.contains(metric)) {
        values.push_back(record[metric]);
      }
    }
    return values;
  }
  /// A file of rows "a,b,label" made by `row`.
  Path csv(const std::string& name, int rows, const std::string& special = "",
           int special_row = -1) const {
    std::string text = "a,b,label\n";
    for (int i = 0; i < rows; ++i) {
      text += i == special_row ? special + "\n"
                               : std::to_string(i % 7) + "," + std::to_string(i % 5) + "," +
                                     std::to_string(i % 2) + "\n";
    }
    write_file_atomically(root_ / name, text);
    return root_ / name;
  }

 private:
  TemporaryDirectory directory_;
  const Path root_ = directory_.path();
};

}  // namespace muster::test
