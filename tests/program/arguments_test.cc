// SPDX-License-Identifier: Apache-2.0
#include "launcher/program/arguments.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

using Words = std::vector<std::string>;
const Parameters parameters{{"lr", "1e-3"},
                            {"batch-size", "64"},
                            {"k", "v"},
                            {"nesterov", "true"},
                            {"layers", "[1, \"a\"]"},
                            {"nested", R"({"b":1,"a":true})"},
                            {"text", "two words"},
                            {"sagemaker_program", "train.py"}};

TEST(Arguments, PlainIsSortedAndByteForByte) {
  EXPECT_EQ(arguments_for(parameters, ArgumentStyle::plain),
            (Words{"--batch-size", "64", "--k", "v", "--layers", "[1, \"a\"]", "--lr", "1e-3",
                   "--nested", R"({"b":1,"a":true})", "--nesterov", "true", "--sagemaker_program",
                   "train.py", "--text", "two words"}));
}

TEST(Arguments, HydraOverridesAreKeyEqualsValue) {
  EXPECT_EQ(arguments_for({{"optimizer.lr", "0.1"}, {"model", "cnn"}}, ArgumentStyle::hydra),
            (Words{"model=cnn", "optimizer.lr=0.1"}));
}

TEST(Arguments, Sagemaker2SortsAndSpeaksPython) {
  EXPECT_EQ(arguments_for(parameters, ArgumentStyle::sagemaker2),
            (Words{"--batch-size", "64", "-k", "v", "--layers", "[1, 'a']", "--lr", "1e-3",
                   "--nested", "b=1,a=True", "--nesterov", "True", "--text", "two words"}));
  EXPECT_EQ(arguments_for({{"name", "\"quoted\""}}, ArgumentStyle::sagemaker2),
            (Words{"--name", "quoted"}));
}

TEST(Arguments, Sagemaker3KeepsTheOrderAndSpeaksJson) {
  EXPECT_EQ(arguments_for({{"z", "true"}, {"a", "1"}, {"_tuning_objective_metric", "acc"}},
                          ArgumentStyle::sagemaker3),
            (Words{"--z", "true", "--a", "1"}));
}

TEST(Arguments, UnknownStyleNamesTheFour) {
  EXPECT_EQ(argument_style("hydra"), ArgumentStyle::hydra);
  try {
    argument_style("click");
    FAIL() << "an unknown style was taken";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "trial.arguments = click: it is plain, hydra, sagemaker2 or sagemaker3");
    EXPECT_EQ(error.fault(), Fault::bad_input);
  }
}

}  // namespace
}  // namespace muster
