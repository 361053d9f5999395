// What is known of Slurm without one: its environment, its node lists, the script, which engine is
// chosen and why not. SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "launcher/engine/choose.h"
#include "launcher/engine/slurm_environment.h"
#include "launcher/slurm/submission.h"
#include "runtime/base/error.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <class Body>
std::string refusal(Body body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    return error.what();
  }
  return "no error";
}

TEST(SlurmEnvironment, ExpandsNodeLists) {
  EXPECT_THAT(expand_nodes("n[1-3,07],login"), ElementsAre("n1", "n2", "n3", "n07", "login"));
  EXPECT_THAT(expand_nodes("r[1-2]c[01-02]"), ElementsAre("r1c01", "r1c02", "r2c01", "r2c02"));
  EXPECT_THAT(expand_nodes("n[098-101]"), ElementsAre("n098", "n099", "n100", "n101"));
  EXPECT_THAT(expand_nodes(""), ElementsAre());
  EXPECT_THAT(refusal([] { expand_nodes("n[1-"); }), HasSubstr("cannot read the node list"));
  EXPECT_THAT(refusal([] { expand_nodes("n[3-1]"); }), HasSubstr("cannot read the node list"));
  EXPECT_THAT(expand_counts("2(x3),1"), ElementsAre(2, 2, 2, 1));
}

TEST(SlurmEnvironment, ReadsTheJob) {
  EXPECT_FALSE(slurm_job({}).has_value());
  const auto job = slurm_job({{"SLURM_JOB_ID", "7"},
                              {"SLURM_JOB_NODELIST", "n[1-2]"},
                              {"SLURM_TASKS_PER_NODE", "2(x2)"},
                              {"SLURM_RESTART_COUNT", "3"}});
  EXPECT_EQ(job->id, "7");
  EXPECT_EQ(job->tasks, 4);
  EXPECT_EQ(job->restarts, 3);
  EXPECT_FALSE(job->is_step);
  EXPECT_EQ(
      slurm_job({{"SLURM_JOB_ID", "7"}, {"SLURM_ARRAY_JOB_ID", "5"}, {"SLURM_ARRAY_TASK_ID", "0"}})
          ->id,
      "5_0")
      << "the number of the last task is that of the array";
}

TEST(ChooseEngine, TakesWhatIsThere) {
  Surroundings nothing;
  EXPECT_EQ(choose_engine("auto", {}, 2, nothing), EngineKind::local);
  Surroundings slurm{
      {{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_NODELIST", "n[1-2]"}, {"SLURM_NTASKS", "4"}},
      true,
      true,
      true};
  EXPECT_EQ(choose_engine("auto", {}, 4, slurm), EngineKind::slurm);
  EXPECT_EQ(choose_engine("local", {}, 4, slurm), EngineKind::local);
  EXPECT_EQ(choose_engine("auto", {{"a", 2}}, 4, slurm), EngineKind::mpirun);
  slurm.environment["SLURM_JOB_NODELIST"] = "n1";
  slurm.environment["SLURM_NTASKS"] = "1";
  EXPECT_EQ(choose_engine("auto", {}, 4, slurm), EngineKind::local)
      << "one task on one node: nothing for srun to do";
}

TEST(ChooseEngine, EveryRefusalSaysWhatToAdd) {
  Surroundings slurm{
      {{"SLURM_JOB_ID", "7"}, {"SLURM_JOB_NODELIST", "n[1-2]"}, {"SLURM_NTASKS", "2"}},
      false,
      true,
      true};
  EXPECT_THAT(refusal([&] { choose_engine("auto", {}, 4, slurm); }), HasSubstr("add --ntasks=4"));
  slurm.srun_has_pmix = false;
  EXPECT_THAT(refusal([&] { choose_engine("auto", {}, 2, slurm); }), HasSubstr("no PMIx plugin"));
  slurm.has_srun = false;
  EXPECT_THAT(refusal([&] { choose_engine("slurm", {}, 2, slurm); }), HasSubstr("no srun in PATH"));
  EXPECT_THAT(refusal([&] {
                choose_engine("auto", {{"a", 2}}, 2, slurm);
              }),
              HasSubstr("openmpi-bin"));
}

TEST(Hosts, AreAListOrAFile) {
  const auto hosts = parse_hosts("a:2,b");
  ASSERT_EQ(hosts.size(), 2U);
  EXPECT_EQ(hosts[0].slots, 2);
  EXPECT_EQ(hosts[1].name, "b");
  EXPECT_TRUE(parse_hosts(" ").empty());
  const test::TemporaryDirectory directory;
  const auto file = (directory.path() / "hosts").string();
  write_file_atomically(file, "# ours\na slots=4\n\nb:3\nc\n");
  const auto more = parse_hosts(file);
  ASSERT_EQ(more.size(), 3U);
  EXPECT_EQ(more[0].slots, 4);
  EXPECT_EQ(more[1].slots, 3);
  write_file_atomically(file, "# nothing\n");
  EXPECT_THAT(refusal([&] { parse_hosts(file); }), HasSubstr("names no host"));
  EXPECT_THAT(refusal([] { parse_hosts("/no/such/file"); }), HasSubstr("there is no such file"));
  EXPECT_THAT(refusal([] { parse_hosts("a:0"); }), HasSubstr("is no host"));
}

TEST(BatchScript, IsShortAndReadable) {
  ScriptSpec spec;
  spec.name = "digits";
  spec.run = "/work dir/runs/digits";
  spec.directory = "/work dir";
  spec.command = {"/usr/bin/muster", "train", "digits.ini", "--optimizer.lr=0.1"};
  spec.tasks = 4;
  spec.directives = {{"partition", "gpu"}, {"exclusive", ""}, {"signal", "B:USR1@60"}};
  spec.setup = {"module load openmpi"};
  spec.source = "muster submit digits.ini";
  EXPECT_EQ(batch_script(spec), R"sh(#!/bin/bash
# digits: written by `muster submit digits.ini`. Edit it as you like; sbatch takes it as it is.
#SBATCH --job-name=digits
#SBATCH --ntasks=4
#SBATCH --output="/work dir/runs/digits/log/slurm-%j.log"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@60
#SBATCH --partition=gpu
#SBATCH --exclusive
module load openmpi
cd '/work dir'
/usr/bin/muster train digits.ini --optimizer.lr=0.1 &
muster=$!
# Time is nearly up, or the job is asked to leave: muster saves and exits 75.
trap 'again=1; told=1; kill -USR1 $muster' USR1 TERM
again=1
while [ $again ]; do again=; wait $muster; code=$?; done
# Saved and to be continued. A job that was cancelled says COMPLETING here and must not come back.
if [ $code -eq 75 ] && [ "$(squeue -h -j $SLURM_JOB_ID -o %T)" = RUNNING ]; then
  scontrol requeue $SLURM_JOB_ID || exit 75   # a site may requeue on 75 itself (RequeueExit)
  [ -s '/work dir/runs/digits/exclude' ] && scontrol update JobId=$SLURM_JOB_ID ExcNodeList=$(cat '/work dir/runs/digits/exclude')
fi
# Told to leave and not saved: Slurm itself requeues a job that it preempts, if it is the one to end it.
[ $code -eq 76 ] && [ $told ] && sleep 600
exit $code
)sh");
}

TEST(BatchScript, ArraysAndDependenciesPassThrough) {
  ScriptSpec spec;
  spec.name = "a";
  spec.run = "/r/a";
  spec.directory = "/";
  spec.command = {"muster", "train", "a.ini"};
  spec.array = "0-63%8";
  spec.dependency = "afterok:17";
  const auto script = batch_script(spec);
  EXPECT_THAT(script, HasSubstr("#SBATCH --array=0-63%8\n"));
  EXPECT_THAT(script, HasSubstr("#SBATCH --dependency=afterok:17\n"));
  EXPECT_THAT(script, HasSubstr("muster train a.ini --name a-$SLURM_ARRAY_TASK_ID &\n"));
  EXPECT_THAT(script, HasSubstr("[ -s /r/a-$SLURM_ARRAY_TASK_ID/exclude ]"));
  EXPECT_THAT(script, HasSubstr("requeue ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID ||"))
      << "the number of the last task is that of the array: it would bring all of them back";
}

TEST(BatchScript, KnowsTheTasksOfAnArray) {
  EXPECT_THAT(array_tasks("0-2%2"), ElementsAre(0, 1, 2));
  EXPECT_THAT(array_tasks("0-9:4,20"), ElementsAre(0, 4, 8, 20));
  EXPECT_THAT(refusal([] { array_tasks("3-1"); }), HasSubstr("'3-1' names no tasks"));
  EXPECT_THAT(refusal([] { array_tasks("a"); }), HasSubstr("write 0-9"));
}

TEST(BatchScript, ReadsTheJobsNumber) {
  EXPECT_EQ(job_id_of("sbatch: note\nSubmitted batch job 17\n"), "17");
  EXPECT_EQ(job_id_of("18;cluster\n"), "18");
  EXPECT_THROW(job_id_of("sbatch: error: Batch job submission failed"), Error);
}

}  // namespace
}  // namespace muster
