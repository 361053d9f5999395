/// OnCard: jobs as users start them, on the pretended card and on the CPU, and what they learned.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/shell.h"
#include "tests/support/temporary_directory.h"

namespace muster::test {

inline constexpr auto mlp = R"(
[data]
format = synthetic
shape = 20
classes = 4
rows = 256
[model]
kind = mlp
hidden = 24
[optimizer]
lr = 0.05
momentum = 0.9
)";
inline constexpr auto gpt = R"(
[data]
format = synthetic
task = tokens
context = 16
vocabulary = 50
rows = 64
[model]
kind = gpt
embedding = 32
heads = 2
depth = 2
dropout = 0.1
[optimizer]
kind = adamw
lr = 0.002
clip = 1
)";
inline constexpr auto cnn = R"(
[data]
format = synthetic
shape = 3 16 16
classes = 4
rows = 64
[model]
kind = cnn
width = 8
[optimizer]
lr = 0.05
)";

inline constexpr auto resnet = R"(
[data]
format = synthetic
shape = 3 16 16
classes = 4
rows = 32
[model]
kind = resnet18
width = 8
channels_last = true
[optimizer]
lr = 0.02
)";

class OnCard : public testing::Test {
 protected:
  /// A program of Muster's on the card, by its arguments.
  static ShellOutcome on_card(const std::string& arguments) {
    return shell(fmt::format("{} {} {}", PRETEND_CARD_RUN, PRETEND_CARD_FOLDER, arguments));
  }
  /// Trains `text`, whose batches are 32 where `options` say nothing else.
  ShellOutcome train(const std::string& text, const std::string& name, const std::string& options,
                     int epochs = 3) {
    const Path job = folder.path() / "job.ini";
    std::ofstream(job) << text;
    return on_card(
        fmt::format("muster train {} --runs {} --name {} --bind false "
                    "--train.batch_size 32 --train.epochs {} {}",
                    job.string(), folder.path().string(), name, epochs, options));
  }
  /// A sweep of 8 trials, four at once.
  ShellOutcome tune(const std::string& name, const std::string& options) {
    std::ofstream(folder.path() / "job.ini") << mlp << "[train]\ndevice = cuda\nbatch_size = 32\n";
    std::ofstream(folder.path() / "sweep.ini")
        << "ranks = 1\n[tune]\nobjective = min train_loss\nmax_trials = 8\nmax_resource = 9\n"
        << options
        << "[search]\noptimizer.lr = log 1e-3 1\nmodel.hidden = choice 16 64 512 1024\n"
           "[trial]\njob = job.ini\nper_gpu = 4\n";
    return shell(
        fmt::format("cd {} && CUDA_VISIBLE_DEVICES=0 {} {} muster tune sweep.ini --name {}",
                    folder.path().string(), PRETEND_CARD_RUN, PRETEND_CARD_FOLDER, name));
  }
  /// A rank as torchrun starts it, of a run of that name.
  ShellOutcome ranks(int count, const std::string& name, const std::string& options) {
    const Path job = folder.path() / "job.ini";
    std::ofstream(job) << mlp;
    return shell(
        fmt::format("{} -n {} {} muster-rank {} --runs {} --name {} --bind false "
                    "--train.batch_size 32 {}",
                    PRETEND_CARD_RUN, count, PRETEND_CARD_FOLDER, job.string(),
                    folder.path().string(), name, options));
  }
  std::vector<double> losses(const std::string& name, const char* which = "train_loss") const {
    std::vector<double> all;
    std::ifstream file(folder.path() / name / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      all.push_back(nlohmann::json::parse(line).at(which));
    }
    return all;
  }
  void expect_same(const std::string& a, const std::string& b, double within) const {
    EXPECT_THAT(losses(a), testing::Pointwise(testing::DoubleNear(within), losses(b)));
  }
  TemporaryDirectory folder;
};

}  // namespace muster::test
