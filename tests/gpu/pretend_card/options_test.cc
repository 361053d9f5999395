// What options of training do on the pretended card, where that once was something else.
// SPDX-License-Identifier: Apache-2.0
#include <torch/script.h>

#include <algorithm>
#include <optional>

#include "runtime/data/hdf5.h"
#include "tests/gpu/pretend_card/on_card.h"

namespace muster::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class OptionsOnCard : public OnCard {
 protected:
  void expect_as_on_cpu(const std::string& text, const std::string& options, double within = 1e-5) {
    const auto card = train(text, "card", options + " --train.device cuda");
    ASSERT_EQ(card.code, 0) << card.output;
    const auto cpu = train(text, "cpu", options + " --train.device cpu");
    ASSERT_EQ(cpu.code, 0) << cpu.output;
    expect_same("card", "cpu", within);
  }
  /// A TorchScript model of the mlp's shapes, `body` between its layers.
  std::string script(const std::string& body) const {
    torch::jit::Module module("model");
    torch::manual_seed(1);
    module.register_parameter("first", torch::randn({24, 20}) * 0.2, false);
    module.register_parameter("second", torch::randn({4, 24}) * 0.2, false);
    module.define("def forward(self, x):\n    y = torch.relu(torch.linear(x, self.first))\n    " +
                  body + "\n    return torch.linear(y, self.second)\n");
    module.save((folder.path() / "model.pt").string());
    return " --model.kind torchscript --model.file " + (folder.path() / "model.pt").string();
  }
  /// 50 images in an HDF5 file of chunks, the first of which may be all `first`.
  std::string images(const std::string& name = "images.h5",
                     std::optional<float> first = std::nullopt) const {
    const std::string path = (folder.path() / name).string();
    std::vector<float> pixels(std::size_t{50} * 3 * 16 * 16);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<float>(i * 7919 % 101) / 101;
    }
    if (first) {
      std::fill_n(pixels.begin(), 3 * 16 * 16, *first);
    }
    std::vector<std::int32_t> labels(50);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      labels[i] = static_cast<std::int32_t>(i % 4);
    }
    auto file = h5::File::create(path);
    file.create_dataset("/features", h5::Scalar::float32, {50, 3, 16, 16},
                        {.chunk = {50, 3, 16, 16}})
        .write(std::as_bytes(std::span(pixels)), h5::Scalar::float32);
    file.create_dataset("/labels", h5::Scalar::int32, {50})
        .write(std::as_bytes(std::span(labels)), h5::Scalar::int32);
    return "[data]\npath = " + path + "\n[model]\nkind = cnn\nwidth = 8\n[optimizer]\nlr = 0.05\n";
  }
};

/// The last batch of 2 fills 2 of the parts; what the others left of the batch before is no loss.
TEST_F(OptionsOnCard, PartsOfABatchThatAreEmptyHaveNoLoss) {
  expect_as_on_cpu(mlp, "--data.task values --data.rows 66 --train.accumulate 4");
}

/// Of 32 and of 31 samples the third rank has 10 either way, from another place on.
TEST_F(OptionsOnCard, ARaggedBatchIsCutByItsOwnLength) {
  ::setenv("PRETEND_CARD_COUNT", "3", 1);
  expect_as_on_cpu(mlp, "--ranks 3 --data.rows 95");
  ::unsetenv("PRETEND_CARD_COUNT");
}

/// Two samples a step: the third rank has none, and its step is captured as well.
TEST_F(OptionsOnCard, ARankWithoutSamplesTrainsAlong) {
  ::setenv("PRETEND_CARD_COUNT", "3", 1);
  expect_as_on_cpu(mlp, "--ranks 3 --data.rows 12 --train.batch_size 2");
  ::unsetenv("PRETEND_CARD_COUNT");
}

TEST_F(OptionsOnCard, ImagesAreChangedAlikeWhereverTheyLie) {
  const std::string job = images();
  const std::string change = " --train.device cuda --train.crop_padding 2 --train.flip true";
  for (const auto& [name, options] :
       {std::pair("plain", std::string("--train.device cuda")), std::pair("resident", change),
        std::pair("streamed", change + " --data.tier blocked --data.block_rows 50")}) {
    const auto run = train(job, name, options + " --data.window_blocks 1");
    ASSERT_EQ(run.code, 0) << run.output;
  }
  EXPECT_THAT(losses("plain"),
              Not(testing::Pointwise(testing::DoubleNear(1e-4), losses("resident"))));
  EXPECT_THAT(losses("plain"),
              Not(testing::Pointwise(testing::DoubleNear(1e-4), losses("streamed"))));
  const auto none = train(mlp, "none", change);
  EXPECT_NE(none.code, 0);
  EXPECT_THAT(none.output, HasSubstr("are for images"));
}

TEST_F(OptionsOnCard, AStepThatIsLeftOutMovesNoRunningStatistics) {
  images("good.h5");
  const std::string job = images("bad.h5", 3e38F);
  const std::string options =
      "--model.kind resnet18 --model.channels_last true --train.on_nan skip --train.batch_size 10 "
      "--data.validation_features_name features --data.validation_labels_name labels "
      "--data.validation " +
      (folder.path() / "good.h5").string();
  for (const std::string device : {"cpu", "cuda"}) {
    const auto run = train(job, device, options + " --train.device " + device, 2);
    ASSERT_EQ(run.code, 0) << run.output;
    EXPECT_THAT(run.output, HasSubstr("the step is left out"));
  }
  EXPECT_THAT(losses("cuda", "val_loss"),
              testing::Pointwise(testing::DoubleNear(1e-3), losses("cpu", "val_loss")));
}

/// 140 steps, each with rows that the copy queue has brought.
TEST_F(OptionsOnCard, RowsThatAreCopiedAheadAreThoseOfTheStep) {
  const std::string job = images();
  const std::string options =
      "--data.tier blocked --data.block_rows 50 --data.window_blocks 1 --train.batch_size 5";
  for (const std::string device : {"cpu", "cuda"}) {
    const auto run = train(job, device, options + " --train.device " + device, 14);
    ASSERT_EQ(run.code, 0) << run.output;
  }
  expect_same("cuda", "cpu", 1e-3);
}

TEST_F(OptionsOnCard, WhyAModelCannotBeCapturedIsSaidOnce) {
  const auto run = train(
      mlp, "item", "--train.device cuda" + script("if float(y.sum()) < 0:\n        y = y * 2"));
  EXPECT_THAT(losses("item"), testing::SizeIs(3)) << run.output;
  EXPECT_THAT(run.output, HasSubstr("steps run without a CUDA graph: CUDA error"));
}

/// Gradients of targets this large overflow until the loss scale has fallen, step by step.
TEST_F(OptionsOnCard, StepsThatOverflowInFp16AreLeftOut) {
  std::string rows = "a,b,y\n";
  for (int i = 0; i < 128; ++i) {
    rows += fmt::format("{},{},{}\n", i % 7, i % 5, 30 * (i % 7) - 90);
  }
  std::ofstream(folder.path() / "rows.csv") << rows;
  const auto run = train("[data]\ntask = values\npath = " + (folder.path() / "rows.csv").string() +
                             "\n[model]\nkind = linear\n[optimizer]\nlr = 1e-3\n",
                         "fp16", "--train.device cuda --train.amp fp16", 6);
  ASSERT_EQ(run.code, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("every step of this epoch overflowed in fp16"));
  std::ifstream file(folder.path() / "fp16" / "metrics.jsonl");
  std::vector<nlohmann::json> epochs;
  for (std::string line; std::getline(file, line);) {
    epochs.push_back(nlohmann::json::parse(line).at("train_loss"));
  }
  EXPECT_THAT(epochs, testing::SizeIs(6));
  EXPECT_TRUE(epochs.front().is_null());
  EXPECT_LT(epochs.back().get<double>(), epochs[4].get<double>());
}

/// Torch cannot destroy a graph that found no memory for the seeds it begins with.
TEST_F(OptionsOnCard, AFullCardHasNoGraph) {
  ::setenv("PRETEND_CARD_MEMORY", "26000000", 1);
  const auto run = train(
      gpt, "full", "--train.device cuda --model.embedding 64 --model.dropout 0 --data.rows 64");
  ::unsetenv("PRETEND_CARD_MEMORY");
  EXPECT_EQ(run.code, 0) << run.output;
  EXPECT_THAT(losses("full"), testing::SizeIs(3));
}

/// 8 samples at once have room for what is between their layers, and the 256 of a batch have not.
TEST_F(OptionsOnCard, AJobThatTrainsIsJudgedInTheSameMemory) {
  ::setenv("PRETEND_CARD_MEMORY", "64000000", 1);
  const auto run = train(mlp, "judged",
                         "--train.device cuda --model.hidden 32768 --optimizer.lr 0.001 "
                         "--data.validation_rows 256 --train.batch_size 256 --train.accumulate 32");
  ::unsetenv("PRETEND_CARD_MEMORY");
  EXPECT_EQ(run.code, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("val_accuracy"));
}

/// Torch's own generator begins anew in each step: two runs are one, and another seed is another.
TEST_F(OptionsOnCard, RandomNumbersOfAScriptFollowTheSeedAndTheStep) {
  const std::string options = "--train.device cuda" + script("y = torch.dropout(y, 0.3, True)");
  const auto whole = train(mlp, "whole", options, 4);
  ASSERT_EQ(whole.code, 0) << whole.output;
  ASSERT_EQ(train(mlp, "halves", options, 2).code, 0);
  ASSERT_EQ(train(mlp, "halves", options, 4).code, 0);
  expect_same("whole", "halves", 0);
  ASSERT_EQ(train(mlp, "eager", options + " --train.graph off", 4).code, 0);
  expect_same("whole", "eager", 0);
  // A graph that fails: the step that was to be captured is run with its own numbers.
  const std::string looks =
      "--train.device cuda" + script(
                                  "y = torch.dropout(y, 0.3, True)\n    if float(y.sum()) < 0:\n"
                                  "        y = y * 2");
  train(mlp, "failed", looks, 4);
  expect_same("whole", "failed", 0);
}

}  // namespace
}  // namespace muster::test
