// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iterator>

#include "runtime/config/load.h"
#include "runtime/config/sweep.h"

namespace muster {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

template <class Settings>
void take(Settings& settings, const std::string& text) {
  Keys keys;
  describe(keys, settings);
  load_text(keys, text, "a.ini");
}

template <class Settings>
std::string complaint(const std::string& text) {
  Settings settings;
  try {
    take(settings, text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

constexpr const char* smallest_sweep = "[tune]\nobjective = max acc\n[trial]\njob = a.ini\n";

TEST(JobSettings, TheDefaultsAreValidAndReadBack) {
  JobSettings job;
  Keys keys;
  describe(keys, job);
  const auto first = load_text(keys, "", "a.ini");
  EXPECT_EQ(load_text(keys, first.file_text, "config.ini").file_text, first.file_text);
  EXPECT_THAT(first.origins, IsEmpty());
}

TEST(JobSettings, TakesAWholeJob) {
  JobSettings job;
  take(job,
       "name = digits\nranks = 2\nmax_runtime = 2h\n[model]\nkind = mlp\nhidden = 64 32\n[data]\n"
       "path = digits.h5\n[optimizer]\nkind = adamw\nlr = 1e-3\nbetas = 0.9 0.95\nno_decay = "
       "*.bias\nno_decay = norm*\n[train]\nepochs = 3\nstrict = on\n[checkpoint]\nevery = 10m\n"
       "[slurm]\npartition = gpu\nsetup = module load x\nsetup = source y\n");
  EXPECT_EQ(job.model.hidden, "64 32");
  EXPECT_EQ(job.max_runtime, 7200);
  EXPECT_THAT(job.optimizer.no_decay, ElementsAre("*.bias", "norm*"));
  EXPECT_TRUE(job.train.strict);
  ASSERT_EQ(job.slurm.entries.size(), 3U);
  EXPECT_EQ(job.slurm.entries[2].value, "source y");
}

TEST(JobSettings, LimitsMayChangeInAContinuedRunAndTheModelMayNot) {
  JobSettings first, second;
  Keys before, now;
  describe(before, first);
  describe(now, second);
  const auto a = load_text(before, "ranks = 2\n[train]\nepochs = 2\n[slurm]\nmem = 1G\n", "a");
  const auto b = load_text(now, "ranks = 4\n[train]\nepochs = 9\n[model]\nhidden = 7\n", "b");
  EXPECT_THAT(forbidden_differences(now, b.file_text, a.file_text), ElementsAre("model.hidden"));
}

TEST(JobSettings, SaysWhatDoesNotGoTogether) {
  EXPECT_EQ(complaint<JobSettings>("[optimizer]\nnesterov = true\n"),
            "a.ini:2: optimizer.nesterov needs optimizer.momentum above 0");
  EXPECT_EQ(complaint<JobSettings>("[optimizer]\nbetas = 0.9\n"),
            "a.ini:2: optimizer.betas must be two numbers");
  EXPECT_THAT(complaint<JobSettings>("[model]\nkind = torchscript\n"),
              HasSubstr("needs model.file"));
  EXPECT_THAT(complaint<JobSettings>("[model]\nkind = gpt\nembedding = 10\nheads = 3\n"),
              HasSubstr("multiple of model.heads"));
  EXPECT_THAT(complaint<JobSettings>("[checkpoint]\nevery = often\n"), HasSubstr("'often'"));
  EXPECT_EQ(complaint<JobSettings>("[schedule]\nwarmup_steps = 3\nwarmup_epochs = 1\n"),
            "a.ini:2: schedule.warmup_steps and schedule.warmup_epochs exclude each other");
  EXPECT_THAT(complaint<JobSettings>("[debug]\nrules = overfit dead_unit\n"),
              HasSubstr("debug.rules: no rule 'dead_unit'; they are vanishing_gradient"));
  EXPECT_THAT(complaint<JobSettings>("name = a/b\n"), HasSubstr("cannot be a directory"));
  EXPECT_THAT(complaint<JobSettings>("[train]\ngraph_steps = 129\n"),
              HasSubstr("train.graph_steps must be at most 128"));
}

TEST(JobSettings, AProblemIsNamedOnceForEachKeyThatHasOne) {
  const auto text = complaint<JobSettings>(
      "engine = slrum\n[data]\nformat = parket\n[schedule]\nkind = cosin\n[train]\nepochs = 0\n"
      "on_nan = panic\n");
  EXPECT_THAT(text, HasSubstr("5 things"));
  EXPECT_THAT(text, HasSubstr("did you mean 'slurm'?"));
  EXPECT_THAT(text, HasSubstr("did you mean 'cosine'?"));
}

TEST(JobSettings, EveryHelpLineIsThere) {
  JobSettings job;
  Keys keys;
  describe(keys, job);
  const auto help = help_text(keys, 100);
  for (const auto& name : keys.names()) {
    EXPECT_THAT(help, HasSubstr("--" + name)) << name;
  }
}

TEST(JobSettings, TheNameOfARunIsItsFilesStem) {
  EXPECT_EQ(stem_of("configs/mnist.ini"), "mnist");
  EXPECT_EQ(bad_name("mnist-2_a.b"), std::nullopt);
  for (const std::string name : {"", ".x", "-x", "a b", "../x", "a/b"}) {
    EXPECT_NE(bad_name(name), std::nullopt) << name;
  }
}

TEST(SweepSettings, TakesAWholeSweepAndKeepsTheSpaceRaw) {
  SweepSettings sweep;
  take(sweep,
       "name = s\n[tune]\nobjective = min loss\nstrategy = asha\nmax_trials = 64\nmax_wall = 1h\n"
       "max_resource = 81\nforbid = a == 1\nstart = a=1\nstart = a=2\n[search]\n"
       "optimizer.lr = log 1e-4 1e-1\ntrain.batch_size = choice 32 64 if model.kind == mlp\n"
       "[trial]\ncommand = python3 train.py --x 1\nmetric.loss = loss=(\\S+)\ndata.train = /d\n"
       "memory = 4G\ntimeout = 10m\n");
  EXPECT_EQ(sweep.tune.max_wall, 3600);
  ASSERT_EQ(sweep.tune.start.size(), 2U);
  EXPECT_EQ(sweep.tune.start[1].value, "a=2");
  EXPECT_EQ(sweep.tune.start[1].origin.line, 10);
  ASSERT_EQ(sweep.search.size(), 2U);
  EXPECT_EQ(sweep.search[1].key, "train.batch_size");
  EXPECT_EQ(sweep.search[1].value, "choice 32 64 if model.kind == mlp");
  EXPECT_EQ(sweep.search[1].origin.line, 13);
  EXPECT_EQ(sweep.trial.metrics.at(0).key, "loss");
  EXPECT_EQ(sweep.trial.channels.at(0).value, "/d");
  EXPECT_EQ(sweep.trial.memory, 4ULL << 30);
}

TEST(SweepSettings, WhatIsNotBuiltIsRefusedByNameWithWhatThereIsInstead) {
  for (const std::string key : {"strategy", "searcher", "scheduler"}) {
    EXPECT_THAT(
        complaint<SweepSettings>(std::string(smallest_sweep) + "[tune]\n" + key + " = pbt\n"),
        AllOf(HasSubstr("tune." + key + " must be one of"),
              HasSubstr("not 'pbt': population-based training is not built; 'strategy = "
                        "asha' promotes and resumes trials")));
  }
  for (const std::string key : {"objectives", "constraint", "constraints"}) {
    EXPECT_THAT(complaint<SweepSettings>(std::string(smallest_sweep) + "[tune]\n" + key + " = a\n"),
                AllOf(HasSubstr("no key 'tune." + key + "'"),
                      HasSubstr("let trials report one number that weighs them")));
  }
}

TEST(SweepSettings, SaysWhatIsMissingOrExcludesEachOther) {
  EXPECT_EQ(complaint<SweepSettings>(smallest_sweep), "");
  EXPECT_THAT(complaint<SweepSettings>("[trial]\njob = a.ini\n"),
              HasSubstr("tune.objective is missing"));
  EXPECT_THAT(complaint<SweepSettings>("[tune]\nobjective = best acc\n[trial]\njob = a\n"),
              HasSubstr("'max METRIC' or 'min METRIC'"));
  EXPECT_THAT(complaint<SweepSettings>("[tune]\nobjective = max a, min b\n[trial]\njob = a\n"),
              HasSubstr("several objectives and constraints are not supported"));
  EXPECT_THAT(complaint<SweepSettings>("[tune]\nobjective = max acc\n"),
              HasSubstr("a sweep needs [trial]"));
  EXPECT_THAT(complaint<SweepSettings>(std::string(smallest_sweep) + "command = x\n"),
              HasSubstr("exclude each other"));
  EXPECT_THAT(complaint<SweepSettings>(std::string(smallest_sweep) + "gpus = 4\nranks = 2\n"),
              HasSubstr("0 (none) or trial.ranks = 2"));
  EXPECT_THAT(complaint<SweepSettings>(std::string(smallest_sweep) + "per_gpu = many\n"),
              HasSubstr("'auto' or a whole number"));
  EXPECT_THAT(complaint<SweepSettings>(std::string(smallest_sweep) + "[tune]\nsearcher = bayes\n"),
              HasSubstr("tune.searcher must be one of bayesian, random, sobol, grid"));
  EXPECT_EQ(
      complaint<SweepSettings>(std::string(smallest_sweep) + "[tune]\nsearcher = plugin:a.so\n"),
      "");
  EXPECT_THAT(complaint<SweepSettings>(std::string(smallest_sweep) +
                                       "[tune]\nmin_resource = 9\nmax_resource = 3\n"),
              HasSubstr("above tune.max_resource"));
}

}  // namespace
}  // namespace muster
