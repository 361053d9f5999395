// Training steps that Python compiled ahead of time, made by the example's own helper and trained
// by the real programs. Skipped where there is no Python with torch 2.11 (MUSTER_TEST_PYTHON names
// one). SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "tests/support/python.h"
#include "tests/train/training_run.h"

namespace muster {
namespace {

using namespace test;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string example = "configs/examples/compiled_step/";

class CompiledTraining : public TrainingRun {
 protected:
  /// The example is compiled once for all tests: for 32 samples a call.
  static void SetUpTestSuite() {
    python_ = find_python();
    if (python_.empty()) {
      return;
    }
    std::string name = (std::filesystem::temp_directory_path() / "muster-compiled-XXXXXX").string();
    package_folder_ = ::mkdtemp(name.data());
    const Ending made = compile(example + "digits_mlp.py", "digits.pt2", "");
    ASSERT_EQ(made.code, 0) << made.output;
    EXPECT_THAT(made.output, HasSubstr("4810 parameters, batches of 32"));
  }
  static void TearDownTestSuite() {
    if (!package_folder_.empty()) {
      std::filesystem::remove_all(package_folder_);
    }
  }
  void SetUp() override {
    if (python_.empty()) {
      GTEST_SKIP() << "there is no Python with torch 2.11 and g++ (./bootstrap peers makes one; "
                      "MUSTER_TEST_PYTHON names another)";
    }
  }

  static std::string find_python() {
    const char* named = std::getenv("MUSTER_TEST_PYTHON");
    const std::string python =
        named != nullptr ? named : test::python_with("torch").value_or("false");
    const Ending asked =
        in_source(python + " -c 'import torch; print(torch.__version__)' && command -v g++");
    return asked.code == 0 && asked.output.starts_with("2.11.") ? python : std::string();
  }
  static Ending compile(const std::string& model, const std::string& package,
                        const std::string& options) {
    const std::string folder = package_folder_.string();
    return in_source("TORCHINDUCTOR_CACHE_DIR='" + folder + "/cache' timeout 300 " + python_ + " " +
                     example + "compile_step.py " + model + " '" + folder + "/" + package + "' " +
                     options);
  }
  static std::string package(const std::string& name = "digits.pt2") {
    return (package_folder_ / name).string();
  }
  static std::string compiled(const std::string& name = "digits.pt2") {
    return " --model.kind compiled --model.file '" + package(name) + "' ";
  }

  void expect_near(const std::string& one, const std::string& other, double bound) const {
    const auto expected = model(one);
    auto found = model(other);
    ASSERT_EQ(expected.size(), found.size());
    for (const auto& [name, values] : expected) {
      double most = 0;
      ASSERT_EQ(values.size(), found[name].size()) << name;
      for (std::size_t i = 0; i < values.size(); ++i) {
        most = std::max(
            most, std::abs(static_cast<double>(values[i]) - static_cast<double>(found[name][i])));
      }
      EXPECT_LE(most, bound) << name;
    }
  }
  void expect_near_losses(const std::string& one, const std::string& other, double bound) const {
    const auto expected = metric(one, "train_loss");
    const auto found = metric(other, "train_loss");
    ASSERT_EQ(expected.size(), found.size());
    ASSERT_GT(expected.size(), 0U);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(found[i], expected[i], bound) << i;
    }
  }

  static std::string python_;
  static Path package_folder_;
};

std::string CompiledTraining::python_;
Path CompiledTraining::package_folder_;

// 1,438 samples in batches of 64: a rank's part is a whole call on two ranks, two on one, and the
// last batch of 30 leaves calls half empty.
TEST_F(CompiledTraining, GivesWhatTheBuiltInModelGives) {
  ASSERT_EQ(alone("start", "--train.steps 1").code, 0);
  const std::string same = "--optimizer.lr 0.01 --train.report_every 1 --model.init '" +
                           (directory("start") / "model" / "model.safetensors").string() + "'";
  const Ending built_in = alone("built_in", same);
  ASSERT_EQ(built_in.code, 0) << built_in.output;
  const Ending one = alone("one", same + compiled());
  ASSERT_EQ(one.code, 0) << one.output;
  const Ending two = supervised("two", 2, same + compiled());
  ASSERT_EQ(two.code, 0) << two.output;
  const Ending three = supervised("three", 3, same + compiled() + "--train.exchange bucketed");
  ASSERT_EQ(three.code, 0) << three.output;
  for (const std::string other : {"one", "two", "three"}) {
    expect_near_losses("built_in", other, 1e-5);
    expect_near("built_in", other, 1e-5);
    EXPECT_EQ(metric("built_in", "val_accuracy"), metric(other, "val_accuracy")) << other;
  }
  EXPECT_THAT(two.output, Not(HasSubstr("is computed as")));
  EXPECT_THAT(three.output, HasSubstr("a part of 22 samples is computed as 32"));
}

TEST_F(CompiledTraining, LearnsTheExampleFromItsOwnStart) {
  const Ending ending = supervised(
      "learnt", 2, "--train.epochs 20 --model.file '" + package() + "'", example + "job.ini");
  ASSERT_EQ(ending.code, 0) << ending.output;
  EXPECT_GT(metric("learnt", "val_accuracy").back(), 0.95);
  EXPECT_THAT(ending.output, HasSubstr("compiled: 4810 parameters"));
  EXPECT_THAT(ending.output, HasSubstr("no TorchScript: model.kind = compiled"));
  EXPECT_TRUE(std::filesystem::exists(directory("learnt") / "model" / "model.h5"));
}

TEST_F(CompiledTraining, ResumesBitForBitAlsoOnAnotherNumberOfRanks) {
  const std::string strict = "--train.strict true" + compiled();
  ASSERT_EQ(alone("whole", strict).code, 0);
  ASSERT_EQ(supervised("parts", 2, strict + "--train.epochs 1").code, 0);
  const Ending rest = supervised("parts", 3, strict);
  ASSERT_EQ(rest.code, 0) << rest.output;
  EXPECT_THAT(rest.output, HasSubstr("resumed at step 23"));
  EXPECT_EQ(model("whole"), model("parts"));
}

TEST_F(CompiledTraining, ClipsFreezesAccumulatesAndAverages) {
  const std::string options =
      "--model.freeze layers.0.* --optimizer.clip 0.5 --train.accumulate 2 --train.ema 0.9 "
      "--optimizer.kind adamw --optimizer.lr 0.001 ";
  ASSERT_EQ(alone("start", "--train.steps 1").code, 0);
  const std::string init =
      "--model.init '" + (directory("start") / "model" / "model.safetensors").string() + "' ";
  ASSERT_EQ(alone("built_in", options + init).code, 0);
  const Ending ending = supervised("compiled", 2, options + init + compiled());
  ASSERT_EQ(ending.code, 0) << ending.output;
  expect_near("built_in", "compiled", 1e-4);
  EXPECT_EQ(model("start")["layers.0.weight"], model("compiled")["layers.0.weight"]);
}

TEST_F(CompiledTraining, RefusesWhatItWasNotCompiledFor) {
  int runs = 0;
  const auto refusal = [&](const std::string& options) {
    const Ending ending = supervised("bad" + std::to_string(++runs), 2, options);
    EXPECT_EQ(ending.code, 64) << ending.output;
    return ending.output;
  };
  EXPECT_THAT(refusal(compiled() + "--data.path " + csv("two.csv", 80).string()),
              HasSubstr("was compiled for features of 1 x 8 x 8 float32 a sample, but the data "
                        "wants 2 float32"));
  EXPECT_THAT(refusal(compiled() + "--train.label_smoothing 0.1"),
              HasSubstr("was compiled for the loss cross_entropy (label smoothing 0)"));
  EXPECT_THAT(refusal(compiled() + "--train.amp bf16"),
              HasSubstr("does not reach into a compiled step"));
  EXPECT_THAT(refusal("--model.kind compiled"), HasSubstr("needs model.file"));

  // Its own code, damaged in the middle: neither opened nor run.
  std::string bytes = read_file(package());
  const std::size_t code = bytes.find(
      "\x7f"
      "ELF");
  ASSERT_NE(code, std::string::npos);
  bytes[code + 4096] ^= 1;
  write_file_atomically(package("damaged.pt2"), bytes);
  EXPECT_THAT(refusal(compiled("damaged.pt2")),
              AllOf(HasSubstr("damaged.pt2 is damaged (the checksum of data/aotinductor/"),
                    HasSubstr("make it again")));
}

// The gradients of both biases are one block. Four calls a step on one rank, one on each of four.
TEST_F(CompiledTraining, AddsUpCallsWhoseGradientsShareABlock) {
  write_file_atomically(root() / "branches.py", R"(
import torch
class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = torch.nn.Linear(64, 10), torch.nn.Linear(64, 10)
    def forward(self, features):
        return self.left(features.flatten(1)) + self.right(torch.relu(features.flatten(1) - 0.5))
def example():
    torch.manual_seed(0)
    return Branches(), torch.zeros(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64)
)");
  const Ending made = compile((root() / "branches.py").string(), "branches.pt2", "");
  ASSERT_EQ(made.code, 0) << made.output;
  const Ending one = alone("one", "--optimizer.lr 0.01" + compiled("branches.pt2"));
  ASSERT_EQ(one.code, 0) << one.output;
  const Ending four = supervised("four", 4, "--optimizer.lr 0.01" + compiled("branches.pt2"));
  ASSERT_EQ(four.code, 0) << four.output;
  expect_near("one", "four", 1e-5);
  expect_near_losses("one", "four", 1e-5);
}

// Dropout draws from torch's own generator, which each pass seeds: it trains, but not strictly.
TEST_F(CompiledTraining, DropsUnitsButNotStrictly) {
  write_file_atomically(root() / "dropping.py", R"(
import torch
def example():
    torch.manual_seed(0)
    layers = [torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2),
              torch.nn.Linear(64, 10)]
    return torch.nn.Sequential(*layers), torch.zeros(64, 1, 8, 8), torch.zeros(64, dtype=torch.int64)
)");
  const Ending made =
      compile((root() / "dropping.py").string(), "dropping.pt2", "--label-smoothing 0.1");
  ASSERT_EQ(made.code, 0) << made.output;
  const std::string options = "--train.label_smoothing 0.1" + compiled("dropping.pt2");
  const Ending strict = alone("strict", options + "--train.strict true");
  EXPECT_EQ(strict.code, 64);
  EXPECT_THAT(strict.output, AllOf(HasSubstr("train.strict cannot promise equal bits"),
                                   HasSubstr("draws random numbers (aten.")));
  for (const std::string name : {"first", "second"}) {
    const Ending ending = alone(name, options);
    ASSERT_EQ(ending.code, 0) << ending.output;
  }
  EXPECT_EQ(model("first"), model("second")) << "seeded, so the same again";
  ASSERT_EQ(alone("other", options + "--train.seed 5").code, 0);
  EXPECT_NE(model("first"), model("other"));
  EXPECT_LT(metric("first", "train_loss").back(), metric("first", "train_loss").front());
}

TEST_F(CompiledTraining, TheHelperRefusesModelsThatChangeTheirBuffers) {
  write_file_atomically(root() / "norm.py", R"(
import torch
def example():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(),
                                torch.nn.Linear(144, 10))
    return model, torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)
)");
  const Ending made = compile((root() / "norm.py").string(), "norm.pt2", "");
  EXPECT_EQ(made.code, 1) << made.output;
  EXPECT_THAT(made.output, HasSubstr("changes its buffer 1.running_mean while it trains"));
}

}  // namespace
}  // namespace muster
