// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/commands.h"
#include "launcher/engine/process.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_store.h"
#include "runtime/checkpoint/tensor_export.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage =
        "muster checkpoint verify PATH [--json]\nmuster checkpoint export PATH "
        "--to safetensors|npz|torchscript "
        "[--output FILE] [--all]",
    .about =
        "Reads every byte of a checkpoint against its checksums, or writes its "
        "model in a format of other programs. PATH "
        "is a run (NAME of runs/NAME is enough), its checkpoints directory, or one "
        "checkpoint in it; of several, verify looks at all and "
        "export takes the newest that holds.\n\n"
        "A checkpoint is HDF5: h5dump, h5py and HDFView open its state.h5 as it "
        "is, with the names of the model. What is exported is the moving average "
        "of the parameters where the run keeps one (train.ema). TorchScript is "
        "for the models that can be said in it: not gpt, not shared objects.",
    .examples = {{"muster checkpoint verify digits",
                  "every checkpoint of the run; exit 1 when one is damaged"},
                 {"muster checkpoint export digits --to safetensors",
                  "the newest model, as model.safetensors"},
                 {"muster checkpoint export digits --to torchscript",
                  "the same as model.pt, which torch.jit.load reads"}}};

/// What the user asked for after verify or export.
struct Request {
  bool json = false;
  bool all = false;
  std::string to;
  std::string output;
};

/// One checkpoint, or the directory of several.
Path checkpoints_below(const Path& named) {
  FileSystem& files = posix_file_system();
  const Path path = files.exists(named) ? named : "runs" / named;
  if (!files.exists(path)) {
    throw Error(Fault::bad_input,
                fmt::format("there is no {}; muster ls lists the runs", named.string()));
  }
  return files.exists(path / "checkpoints") ? path / "checkpoints" : path;
}

bool is_one(const Path& path) {
  return posix_file_system().exists(path / manifest_name);
}

std::vector<CheckpointEntry> entries_of(const Path& path) {
  if (!is_one(path)) {
    return CheckpointStore(path).list(Scrutiny::full);
  }
  CheckpointEntry entry{.path = path};
  try {
    const Manifest manifest = read_manifest(path);
    entry.step = manifest.files.front().info.step;
    entry.bytes = manifest.bytes();
    entry.created = manifest.created;
    verify_checkpoint(path);
    entry.is_valid = true;
  } catch (const Error& error) {
    entry.problem = error.what();
  }
  return {entry};
}

std::string json_of(const CheckpointEntry& entry) {
  nlohmann::ordered_json line{{"path", entry.path.string()},
                              {"step", entry.step},
                              {"bytes", entry.bytes},
                              {"created", entry.created},
                              {"valid", entry.is_valid}};
  if (!entry.is_valid) {
    line["problem"] = entry.problem;
  }
  return line.dump();
}

std::string line_of(const CheckpointEntry& entry) {
  if (entry.is_valid) {
    return fmt::format("valid    step {:<9} {:>9}  {}  {}", entry.step,
                       human_bytes(static_cast<double>(entry.bytes)), entry.created,
                       entry.path.string());
  }
  return fmt::format("DAMAGED  {}\n         {}", entry.path.string(), entry.problem);
}

int verify(const Path& path, const Request& request) {
  const auto entries = entries_of(checkpoints_below(path));
  if (entries.empty()) {
    throw Error(Fault::bad_input, fmt::format("{} holds no checkpoint", path.string()));
  }
  bool all_valid = true;
  for (const CheckpointEntry& entry : entries) {
    fmt::print("{}\n", request.json ? json_of(entry) : line_of(entry));
    all_valid = all_valid && entry.is_valid;
  }
  return all_valid ? exit_finished : exit_failed;
}

Path newest_of(const Path& path) {
  const Path where = checkpoints_below(path);
  if (is_one(where)) {
    return where;
  }
  const auto newest = CheckpointStore(where).newest();
  if (!newest) {
    throw Error(Fault::bad_input,
                fmt::format("{} holds no checkpoint that can be trusted", path.string()));
  }
  return *newest;
}

/// What the model must know of the data, and what is said of its input, as the checkpoint tells it.
std::vector<std::string> sample_of(const Path& checkpoint) {
  const CheckpointInfo info = read_manifest(checkpoint).files.front().info;
  const auto value_of = [](const std::vector<Setting>& list, std::string_view key) {
    const auto found = std::ranges::find(list, key, &Setting::key);
    return found == list.end() ? std::string() : found->value;
  };
  const std::string sample = value_of(info.settings, "sample");
  if (sample.empty()) {
    throw Error(Fault::bad_input,
                fmt::format("{} does not tell what its samples are; export safetensors",
                            checkpoint.string()));
  }
  return {sample, value_of(info.environment, "input_scale"),
          value_of(info.environment, "input_shift")};
}

/// A checkpoint holds numbers, not code: the run's settings make the model, and muster-rank, which
/// links libtorch, writes it.
int export_torchscript(const Path& checkpoint, const Path& output) {
  const Path config =
      std::filesystem::absolute(checkpoint).parent_path().parent_path() / "config.ini";
  if (!posix_file_system().exists(config)) {
    throw Error(Fault::bad_input,
                fmt::format("TorchScript needs the settings of the run, and there is no {}; export "
                            "safetensors and load them into the model",
                            config.string()));
  }
  const Path program =
      std::filesystem::read_symlink("/proc/self/exe").replace_filename("muster-rank");
  const std::vector<std::string> sample = sample_of(checkpoint);
  const Path weights = output.string() + ".weights.safetensors";
  export_safetensors(checkpoint, weights, "model/");
  ProcessSpec spec;
  spec.command = {program.string(), "--torchscript", config.string(), weights.string(),
                  output.string()};
  spec.command.insert(spec.command.end(), sample.begin(), sample.end());
  spec.environment = process_environment();
  spec.output = STDOUT_FILENO;
  spec.error = STDERR_FILENO;
  std::optional<Ended> ended;
  auto process = Process::start(spec);
  while (!(ended = process.wait_for(1000))) {
  }
  posix_file_system().remove(weights);
  if (ended->exec_error != 0) {
    throw Error(Fault::bad_input, fmt::format("{} {}: TorchScript needs a build with libtorch "
                                              "(muster doctor)",
                                              program.string(), ended->text()));
  }
  return ended->code().value_or(exit_failed);
}

Path output_of(const Request& request) {
  if (!request.output.empty()) {
    return request.output;
  }
  return request.to == "torchscript" ? "model.pt" : "model." + request.to;
}

int export_model(const Path& path, const Request& request) {
  const Path checkpoint = newest_of(path);
  const std::string prefix = request.all ? "" : "model/";
  const Path output = output_of(request);
  if (request.to == "torchscript") {
    if (const int code = export_torchscript(checkpoint, output); code != exit_finished) {
      return code;
    }
  } else if (request.to == "safetensors") {
    export_safetensors(checkpoint, output, prefix);
  } else {
    export_npz(checkpoint, output, prefix);
  }
  fmt::print("{}: {} of {}\n", output.string(), request.all ? "all tensors" : "the model",
             checkpoint.string());
  return exit_finished;
}

}  // namespace

int command_checkpoint(const Arguments& arguments) {
  Keys keys;
  Request request;
  keys.add("to", request.to, "The format to export to")
      .one_of({"safetensors", "npz", "torchscript"})
      .only_on_command_line();
  keys.add("output", request.output, "Where to export to (default: model.FORMAT, model.pt)")
      .only_on_command_line()
      .placeholder("FILE");
  keys.add("all", request.all, "Export optimiser state and counters too").only_on_command_line();
  keys.add("json", request.json, "One JSON object a line").only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  const bool is_verify = !line->words.empty() && line->words.front() == "verify";
  const bool is_export = !line->words.empty() && line->words.front() == "export";
  if (line->words.size() != 2 || (!is_verify && !is_export)) {
    throw Error(
        Fault::bad_input,
        "it takes what to do and where: muster checkpoint verify PATH, or export PATH --to FORMAT");
  }
  if (is_export && request.to.empty()) {
    throw Error(Fault::bad_input, "export needs a format: --to safetensors, npz or torchscript");
  }
  if (request.all && request.to == "torchscript") {
    throw Error(Fault::bad_input,
                "TorchScript is a model alone; --all goes with safetensors and npz");
  }
  return is_verify ? verify(line->words[1], request) : export_model(line->words[1], request);
}

}  // namespace muster
