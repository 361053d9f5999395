// SPDX-License-Identifier: Apache-2.0
#include "tests/layers/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "runtime/base/text.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

bool is_below(std::string_view path, std::string_view folder) {
  return path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

/// The library that an angle include names; nothing for the standard library and POSIX.
std::optional<std::string> library_of(std::string_view header) {
  static const std::vector<std::pair<std::string, std::string>> starts{
      {"torch/", "torch"}, {"ATen/", "torch"},    {"c10/", "torch"},  {"caffe2/", "torch"},
      {"boost/", "boost"}, {"Eigen/", "eigen"},   {"LBFGS", "eigen"}, {"mpi", "mpi"},
      {"nccl", "nccl"},    {"cuda", "cuda"},      {"cudnn", "cuda"},  {"cublas", "cuda"},
      {"nvml", "cuda"},    {"hdf5", "hdf5"},      {"H5", "hdf5"},     {"gtest/", "test"},
      {"gmock/", "test"},  {"benchmark/", "test"}};
  const auto at = std::ranges::find_if(
      starts, [&](const auto& each) { return header.starts_with(each.first); });
  return at == starts.end() ? std::nullopt : std::optional(at->second);
}

const Layer* layer_of(std::string_view path, const std::vector<Layer>& table) {
  const Layer* best = nullptr;
  for (const auto& layer : table) {
    if (is_below(path, layer.folder) &&
        (best == nullptr || layer.folder.size() > best->folder.size())) {
      best = &layer;
    }
  }
  return best;
}

bool contains(const Strings& list, std::string_view word) {
  return std::ranges::find(list, word) != list.end();
}

struct Include {
  std::string name;
  bool is_angle = false;
};

std::optional<Include> include_of(std::string_view line) {
  line = trim(line);
  if (!line.starts_with("#")) {
    return std::nullopt;
  }
  line = trim(line.substr(1));
  if (!line.starts_with("include")) {
    return std::nullopt;
  }
  line = trim(line.substr(std::string_view("include").size()));
  const char close = line.starts_with('<') ? '>' : '"';
  const auto end = line.find(close, 1);
  if (line.size() < 2 || end == std::string_view::npos) {
    return std::nullopt;
  }
  return Include{std::string(line.substr(1, end - 1)), close == '>'};
}

/// Why this include may not be there, or nothing.
std::optional<std::string> complaint(const Path& root, const Include& include, const Layer& layer,
                                     bool is_header, const std::vector<Layer>& table) {
  if (include.is_angle) {
    const auto library = library_of(include.name);
    if (library && !contains(layer.libraries, *library)) {
      return fmt::format("{} may not name {} (<{}>)", layer.folder, *library, include.name);
    }
    if (is_header && (include.name.starts_with("fmt/") || include.name == "torch/torch.h")) {
      return fmt::format("<{}> does not belong in a header", include.name);
    }
    return std::nullopt;
  }
  if (!fs::exists(root / include.name) && include.name.find('/') == std::string::npos) {
    return fmt::format("\"{}\" must be named from the root", include.name);
  }
  const Layer* target = layer_of(include.name, table);
  if (target == nullptr) {
    return fmt::format("{} may not include {}", layer.folder, include.name);
  }
  const bool is_allowed = is_below(include.name, layer.folder) ||
                          std::ranges::any_of(layer.includes, [&](const auto& folder) {
                            return is_below(include.name, folder);
                          });
  return is_allowed
             ? std::nullopt
             : std::optional(fmt::format("{} may not include {}", layer.folder, include.name));
}

/// Sources of the tree, relative, sorted.
Strings files_of(const Path& root) {
  Strings files;
  for (const auto& top : {"runtime", "collectives", "hpo", "launcher"}) {
    if (!fs::exists(root / top)) {
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const auto path = fs::relative(entry.path(), root).string();
      const bool is_source = path.ends_with(".h") || path.ends_with(".cc") || path.ends_with(".cu");
      if (entry.is_regular_file() && is_source) {
        files.push_back(path);
      }
    }
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

const std::vector<Layer>& layers() {
  static const Strings whole_runtime{"runtime"};
  static const Strings below_collectives{"runtime/base", "runtime/comm"};
  static const Strings between_ranks{"runtime/base", "runtime/comm", "collectives/reduce",
                                     "collectives/node"};
  static const std::vector<Layer> table{
      {"runtime/base", {}, {}},
      {"runtime/comm", {"runtime/base"}, {}},
      {"runtime/config", {"runtime/base"}, {"boost"}},
      // One file speaks HDF5 for both.
      {"runtime/checkpoint",
       {"runtime/base", "runtime/comm", "runtime/config", "runtime/data/hdf5.h"},
       {"hdf5"}},
      {"runtime/data", {"runtime/base", "runtime/comm", "runtime/config"}, {"hdf5"}},
      {"runtime/gpu", {"runtime/base", "runtime/comm"}, {}},
      {"runtime/gpu/cuda", {"runtime/base", "runtime/comm", "runtime/gpu"}, {"cuda", "torch"}},
      {"runtime/model", whole_runtime, {"torch"}},
      {"runtime/train", whole_runtime, {"torch"}},
      {"runtime/track", {"runtime/base", "runtime/config"}, {}},
      {"collectives/reduce", below_collectives, {}},
      {"collectives/node", between_ranks, {}},
      {"collectives/thread", between_ranks, {}},
      {"collectives/shm", between_ranks, {}},
      // Ranks that MPI brings together still meet in shared memory on each machine.
      {"collectives/mpi",
       {"runtime/base", "runtime/comm", "collectives/reduce", "collectives/node",
        "collectives/shm"},
       {"mpi"}},
      {"collectives/bench", {"runtime/base", "runtime/comm", "collectives"}, {"mpi"}},
      {"collectives/nccl", between_ranks, {"nccl", "cuda"}},
      {"hpo", {"runtime/base", "runtime/config"}, {}},
      {"launcher", {"runtime", "collectives", "hpo", "launcher"}, {}},
      // The rank program; the light one links none of these.
      {"launcher/rank", {"runtime", "collectives", "hpo", "launcher"}, {"mpi", "torch"}},
      {"launcher/worker", {"runtime", "collectives", "hpo", "launcher"}, {"mpi", "torch"}},
  };
  return table;
}

std::vector<std::string> layer_violations(const Path& root, const std::vector<Layer>& table) {
  Strings violations;
  for (const auto& file : files_of(root)) {
    const Layer* layer = layer_of(file, table);
    if (layer == nullptr) {
      violations.push_back(fmt::format("{}: its folder is in no row of the table", file));
      continue;
    }
    int number = 0;
    for (const auto& line : split(read_file(root / file), '\n')) {
      ++number;
      const auto include = include_of(line);
      if (!include) {
        continue;
      }
      if (const auto text = complaint(root, *include, *layer, file.ends_with(".h"), table)) {
        violations.push_back(fmt::format("{}:{}: {}", file, number, *text));
      }
    }
  }
  return violations;
}

std::size_t layered_files(const Path& root) {
  return files_of(root).size();
}

}  // namespace muster
