/// MetricReader: the metrics of a program that only prints, by regular expressions over its lines,
/// and of one that appends JSON lines to the file named in MUSTER_METRICS. A definition that never
/// matches is reported at the end, never silent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster {

/// One observation: "val_accuracy" was 0.91 at resource 3, if the program said so.
struct MetricPoint {
  std::string name;
  double value = 0;                ///< may be NaN or infinite: the reader does not judge
  std::optional<double> resource;  ///< `step`, or the key that tune.resource names
  bool operator==(const MetricPoint&) const = default;
};

/// Regular expressions (ECMAScript) over the first 2,048 characters of a line; the first capture
/// group, read as a number (the managed service's rule).
class LineMetrics {
 public:
  /// (name, expression) pairs. Throws bad_input naming the metric when an expression does not
  /// compile or has no group.
  using Definitions = std::vector<std::pair<std::string, std::string>>;
  explicit LineMetrics(const Definitions& definitions);
  ~LineMetrics();
  LineMetrics(LineMetrics&&) noexcept;
  LineMetrics& operator=(LineMetrics&&) noexcept;

  std::vector<MetricPoint> read(std::string_view line);
  /// Sentences about definitions that matched nothing, or matched text that is no number (with that
  /// text).
  std::vector<std::string> complaints() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The JSON lines of MUSTER_METRICS: {"step":3,"val_accuracy":0.91}. Reads what was appended since
/// the last call; a line without its newline yet is left for the next one.
class FileMetrics {
 public:
  /// `resource_key`: which key of a line carries the resource ("epochs"); `step` serves where it is
  /// absent.
  FileMetrics(Path file, std::string resource_key);
  std::vector<MetricPoint> read_new();
  std::vector<std::string> complaints() const;

 private:
  void read_line(std::string_view line, std::vector<MetricPoint>& points);
  Path file_;
  std::string resource_key_;
  std::uint64_t offset_ = 0;
  std::uint64_t line_ = 0;
  std::string rest_;
  std::vector<std::string> complaints_;
};

}  // namespace muster
