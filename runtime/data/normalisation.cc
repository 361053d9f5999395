// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/data/data_shape.h"

namespace muster {
namespace {

std::vector<float> numbers(const std::string& text, std::string_view key) {
  std::vector<float> values;
  for (const std::string& word : words(text)) {
    const auto value = parse_double(word);
    if (!value || !std::isfinite(*value)) {
      throw Error(Fault::bad_input, fmt::format("{}: '{}' is no number", key, word));
    }
    values.push_back(static_cast<float>(*value));
  }
  return values;
}

std::size_t channels_of(const DataShape& shape) {
  return shape.features.size() == 2 ? 1 : static_cast<std::size_t>(shape.features[0]);
}

/// Bytes become 0 to 1; a file may say its own scale.
float unit_scale(const DataSettings& settings, const Table& table) {
  const h5::Scalar scalar = table.features->info().scalar;
  if (settings.normalize == "none") {
    return 1;
  }
  if (table.scale > 0) {
    return static_cast<float>(table.scale);
  }
  if (scalar == h5::Scalar::uint8) {
    return 1.0F / 255;
  }
  if (settings.normalize == "unit") {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "data.normalize = unit takes bytes (0 to 255), but {} holds {}; use standard or none",
            table.features->info().name, h5::name_of(scalar)));
  }
  return 1;
}

/// Mean and deviation of each channel over the training rows, in one pass on local rank 0.
std::vector<double> channel_moments(const Table& table, const std::vector<std::uint64_t>* subset,
                                    std::size_t channels, NodeGroup& node) {
  const ColumnInfo& info = table.features->info();
  const std::size_t width = h5::elements_of(info.row_shape) / channels;
  const auto memory =
      filled_once(node, 2 * channels * sizeof(double), [&](std::span<std::byte> into) {
        std::vector<double> sums(2 * channels);
        std::vector<float> values(channels * width);
        const std::uint64_t rows = subset != nullptr ? subset->size() : info.rows;
        for (std::uint64_t i = 0; i < rows; ++i) {
          to_float(table.features->row(subset != nullptr ? (*subset)[i] : i), info.scalar,
                   values.size(), {}, values.data());
          for (std::size_t k = 0; k < values.size(); ++k) {
            const double x = static_cast<double>(values[k]);
            sums[k / width] += x;
            sums[channels + k / width] += x * x;
          }
        }
        auto* moments = reinterpret_cast<double*>(into.data());
        const double count = static_cast<double>(rows) * static_cast<double>(width);
        for (std::size_t c = 0; c < channels; ++c) {
          moments[c] = sums[c] / count;
          const double variance =
              std::max(0.0, sums[channels + c] / count - moments[c] * moments[c]);
          moments[channels + c] =
              variance > 0 ? std::sqrt(variance) : 1;  // a constant channel becomes zero
        }
      });
  const auto* moments = reinterpret_cast<const double*>(memory->bytes().data() + 4096);
  return {moments, moments + 2 * channels};
}

Normalisation by_given(const DataSettings& settings, float unit, std::size_t channels) {
  const std::vector<float> mean = numbers(settings.mean, "data.mean");
  std::vector<float> deviation = numbers(settings.deviation, "data.deviation");
  if (deviation.empty()) {
    deviation.assign(mean.size(), 1);
  }
  const bool fits =
      mean.size() == deviation.size() && (mean.size() == 1 || mean.size() == channels);
  if (!fits || std::ranges::any_of(deviation, [](float each) { return each <= 0; })) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "data.mean and data.deviation need one number, or one for each of {} channels, and "
            "deviations above 0",
            channels));
  }
  Normalisation by{.scale = {}, .shift = {}};
  for (std::size_t i = 0; i < mean.size(); ++i) {
    by.scale.push_back(unit / deviation[i]);
    by.shift.push_back(-mean[i] / deviation[i]);
  }
  return by;
}

}  // namespace

Normalisation normalisation_of(const DataSettings& settings, const Table& table,
                               const DataShape& shape, const std::vector<std::uint64_t>* subset,
                               NodeGroup& node) {
  if (!settings.mean.empty()) {
    return by_given(settings, unit_scale(settings, table), channels_of(shape));
  }
  if (settings.normalize != "standard") {
    return {.scale = {unit_scale(settings, table)}, .shift = {0}};
  }
  const std::size_t channels = channels_of(shape);
  const std::vector<double> moments = channel_moments(table, subset, channels, node);
  Normalisation by{.scale = {}, .shift = {}};
  for (std::size_t c = 0; c < channels; ++c) {
    by.scale.push_back(static_cast<float>(1 / moments[channels + c]));
    by.shift.push_back(static_cast<float>(-moments[c] / moments[channels + c]));
  }
  return by;
}

std::string text_of(const std::vector<float>& by_channel) {
  constexpr std::size_t most = 32768;
  std::string text = fmt::format("{}", fmt::join(by_channel, " "));
  return text.size() > most ? std::string() : text;
}

}  // namespace muster
