// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/launch_context.h"

#include <gmock/gmock.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

using testing::HasSubstr;

std::string refusal(const Environment& environment) {
  try {
    launch_context(environment);
  } catch (const Error& error) {
    EXPECT_EQ(exit_code_of(error), 64);
    return error.what();
  }
  return "accepted";
}

const Environment torchrun{{"RANK", "1"},        {"WORLD_SIZE", "2"},
                           {"LOCAL_RANK", "1"},  {"LOCAL_WORLD_SIZE", "2"},
                           {"MASTER_ADDR", "h"}, {"MASTER_PORT", "29500"}};

TEST(LaunchContext, IsSingleWhenNobodyStartedIt) {
  const auto context = launch_context({{"HOME", "/"}});
  EXPECT_EQ(context.starter, Starter::single);
  EXPECT_EQ(context.size, 1);
  EXPECT_FALSE(context.uses_mpi());
}

TEST(LaunchContext, PutsMusterBeforeEveryOther) {
  const auto context = launch_context(
      {{"MUSTER_LAUNCH", "rank=3 size=4 local_rank=1 local_size=2 control=/proc/1/fd/5"},
       {"OMPI_COMM_WORLD_RANK", "0"}});
  EXPECT_EQ(context.starter, Starter::muster);
  EXPECT_EQ(context.rank, 3);
  EXPECT_EQ(context.local_rank, 1);
  EXPECT_EQ(context.control, "/proc/1/fd/5");
  EXPECT_EQ(launch_words(context), "rank=3 size=4 local_rank=1 local_size=2 control=/proc/1/fd/5");
}

TEST(LaunchContext, BelievesMpirunInsideSbatchAndNotSlurm) {
  const auto context = launch_context({{"OMPI_COMM_WORLD_RANK", "3"},
                                       {"OMPI_COMM_WORLD_SIZE", "4"},
                                       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                       {"PMIX_RANK", "3"},
                                       {"SLURM_PROCID", "0"},
                                       {"SLURM_STEP_ID", "0"}});
  EXPECT_EQ(context.starter, Starter::open_mpi);
  EXPECT_EQ(context.rank, 3);
  EXPECT_TRUE(context.uses_mpi());
}

TEST(LaunchContext, TakesSrunWithPmix) {
  const auto context = launch_context({{"PMIX_RANK", "2"},
                                       {"SLURM_PROCID", "2"},
                                       {"SLURM_STEP_ID", "1"},
                                       {"SLURM_NTASKS", "4"},
                                       {"SLURM_LOCALID", "0"}});
  EXPECT_EQ(context.starter, Starter::pmix);
  EXPECT_EQ(context.rank, 2);
  EXPECT_EQ(context.size, 4);
}

TEST(LaunchContext, NamesTheFlagWhenSrunHasNoPmix) {
  Environment environment{{"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "0"}, {"SLURM_NTASKS", "4"}};
  EXPECT_THAT(refusal(environment), HasSubstr("srun --mpi=pmix"));
  environment["PMI_RANK"] = "0";  // pmi2
  environment["PMI_SIZE"] = "4";
  EXPECT_THAT(refusal(environment), HasSubstr("srun started 4 tasks without PMIx"));
  environment["SLURM_NTASKS"] = "1";
  EXPECT_EQ(launch_context(environment).starter, Starter::single);
}

TEST(LaunchContext, IsSingleInABatchScript) {
  EXPECT_EQ(launch_context({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).starter,
            Starter::single);
  EXPECT_EQ(launch_context(
                {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "4294967291"}})
                .starter,
            Starter::single);
  EXPECT_EQ(
      launch_context({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "batch"}})
          .starter,
      Starter::single);
}

TEST(LaunchContext, RefusesTheMpiexecOfAnotherMpi) {
  EXPECT_THAT(refusal({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}), HasSubstr("built with Open MPI"));
}

TEST(LaunchContext, TakesACompleteTorchrunSetOnOneMachine) {
  const auto context = launch_context(torchrun);
  EXPECT_EQ(context.starter, Starter::torchrun);
  EXPECT_EQ(context.rank, 1);
  EXPECT_THAT(context.meeting, HasSubstr("29500"));
}

TEST(LaunchContext, NamesWhatHalfATorchrunSetLacks) {
  auto environment = torchrun;
  environment.erase("MASTER_PORT");
  EXPECT_THAT(refusal(environment), HasSubstr("MASTER_PORT"));
  environment.erase("RANK");
  EXPECT_EQ(launch_context(environment).starter, Starter::single);
}

TEST(LaunchContext, SendsTorchrunOnSeveralMachinesToMpi) {
  auto environment = torchrun;
  environment["WORLD_SIZE"] = "4";
  EXPECT_THAT(refusal(environment), HasSubstr("muster train --hosts"));
}

TEST(LaunchContext, RefusesPlacesThatCannotBe) {
  EXPECT_THAT(refusal({{"OMPI_COMM_WORLD_RANK", "4"}, {"OMPI_COMM_WORLD_SIZE", "4"}}),
              HasSubstr("rank 4 of 4"));
  EXPECT_THAT(refusal({{"OMPI_COMM_WORLD_RANK", "x"}}), HasSubstr("OMPI_COMM_WORLD_RANK=x"));
  EXPECT_THAT(refusal({{"MUSTER_LAUNCH", "rank=0 size=2 local_size=2"}}),
              HasSubstr("no control page"));
  EXPECT_THAT(refusal({{"MUSTER_LAUNCH", "colour=3"}}), HasSubstr("'colour=3'"));
}

TEST(LaunchContext, KeepsPlacesFromChildren) {
  const auto left = without_places({{"OMPI_MCA_pml", "ob1"},
                                    {"PMIX_RANK", "0"},
                                    {"PMI_FD", "3"},
                                    {"SLURM_PROCID", "0"},
                                    {"SLURM_STEP_NODELIST", "a"},
                                    {"SLURM_JOB_ID", "7"},
                                    {"RANK", "0"},
                                    {"PATH", "/bin"}});
  EXPECT_EQ(left, (Environment{{"PATH", "/bin"}, {"SLURM_JOB_ID", "7"}}));
}

}  // namespace
}  // namespace muster
