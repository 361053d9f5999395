// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/data/loader.h"
#include "runtime/data/table_dataset.h"

namespace muster {
namespace {

std::string row_place(const Column& column, std::uint64_t row) {
  return fmt::format("{}, row {}", column.info().name, row);
}

/// A sum over some rows of a column, spread evenly: what a fingerprint needs to know that a file is
/// another one.
std::uint32_t sampled_sum(std::uint32_t sum, const Column& column) {
  constexpr std::uint64_t samples = 64;
  const std::uint64_t rows = column.info().rows;
  const auto turn = column.turn();
  for (std::uint64_t i = 0; i < std::min(samples, rows); ++i) {
    sum = crc32c(sum, column.row(i * rows / std::min(samples, rows)), column.info().row_bytes());
  }
  return sum;
}

}  // namespace

std::uint64_t Dataset::next_identity() {
  static std::atomic<std::uint64_t> next{0};
  return next++;
}

TableDataset::TableDataset(std::shared_ptr<const Table> table, DataShape shape,
                           Normalisation normalisation, Options options)
    : table_(std::move(table)),
      shape_(std::move(shape)),
      normalisation_(std::move(normalisation)),
      options_(std::move(options)) {}

std::uint64_t TableDataset::rows() const {
  return options_.subset ? options_.subset->size() : table_->features->info().rows;
}

Mixing TableDataset::mixing() const {
  return table_->features->mixing();
}

bool TableDataset::random_access() const {
  return table_->features->in_memory() && table_->labels->in_memory();
}

std::string TableDataset::tier() const {
  return std::string(random_access() ? table_->features->tier() : std::string_view("blocked"));
}

std::string TableDataset::fingerprint() const {
  std::uint32_t sum = sampled_sum(sampled_sum(0, *table_->features), *table_->labels);
  for (const auto* each : {&normalisation_.scale, &normalisation_.shift}) {
    sum = crc32c(sum, each->data(), each->size() * sizeof(float));
  }
  return fmt::format("{} rows, {}, sum {:08x}", rows(), shape_.text(), sum);
}

void TableDataset::gather(std::span<const std::uint64_t> rows, std::span<std::byte> features,
                          std::span<std::byte> labels) const {
  const std::size_t feature_bytes = shape_.feature_bytes();
  const std::size_t label_bytes = shape_.label_bytes();
  require(
      features.size() == rows.size() * feature_bytes && labels.size() == rows.size() * label_bytes,
      "gather: memory of another size");
  const auto row_of_table = [&](std::size_t i) {
    return options_.subset ? options_.subset->at(rows[i]) : rows[i];
  };
  const auto features_turn = table_->features->turn();
  const auto labels_turn = table_->labels->turn();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i + 1 < rows.size()) {
      table_->features->expect(row_of_table(i + 1));
    }
    const std::uint64_t row = row_of_table(i);
    put_features(row, features.data() + i * feature_bytes);
    put_label(row, labels.data() + i * label_bytes);
  }
}

void TableDataset::put_features(std::uint64_t row, std::byte* into) const {
  const Column& column = *table_->features;
  const std::size_t count = h5::elements_of(column.info().row_shape);
  auto* values = reinterpret_cast<float*>(into);
  if (!to_float(column.row(row), column.info().scalar, count, normalisation_, values) &&
      options_.checks_values) {
    throw Error(Fault::bad_input,
                fmt::format("{}: a feature is NaN or infinite; clean the data, or let it pass with "
                            "data.check_values = false",
                            row_place(column, row)));
  }
}

void TableDataset::put_label(std::uint64_t row, std::byte* into) const {
  const Column& column = *table_->labels;
  const std::byte* from = column.row(row);
  if (shape_.labels == DataShape::Labels::values) {
    static const Normalisation as_it_is;
    const std::size_t count = h5::elements_of(column.info().row_shape);
    if (!to_float(from, column.info().scalar, count, as_it_is, reinterpret_cast<float*>(into)) &&
        options_.checks_values) {
      throw Error(Fault::bad_input,
                  fmt::format("{}: a label is NaN or infinite; clean the data, or let it pass with "
                              "data.check_values = false",
                              row_place(column, row)));
    }
    return;
  }
  std::int64_t label = -1;
  const bool is_whole = to_int64(from, column.info().scalar, 1, &label);
  if (!is_whole || label < 0 || label >= shape_.classes) {
    throw Error(Fault::bad_input,
                fmt::format("{}: label {} is none of the {} classes (0 to {}); check data.classes",
                            row_place(column, row), label, shape_.classes, shape_.classes - 1));
  }
  std::memcpy(into, &label, sizeof label);
}

TokenDataset::TokenDataset(std::unique_ptr<Column> tokens, DataShape shape, std::uint64_t first,
                           std::uint64_t rows)
    : tokens_(std::move(tokens)), shape_(std::move(shape)), first_(first), rows_(rows) {}

std::string TokenDataset::fingerprint() const {
  return fmt::format("{} rows from {}, {}, sum {:08x}", rows_, first_, shape_.text(),
                     sampled_sum(0, *tokens_));
}

void TokenDataset::gather(std::span<const std::uint64_t> rows, std::span<std::byte> features,
                          std::span<std::byte> labels) const {
  const auto context = static_cast<std::size_t>(shape_.features[0]);
  std::vector<std::int64_t> window(context + 1);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::uint64_t first = (first_ + rows[i]) * context;
    to_int64(tokens_->row(first), tokens_->info().scalar, context + 1,
             window.data());  // rows follow each other in memory
    const auto unknown =
        std::ranges::find_if(window, [&](std::int64_t token) { return token >= shape_.classes; });
    if (unknown != window.end()) {
      throw Error(
          Fault::bad_input,
          fmt::format(
              "{}: token {} at position {} is outside the vocabulary of {}; set data.vocabulary",
              name(), *unknown, first + static_cast<std::uint64_t>(unknown - window.begin()),
              shape_.classes));
    }
    std::memcpy(features.data() + i * context * 8, window.data(), context * 8);
    std::memcpy(labels.data() + i * context * 8, window.data() + 1, context * 8);
  }
}

void check_batch(const Dataset& dataset, std::uint64_t batch, int ranks) {
  if (batch > dataset.rows()) {
    throw Error(
        Fault::bad_input,
        fmt::format("train.batch_size = {} is larger than the set: {} has {} rows; lower it", batch,
                    dataset.name(), dataset.rows()));
  }
  if (dataset.rows() < static_cast<std::uint64_t>(ranks)) {
    throw Error(Fault::bad_input,
                fmt::format("{} has {} rows, fewer than the {} ranks; use fewer ranks",
                            dataset.name(), dataset.rows(), ranks));
  }
}

}  // namespace muster
