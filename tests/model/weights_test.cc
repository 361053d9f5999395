// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/weights.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "runtime/base/error.h"
#include "runtime/config/model_settings.h"
#include "runtime/model/safetensors.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using testing::HasSubstr;

class WeightsTest : public testing::Test {
 protected:
  static DataShape data(std::int64_t classes) {
    return {.features = {3, 8, 8}, .label_shape = {}, .classes = classes};
  }
  static ModelSettings small() {
    ModelSettings settings;
    settings.kind = "resnet18";
    settings.width = 4;
    return settings;
  }
  static void expect_equal(const Model& a, const Model& b) {
    for (std::size_t i = 0; i < a.parameters().size(); ++i) {
      EXPECT_TRUE(at::equal(a.parameters()[i].tensor, b.parameters()[i].tensor))
          << a.parameters()[i].name;
    }
    for (std::size_t i = 0; i < a.buffers().size(); ++i) {
      EXPECT_TRUE(at::equal(a.buffers()[i].tensor, b.buffers()[i].tensor)) << a.buffers()[i].name;
    }
  }
  std::string sentence(const ModelSettings& settings, std::int64_t classes) {
    try {
      make_model(settings, data(classes), 1);
      return "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::bad_input);
      return error.what();
    }
  }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
};

TEST_F(WeightsTest, GoThroughBothFormsAndLayouts) {
  ModelSettings settings = small();
  settings.channels_last = true;
  const auto model = make_model(settings, data(5), 7);
  model->buffers()[0].tensor.fill_(0.25);
  save_hdf5(*model, root_ / "model.h5");
  save_safetensors(*model, root_ / "model.safetensors", {{"input_scale", "0.5"}});
  std::ifstream saved(root_ / "model.safetensors");
  std::string header(4096, ' ');
  saved.read(header.data(), static_cast<std::streamsize>(header.size()));
  EXPECT_THAT(header, testing::HasSubstr(R"("muster_input_scale":"0.5")"));
  settings.channels_last = false;
  for (const char* name : {"model.h5", "model.safetensors"}) {
    settings.init = (root_ / name).string();
    expect_equal(*make_model(settings, data(5), 8), *model);
  }
  const auto file = h5::File::open(root_ / "model.h5");
  EXPECT_TRUE(file.has("/parameters/layer1.0.conv1.weight"));
  EXPECT_EQ(file.text("/", "kind"), "resnet18");
}

TEST_F(WeightsTest, FollowNameRulesAndSkips) {
  const auto model = make_model(small(), data(5), 7);
  std::vector<StoredTensor> tensors;
  save_safetensors(*model, root_ / "a.safetensors");
  for (StoredTensor& each : open_safetensors(root_ / "a.safetensors")) {
    each.name = "module.backbone." + each.name;
    tensors.push_back(each);
  }
  write_safetensors(root_ / "b.safetensors", tensors, {});
  ModelSettings settings = small();
  settings.init = (root_ / "b.safetensors").string();
  EXPECT_THAT(sentence(settings, 5), HasSubstr("conv1.weight is not in the file"));
  settings.init_map = {"module.backbone.="};
  EXPECT_THAT(sentence(settings, 9),
              HasSubstr("fc.weight is 5 x 32 in the file, 9 x 32 in the model"));
  EXPECT_THAT(sentence(settings, 9), HasSubstr("start them afresh with model.init_skip"));
  settings.init_skip = {"fc.*"};
  const auto tuned = make_model(settings, data(9), 1);
  EXPECT_TRUE(at::equal(tuned->parameters()[0].tensor, model->parameters()[0].tensor));
  settings.init_map = {"nonsense"};
  EXPECT_THAT(sentence(settings, 9), HasSubstr("must read from=to"));
}

TEST_F(WeightsTest, ConvertFromOtherTypes) {
  const std::vector<double> values{1, 2, 3, 4, 5, 6};
  auto stored = [&](const std::string& name, h5::Shape shape) {
    return StoredTensor{
        .name = name, .scalar = h5::Scalar::float64, .shape = shape, .read = [&values, shape] {
          std::vector<std::byte> bytes(8 * h5::elements_of(shape));
          std::memcpy(bytes.data(), values.data(), bytes.size());
          return bytes;
        }};
  };
  write_safetensors(root_ / "a.safetensors",
                    {stored("model.layers.0.weight", {2, 3}), stored("model.layers.0.bias", {2})},
                    {});
  ModelSettings settings;
  settings.kind = "linear";
  settings.init = (root_ / "a.safetensors").string();
  const DataShape three{.features = {3}, .label_shape = {}, .classes = 2};
  const auto model = make_model(settings, three, 1);
  EXPECT_EQ(model->parameters()[0].tensor[1][2].item<float>(), 6);
}

TEST_F(WeightsTest, SayWhatIsWrongWithAFile) {
  ModelSettings settings = small();
  settings.init = "/no/such.safetensors";
  EXPECT_THAT(sentence(settings, 5), HasSubstr("model.init: there is no file"));
  settings.init = (root_ / "a.safetensors").string();
  write_file_atomically(settings.init, "plain text, long enough");
  EXPECT_THAT(sentence(settings, 5), HasSubstr("no safetensors file"));
  save_safetensors(*make_model(small(), data(5), 7), settings.init);
  std::filesystem::resize_file(settings.init, std::filesystem::file_size(settings.init) - 1);
  EXPECT_THAT(sentence(settings, 5), HasSubstr("is cut short"));
}

}  // namespace
}  // namespace muster
