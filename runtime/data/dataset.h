/// Dataset: rows of features and labels, wherever they lie. gather() writes ready values
/// (converted, normalised) to the caller's memory; it may be called from any thread, but from one
/// at a time unless `random_access()`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/buffer.h"
#include "runtime/comm/node_group.h"
#include "runtime/data/order.h"

namespace muster {

struct DataSettings;  // runtime/config/data_settings.h

/// What one sample looks like after gather(). Models are made to fit it.
struct DataShape {
  enum class Labels : std::uint8_t {
    classes,  ///< one int64 in [0, classes)
    values,   ///< float32 of `label_shape`
    tokens,   ///< int64 of `label_shape` in [0, classes): the token that follows each position
  };
  std::vector<std::int64_t> features;   ///< {1, 28, 28}: channels first; {784}; {T} for tokens
  DType feature_type = DType::float32;  ///< float32, or int64 for tokens
  Labels labels = Labels::classes;
  std::vector<std::int64_t> label_shape;  ///< {} for classes
  std::int64_t classes = 0;               ///< also the vocabulary of tokens; 0 for values

  DType label_type() const { return labels == Labels::values ? DType::float32 : DType::int64; }
  std::size_t feature_bytes() const;  ///< of one sample
  std::size_t label_bytes() const;
  std::string text() const;  ///< "features 1 x 28 x 28 float32, labels in 10 classes"
  bool operator==(const DataShape&) const = default;
};

/// y = x * scale + shift, by channel; a row is channel after channel.
struct Normalisation {
  std::vector<float> scale{1.0F};
  std::vector<float> shift{0.0F};
  bool operator==(const Normalisation&) const = default;
};
/// "0.5 0.25", by channel. Empty where that is longer than a file's header takes.
std::string text_of(const std::vector<float>& by_channel);

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::uint64_t rows() const = 0;
  virtual const DataShape& shape() const = 0;
  /// rows.size() samples, one after the other. Throws bad_input naming file, row and what was
  /// expected (NaN, label out of range).
  virtual void gather(std::span<const std::uint64_t> rows, std::span<std::byte> features,
                      std::span<std::byte> labels) const = 0;
  /// What the file's values went through, which whoever uses the model has to do as well.
  virtual Normalisation normalisation() const { return {}; }
  virtual std::string name() const = 0;  ///< the file, for messages
  /// How rows may be mixed without reading the file n times over.
  virtual Mixing mixing() const { return {}; }
  /// In memory (resident or mapped): gather() costs a copy, and several threads at once do it
  /// side by side.
  virtual bool random_access() const { return true; }
  /// "resident", "mapped", "blocked".
  virtual std::string tier() const = 0;
  /// Changes when the data changes (sizes, normalisation, some of the rows): part of a run's
  /// fingerprint. Sets of other rows may share it: the rows of a split are not in it.
  virtual std::string fingerprint() const = 0;
  /// Of this object and no other of the process, ever: what is made of its rows is known by it.
  std::uint64_t identity() const { return identity_; }

 private:
  static std::uint64_t next_identity();
  std::uint64_t identity_ = next_identity();
};

struct DataSets {
  std::unique_ptr<Dataset> train;
  std::unique_ptr<Dataset> validation;  ///< null when there is none
};

/// Opens what `settings` name. Every rank calls it; sets that must be read into memory are read
/// once per node, into memory that the ranks of `node` share. Throws bad_input with file, place and
/// remedy.
DataSets open_data(const DataSettings& settings, NodeGroup& node);

}  // namespace muster
