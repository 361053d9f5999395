// SPDX-License-Identifier: Apache-2.0
#include "launcher/program/opt_ml.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr const char* path = "/opt/ml";
constexpr std::uintmax_t largest_script = 1 << 20;

/// A /opt of our own that shows what the machine's has, and the tree. Its place is below the tree's
/// parent; nobody outside of the namespace sees it filled.
constexpr const char* bind_script = R"sh(set -e
tree=$1; shift
mkdir -p "$tree/../.opt"
own=$(cd "$tree/../.opt" && pwd -P)
tree=$(cd "$tree" && pwd -P)
mount -t tmpfs none "$own"
for entry in /opt/*; do
  place=$own/${entry##*/}
  [ "$place" = "$own/*" ] || [ "$place" = "$own/ml" ] && continue
  if [ -d "$entry" ]; then mkdir "$place"; else : > "$place"; fi
  mount --rbind "$entry" "$place"
done
mkdir "$own/ml"
mount --rbind "$tree" "$own/ml"
for shared in model checkpoints; do  # links of the tree lead out of it: ../model
  mkdir "$own/$shared"
  mount --rbind "$tree/../$shared" "$own/$shared"
done
mount --rbind "$own" /opt
exec "$@"
)sh";

std::vector<std::string> namespace_words() {
  return {"unshare", "--user", "--map-current-user", "--keep-caps", "--mount"};
}

}  // namespace

bool names_opt_ml(const std::vector<std::string>& command, const Path& directory) {
  return std::ranges::any_of(command, [&](const std::string& word) {
    std::error_code code;
    const Path file = directory / word;  // an absolute word stays itself
    const auto size = std::filesystem::is_regular_file(file, code)
                          ? std::filesystem::file_size(file, code)
                          : largest_script;
    return size < largest_script && !code &&
           read_file_if_there(file).value_or("").find(path) != std::string::npos;
  });
}

std::optional<std::string> opt_ml_problem() {
  static const bool works =
      std::system(
          "unshare --user --map-current-user --keep-caps --mount "
          "sh -c 'test -d /opt && mount -t tmpfs none /opt' >/dev/null 2>&1") == 0;
  if (works) {
    return std::nullopt;
  }
  return fmt::format(
      "{} cannot be shown here: user namespaces are not allowed (sysctl "
      "kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0), or "
      "there is no unshare(1) of util-linux 2.36, or no /opt. The tree is where SAGEMAKER_BASE_DIR "
      "says",
      path);
}

std::vector<std::string> with_opt_ml(const std::vector<std::string>& command, const Path& tree) {
  auto words = namespace_words();
  words.insert(words.end(), {"sh", "-c", bind_script, "opt-ml", tree.string()});
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

std::vector<std::string> bind_opt_ml_if_named(const std::vector<std::string>& command,
                                              const Path& directory, const Path& tree) {
  if (!names_opt_ml(command, directory)) {
    return command;
  }
  if (const auto problem = opt_ml_problem()) {
    static std::atomic<bool> is_told{false};
    if (!is_told.exchange(true)) {
      log::warning(fmt::format("a script names {}, but {}", path, *problem));
    }
    return command;
  }
  return with_opt_ml(command, tree);
}

}  // namespace muster
