// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Keys, SaysWhyAValueIsRefusedAndSetsNothing) {
  Keys keys;
  int epochs = 1;
  std::string kind = "sgd";
  keys.add("train.epochs", epochs, "passes").at_least(1);
  keys.add("optimizer.kind", kind, "rule").one_of({"sgd", "adam"});
  double share = 0;
  std::uint64_t seed = 0;
  keys.add("share", share, "of all").at_most(1);
  keys.add("seed", seed, "of all");
  EXPECT_EQ(keys.complaint_about("share", "1.5"), "share must be at most 1, not '1.5'");
  EXPECT_EQ(keys.complaint_about("seed", "-1"),
            "seed must be a whole number, not negative, not '-1'");
  EXPECT_EQ(keys.complaint_about("train.epochs", "3"), std::nullopt);
  EXPECT_EQ(epochs, 1);
  EXPECT_EQ(keys.complaint_about("train.epochs", "0"), "train.epochs must be at least 1, not '0'");
  EXPECT_EQ(keys.complaint_about("train.epochs", "3.5"),
            "train.epochs must be a whole number, not '3.5'");
  EXPECT_THAT(*keys.complaint_about("optimizer.kind", "adm"), HasSubstr("did you mean 'adam'?"));
  EXPECT_EQ(*keys.complaint_about("train.epoch", "3"),
            "unknown key 'train.epoch' (did you mean 'train.epochs'?)");
}

TEST(Keys, ProposesTheRightWordUnderTheWrongSection) {
  Keys keys;
  std::string model = "mlp", optimizer = "sgd";
  double lr = 1;
  keys.add("model.kind", model, "");
  keys.add("optimizer.kind", optimizer, "");
  keys.add("optimizer.lr", lr, "");
  EXPECT_EQ(nearest_key(keys, "lr"), "optimizer.lr");
  EXPECT_EQ(nearest_key(keys, "train.lr"), "optimizer.lr");
  EXPECT_EQ(nearest_key(keys, "optimiser.kind"), "optimizer.kind");
  EXPECT_EQ(nearest_key(keys, "optimizer.learning_rate"), "optimizer.lr");
  EXPECT_EQ(nearest_key(keys, "zzzzzz"), std::nullopt);
}

TEST(Keys, DeclaringAKeyTwiceIsABug) {
  Keys keys;
  int a = 0;
  keys.add("a", a, "");
  EXPECT_THROW(keys.add("a", a, ""), Error);
}

TEST(Keys, NamesItsVariables) {
  EXPECT_EQ(variable_of("optimizer.weight_decay"), "MUSTER_OPTIMIZER_WEIGHT_DECAY");
  EXPECT_EQ(variable_of("ranks"), "MUSTER_RANKS");
}

TEST(Keys, HelpIsGroupedAlignedAndWithinItsWidth) {
  Keys keys;
  int ranks = 0;
  double lr = 0.1;
  bool json = false;
  std::vector<Keys::Entry> search;
  keys.section("", "Job");
  keys.section("optimizer", "How parameters move");
  keys.add("ranks", ranks, "How many processes train together").at_least(0);
  keys.add("optimizer.lr", lr, std::string(30, 'x') + " " + std::string(40, 'y'));
  keys.add("json", json, "As JSON").only_on_command_line();
  keys.open_section("search", search, "A range to search");
  const auto text = help_text(keys, 72);
  EXPECT_THAT(text, HasSubstr("Job\n  --ranks N "));
  EXPECT_THAT(text, HasSubstr("[optimizer] How parameters move\n  --optimizer.lr X"));
  EXPECT_THAT(text, HasSubstr("[0.1]"));
  EXPECT_THAT(text, Not(HasSubstr("[false]")));
  EXPECT_THAT(text, HasSubstr("--search.KEY"));
  for (std::size_t from = 0; from < text.size();) {
    const auto end = text.find('\n', from);
    EXPECT_LE(end - from, 72U) << text.substr(from, end - from);
    from = end + 1;
  }
  EXPECT_THAT(help_text(keys, 72, "optimizer"), Not(HasSubstr("--ranks")));
}

TEST(Keys, ListsThatTakePluginsSaySo) {
  std::string kind;
  Keys keys;
  keys.add("searcher", kind, "Proposes").one_of({"grid"}).or_plugin();
  EXPECT_THAT(help_text(keys, 72), HasSubstr("Proposes: grid, plugin:LIB.so"));
  EXPECT_EQ(keys.complaint_about("searcher", "plugin:libmine.so"), std::nullopt);
  EXPECT_EQ(keys.complaint_about("searcher", "grit"),
            "searcher must be one of grid or plugin:LIB.so (did you mean 'grid'?), not 'grit'");
}

TEST(Keys, HiddenKeysAreNotInHelp) {
  Keys keys;
  int secret = 0;
  keys.add("secret", secret, "x").hidden();
  EXPECT_EQ(help_text(keys, 80), "");
}

}  // namespace
}  // namespace muster
