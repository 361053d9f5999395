// SPDX-License-Identifier: Apache-2.0
#include "launcher/request/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launcher/engine/tool.h"
#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/config/load.h"
#include "runtime/config/sweep.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using testing::Not;

const AwsMap aws({"*pytorch-training* python3"},
                 {"s3://bucket /data", "s3://bucket/code/src.tar.gz /code/src.tar.gz"},
                 {"ml.p3.2xlarge cpus=8 gpus=1"});

Json tuning() {
  return Json::parse(R"json({
    "HyperParameterTuningJobName": "digits",
    "HyperParameterTuningJobConfig": {
      "Strategy": "Bayesian",
      "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "val:acc"},
      "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2, "MaxRuntimeInSeconds": 3600},
      "ParameterRanges": {
        "IntegerParameterRanges": [{"Name": "hidden", "MinValue": "16", "MaxValue": "512", "ScalingType": "Logarithmic"}],
        "ContinuousParameterRanges": [{"Name": "lr", "MinValue": "1e-4", "MaxValue": "0.1"},
                                      {"Name": "momentum", "MinValue": "0.5", "MaxValue": "0.99", "ScalingType": "ReverseLogarithmic"}],
        "CategoricalParameterRanges": [{"Name": "kind", "Values": ["mlp", "a \"b\"#c"]}]},
      "TrainingJobEarlyStoppingType": "Auto",
      "TuningJobCompletionCriteria": {"TargetObjectiveMetricValue": 0.98,
        "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 5},
        "ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}},
      "RandomSeed": 7},
    "TrainingJobDefinition": {
      "StaticHyperParameters": {"epochs": "5", "sagemaker_program": "\"train.py\"",
                                "sagemaker_submit_directory": "\"s3://bucket/code/src.tar.gz\""},
      "AlgorithmSpecification": {"TrainingImage": "763.dkr.ecr/pytorch-training:2.1", "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "val:acc", "Regex": "acc=([0-9.]+)"}]},
      "RoleArn": "arn:aws:iam::1:role/x",
      "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/digits"}}}],
      "ResourceConfig": {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
      "StoppingCondition": {"MaxRuntimeInSeconds": 600},
      "Environment": {"OMP_NUM_THREADS": "1"}}
  })json");
}

std::string value_of(const TranslatedRequest& request, const std::string& key) {
  for (const auto& [name, value] : request.settings) {
    if (name == key) {
      return value;
    }
  }
  return "(none)";
}

/// The violations of a request, or "".
std::string refusal(const Json& request, bool strict = false) {
  try {
    translate_tuning_request(request.dump(), aws, strict);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    return error.what();
  }
  return "";
}

TEST(TuningRequest, BecomesASweep) {
  const auto sweep = translate_tuning_request(tuning().dump(), aws, true);
  const std::vector<std::pair<std::string, std::string>> wanted{
      {"name", "digits"},
      {"tune.objective", "max val:acc"},
      {"tune.strategy", "bayesian"},
      {"tune.scheduler", "median"},
      {"tune.max_trials", "20"},
      {"tune.parallel", "2"},
      {"tune.max_wall", "3600"},
      {"tune.target", "0.98"},
      {"tune.patience", "5"},
      {"tune.converged", "true"},
      {"tune.seed", "7"},
      {"search.hidden", "int log 16 512"},
      {"search.lr", "log 1e-4 0.1"},
      {"search.momentum", "revlog 0.5 0.99"},
      {"search.kind", R"(choice "mlp" "a \"b\"\x23c")"},
      {"search.epochs", "const \"5\""},
      {"trial.command", "env OMP_NUM_THREADS=1 python3 /code/train.py"},
      {"trial.metric.val:acc", "acc=([0-9.]+)"},
      {"trial.data.train", "/data/digits"},
      {"trial.cpus", "8"},
      {"trial.gpus", "1"},
      {"trial.ranks", "1"},
      {"trial.timeout", "600"},
      {"trial.arguments", "sagemaker2"}};
  for (const auto& [key, value] : wanted) {
    EXPECT_EQ(value_of(sweep, key), value) << key;
  }
}

TEST(TuningRequest, LoadsAsSettings) {
  SweepSettings settings;
  Keys keys;
  describe(keys, settings);
  const auto sweep = translate_tuning_request(tuning().dump(), aws, true);
  load(keys, Sources{.file = {}, .environment = {}, .arguments = sweep.arguments()});
  EXPECT_EQ(settings.tune.objective, "max val:acc");
  EXPECT_EQ(settings.tune.max_trials, 20);
  EXPECT_EQ(settings.search.size(), 7U);
}

TEST(TuningRequest, AFieldThatIsKnownIsNoViolationBesideOneThatIsWrong) {
  auto request = tuning();
  auto& range =
      request["HyperParameterTuningJobConfig"]["ParameterRanges"]["ContinuousParameterRanges"][1];
  range["MaxValue"] = "0.1";
  EXPECT_THAT([&] { translate_tuning_request(request.dump(), aws, false); },
              testing::ThrowsMessage<Error>(testing::AllOf(HasSubstr("0.1 is below MinValue 0.5"),
                                                           Not(HasSubstr("unknown field")))));
}

TEST(TuningRequest, ReportsAllViolationsWithTheirPaths) {
  auto request = tuning();
  auto& config = request["HyperParameterTuningJobConfig"];
  config["Strategy"] = "Genetic";
  config["ResourceLimits"]["MaxParallelTrainingJobs"] = 0;
  config["ParameterRanges"]["ContinuousParameterRanges"][0]["MinValue"] = "0.2";
  config["ParameterRanges"]["ContinuousParameterRanges"][1]["MaxValue"] = "1.0";
  config["TuningJobCompletionCriteria"]["BestObjectiveNotImproving"]
        ["MaxNumberOfTrainingJobsNotImproving"] = 2;
  config["RandomSeeed"] = 3;
  request["TrainingJobDefinition"]["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] =
      "s3://other/x";
  const auto text = refusal(request);
  for (const std::string part :
       {"the request has 7 violations:",
        "HyperParameterTuningJobConfig.Strategy: must be one of Bayesian, Random, Hyperband, Grid, "
        "not Genetic",
        "ResourceLimits.MaxParallelTrainingJobs: must be a whole number of at least 1, not 0",
        "ContinuousParameterRanges[0].MaxValue: 0.1 is below MinValue 0.2",
        "ContinuousParameterRanges[1].ScalingType: ReverseLogarithmic needs a continuous range "
        "within 0 <= x < 1",
        "MaxNumberOfTrainingJobsNotImproving: must be a whole number of at least 3, not 2",
        "HyperParameterTuningJobConfig.RandomSeeed: unknown field; did you mean RandomSeed?",
        "InputDataConfig[0].DataSource: s3://other/x is not known here: add 'path = s3://other/x "
        "DIRECTORY' to [aws]"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(TuningRequest, HyperbandInfersItsResourceFromTheFiveNames) {
  auto request = tuning();
  auto& config = request["HyperParameterTuningJobConfig"];
  config["Strategy"] = "Hyperband";
  config["TrainingJobEarlyStoppingType"] = "Off";
  for (const std::string name : {"epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs"}) {
    request["TrainingJobDefinition"]["StaticHyperParameters"] = {{name, "27"}};
    const auto sweep = translate_tuning_request(request.dump(), aws, true);
    EXPECT_EQ(value_of(sweep, "tune.max_resource"), "27") << name;
    EXPECT_EQ(value_of(sweep, "tune.strategy"), "asha");
  }
  request["TrainingJobDefinition"]["StaticHyperParameters"] = {{"rounds", "27"}};
  EXPECT_THAT(refusal(request),
              HasSubstr("MaxResource: is missing, and no static hyper-parameter"));
  config["StrategyConfig"] = {
      {"HyperbandStrategyConfig", {{"MinResource", 3}, {"MaxResource", 81}}}};
  EXPECT_EQ(refusal(request), "");
  config["TrainingJobEarlyStoppingType"] = "Auto";
  EXPECT_THAT(refusal(request),
              HasSubstr("TrainingJobEarlyStoppingType: must be Off with Hyperband"));
}

TEST(TuningRequest, TheServicesCapsHoldOnlyWhenStrict) {
  auto request = tuning();
  request["HyperParameterTuningJobName"] = std::string(33, 'a');
  auto& config = request["HyperParameterTuningJobConfig"];
  config["ResourceLimits"]["MaxNumberOfTrainingJobs"] = 5000;
  config["ParameterRanges"]["ContinuousParameterRanges"][0]["MaxValue"] = "1e-4";
  auto& lists = config["ParameterRanges"]["CategoricalParameterRanges"];
  for (int i = 0; i < 31; ++i) {
    lists[0]["Values"].push_back(std::to_string(i));
    lists.push_back({{"Name", "p" + std::to_string(i)}, {"Values", {"x"}}});
  }
  EXPECT_EQ(refusal(request), "");
  const auto text = refusal(request, true);
  for (const std::string part :
       {"HyperParameterTuningJobName: must have at most 32 characters, not 33",
        "MaxNumberOfTrainingJobs: must be at most 750", "MinValue: must be below MaxValue",
        "Values: must be at most 30, not 33",
        "ParameterRanges: must have at most 30 parameters, not 35"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_EQ(value_of(translate_tuning_request(request.dump(), aws, false), "search.lr"),
            "const 1e-4");
}

TEST(TuningRequest, GridIsCategoricalAndCountsItsProduct) {
  auto request = tuning();
  auto& config = request["HyperParameterTuningJobConfig"];
  config["Strategy"] = "Grid";
  config["TrainingJobEarlyStoppingType"] = "Off";
  EXPECT_THAT(refusal(request), HasSubstr("ParameterRanges: Grid needs categorical ranges only"));
  config["ParameterRanges"] = {
      {"CategoricalParameterRanges", {{{"Name", "a"}, {"Values", {"1", "2", "3"}}}}}};
  EXPECT_THAT(refusal(request),
              HasSubstr("must be left out or be 3, the number of combinations, not 20"));
  config["ResourceLimits"].erase("MaxNumberOfTrainingJobs");
  EXPECT_EQ(refusal(request), "");
}

TEST(TuningRequest, StrictRefusesMoreTrialsThanCombinations) {
  auto request = tuning();
  request["HyperParameterTuningJobConfig"]["ParameterRanges"] = {
      {"IntegerParameterRanges", {{{"Name", "n"}, {"MinValue", "1"}, {"MaxValue", "3"}}}}};
  EXPECT_THAT(refusal(request, true), HasSubstr("is 20, but there are only 3 combinations"));
}

TEST(TuningRequest, ObjectiveMustBeAmongTheMetrics) {
  auto request = tuning();
  request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"] =
      "loss";
  EXPECT_THAT(refusal(request), HasSubstr("MetricDefinitions: do not define the objective loss"));
}

TEST(TrainingRequest, BecomesARunOfItsProgram) {
  const Json request = Json::parse(R"json({
    "TrainingJobName": "train-1", "HyperParameters": {"lr": "0.1", "sagemaker_program": "run.sh", "sagemaker_submit_directory": "file:///src"},
    "AlgorithmSpecification": {"TrainingImage": "mine", "TrainingInputMode": "File"}, "RoleArn": "r",
    "OutputDataConfig": {"S3OutputPath": "s3://b"}, "ResourceConfig": {"InstanceType": "ml.x", "InstanceCount": 2},
    "StoppingCondition": {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 50}})json");
  try {
    translate_training_request(request.dump(), aws, false);
    FAIL() << "a wait below the run time was taken";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "the request has 1 violation:\n  StoppingCondition.MaxWaitTimeInSeconds: 50 is "
                 "below MaxRuntimeInSeconds 100");
  }
  auto good = request;
  good["StoppingCondition"].erase("MaxWaitTimeInSeconds");
  const auto run = translate_training_request(good.dump(), aws, false);
  EXPECT_EQ(value_of(run, "command"), "/bin/sh /src/run.sh");
  EXPECT_EQ(value_of(run, "hyperparameter.lr"), "0.1");
  EXPECT_EQ(value_of(run, "ranks"), "2");
  const auto ranks_of = [](const Json& body) {
    return value_of(translate_training_request(body.dump(), aws, false), "ranks");
  };
  good["ResourceConfig"]["InstanceCount"] = 1;
  EXPECT_EQ(ranks_of(good), "1") << "not one a card";
  good["ResourceConfig"].erase("InstanceCount");
  EXPECT_EQ(ranks_of(good), "1");
  good.erase("ResourceConfig");
  EXPECT_EQ(ranks_of(good), "1");
  EXPECT_THAT(run.notes, testing::Contains(HasSubstr("ml.x is not in [aws]")));
}

TEST(TrainingRequest, RefusesWhatIsNoRequest) {
  EXPECT_TRUE(is_request(" \n{\"a\":1}"));
  EXPECT_FALSE(is_request("[tune]\nobjective = max a\n"));
  EXPECT_THROW(translate_training_request("{", aws, false), Error);
}

TEST(TrainingRequest, ListsThePythonModulesThatAreMissing) {
  const Path file = Path(testing::TempDir()) / "muster-requirements.txt";
  write_file_atomically(
      file, "# tools\nno-such-module-at-all>=2 ; python_version > '3'\n-r other.txt\n\n");
  if (std::system("python3 -c 'import importlib.metadata' 2>/dev/null") != 0) {
    GTEST_SKIP() << "no python3 here";
  }
  EXPECT_EQ(missing_modules(file.string(), "python3"),
            std::vector<std::string>{"no-such-module-at-all"});
  EXPECT_TRUE(missing_modules("/no/requirements.txt", "python3").empty());
}

TEST(AwsMap, APrefixEndsWhereAFolderDoesWithOrWithoutASlash) {
  const AwsMap map({}, {"s3://bucket/ data", "s3://bucket/code /src/"}, {});
  EXPECT_EQ(map.path_of("s3://bucket/digits/"), "data/digits/");
  EXPECT_EQ(map.path_of("s3://bucket"), "data");
  EXPECT_EQ(map.path_of("s3://bucket/code/a.tar.gz"), "/src/a.tar.gz");
  EXPECT_EQ(map.path_of("s3://bucket/code2/a"), "data/code2/a");
  EXPECT_EQ(map.path_of("s3://bucket2/digits"), std::nullopt);
}

TEST(TuningRequest, UnpacksTheArchiveOfItsProgram) {
  const test::TemporaryDirectory directory;
  const Path code = directory.path() / "code";
  posix_file_system().make_directory(code);
  write_file_atomically(directory.path() / "train.py", "print('acc=1')\n");
  ASSERT_TRUE(run_tool({"tar", "-C", directory.path().string(), "-czf",
                        (code / "src.tar.gz").string(), "train.py"},
                       std::chrono::minutes(1))
                  .ended.finished());
  const AwsMap here({"*pytorch-training* python3"},
                    {"s3://bucket /data", "s3://bucket/code " + code.string()},
                    {"ml.p3.2xlarge cpus=8 gpus=1"});
  const auto request = translate_tuning_request(tuning().dump(), here, false);
  EXPECT_THAT(value_of(request, "trial.command"), HasSubstr((code / "src" / "train.py").string()));
  EXPECT_EQ(read_file(code / "src" / "train.py"), "print('acc=1')\n");
  std::filesystem::remove(code / "src" / "train.py");
  write_file_atomically(code / "src.tar.gz", "this is no archive");
  EXPECT_THAT([&] { translate_tuning_request(tuning().dump(), here, false); },
              testing::ThrowsMessage<Error>(HasSubstr("src.tar.gz cannot be unpacked")));
}

TEST(AwsMap, RefusesLinesItCannotRead) {
  EXPECT_THROW(AwsMap({"onlyglob"}, {}, {}), Error);
  EXPECT_THROW(AwsMap({}, {}, {"ml.x cores=4"}), Error);
  EXPECT_EQ(aws.path_of("/plain/path"), "/plain/path");
  EXPECT_EQ(aws.path_of("s3://unknown"), std::nullopt);
}

}  // namespace
}  // namespace muster
