/// DataFiles: files of every format, written into a directory of their own, and what opening them
/// gives or says.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/config/data_settings.h"
#include "runtime/data/dataset.h"
#include "runtime/data/hdf5.h"
#include "tests/support/temporary_directory.h"

namespace muster::test {

class DataFiles : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& bytes) {
    write_file_atomically(root_ / name, bytes);
    return (root_ / name).string();
  }
  template <class T>
  std::string write_values(const std::string& name, const std::vector<T>& values) {
    return write(name, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }
  DataSets open(const DataSettings& settings) { return open_data(settings, *node_); }
  std::string sentence(const DataSettings& settings) {
    try {
      const DataSets sets = open(settings);
      samples(*sets.train);
      return "no error";
    } catch (const std::exception& error) {
      EXPECT_EQ(exit_code_of(error), 64) << report(error);
      return report(error);
    }
  }

  /// Every row in file order.
  struct Samples {
    std::vector<float> features;
    std::vector<std::int64_t> classes;
    std::vector<float> values;
  };
  static Samples samples(const Dataset& set) {
    std::vector<std::uint64_t> rows(set.rows());
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<std::byte> features(rows.size() * set.shape().feature_bytes());
    std::vector<std::byte> labels(rows.size() * set.shape().label_bytes());
    set.gather(rows, features, labels);
    Samples all;
    all.features.resize(features.size() / 4);
    std::memcpy(all.features.data(), features.data(), features.size());
    if (set.shape().labels == DataShape::Labels::values) {
      all.values.resize(labels.size() / 4);
      std::memcpy(all.values.data(), labels.data(), labels.size());
    } else {
      all.classes.resize(labels.size() / 8);
      std::memcpy(all.classes.data(), labels.data(), labels.size());
    }
    return all;
  }

  /// An HDF5 file of `rows` rows {i, -i}, labels i % 3.
  std::string hdf5(std::uint64_t rows, const h5::Layout& layout = {}) {
    const std::string path = (root_ / "data.h5").string();
    auto file = h5::File::create(path);
    std::vector<float> features;
    std::vector<std::int32_t> labels;
    for (std::uint64_t i = 0; i < rows; ++i) {
      features.insert(features.end(), {static_cast<float>(i), -static_cast<float>(i)});
      labels.push_back(static_cast<std::int32_t>(i % 3));
    }
    file.create_dataset("/features", h5::Scalar::float32, {rows, 2}, layout)
        .write(std::as_bytes(std::span(features)), h5::Scalar::float32);
    file.create_dataset("/labels", h5::Scalar::int32, {rows})
        .write(std::as_bytes(std::span(labels)), h5::Scalar::int32);
    return path;
  }

  TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  std::unique_ptr<NodeGroup> node_ = solo_node_group();
};

inline std::string idx(std::vector<std::uint32_t> lengths, unsigned char code,
                       const std::string& payload) {
  std::string bytes{'\0', '\0', static_cast<char>(code), static_cast<char>(lengths.size())};
  for (const std::uint32_t length : lengths) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes += static_cast<char>(length >> shift & 0xff);
    }
  }
  return bytes + payload;
}

inline std::string npy(const std::string& type, const std::string& shape,
                       const std::string& payload) {
  std::string head =
      "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  head.resize((head.size() + 10 + 64) / 64 * 64 - 10, ' ');
  head.back() = '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(head.size() & 0xff) +
         static_cast<char>(head.size() >> 8) + head + payload;
}

}  // namespace muster::test
