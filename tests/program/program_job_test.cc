// SPDX-License-Identifier: Apache-2.0
#include "launcher/program/program_job.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/base/error.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using Variables = std::map<std::string, std::string>;

ProgramJob sample(int hosts) {
  ProgramJob job;
  job.name = "digits-0017";
  job.directory = "/runs/t";
  job.command = {"python3", "/code/train.py"};
  job.hyperparameters = {{"batch-size", "64"},
                         {"lr", "0.1"},
                         {"kind", "mlp"},
                         {"nesterov", "true"},
                         {"sagemaker_program", "x.py"}};
  job.channels = {{.name = "train", .path = "/data/a"}, {.name = "Test-set", .path = "/data/b"}};
  job.style = ArgumentStyle::sagemaker2;
  job.network_interface = "eth0";
  job.instance_type = "ml.p3.2xlarge";
  job.cpus = 8;
  job.gpus = 2;
  job.hosts.clear();
  for (int host = 1; host <= hosts; ++host) {
    job.hosts.push_back("algo-" + std::to_string(host));
  }
  job.current_host = job.hosts.back();
  return job;
}

/// The table of the managed service's toolkit for these inputs, with /opt/ml under the run's
/// directory.
Variables golden(const std::string& hosts, const std::string& current, const std::string& count,
                 const std::string& place) {
  const std::string group =
      R"({"hosts":)" + hosts +
      R"(,"instance_group_name":"homogeneousCluster","instance_type":"ml.p3.2xlarge"})";
  return {
      {"SM_HOSTS", hosts},
      {"SM_CURRENT_HOST", current},
      {"SM_NETWORK_INTERFACE_NAME", "eth0"},
      {"SM_CURRENT_INSTANCE_TYPE", "ml.p3.2xlarge"},
      {"SM_CURRENT_INSTANCE_GROUP", "homogeneousCluster"},
      {"SM_CURRENT_INSTANCE_GROUP_HOSTS", hosts},
      {"SM_INSTANCE_GROUPS", R"(["homogeneousCluster"])"},
      {"SM_INSTANCE_GROUPS_DICT", R"({"homogeneousCluster":)" + group + "}"},
      {"SM_DISTRIBUTION_INSTANCE_GROUPS", "[]"},
      {"SM_IS_HETERO", "false"},
      {"SM_TOPOLOGY", ""},
      {"SM_RESOURCE_CONFIG", R"({"current_group_name":"homogeneousCluster","current_host":")" +
                                 current + R"(","current_instance_type":"ml.p3.2xlarge","hosts":)" +
                                 hosts + R"(,"instance_groups":[)" + group +
                                 R"(],"network_interface_name":"eth0"})"},
      {"SM_NUM_CPUS", "8"},
      {"SM_NUM_GPUS", "2"},
      {"SM_NUM_NEURONS", "0"},
      {"SM_INPUT_DIR", "/runs/t/ml/input"},
      {"SM_INPUT_CONFIG_DIR", "/runs/t/ml/input/config"},
      {"SM_OUTPUT_DIR", "/runs/t/ml/output"},
      {"SM_OUTPUT_DATA_DIR", "/runs/t/ml/output/data"},
      {"SM_OUTPUT_INTERMEDIATE_DIR", "/runs/t/ml/output/intermediate"},
      {"SM_MODEL_DIR", "/runs/t/ml/model"},
      {"SM_MODULE_DIR", "/runs/t/ml/code"},
      {"SM_CHANNELS", R"(["Test-set","train"])"},
      {"SM_CHANNEL_TRAIN", "/runs/t/ml/input/data/train"},
      {"SM_CHANNEL_TEST-SET", "/runs/t/ml/input/data/Test-set"},
      {"SM_HPS", R"({"batch-size":64,"kind":"mlp","lr":0.1,"nesterov":true})"},
      {"SM_HP_BATCH-SIZE", "64"},
      {"SM_HP_BATCH_SIZE", "64"},
      {"SM_HP_LR", "0.1"},
      {"SM_HP_KIND", "mlp"},
      {"SM_HP_NESTEROV", "true"},
      {"SM_USER_ARGS", R"(["--batch-size","64","--kind","mlp","--lr","0.1","--nesterov","True"])"},
      {"SM_USER_ENTRY_POINT", "train.py"},
      {"SM_MODULE_NAME", "train"},
      {"SM_FRAMEWORK_MODULE", ""},
      {"SM_FRAMEWORK_PARAMS", "{}"},
      {"SM_LOG_LEVEL", "20"},
      {"SM_HOST_COUNT", count},
      {"SM_CURRENT_HOST_RANK", place},
      {"SM_MASTER_ADDR", "algo-1"},
      {"SM_MASTER_PORT", "7777"},
      {"TRAINING_JOB_NAME", "digits-0017"},
      {"SAGEMAKER_BASE_DIR", "/runs/t/ml"},
      {"MUSTER_CHECKPOINT_DIR", "/runs/t/checkpoints"},
      {"MUSTER_METRICS", "/runs/t/metrics.jsonl"}};
}

void expect_contains(const Variables& all, const Variables& wanted) {
  for (const auto& [name, value] : wanted) {
    const auto found = all.find(name);
    ASSERT_NE(found, all.end()) << name;
    EXPECT_EQ(found->second, value) << name;
  }
}

TEST(ProgramJob, GivesTheServicesTableForOneHost) {
  expect_contains(program_environment(sample(1)), golden(R"(["algo-1"])", "algo-1", "1", "0"));
}

TEST(ProgramJob, GivesTheServicesTableForFourHosts) {
  expect_contains(program_environment(sample(4)),
                  golden(R"(["algo-1","algo-2","algo-3","algo-4"])", "algo-4", "4", "3"));
}

TEST(ProgramJob, SumsUpItsEnvironmentInOneVariable) {
  const auto text = program_environment(sample(4)).at("SM_TRAINING_ENV");
  for (const std::string part :
       {R"("is_master":false)", R"("master_hostname":"algo-1")", R"("job_name":"digits-0017")",
        R"("channel_input_dirs":{"Test-set":"/runs/t/ml/input/data/Test-set",)"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
}

TEST(ProgramJob, WritesTheRendezvousOfTorchrun) {
  EXPECT_EQ(rendezvous_environment(5, 8, 1, 4, "n0", 29500), (Variables{{"RANK", "5"},
                                                                        {"WORLD_SIZE", "8"},
                                                                        {"LOCAL_RANK", "1"},
                                                                        {"LOCAL_WORLD_SIZE", "4"},
                                                                        {"NODE_RANK", "1"},
                                                                        {"GROUP_RANK", "1"},
                                                                        {"MASTER_ADDR", "n0"},
                                                                        {"MASTER_PORT", "29500"}}));
}

class ProgramTree : public testing::Test {
 protected:
  void SetUp() override {
    job_ = sample(1);
    job_.directory = root_ / "run";
    write_file_atomically(root_ / "rows.csv", "1,2\n");
    job_.channels = {{.name = "train", .path = root_ / "rows.csv"}};
  }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  ProgramJob job_;
};

TEST_F(ProgramTree, HoldsWhatTheServiceProvidesAndKeepsResults) {
  make_tree(job_);
  const Path root = tree_root(job_);
  EXPECT_EQ(read_file(root / "input/data/train"), "1,2\n");
  EXPECT_EQ(read_file(root / "input/config/hyperparameters.json"),
            "{\"batch-size\":\"64\",\"kind\":\"mlp\",\"lr\":\"0.1\",\"nesterov\":\"true\","
            "\"sagemaker_program\":\"x.py\"}\n");
  write_file_atomically(root / "model/weights", "w");
  write_file_atomically(root / "output/failure", std::string(2000, 'x'));
  EXPECT_EQ(failure_text(job_).size(), 1024U);
  make_tree(job_);
  EXPECT_EQ(read_file(job_.directory / "model/weights"), "w");
  EXPECT_EQ(failure_text(job_), "");
}

TEST_F(ProgramTree, NamesTheChannelWhoseDataIsMissing) {
  job_.channels.push_back({.name = "test", .path = "/nowhere/at/all"});
  try {
    make_tree(job_);
    FAIL() << "a missing channel was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_STREQ(error.what(),
                 "trial.data.test = /nowhere/at/all: there is no such file or directory");
  }
}

}  // namespace
}  // namespace muster
