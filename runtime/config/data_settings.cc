// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/data_settings.h"

#include "runtime/config/keys.h"

namespace muster {
namespace {

void add_source_keys(Keys& keys, DataSettings& data) {
  keys.add("data.path", data.path, "A file; a folder for CIFAR and IDX").placeholder("PATH");
  keys.add("data.format", data.format, "How it is read")
      .one_of({"auto", "hdf5", "idx", "cifar10", "cifar100", "csv", "npy", "tokens", "synthetic"});
  keys.add("data.labels", data.labels, "idx, npy: the file of labels").placeholder("PATH");
  keys.add("data.features_name", data.features_name, "hdf5: data set of the inputs");
  keys.add("data.labels_name", data.labels_name, "hdf5: data set of the labels");
  keys.add("data.validation", data.validation, "The validation set, like data.path, or 'same'")
      .placeholder("PATH");
  keys.add("data.validation_labels", data.validation_labels, "Its labels").placeholder("PATH");
  keys.add("data.validation_features_name", data.validation_features_name, "hdf5: its inputs");
  keys.add("data.validation_labels_name", data.validation_labels_name, "hdf5: its labels");
  keys.add("data.validation_fraction", data.validation_fraction,
           "Share of the rows drawn for validation, without data.validation")
      .at_least(0)
      .below(1);
  keys.add("data.split_seed", data.split_seed, "Of that draw");
}

void add_meaning_keys(Keys& keys, DataSettings& data) {
  keys.add("data.task", data.task, "What labels mean")
      .one_of({"auto", "classes", "values", "tokens"});
  keys.add("data.classes", data.classes, "0: from the file").at_least(0);
  keys.add("data.shape", data.shape, "Of one sample, '1 28 28' [from the file]");
  keys.add("data.normalize", data.normalize, "Of inputs")
      .one_of({"auto", "none", "unit", "standard"});
  keys.add("data.mean", data.mean, "By channel, instead: '0.485 0.456 0.406'");
  keys.add("data.deviation", data.deviation, "By channel");
  keys.add("data.check_values", data.check_values, "NaN and infinities are errors");
  keys.add("data.label_column", data.label_column, "csv: first, last, a number or a name");
  keys.add("data.separator", data.separator, "csv");
  keys.add("data.context", data.context, "tokens: positions of a sample").at_least(1);
  keys.add("data.vocabulary", data.vocabulary, "tokens: 0 is the largest + 1").at_least(0);
  keys.add("data.token_type", data.token_type, "tokens").one_of({"uint16", "uint32"});
  keys.add("data.rows", data.rows, "synthetic: samples").at_least(1);
  keys.add("data.validation_rows", data.validation_rows, "synthetic: validation samples");
  keys.add("data.noise", data.noise, "synthetic: of the labels; 0 is exactly learnable")
      .at_least(0);
  keys.add("data.seed", data.seed, "synthetic");
}

void add_reading_keys(Keys& keys, DataSettings& data) {
  keys.add("data.tier", data.tier, "In memory, mapped, or in shuffled blocks")
      .one_of({"auto", "resident", "mapped", "blocked"});
  keys.add_bytes("data.resident_bytes", data.resident_bytes,
                 "auto keeps sets up to this in memory");
  keys.add("data.block_rows", data.block_rows, "blocked: 0 is the chunk's rows, or 1024")
      .at_least(0);
  keys.add("data.window_blocks", data.window_blocks, "blocked: blocks shuffled together")
      .at_least(1);
  keys.add("data.drop_last", data.drop_last, "Leave out the last, ragged batch of an epoch");
  keys.add("data.prefetch", data.prefetch, "Batches read ahead").at_least(0).may_change();
}

}  // namespace

void add_data_keys(Keys& keys, DataSettings& settings) {
  keys.section("data", "What it learns from");
  add_source_keys(keys, settings);
  add_meaning_keys(keys, settings);
  add_reading_keys(keys, settings);
}

}  // namespace muster
