// Compiled steps without Python: packages written here, what can be wrong with them, and one whose
// code was written by hand. Those that Python compiled are in tests/train/compiled_test.cc.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/compiled.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <caffe2/serialize/inline_container.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/version.h>

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/config/model_settings.h"
#include "runtime/model/compiled_package.h"
#include "runtime/model/loss.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Json = nlohmann::json;

const DataShape samples{.features = {6}, .label_shape = {}, .classes = 3};

Json tensor(const std::string& name, std::vector<std::int64_t> shape, const std::string& type) {
  return {{"name", name}, {"shape", shape}, {"dtype", type}};
}

/// What the helper writes of a matrix of 3 x 6 and a buffer.
Json said() {
  return {{"format", 1},
          {"torch", TORCH_VERSION},
          {"processor", at::get_cpu_capability()},
          {"threads", 1},
          {"random", ""},
          {"loss", "cross_entropy"},
          {"label_smoothing", 0.0},
          {"batch", 4},
          {"features", tensor("", {6}, "float32")},
          {"labels", tensor("", {}, "int64")},
          {"outputs", tensor("", {3}, "float32")},
          {"parameters", {tensor("weight", {3, 6}, "float32")}},
          {"buffers", {tensor("seen", {2}, "int64")}}};
}

class CompiledStep : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (root_ / name).string(); }

  /// A package that says `about` of itself; its two functions are no code, or those of `code`.
  std::string package(const Json& about, std::size_t start_bytes = 18 * 4 + 2 * 8,
                      const std::map<std::string, std::string>& code = {}) const {
    const std::string file = path("net.pt2");
    caffe2::serialize::PyTorchStreamWriter writer(file);
    Json sums;
    const auto add = [&](const std::string& name, const std::string& bytes) {
      writer.writeRecord(name, bytes.data(), bytes.size());
      sums[name] = zip_checksum(bytes);
    };
    add("archive_format", "pt2");
    for (const std::string function : {"step", "forward"}) {
      add("data/aotinductor/" + function + "/f.wrapper.so",
          code.empty() ? "no code" : read_file(code.at(function)));
      add("data/aotinductor/" + function + "/f.wrapper.cpp", "// what the others are named after");
      add("data/aotinductor/" + function + "/f.wrapper_metadata.json",
          code.empty() ? "{}" : R"({"AOTI_DEVICE_KEY": "cpu"})");
    }
    if (!about.is_null()) {
      add("extra/muster.json", about.dump());
    }
    std::string start(start_bytes, '\0');
    for (std::size_t i = 0; i < start_bytes / sizeof(float); ++i) {
      const auto value = static_cast<float>(i);
      std::memcpy(start.data() + i * sizeof value, &value, sizeof value);
    }
    add("extra/muster.start", start);
    add("extra/muster.sums", sums.dump());
    writer.writeEndOfFile();
    return file;
  }
  static std::string sentence(const std::string& file, const DataShape& data = samples) {
    try {
      open_compiled(file, data);
      return "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::bad_input);
      return error.what();
    }
  }
  /// What is said of a package in which `key` holds `value`.
  std::string sentence_with(const std::string& key, const Json& value) const {
    Json about = said();
    about[key] = value;
    return sentence(package(about));
  }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
};

TEST_F(CompiledStep, HasTheChecksumsOfItsArchive) {
  EXPECT_EQ(zip_checksum("123456789"), 0xCBF43926U);
  EXPECT_EQ(zip_checksum(""), 0U);
}

TEST_F(CompiledStep, IsReadWithItsTensors) {
  const CompiledPackage read = read_compiled_package(package(said()));
  EXPECT_EQ(read.batch, 4);
  ASSERT_EQ(read.parameters.size(), 1U);
  EXPECT_EQ(read.parameters[0].name, "weight");
  EXPECT_TRUE(read.parameters[0].tensor.requires_grad());
  EXPECT_EQ(read.parameters[0].tensor[2][5].item<float>(), 17.0F);
  EXPECT_EQ(read.buffers[0].tensor.scalar_type(), at::kLong);
  check_data(read, samples);
}

TEST_F(CompiledStep, NamesAFileThatIsNone) {
  EXPECT_THAT(sentence("/no/such.pt2"), HasSubstr("there is no file /no/such.pt2"));
  write_file_atomically(path("text.pt2"), "plain text");
  EXPECT_THAT(sentence(path("text.pt2")),
              AllOf(HasSubstr("text.pt2 is no compiled step (.pt2), or is damaged"),
                    HasSubstr("compile_step.py")));
  EXPECT_THAT(sentence(package({})), HasSubstr("holds no training step; make it with"));
}

TEST_F(CompiledStep, NamesAFileThatIsDamaged) {
  const std::string whole = read_file(package(said()));
  write_file_atomically(path("cut.pt2"), whole.substr(0, whole.size() / 2));
  EXPECT_THAT(sentence(path("cut.pt2")), HasSubstr("is damaged"));
  std::string flipped = whole;
  flipped[flipped.find("cross_entropy")] ^= 1;
  write_file_atomically(path("flipped.pt2"), flipped);
  EXPECT_THAT(
      sentence(path("flipped.pt2")),
      HasSubstr("is damaged (the checksum of extra/muster.json does not hold); make it again"));
  EXPECT_THAT(sentence(package(said(), 40)), HasSubstr("the starting values are cut short"));
  EXPECT_THAT(sentence_with("batch", 0), HasSubstr("is damaged"));
  EXPECT_THAT(sentence_with("batch", "four"), HasSubstr("is damaged"));
  EXPECT_THAT(sentence_with("parameters", Json::array({tensor("w", {3, 6}, "float64")})),
              HasSubstr("a tensor is float64"));
}

TEST_F(CompiledStep, NamesWhatItWasNotMadeFor) {
  EXPECT_THAT(sentence_with("torch", "2.7.1"),
              HasSubstr("was compiled by torch 2.7.1, this program runs torch " TORCH_VERSION));
  EXPECT_THAT(sentence_with("format", 2), HasSubstr("(format 2, this program reads 1)"));
  if (at::get_cpu_capability() != "AVX512") {
    EXPECT_THAT(sentence_with("processor", "AVX512"),
                HasSubstr("was compiled for processors with AVX512, and this one has"));
  }
  EXPECT_THAT(sentence_with("features", tensor("", {7}, "float32")),
              HasSubstr("was compiled for features of 7 float32 a sample, but the data wants 6 "
                        "float32"));
  EXPECT_THAT(sentence_with("labels", tensor("", {}, "float32")),
              HasSubstr("labels of one float32 a sample, but the data wants one int64"));
  EXPECT_THAT(sentence_with("outputs", tensor("", {4}, "float32")),
              HasSubstr("gives outputs of 4 float32 a sample, but the labels (features 6 float32, "
                        "labels in 3 classes) want 3"));
}

TEST_F(CompiledStep, NamesCodeThatCannotBeOpened) {
  EXPECT_THAT(sentence(package(said())),
              AllOf(HasSubstr("'step' of "), HasSubstr("cannot be opened"), HasSubstr("again")));
}

// Batches of 4 are compiled, and 6 samples come: the second call is filled up with what weighs
// nothing, and gradients of both calls add up.
TEST_F(CompiledStep, GivesLossGradientsAndOutputsOfAnyNumberOfSamples) {
  const auto model = open_compiled(
      package(said(), 18 * 4 + 2 * 8, {{"step", LINEAR_STEP}, {"forward", LINEAR_FORWARD}}),
      samples);
  model->whole_step()->check(Loss{});
  at::Tensor weight = model->parameters()[0].tensor;
  const at::Tensor features = at::arange(36, at::kFloat).reshape({6, 6}).sin();
  const at::Tensor labels = at::tensor({0, 1, 2, 2, 1, 0}, at::kLong);
  const double loss = model->whole_step()->run(features, labels, 1.0 / 6);

  const at::Tensor own = weight.detach().clone().requires_grad_();
  const at::Tensor outputs = at::matmul(features, own.t());
  const at::Tensor expected = Loss{}.sum(outputs, labels) / 6;
  expected.backward();
  EXPECT_NEAR(loss, expected.item<double>(), 1e-5);
  EXPECT_TRUE(at::allclose(weight.grad(), own.grad(), 1e-5, 1e-6)) << weight.grad();
  EXPECT_TRUE(at::allclose(model->forward(features, {}), outputs, 1e-5, 1e-6));
}

TEST_F(CompiledStep, IsAKindOfModel) {
  ModelSettings settings;
  settings.kind = "compiled";
  settings.file = path("none.pt2");
  EXPECT_THROW(make_model(settings, samples, 1), Error);
}

}  // namespace
}  // namespace muster
