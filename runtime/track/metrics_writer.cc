// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/metrics_writer.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/track/json_text.h"
#include "runtime/track/tensorboard.h"

namespace muster {
namespace {

double seconds_of(WallTime time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

/// The step of a line that metrics_line() wrote; nothing for another one.
std::optional<std::uint64_t> step_of(std::string_view line) {
  constexpr std::string_view head = "{\"step\":";
  if (!line.starts_with(head)) {
    return std::nullopt;
  }
  std::uint64_t step = 0;
  const auto result = std::from_chars(line.data() + head.size(), line.data() + line.size(), step);
  return result.ec == std::errc() ? std::optional(step) : std::nullopt;
}

/// How many bytes of the file stay: whole lines up to `last_step`.
std::size_t kept_bytes(std::string_view text, std::uint64_t last_step) {
  std::size_t at = 0;
  while (true) {
    const std::size_t end = text.find('\n', at);
    const auto step =
        end == std::string_view::npos ? std::nullopt : step_of(text.substr(at, end - at));
    if (!step || *step > last_step) {
      return at;
    }
    at = end + 1;
  }
}

}  // namespace

std::string metrics_line(const MetricRecord& record, WallTime time) {
  std::string line = fmt::format("{{\"step\":{},\"epoch\":{},\"time\":{:.3f}", record.step,
                                 json_number(record.epoch), seconds_of(time));
  for (const auto& [name, value] : record.values) {
    line += fmt::format(",{}:{}", json_string(name), json_number(value));
  }
  return line + "}";
}

struct MetricsWriter::Impl {
  const Clock& clock;
  std::string lines_path;
  std::string events_path;
  std::unique_ptr<File> lines;
  std::unique_ptr<File> events;  // null without TensorBoard

  void append(File& file, const std::string& path, const std::string& bytes) {
    within(fmt::format("writing {} (free space on its disk, then run the same command again: it "
                       "continues from the newest "
                       "checkpoint)",
                       path),
           [&] {
             const std::uint64_t size = file.size();
             try {
               file.append(as_bytes(bytes));
             } catch (const Error&) {
               take_back(file, size);
               throw;
             }
           });
  }

  /// Nothing of a record that did not fit stays behind. That this may fail too changes nothing for
  /// the caller.
  static void take_back(File& file, std::uint64_t size) {
    try {
      file.truncate(size);
    } catch (const Error&) {
    }
  }

  void put_event(const std::string& payload) {
    if (events) {
      append(*events, events_path, tensorboard_record(payload));
    }
  }
  double now() const { return seconds_of(clock.wall()); }
};

MetricsWriter::MetricsWriter(const Path& run_directory, std::uint64_t resume_step, Options options,
                             FileSystem& files, const Clock& clock)
    : impl_(new Impl{.clock = clock,
                     .lines_path = (run_directory / "metrics.jsonl").string(),
                     .events_path = {},
                     .lines = {},
                     .events = {}}) {
  if (const auto text = read_file_if_there(impl_->lines_path, files)) {
    files.open(impl_->lines_path, OpenMode::read_write)->truncate(kept_bytes(*text, resume_step));
  }
  impl_->lines = files.open(impl_->lines_path, OpenMode::append);
  if (!options.tensorboard) {
    return;
  }
  const Path directory = run_directory / "tensorboard";
  files.make_directory(directory);
  impl_->events_path = (directory / event_file_name(clock.wall())).string();
  impl_->events = files.open(impl_->events_path, OpenMode::append);
  impl_->put_event(version_event(impl_->now()));
  impl_->put_event(restart_event(
      impl_->now(), resume_step + 1));  // what comes from here on replaces what was there
}

MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::write(const MetricRecord& record) {
  impl_->append(*impl_->lines, impl_->lines_path, metrics_line(record, impl_->clock.wall()) + "\n");
  if (!record.values.empty()) {
    impl_->put_event(scalars_event(impl_->now(), record.step, record.values));
  }
}

void MetricsWriter::write_text(const std::string& tag, const std::string& text) {
  impl_->put_event(text_event(impl_->now(), 0, tag, text));
}

void MetricsWriter::write_hyperparameters(
    const std::string& group, const std::vector<std::pair<std::string, std::string>>& words) {
  impl_->put_event(hyperparameters_event(impl_->now(), group, words));
}

void MetricsWriter::sync() {
  impl_->lines->sync_data();
  if (impl_->events) {
    impl_->events->sync_data();
  }
}

const Clock& MetricsWriter::system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace muster
