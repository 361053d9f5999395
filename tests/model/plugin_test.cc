// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/plugin.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/config/model_settings.h"

namespace muster {
namespace {

using testing::HasSubstr;

const DataShape digits{.features = {1, 8, 8}, .label_shape = {}, .classes = 10};

std::string sentence(const std::string& file) {
  try {
    open_plugin(file, digits, {}, 1);
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    return error.what();
  }
}

TEST(Plugin, MakesAModelLikeAnyOther) {
  ModelSettings settings;
  settings.kind = std::string("plugin:") + TWO_TOWERS;
  settings.options = {"width = 16"};
  const auto model = make_model(settings, digits, 3);
  EXPECT_EQ(parameter_count(*model), 2 * (32 * 16 + 16) + 32 * 10 + 10);
  EXPECT_EQ(model->parameters()[0].name, "left.weight");
  const at::Tensor input = at::ones({2, 1, 8, 8});
  EXPECT_EQ(model->forward(input, {}).sizes(), (std::vector<std::int64_t>{2, 10}));
  EXPECT_TRUE(
      at::equal(model->forward(input, {}), make_model(settings, digits, 3)->forward(input, {})));
  EXPECT_THAT(model->refuses_strict(), HasSubstr("random numbers"));
  settings.options = {"width"};
  EXPECT_THROW(make_model(settings, digits, 3), Error);
}

TEST(Plugin, SaysWhenItWasBuiltAgainstOtherHeaders) {
  EXPECT_THAT(
      sentence(OLD_PLUGIN),
      HasSubstr(
          "was built against other Muster headers (interface 99, this is 1); build it again"));
}

TEST(Plugin, SaysWhenItIsNone) {
  EXPECT_THAT(sentence("/no/such.so"), HasSubstr("/no/such.so cannot be opened"));
  EXPECT_THAT(sentence("libm.so.6"), HasSubstr("lacks MUSTER_MODEL(YourClass)"));
}

}  // namespace
}  // namespace muster
