// coordinator_bench DIR [trials]: durable trials a second, reports a second, replay, as one JSON
// object. DIR must be on the disk to be measured; it is emptied. Ten parameters, random search:
// what is measured is the bookkeeping. SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "hpo/ask_tell.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

StudySetup setup_of(const std::string& scheduler, double max_resource) {
  StudySetup setup;
  setup.name = "bench";
  std::vector<SpaceLine> lines;
  for (int i = 0; i < 10; ++i) {
    lines.push_back({"x" + std::to_string(i), "float 0 1", "bench"});
  }
  setup.space = Space::parse(lines);
  setup.scheduler = scheduler;
  setup.scheduling.max_resource = max_resource;
  setup.scheduling.min_resource = max_resource > 0.0 ? 1.0 : 0.0;
  return setup;
}

Path fresh(const Path& directory, const std::string& name) {
  const Path path = directory / name;
  posix_file_system().remove(path);
  posix_file_system().make_directory(path);
  return path / "journal";
}

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Ask and start `in_flight` trials, one commit; tell them, one commit.
double trials_per_second(const Path& journal, std::size_t trials, std::size_t in_flight) {
  SystemClock clock;
  Study study(setup_of("fifo", 0.0), journal, clock);
  const Stopwatch watch;
  std::vector<TrialId> out;
  for (std::size_t done = 0; done < trials; done += out.size()) {
    out.clear();
    while (out.size() < in_flight) {
      const Next next = study.next();
      if (next.kind == Next::Kind::propose) {
        study.propose();
      } else {
        out.push_back(study.launch(next).trial);
      }
    }
    study.commit();
    for (const TrialId trial : out) {
      study.tell({.trial = trial, .value = 1.0 / trial});
    }
    study.commit();
  }
  return static_cast<double>(trials) / watch.seconds();
}

/// Lines as clients write them: 1,000 trials run, 4,000 reports are read together, through ASHA,
/// one commit a round.
double reports_per_second(const Path& journal, std::size_t reports) {
  SystemClock clock;
  AskTell server(
      [&] { return std::make_unique<Study>(setup_of("asha", 100'000.0), journal, clock); });
  constexpr std::size_t in_flight = 1000;
  constexpr std::size_t each = 4;
  const std::string ask = R"({"op":"ask"})";
  server.answer(std::vector<std::string_view>(in_flight, ask));
  const double step = 1.0 / 65536.0;  // all below the first rung: the trials report for ever
  std::vector<std::string> lines(in_flight * each);
  std::vector<std::string_view> views(lines.size());
  double seconds = 0.0;
  std::size_t told = 0;
  for (int round = 1; told < reports; ++round) {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::size_t report = static_cast<std::size_t>(round) * each + i / in_flight;
      lines[i] = R"({"op":"tell","trial":)" + std::to_string(i % in_flight + 1) +
                 R"(,"resource":)" + exact(static_cast<double>(report) * step) + R"(,"value":)" +
                 exact(0.5 + 1.0 / (static_cast<double>(report) + 1.0)) + "}";
      views[i] = lines[i];
    }
    const Stopwatch watch;
    const std::string answers = server.answer(views);
    seconds += watch.seconds();
    require(answers.find("error") == std::string::npos, "a report was refused: " + answers);
    told += lines.size();
  }
  return static_cast<double>(told) / seconds;
}

double replay_seconds(const Path& journal) {
  SystemClock clock;
  const Stopwatch watch;
  const Study study(setup_of("fifo", 0.0), journal, clock);
  require(study.state().trials().size() >= 100'000, "the journal to replay is short");
  return watch.seconds();
}

void run(const Path& directory, std::size_t trials) {
  const double one =
      trials_per_second(fresh(directory, "one"), std::max<std::size_t>(200, trials / 400), 1);
  const Path journal = fresh(directory, "many");
  const double many = trials_per_second(journal, std::max<std::size_t>(trials, 100'000), 256);
  const auto bytes = posix_file_system().open(journal, OpenMode::read)->size();
  const double replay = replay_seconds(journal);
  const double reports = reports_per_second(fresh(directory, "reports"), 1'000'000);
  std::printf(
      "{\"trials_per_second_1\":%.1f,\"trials_per_second_256\":%.0f,\"bytes_per_trial\":%.1f,"
      "\"replay_seconds\":%.3f,\"reports_per_second\":%.0f}\n",
      one, many, static_cast<double>(bytes) / 100'000.0, replay, reports);
}

}  // namespace
}  // namespace muster::hpo

int main(int count, char** words) {
  if (count < 2) {
    std::fprintf(stderr, "usage: coordinator_bench DIR [trials]\n");
    return 64;
  }
  muster::hpo::run(words[1], count > 2 ? std::stoul(words[2]) : 100'000);
  return 0;
}
