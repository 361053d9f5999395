// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/stored_sweep.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "hpo/control.h"
#include "hpo/journal.h"
#include "hpo/records.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

std::pair<std::string, std::string> key_and_value(const std::string& word,
                                                  std::string_view example) {
  const auto equals = word.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw Error(Fault::bad_input, fmt::format("'{}' is not KEY=VALUE, as in {}", word, example));
  }
  return {word.substr(0, equals), word.substr(equals + 1)};
}

Json value_of(const std::string& word) {
  const Json value = Json::parse(word, nullptr, false);
  return value.is_number() || value.is_boolean() ? value : Json(word);
}

}  // namespace

std::unique_ptr<StoredSweep> read_sweep(const Path& root) {
  auto sweep = std::make_unique<StoredSweep>();
  sweep->root = root;
  const auto text = read_file_if_there(root / "sweep.ini");
  if (!text) {
    throw Error(Fault::bad_input,
                fmt::format("{} holds no sweep: there is no sweep.ini in it", root.string()));
  }
  Keys keys;
  describe_begun(keys, sweep->settings);
  load_text(keys, *text, (root / "sweep.ini").string());
  if (sweep->settings.name.empty()) {
    sweep->settings.name = root.filename().string();
  }
  sweep->settings.sweeps = std::filesystem::absolute(root).parent_path().string();
  const auto& trial = sweep->settings.trial;
  sweep->setup =
      hpo::study_setup(sweep->settings.name, sweep->settings.tune, sweep->settings.search,
                       trial.resumes.value_or(trial.job.has_value()));
  sweep->state = std::make_unique<hpo::SweepState>(sweep->setup);
  if (posix_file_system().exists(root / "journal")) {
    hpo::read_journal(root / "journal",
                      [&](std::string_view bytes) { sweep->state->apply(hpo::decode(bytes)); });
  }
  return sweep;
}

std::string ask_running_sweep(const Path& root, const std::string& request) {
  const Path control = root / "control";
  const auto unique =
      fmt::format("{}-{}", std::chrono::system_clock::now().time_since_epoch().count(), ::getpid());
  const auto name = hpo::post(control, unique, request);
  for (int tries = 0; tries < 100; ++tries) {
    if (const auto answer = hpo::answer_to(control, name)) {
      return std::string(trim(*answer));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw Error(
      Fault::io,
      fmt::format("nobody answered in {} within 10 s: is the sweep's coordinator suspended?",
                  control.string()));
}

std::string set_request(const std::vector<std::string>& words) {
  Json request{{"op", "set"}};
  for (const auto& word : words) {
    auto [key, value] = key_and_value(word, "tune.max_trials=200");
    if (key.starts_with("tune.")) {
      key.erase(0, 5);
    }
    request[key] = value_of(value);
  }
  return request.dump();
}

std::string enqueue_request(const std::vector<std::string>& words) {
  Json params = Json::object();
  for (const auto& word : words) {
    const auto [key, value] = key_and_value(word, "optimizer.lr=0.01");
    params[key] = value_of(value);
  }
  return Json{{"op", "enqueue"}, {"params", params}}.dump();
}

}  // namespace muster
