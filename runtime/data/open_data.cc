// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/data/data_shape.h"
#include "runtime/data/table_dataset.h"

namespace muster {
namespace {

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
  if (format == "synthetic" && !settings.validation.empty() && settings.validation_rows == 0) {
    throw Error(
        Fault::bad_input,
        "data.validation says that there is a validation set, but synthetic data has as many "
        "rows of it as data.validation_rows says, which is 0; set it, or take "
        "data.validation_fraction");
  }
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

/// The windows of a text but for `apart` of them at its end, or these alone.
std::unique_ptr<Dataset> token_set(const DataSettings& settings, const TableSource& source,
                                   std::int64_t vocabulary, double apart, bool takes_end,
                                   NodeGroup& node) {
  Table table = open_table(settings, source, node);
  const std::uint64_t tokens = table.features->info().rows;
  const auto context = static_cast<std::uint64_t>(settings.context);
  const std::uint64_t windows = tokens > 0 ? (tokens - 1) / context : 0;
  const auto end = static_cast<std::uint64_t>(std::llround(apart * static_cast<double>(windows)));
  const std::uint64_t rows = takes_end ? end : windows - end;
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
                                        takes_end ? windows - end : 0, rows);
}

DataSets open_tokens(const DataSettings& settings, const std::string& format, NodeGroup& node) {
  const auto other = validation_source(settings, format);
  const double apart =
      other
          ? 0
          : settings
                .validation_fraction;  // the end of the text: neighbours would give each other away
  DataSets sets;
  sets.train = token_set(settings, train_source(settings), settings.vocabulary, apart, false, node);
  const std::int64_t vocabulary = sets.train->shape().classes;
  if (other) {
    sets.validation = token_set(settings, *other, vocabulary, 0, false, node);
  } else if (apart > 0) {
    sets.validation = token_set(settings, train_source(settings), vocabulary, apart, true, node);
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
