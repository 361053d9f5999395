// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/base/text.h"
#include "runtime/data/table_dataset.h"

namespace muster {
namespace {

constexpr double most_implied_classes = 1000;

/// What a pass over the labels tells.
struct LabelFacts {
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
  bool are_whole = true;
};

LabelFacts look_at(const Column& labels) {
  LabelFacts facts;
  const std::size_t width = h5::elements_of(labels.info().row_shape);
  std::vector<float> values(width);
  std::vector<std::int64_t> whole(width);
  const Normalisation as_it_is;
  for (std::uint64_t row = 0; row < labels.info().rows; ++row) {
    const std::byte* from = labels.row(row);
    facts.are_whole = to_int64(from, labels.info().scalar, width, whole.data()) && facts.are_whole;
    to_float(from, labels.info().scalar, width, as_it_is, values.data());
    const auto [low, high] = std::ranges::minmax(values);
    facts.least = std::min(facts.least, static_cast<double>(low));
    facts.most = std::max(facts.most, static_cast<double>(high));
  }
  return facts;
}

bool is_float(h5::Scalar scalar) {
  return h5::name_of(scalar).find("float") != std::string_view::npos;
}

bool are_classes(const DataSettings& settings, const Column& labels, const LabelFacts& facts) {
  const bool is_single = h5::elements_of(labels.info().row_shape) == 1;
  if (settings.task == "classes") {
    if (!is_single) {
      throw Error(
          Fault::bad_input,
          fmt::format("{}: {} labels a row, but data.task = classes takes one number; store the "
                      "index of the class",
                      labels.info().name, h5::text_of(labels.info().row_shape)));
    }
    return true;
  }
  if (settings.task != "auto") {
    return false;
  }
  return is_single && facts.are_whole && facts.least >= 0 &&
         (!is_float(labels.info().scalar) || facts.most < most_implied_classes);
}

std::vector<std::int64_t> to_signed(const h5::Shape& shape) {
  return {shape.begin(), shape.end()};
}

/// `data.shape` instead of the file's, when the lengths agree.
std::vector<std::int64_t> feature_shape(const DataSettings& settings, const ColumnInfo& info) {
  if (settings.shape.empty() || settings.format == "synthetic") {
    return to_signed(info.row_shape.empty() ? h5::Shape{1} : info.row_shape);
  }
  const h5::Shape wanted = parse_shape(settings.shape, "data.shape");
  if (h5::elements_of(wanted) != h5::elements_of(info.row_shape)) {
    throw Error(Fault::bad_input,
                fmt::format("data.shape = {} has {} values, but a row of {} has {} ({})",
                            settings.shape, h5::elements_of(wanted), info.name,
                            h5::elements_of(info.row_shape), h5::text_of(info.row_shape)));
  }
  return to_signed(wanted);
}

void check_rows(const Table& table) {
  const ColumnInfo& features = table.features->info();
  const ColumnInfo& labels = table.labels->info();
  if (features.rows != labels.rows) {
    throw Error(Fault::bad_input,
                fmt::format("{} has {} rows, but {} has {} labels; they must belong together",
                            features.name, features.rows, labels.name, labels.rows));
  }
}

DataShape shape_of(const DataSettings& settings, const Table& table, const LabelFacts& facts) {
  DataShape shape{.features = feature_shape(settings, table.features->info()), .label_shape = {}};
  if (are_classes(settings, *table.labels, facts)) {
    const auto implied = static_cast<std::int64_t>(facts.most) + 1;
    shape.classes = settings.classes > 0 ? settings.classes
                    : table.classes > 0  ? table.classes
                                         : implied;
    return shape;
  }
  shape.labels = DataShape::Labels::values;
  shape.label_shape = to_signed(table.labels->info().row_shape);
  return shape;
}

/// Where the first label lies that is no class, for a message with its row.
void check_labels(const Column& labels, const DataShape& shape, const LabelFacts& facts) {
  const bool is_fine =
      facts.are_whole && facts.least >= 0 && facts.most < static_cast<double>(shape.classes);
  if (shape.labels != DataShape::Labels::classes || is_fine) {
    return;
  }
  for (std::uint64_t row = 0; row < labels.info().rows; ++row) {
    float value = 0;
    std::int64_t whole = 0;
    to_float(labels.row(row), labels.info().scalar, 1, {}, &value);
    const bool is_class = to_int64(labels.row(row), labels.info().scalar, 1, &whole) &&
                          whole >= 0 && whole < shape.classes;
    if (!is_class) {
      throw Error(
          Fault::bad_input,
          fmt::format(
              "{}, row {}: label {} is none of the {} classes (0 to {}); correct the data, or set "
              "data.classes, or data.task = values",
              labels.info().name, row, value, shape.classes, shape.classes - 1));
    }
  }
}

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

/// The two halves of a keyed draw: rows of the training set, and of the validation set.
struct Split {
  std::shared_ptr<std::vector<std::uint64_t>> train;
  std::shared_ptr<std::vector<std::uint64_t>> validation;
};

Split split_rows(const DataSettings& settings, std::uint64_t rows, const std::string& name) {
  const auto apart = static_cast<std::uint64_t>(
      std::llround(settings.validation_fraction * static_cast<double>(rows)));
  if (apart == 0 || apart >= rows) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "data.validation_fraction = {}: {} of the {} rows of {} would be set apart; both "
            "parts need rows",
            settings.validation_fraction, apart, rows, name));
  }
  const KeyedPermutation draw(rows, mix(settings.split_seed, 0x73706c6974));  // "split"
  Split split{.train = std::make_shared<std::vector<std::uint64_t>>(),
              .validation = std::make_shared<std::vector<std::uint64_t>>()};
  for (std::uint64_t i = 0; i < rows; ++i) {
    (i < apart ? split.validation : split.train)->push_back(draw(i));
  }
  std::ranges::sort(*split.train);  // near rows stay near: blocks are read once
  std::ranges::sort(*split.validation);
  return split;
}

TableSource train_source(const DataSettings& settings) {
  return {.path = settings.path,
          .labels = settings.labels,
          .features_name = settings.features_name,
          .labels_name = settings.labels_name};
}

std::optional<TableSource> validation_source(const DataSettings& settings,
                                             const std::string& format) {
  // Folders of CIFAR and MNIST bring their test set along.
  const bool is_folder =
      std::filesystem::is_directory(settings.path) && settings.validation_fraction == 0;
  const bool brings_its_own = is_folder || (format == "synthetic" && settings.validation_rows > 0);
  if (settings.validation.empty() && !brings_its_own) {
    return std::nullopt;
  }
  const bool is_same = settings.validation == "same" || brings_its_own;
  TableSource source{
      .path = is_same ? settings.path : settings.validation,
      .labels = settings.validation_labels,
      .features_name = is_same ? settings.validation_features_name : settings.features_name,
      .labels_name = is_same ? settings.validation_labels_name : settings.labels_name,
      .role = "data.validation",
      .is_validation = true};
  return source;
}

std::unique_ptr<Dataset> validation_from(const DataSettings& settings, const TableSource& source,
                                         DataShape& shape, const Normalisation& by,
                                         NodeGroup& node) {
  auto table = std::make_shared<Table>(open_table(settings, source, node));
  check_rows(*table);
  const std::vector<std::int64_t> features = feature_shape(settings, table->features->info());
  if (features != shape.features) {
    throw Error(
        Fault::bad_input,
        fmt::format("{}: rows of {} are {}, those of the training set {}; both must have one shape",
                    source.role, table->features->info().name, fmt::join(features, " x "),
                    fmt::join(shape.features, " x ")));
  }
  check_labels(*table->labels, shape, look_at(*table->labels));
  return std::make_unique<TableDataset>(
      table, shape, by,
      TableDataset::Options{.checks_values = settings.check_values, .subset = nullptr});
}

DataSets open_tables(const DataSettings& settings, const std::string& format, NodeGroup& node) {
  auto table = std::make_shared<Table>(open_table(settings, train_source(settings), node));
  check_rows(*table);
  const LabelFacts facts = look_at(*table->labels);
  DataShape shape = shape_of(settings, *table, facts);
  check_labels(*table->labels, shape, facts);
  Split split;
  const auto other = validation_source(settings, format);
  if (!other && settings.validation_fraction > 0) {
    split = split_rows(settings, table->features->info().rows, table->features->info().name);
  }
  const Normalisation by = normalisation_of(settings, *table, shape, split.train.get(), node);
  DataSets sets;
  auto part = [&](const std::shared_ptr<std::vector<std::uint64_t>>& subset) {
    return std::make_unique<TableDataset>(
        table, shape, by,
        TableDataset::Options{.checks_values = settings.check_values, .subset = subset});
  };
  sets.train = part(split.train);
  if (other) {
    sets.validation = validation_from(settings, *other, shape, by, node);
  } else if (split.validation) {
    sets.validation = part(split.validation);
  }
  return sets;
}

std::int64_t largest_token(const Column& tokens) {
  std::int64_t most = 0;
  std::int64_t token = 0;
  for (std::uint64_t i = 0; i < tokens.info().rows; ++i) {
    to_int64(tokens.row(i), tokens.info().scalar, 1, &token);
    most = std::max(most, token);
  }
  return most;
}

std::unique_ptr<Dataset> token_set(const DataSettings& settings, const TableSource& source,
                                   std::int64_t vocabulary, bool from_end, double share,
                                   NodeGroup& node) {
  Table table = open_table(settings, source, node);
  const std::uint64_t tokens = table.features->info().rows;
  const auto context = static_cast<std::uint64_t>(settings.context);
  const std::uint64_t windows = tokens > 0 ? (tokens - 1) / context : 0;
  const auto rows = static_cast<std::uint64_t>(std::llround(share * static_cast<double>(windows)));
  if (rows == 0) {
    throw Error(Fault::bad_input,
                fmt::format("{} holds {} tokens, too few for a sample of data.context = {}",
                            source.path, tokens, context));
  }
  const std::int64_t known = vocabulary > 0      ? vocabulary
                             : table.classes > 0 ? table.classes
                                                 : largest_token(*table.features) + 1;
  const DataShape shape{.features = {settings.context},
                        .feature_type = DType::int64,
                        .labels = DataShape::Labels::tokens,
                        .label_shape = {settings.context},
                        .classes = known};
  return std::make_unique<TokenDataset>(std::move(table.features), shape,
                                        from_end ? windows - rows : 0, rows);
}

DataSets open_tokens(const DataSettings& settings, const std::string& format, NodeGroup& node) {
  const auto other = validation_source(settings, format);
  const double apart =
      other
          ? 0
          : settings
                .validation_fraction;  // the end of the text: neighbours would give each other away
  DataSets sets;
  sets.train =
      token_set(settings, train_source(settings), settings.vocabulary, false, 1 - apart, node);
  const std::int64_t vocabulary = sets.train->shape().classes;
  if (other) {
    sets.validation = token_set(settings, *other, vocabulary, false, 1, node);
  } else if (apart > 0) {
    sets.validation = token_set(settings, train_source(settings), vocabulary, true, apart, node);
  }
  return sets;
}

}  // namespace

DataSets open_data(const DataSettings& settings, NodeGroup& node) {
  return within("opening the data", [&] {
    const std::string format = format_of(settings, train_source(settings));
    const bool has_tokens =
        format == "tokens" || (format == "synthetic" && settings.task == "tokens");
    return has_tokens ? open_tokens(settings, format, node) : open_tables(settings, format, node);
  });
}

}  // namespace muster
