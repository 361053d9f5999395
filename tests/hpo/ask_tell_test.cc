// SPDX-License-Identifier: Apache-2.0
#include "hpo/ask_tell.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/hpo/sweep_fixture.h"

namespace muster::hpo {
namespace {

using nlohmann::json;

class AskTellTest : public SweepFixture {
 protected:
  AskTell& serve(const StudySetup& setup) {
    server_.reset();
    server_ = std::make_unique<AskTell>(
        [this, setup] { return std::make_unique<Study>(setup, journal(), clock_, files_); });
    return *server_;
  }
  json say(const std::string& line) {
    const std::string_view lines[] = {line};
    return json::parse(server_->answer(lines));
  }
  std::string code(const std::string& line) { return say(line).value("code", "none"); }

  SystemClock clock_;
  std::unique_ptr<AskTell> server_;
};

StudySetup staged() {
  StudySetup setup = small_setup("asha", 9);
  setup.objective = "max accuracy";
  setup.metric = "accuracy";
  setup.maximise = true;
  return setup;
}

TEST_F(AskTellTest, HelloSaysWhatTheSweepIs) {
  serve(staged());
  EXPECT_EQ(say(R"({"op":"hello"})"),
            json::parse(R"({"protocol":1,"sweep":"small","objective":"accuracy","goal":"max",
                            "max_resource":9,"out":[]})"));
}

TEST_F(AskTellTest, ATrialFromAskToComplete) {
  serve(staged());
  const json asked = say(R"({"op":"ask"})");
  EXPECT_EQ(asked["trial"], 1);
  EXPECT_EQ(asked["from"], 0);
  EXPECT_EQ(asked["resource"], 1);
  EXPECT_EQ(asked["resumes"], false);
  EXPECT_TRUE(asked["params"]["lr"].is_number());
  EXPECT_TRUE(asked["params"]["kind"].is_string());
  EXPECT_EQ(
      say(R"({"op":"tell","trial":1,"resource":0.5,"value":0.5,"metrics":{"loss":2},"seconds":1})"),
      json::parse(R"({"trial":1,"decision":"continue","resource":1})"));
  EXPECT_EQ(say(R"({"op":"tell","trial":1,"resource":1,"value":0.5})")["decision"], "pause");
  EXPECT_EQ(say(R"({"op":"tell","trial":1,"resource":1,"value":0.5})")["decision"], "pause");
  EXPECT_EQ(code(R"({"op":"tell","trial":1,"resource":1,"value":0.6})"), "conflict");
  EXPECT_EQ(code(R"({"op":"tell","trial":1,"resource":2,"value":0.6})"), "closed");
  for (int trial = 2; trial <= 3; ++trial) {
    say(R"({"op":"ask"})");
    say(R"({"op":"tell","trial":)" + std::to_string(trial) + R"(,"resource":1,"value":0.1})");
  }
  const json promoted = say(R"({"op":"ask"})");
  EXPECT_EQ(promoted["trial"], 1);
  EXPECT_EQ(promoted["from"], 1);
  EXPECT_EQ(promoted["resource"], 3);
  EXPECT_EQ(promoted["resumes"], true);
  EXPECT_FALSE(promoted.contains("again"));
  EXPECT_EQ(say(R"({"op":"tell","trial":1,"value":0.9})")["decision"], "complete");
  EXPECT_EQ(say(R"({"op":"best"})")["trial"], 1);
  EXPECT_EQ(say(R"({"op":"best"})")["value"], 0.9);
}

TEST_F(AskTellTest, WithoutAResourceItIsNull) {
  serve(small_setup());
  EXPECT_TRUE(say(R"({"op":"ask"})")["resource"].is_null());
  EXPECT_TRUE(say(R"({"op":"hello"})")["max_resource"].is_null());
}

TEST_F(AskTellTest, EveryBadRequestHasItsCode) {
  serve(staged());
  say(R"({"op":"ask"})");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"not json", "parse"},
      {"[1,2]", "parse"},
      {R"({"op":"ask")", "parse"},
      {R"({})", "field"},
      {R"({"op":7})", "field"},
      {R"({"op":"aks"})", "field"},
      {R"({"op":"ask","color":"red"})", "field"},
      {R"({"op":"ask","holding":7})", "field"},
      {R"({"op":"tell","trial":1})", "field"},
      {R"({"op":"tell","value":1})", "field"},
      {R"({"op":"tell","trial":-1,"value":1})", "field"},
      {R"({"op":"tell","trial":1,"value":"high"})", "field"},
      {R"({"op":"tell","trial":1,"value":1,"resource":-3})", "field"},
      {R"({"op":"tell","trial":1,"value":1,"metrics":{"a":"b"}})", "field"},
      {R"({"op":"tell","trial":1,"values":[1,2]})", "unsupported"},
      {R"({"op":"tell","trial":1,"value":1,"constraints":[0]})", "unsupported"},
      {R"({"op":"tell","trial":99,"value":1})", "unknown_trial"},
      {R"({"op":"end","trial":99,"status":"failed"})", "unknown_trial"},
      {R"({"op":"end","trial":1,"status":"paused"})", "field"},
      {R"({"op":"end","trial":1,"status":"failed","value":3})", "field"},
      {R"({"op":"enqueue","params":{"lr":7}})", "field"},
      {R"({"op":"enqueue","params":{"rate":7}})", "field"},
      {R"({"op":"enqueue"})", "field"},
      {R"({"op":"add","params":{"lr":0.01},"value":1})", "field"},
      {R"({"op":"set"})", "field"},
      {R"({"op":"set","max_trials":0})", "field"},
      {R"({"op":"set","patience":2})", "field"},
      {R"({"op":"set","max_trials":2.5})", "field"},
      {R"({"op":"set","colour":2})", "field"}};
  const std::string before = final_table(server_->study().state());
  for (const auto& [line, expected] : cases) {
    const json answer = say(line);
    EXPECT_EQ(answer.value("code", "none"), expected) << line << "\n" << answer;
    EXPECT_FALSE(answer.value("error", "").empty());
  }
  EXPECT_EQ(final_table(server_->study().state()), before);
  EXPECT_EQ(say(R"({"op":"tell","trial":1,"value":0.5})")["decision"], "complete");
  EXPECT_EQ(code(R"({"op":"tell","trial":1,"resource":3,"value":0.5})"), "closed");
  EXPECT_EQ(code(R"({"op":"end","trial":1,"status":"complete"})"), "closed");
}

TEST_F(AskTellTest, PythonsNaNAndInfinityStopATrialAsFailures) {
  serve(small_setup());
  for (const std::string value : {"NaN", "Infinity", "-Infinity", "null"}) {
    const json trial = say(R"({"op":"ask"})")["trial"];
    const json answer = say("{\"op\":\"tell\",\"trial\":" + trial.dump() + ",\"value\":" + value +
                            ",\"info\":{\"note\":\"NaN in a text stays\"}}");
    EXPECT_EQ(answer["decision"], "stop");
    EXPECT_EQ(server_->study().state().find(trial.get<TrialId>())->reason, "nan");
  }
}

TEST_F(AskTellTest, PipelinedAsksGetDistinctTrialsInOneCommit) {
  serve(small_setup());
  const std::string ask = R"({"op":"ask"})";
  const std::vector<std::string_view> lines(50, ask);
  const std::uint64_t before = read_journal(journal(), [](std::string_view) {}).frames;
  std::istringstream answers(server_->answer(lines));
  std::set<int> trials;
  for (std::string line; std::getline(answers, line);) {
    trials.insert(json::parse(line)["trial"].get<int>());
  }
  EXPECT_EQ(trials.size(), 50u);
  EXPECT_EQ(read_journal(journal(), [](std::string_view) {}).frames, before + 1);
}

TEST_F(AskTellTest, AfterARestartTrialsThatWereOutComeAgainUnlessHeld) {
  serve(small_setup());
  for (int i = 0; i < 3; ++i) {
    say(R"({"op":"ask"})");
  }
  serve(small_setup());
  EXPECT_EQ(say(R"({"op":"hello"})")["out"], json::parse("[1,2,3]"));
  const json again = say(R"({"op":"ask","holding":[2]})");
  EXPECT_EQ(again["trial"], 1);
  EXPECT_EQ(again["again"], true);
  EXPECT_EQ(say(R"({"op":"ask","holding":[2]})")["trial"], 3);
  EXPECT_EQ(say(R"({"op":"ask","holding":[2]})")["trial"], 4);
  EXPECT_EQ(say(R"({"op":"tell","trial":2,"value":1})")["decision"], "complete");
}

TEST_F(AskTellTest, TheEndIsSaidAndCanBeMoved) {
  StudySetup setup = small_setup();
  setup.limits.max_trials = 1;
  serve(setup);
  say(R"({"op":"ask"})");
  EXPECT_EQ(say(R"({"op":"ask"})"), json::parse(R"({"trial":null,"wait":true})"));
  say(R"({"op":"end","trial":1,"status":"complete","value":0.5})");
  const json done = say(R"({"op":"ask"})");
  EXPECT_EQ(done["done"], true);
  EXPECT_EQ(done["reason"], "1 trials (tune.max_trials)");
  EXPECT_EQ(say(R"({"op":"set","max_trials":2})")["limits"]["max_trials"], 2);
  EXPECT_EQ(say(R"({"op":"ask"})")["trial"], 2);
}

TEST_F(AskTellTest, EnqueuedAndAddedTrialsAreKnown) {
  serve(small_setup());
  const json added = say(R"({"op":"add","params":{"lr":0.01,"depth":4,"kind":"cnn"},"value":0.2})");
  EXPECT_EQ(added["trial"], 1);
  EXPECT_EQ(say(R"({"op":"best"})")["params"]["kind"], "cnn");
  EXPECT_EQ(say(R"({"op":"enqueue","params":{"depth":7}})")["trial"], 2);
  const json asked = say(R"({"op":"ask"})");
  EXPECT_EQ(asked["trial"], 2);
  EXPECT_EQ(asked["params"]["depth"], 7);
}

TEST_F(AskTellTest, RandomLinesNeverBringItDown) {
  serve(small_setup());
  Random random(20261121);
  const std::string alphabet = "{}[]\":,0123456789.eE+-trialopaskte ndNI\\\n";
  for (int round = 0; round < 2000; ++round) {
    std::string line = R"({"op":"tell","trial":1,"value":0.5})";
    for (int edits = 0; edits < 3; ++edits) {
      const std::size_t at = random.below(line.size());
      line[at] = alphabet[random.below(alphabet.size())];
    }
    const std::string_view lines[] = {line};
    EXPECT_FALSE(server_->answer(lines).empty());
  }
}

}  // namespace
}  // namespace muster::hpo
