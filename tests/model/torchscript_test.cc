// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/torchscript.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include "runtime/base/error.h"
#include "runtime/config/model_settings.h"
#include "runtime/data/hdf5.h"
#include "runtime/model/export.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const DataShape small_images{.features = {3, 8, 8}, .label_shape = {}, .classes = 5};

class TorchScriptTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (root_ / name).string(); }
  /// A file whose forward() ends in `body`, over a matrix w of `outputs` x 192.
  std::string script(std::int64_t outputs, const std::string& body) const {
    torch::jit::Module module("Net");
    module.register_parameter(
        "w", at::arange(outputs * 192, at::kFloat).reshape({outputs, 192}).mul(0.01).sin(), false);
    module.define("def forward(self, x):\n    y = torch.linear(torch.flatten(x, 1), self.w)\n    " +
                  body + "\n");
    module.save(path("net.pt"));
    return path("net.pt");
  }
  std::string sentence(const std::string& file) const {
    try {
      open_torchscript(file, small_images);
      return "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::bad_input);
      return error.what();
    }
  }
  static at::Tensor input() {
    return at::arange(2 * 192, at::kFloat).reshape({2, 3, 8, 8}).mul(0.3).sin();
  }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
};

TEST_F(TorchScriptTest, ExportsWhatComputesTheSame) {
  for (const std::string kind : {"linear", "mlp", "cnn", "resnet18", "resnet50"}) {
    ModelSettings settings;
    settings.kind = kind;
    settings.width = 4;
    const auto model = make_model(settings, small_images, 1);
    ASSERT_TRUE(save_torchscript(*model, path("model.pt"))) << kind;
    const auto again = open_torchscript(path("model.pt"), small_images);
    const at::Tensor difference = model->forward(input(), {}) - again->forward(input(), {});
    EXPECT_LT(difference.abs().max().item<double>(), 1e-5) << kind;
  }
}

TEST_F(TorchScriptTest, TrainsAndIsSavedFromAnArena) {
  const auto model = open_torchscript(script(5, "return y"), small_images);
  ASSERT_EQ(model->parameters().size(), 1U);
  const at::Tensor& weight = model->parameters()[0].tensor;
  at::Tensor arena = at::arange(5 * 192 + 100, at::kFloat);
  weight.set_data(arena.narrow(0, 64, 5 * 192).view({5, 192}));
  model->forward(input(), {.training = true}).sum().backward();
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_EQ(model->refuses_strict(), "");
  ASSERT_TRUE(save_torchscript(*model, path("trained.pt")));
  EXPECT_EQ(open_torchscript(path("trained.pt"), small_images)
                ->parameters()[0]
                .tensor[0][0]
                .item<float>(),
            64);
}

TEST_F(TorchScriptTest, NamesWhatStrictTrainingCannotKeep) {
  const auto dropping =
      open_torchscript(script(5, "return torch.dropout(y, 0.5, True)"), small_images);
  EXPECT_THAT(dropping->refuses_strict(), HasSubstr("draws random numbers (aten::dropout)"));
  EXPECT_TRUE(dropping->has_dropout());
}

TEST_F(TorchScriptTest, SaysWhenItDoesNotMatchTheData) {
  EXPECT_THAT(sentence(""), HasSubstr("model.file is missing"));
  EXPECT_THAT(sentence("/no/such.pt"), HasSubstr("there is no file /no/such.pt"));
  write_file_atomically(path("text.pt"), "plain text");
  EXPECT_THAT(sentence(path("text.pt")), HasSubstr("is no TorchScript file, or is damaged"));
  EXPECT_THAT(sentence(script(7, "return y")),
              HasSubstr("gives outputs of 2 x 7 for two samples, but the labels"));
  EXPECT_THAT(sentence(script(5, "return (y, y)")), HasSubstr("one tensor is wanted"));
  EXPECT_THAT(sentence(script(5, "return y + torch.linear(x, self.w)")),
              HasSubstr("does not take the data (features 3 x 8 x 8 float32"));
}

TEST_F(TorchScriptTest, BelongsToTheFormsOfAFinishedModel) {
  ModelSettings settings;
  const auto model = make_model(settings, small_images, 1);
  EXPECT_THAT(export_model(*model, root_ / "model", {"hdf5", "torchscript", "safetensors"},
                           {{"input_scale", "0.5 2"}}),
              IsEmpty());
  torch::jit::ExtraFilesMap extra{{"muster.txt", ""}};
  torch::jit::load((root_ / "model" / "model.pt").string(), std::nullopt, extra);
  EXPECT_EQ(extra["muster.txt"], "input_scale = 0.5 2\n");
  EXPECT_EQ(h5::File::open(root_ / "model" / "model.h5").text("/", "input_scale"), "0.5 2");
  EXPECT_THAT(posix_file_system().list(root_ / "model"),
              ElementsAre("model.h5", "model.pt", "model.safetensors"));
  settings.kind = "gpt";
  settings.embedding = 8;
  settings.heads = 2;
  settings.depth = 1;
  const DataShape tokens{.features = {4},
                         .feature_type = DType::int64,
                         .labels = DataShape::Labels::tokens,
                         .label_shape = {4},
                         .classes = 9};
  const auto gpt = make_model(settings, tokens, 1);
  EXPECT_THAT(export_model(*gpt, root_ / "gpt", {"torchscript", "hdf5"}, {}),
              ElementsAre(HasSubstr("model.kind = gpt cannot")));
  EXPECT_THAT(posix_file_system().list(root_ / "gpt"), ElementsAre("model.h5"));
  EXPECT_THROW(export_model(*gpt, root_ / "gpt", {"onnx"}, {}), Error);
}

TEST(ModelNotes, SayHowTheInputIsMadeWhereThatIsKnown) {
  EXPECT_EQ(notes_on(small_images, "0.5", "1").at("input_scale"), "0.5");
  const ModelNotes unknown =
      notes_on(small_images, text_of(std::vector<float>(9999, 0.12345F)), "");
  EXPECT_FALSE(unknown.contains("input_scale"));
  EXPECT_THAT(unknown.at("input"), HasSubstr("not said here"));
}

}  // namespace
}  // namespace muster
