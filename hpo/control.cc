// SPDX-License-Identifier: Apache-2.0
#include "hpo/control.h"

#include <utility>

#include "hpo/study_json.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster::hpo {
namespace {

constexpr std::string_view request_ending = ".request";
constexpr std::string_view answer_ending = ".answer";

ControlEffect stop(Study& study, Fields& fields) {
  if (!fields.has("trial")) {
    fields.done();
    return {.answer = R"({"stopping":true})", .stopped = {}, .stop_sweep = true};
  }
  const TrialId trial = fields.trial();
  fields.done();
  const bool is_running = study.state().running().contains(trial);
  if (const auto refusal = study.stop_trial(trial, stopped_by_hand)) {
    return {.answer = error_line(*refusal), .stopped = {}};
  }
  ControlEffect effect{.answer = "{\"trial\":" + std::to_string(trial) + ",\"state\":\"stopped\"}",
                       .stopped = {}};
  if (is_running) {
    effect.stopped.push_back(trial);
  }
  return effect;
}

}  // namespace

ControlDirectory::ControlDirectory(Path directory, FileSystem& files)
    : directory_(std::move(directory)), files_(files) {
  files_.make_directory(directory_);
}

std::vector<ControlRequest> ControlDirectory::requests() {
  std::vector<ControlRequest> requests;
  for (const std::string& file : files_.list(directory_)) {
    if (!file.ends_with(request_ending)) {
      continue;
    }
    const std::string name = file.substr(0, file.size() - request_ending.size());
    if (files_.exists(directory_ / (name + std::string(answer_ending)))) {
      files_.remove(directory_ / file);
    } else if (auto text = read_file_if_there(directory_ / file, files_)) {
      requests.push_back({name, *std::move(text)});
    }
  }
  return requests;
}

void ControlDirectory::reply(const ControlRequest& request, const std::string& answer) {
  log::info("control: " + request.text + " -> " + answer);
  write_file_durably(directory_ / (request.name + std::string(answer_ending)), answer + "\n",
                     files_);
  files_.remove(directory_ / (request.name + std::string(request_ending)));
}

ControlEffect obey(Study& study, const std::string& request) {
  try {
    const nlohmann::json parsed = parse_request(request);
    Fields fields(parsed);
    const std::string op = fields.text("op");
    if (op == "stop") {
      return stop(study, fields);
    }
    std::string (*serve)(Study&, Fields&) = op == "set"       ? do_set
                                            : op == "enqueue" ? do_enqueue
                                            : op == "add"     ? do_add
                                                              : nullptr;
    if (serve != nullptr) {
      return {.answer = serve(study, fields), .stopped = {}};
    }
    if (op == "best") {
      return {.answer = do_best(study, fields), .stopped = {}};
    }
    bad_request(Refusal::Code::field,
                "\"op\" is stop, set, enqueue, add or best, not \"" + op + "\"");
  } catch (const BadRequest& bad) {
    return {.answer = error_line(bad.refusal), .stopped = {}};
  }
}

std::string post(const Path& directory, const std::string& unique, const std::string& request,
                 FileSystem& files) {
  files.make_directory(directory);
  write_file_atomically(directory / (unique + std::string(request_ending)), request, files);
  return unique;
}

std::optional<std::string> answer_to(const Path& directory, const std::string& name,
                                     FileSystem& files) {
  const Path path = directory / (name + std::string(answer_ending));
  std::optional<std::string> answer = read_file_if_there(path, files);
  if (answer) {
    files.remove(path);
  }
  return answer;
}

}  // namespace muster::hpo
