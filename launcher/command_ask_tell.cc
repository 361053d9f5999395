// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/ask_tell.h"
#include "launcher/commands.h"
#include "launcher/engine/owner_lock.h"
#include "launcher/sweep/warm_parents.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/handle.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/config/load.h"
#include "runtime/config/resolved.h"
#include "runtime/config/sweep.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster ask-tell SWEEP.ini [--dir DIR] [--seed S]",
    .about =
        "Tunes for a program in any language: one JSON object a line on stdin, one answer a line "
        "on "
        "stdout, in order, on the disk before it is printed. Requests: hello, ask, tell, end, "
        "enqueue, add, set, best. [tune] and [search] of the file say what is sought; nothing is "
        "run here. Everything lives in DIR (sweeps/NAME), and the same command goes on with it.\n\n"
        "Exits 0 at the end of input, 75 on TERM, 64 when another process has the directory.",
    .examples = {{"muster ask-tell sweep.ini", "then write {\"op\":\"ask\"} and read a trial"},
                 {"python3 ask_tell.py sweep.ini", "configs/examples: a client of 30 lines"}}};

/// Whole lines from a descriptor, as many as there are; nothing at the end of input.
class Input {
 public:
  /// False at the end of input or when `stop` becomes readable.
  bool read(int stop) {
    text_.erase(0, used_);
    used_ = 0;
    while (text_.find('\n') == std::string::npos) {
      pollfd waits[] = {{STDIN_FILENO, POLLIN, 0}, {stop, POLLIN, 0}};
      if (::poll(waits, 2, -1) < 0 && errno != EINTR) {
        throw_errno("poll", errno);
      }
      if (waits[1].revents != 0) {
        return false;
      }
      char bytes[1 << 16];
      const ssize_t got = ::read(STDIN_FILENO, bytes, sizeof bytes);
      if (got < 0 && errno != EINTR) {
        throw_errno("read stdin", errno);
      }
      if (got == 0) {
        text_ += text_.empty() ? "" : "\n";  // a last line without its end counts
        return !text_.empty();
      }
      text_.append(bytes, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    }
    return true;
  }
  std::vector<std::string_view> lines() {
    std::vector<std::string_view> lines;
    for (std::size_t end = 0; (end = text_.find('\n', used_)) != std::string::npos;
         used_ = end + 1) {
      lines.push_back(std::string_view(text_).substr(used_, end - used_));
    }
    return lines;
  }

 private:
  std::string text_;
  std::size_t used_ = 0;
};

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(STDOUT_FILENO, text.data(), text.size());
    if (wrote < 0 && errno != EINTR) {
      throw_errno("write stdout", errno);
    }
    text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(wrote, 0)));
  }
}

struct AskTellSettings {
  std::string name;
  std::string directory;
  std::optional<std::uint64_t> seed;
  std::optional<bool> resumes;
  TuneSettings tune;
  std::vector<Keys::Entry> search;
};

void describe(Keys& keys, AskTellSettings& settings) {
  keys.section("", "The sweep");
  keys.add("name", settings.name, "Identity of the sweep [the file's stem]").placeholder("NAME");
  keys.add("dir", settings.directory, "Where everything is kept [sweeps/NAME]")
      .only_on_command_line()
      .placeholder("DIR");
  keys.add("seed", settings.seed, "In place of tune.seed").only_on_command_line();
  describe_tuning(keys, settings.tune, settings.search);
  keys.section("trial", "What a trial is");
  keys.add("trial.resumes", settings.resumes, "It continues from its checkpoint [true]");
}

}  // namespace

int command_ask_tell(const Arguments& arguments) {
  Keys keys;
  AskTellSettings settings;
  describe(keys, settings);
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input,
                "muster ask-tell takes one sweep file: muster ask-tell SWEEP.ini");
  }
  const Path file = line->words.front();
  load(keys, {file.string(), current_environment(), line->options});
  settings.name = settings.name.empty() ? file.stem().string() : settings.name;
  settings.tune.seed = settings.seed.value_or(settings.tune.seed);
  settings.resumes = settings.resumes.value_or(true);
  const Path directory =
      settings.directory.empty() ? Path("sweeps") / settings.name : Path(settings.directory);
  const Descriptor stop(::eventfd(0, EFD_CLOEXEC));
  const StopSignals signals([&stop](int signal) {
    if (signal == SIGTERM || signal == SIGINT) {
      ::eventfd_write(stop.get(), 1);
    }
  });
  const hpo::StudySetup setup =
      hpo::study_setup(settings.name, settings.tune, settings.search, *settings.resumes);
  SystemClock clock;
  const OwnerLock lock(directory, clock, [](const std::string& text) { log::warning(text); });
  const auto open = [&] {
    auto study = std::make_unique<hpo::Study>(setup, directory / "journal", clock);
    if (!study->state().has_begun()) {
      SweepSettings sweep;
      sweep.tune = settings.tune;
      sweep.sweeps = directory.parent_path().string();
      learn_from_parents(*study, sweep);
    }
    return study;
  };
  hpo::AskTell server(open);
  write_file_atomically(directory / "sweep.ini", resolved_text(keys, nullptr));
  Input input;
  while (input.read(stop.get())) {
    write_all(server.answer(input.lines()));
  }
  pollfd stopped{stop.get(), POLLIN, 0};
  return ::poll(&stopped, 1, 0) > 0 ? exit_saved : exit_finished;
}

}  // namespace muster
