/// TableDataset and TokenDataset: what open_data() returns: columns of a file as samples of a
/// DataShape. Checks every value that it hands out.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "runtime/data/convert.h"
#include "runtime/data/dataset.h"
#include "runtime/data/table.h"

namespace muster {

class TableDataset final : public Dataset {
 public:
  struct Options {
    bool checks_values = true;
    /// The rows of the table that belong to this set, rising; null: all. Training and validation
    /// set share one table.
    std::shared_ptr<const std::vector<std::uint64_t>> subset;
  };
  TableDataset(std::shared_ptr<const Table> table, DataShape shape, Normalisation normalisation,
               Options options);
  std::uint64_t rows() const override;
  Normalisation normalisation() const override { return normalisation_; }
  const DataShape& shape() const override { return shape_; }
  void gather(std::span<const std::uint64_t> rows, std::span<std::byte> features,
              std::span<std::byte> labels) const override;
  std::string name() const override { return table_->features->info().name; }
  Mixing mixing() const override;
  bool random_access() const override;
  std::string tier() const override;
  std::string fingerprint() const override;

 private:
  void put_features(std::uint64_t row, std::byte* into) const;
  void put_label(std::uint64_t row, std::byte* into) const;
  std::shared_ptr<const Table> table_;
  DataShape shape_;
  Normalisation normalisation_;
  Options options_;
};

/// Row i is the tokens [i T, i T + T] of a column in memory: T inputs, and the T that follow each.
class TokenDataset final : public Dataset {
 public:
  TokenDataset(std::unique_ptr<Column> tokens, DataShape shape, std::uint64_t first,
               std::uint64_t rows);
  std::uint64_t rows() const override { return rows_; }
  const DataShape& shape() const override { return shape_; }
  void gather(std::span<const std::uint64_t> rows, std::span<std::byte> features,
              std::span<std::byte> labels) const override;
  std::string name() const override { return tokens_->info().name; }
  std::string tier() const override { return std::string(tokens_->tier()); }
  std::string fingerprint() const override;

 private:
  std::unique_ptr<Column> tokens_;
  DataShape shape_;
  std::uint64_t first_;
  std::uint64_t rows_;
};

}  // namespace muster
