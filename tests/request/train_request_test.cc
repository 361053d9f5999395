// `muster train REQUEST.json` as users run it: the real program, a script as the training image's
// entry point. SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "tests/launcher/muster_program.h"

namespace muster::test {
namespace {

using testing::HasSubstr;

class TrainRequest : public testing::Test {
 protected:
  void SetUp() override {
    write("run.sh",
          "echo \"$@\"\nls \"$SM_CHANNEL_TRAIN\"\necho $SM_HP_LR of $SM_NUM_CPUS on "
          "$SM_CURRENT_HOST\necho acc=0.25; echo acc=0.75\necho w > $SM_MODEL_DIR/weights\n");
    write("data/rows.csv", "1,2\n");
    write("aws.ini",
          "[aws]\npath = s3://bucket " + path().string() + "\ninstance = ml.x cpus=3 gpus=0\n");
  }
  const Path& path() const { return directory_.path(); }
  void write(const std::string& name, const std::string& text) const {
    posix_file_system().make_directory((path() / name).parent_path());
    write_file_atomically(path() / name, text);
  }
  nlohmann::json request() const {
    return nlohmann::json::parse(R"json({
      "TrainingJobName": "train-1",
      "HyperParameters": {"lr": "0.1", "bias": "true", "sagemaker_program": "\"run.sh\"",
                          "sagemaker_submit_directory": "\"s3://bucket\""},
      "AlgorithmSpecification": {"TrainingImage": "mine", "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([0-9.]+)"}]},
      "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource":
        {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data"}}}],
      "RoleArn": "r", "OutputDataConfig": {"S3OutputPath": "s3://b"},
      "ResourceConfig": {"InstanceType": "ml.x", "InstanceCount": 1, "VolumeSizeInGB": 1},
      "StoppingCondition": {"MaxRuntimeInSeconds": 600}})json");
  }
  Running train(const nlohmann::json& body, std::vector<std::string> more = {}) const {
    write("request.json", body.dump());
    more.insert(more.begin(), {"train", "request.json", "--aws=aws.ini"});
    return {path(), std::move(more)};
  }
  std::string file(const std::string& name) const {
    return read_file_if_there(path() / "runs" / "train-1" / name).value_or("");
  }

 private:
  TemporaryDirectory directory_;
};

TEST_F(TrainRequest, RunsItsProgramAsTheServiceWould) {
  auto run = train(request());
  EXPECT_EQ(run.wait(), 0) << run.output();
  const auto log = file("log/rank-0.log");
  EXPECT_THAT(log, HasSubstr("--bias True --lr 0.1"));
  EXPECT_THAT(log, HasSubstr("rows.csv"));
  EXPECT_THAT(log, HasSubstr("0.1 of 3 on localhost"));
  EXPECT_EQ(file("model/weights"), "w\n");
  EXPECT_EQ(file("metrics.jsonl"), "{\"step\":1,\"acc\":0.25}\n{\"step\":2,\"acc\":0.75}\n");
  auto again = train(request());
  EXPECT_EQ(again.wait(), 0);
  EXPECT_THAT(again.output(), HasSubstr("train-1 has finished"));
}

TEST_F(TrainRequest, OneInstanceIsOneProcessThatSeesAllCardsOfTheMachine) {
  write("run.sh", "echo rank $RANK of $WORLD_SIZE sees $CUDA_VISIBLE_DEVICES\n");
  const SetVariable cards("CUDA_VISIBLE_DEVICES", "0,1,2,3");
  auto run = train(request());
  EXPECT_EQ(run.wait(), 0) << run.output();
  EXPECT_THAT(file("log/rank-0.log"), HasSubstr("rank 0 of 1 sees 0,1,2,3\n"));
  EXPECT_FALSE(posix_file_system().exists(path() / "runs" / "train-1" / "log/rank-1.log"));
}

TEST_F(TrainRequest, TellsAllViolationsAtOnceAndRunsNothing) {
  auto body = request();
  body["TrainingJobName"] = "-x-";
  body["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://elsewhere/x";
  auto run = train(body);
  EXPECT_EQ(run.wait(), 64);
  EXPECT_THAT(run.output(), HasSubstr("TrainingJobName"));
  EXPECT_THAT(run.output(), HasSubstr("s3://elsewhere/x is not known here"));
  EXPECT_FALSE(posix_file_system().exists(path() / "runs"));
}

TEST_F(TrainRequest, StrictHoldsTheServicesOwnLimits) {
  auto body = request();
  body["TrainingJobName"] = std::string(70, 'a');
  EXPECT_EQ(train(body, {"--print_config"}).wait(), 0);
  auto strict = train(body, {"--strict", "--print_config"});
  EXPECT_EQ(strict.wait(), 64);
  EXPECT_THAT(strict.output(), HasSubstr("at most 63 characters"));
}

TEST_F(TrainRequest, SaysWhichModulesOfItsRequirementsAreMissing) {
  write("run.py", "print('acc=0.5')\n");
  write("requirements.txt", "no-such-module-at-all==3\n");
  auto body = request();
  body["HyperParameters"]["sagemaker_program"] = "run.py";
  auto run = train(body, {"--print_config"});
  EXPECT_EQ(run.wait(), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("no-such-module-at-all"));
}

}  // namespace
}  // namespace muster::test
