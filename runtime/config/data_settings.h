/// DataSettings: the [data] section of a job: where the samples are, what they mean, how they are
/// read. Plain values; runtime/data opens them and says what is wrong with them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace muster {

class Keys;

struct DataSettings {
  std::string path;             ///< a file; a directory for CIFAR; a folder of digits
  std::string format = "auto";  ///< auto, hdf5, idx, cifar10, cifar100, csv, npy, tokens, synthetic
  std::string labels;           ///< the file of labels, for idx and npy
  std::string features_name = "features";  ///< data set of an HDF5 file
  std::string labels_name = "labels";
  std::string
      validation;  ///< as `path`, of the validation set; "same" reads other names of one HDF5 file
  std::string validation_labels;
  std::string validation_features_name = "validation/features";
  std::string validation_labels_name = "validation/labels";
  double validation_fraction =
      0;  ///< share of the rows set apart by a keyed draw, when `validation` is empty
  std::uint64_t split_seed = 0;
  std::string task = "auto";  ///< auto, classes, values: what labels mean
  std::int64_t classes = 0;   ///< 0: from the file, or the largest label + 1
  std::string shape;          ///< of one sample: "1 28 28"; empty: from the file
  std::string normalize =
      "auto";  ///< auto (bytes to 0..1), none, unit, standard (by channel, from the training rows)
  std::string mean;  ///< by channel, instead: "0.485 0.456 0.406"
  std::string deviation;
  bool check_values = true;  ///< NaN and infinities are errors
  // CSV
  std::string label_column = "last";  ///< first, last, a number from 0, or a name of the header
  std::string separator = ",";
  // tokens
  std::int64_t context = 128;         ///< positions of a sample
  std::int64_t vocabulary = 0;        ///< 0: largest token + 1
  std::string token_type = "uint16";  ///< uint16, uint32
  // synthetic
  std::uint64_t rows = 1024;
  std::uint64_t validation_rows = 0;
  double noise = 0.5;  ///< of the synthetic labels: 0 is exactly learnable
  std::uint64_t seed = 0;
  // reading
  std::string tier = "auto";  ///< auto, resident, mapped, blocked
  std::uint64_t resident_bytes = std::uint64_t{2}
                                 << 30;  ///< auto keeps sets up to this size in memory
  std::int64_t block_rows = 0;           ///< 0: the chunk's rows, or 1024
  std::int64_t window_blocks = 32;
  int prefetch = 2;        ///< batches ahead
  bool drop_last = false;  ///< the last, ragged batch of an epoch
};

void add_data_keys(Keys& keys, DataSettings& settings);

}  // namespace muster
