/// KeptModel: what a run leaves in model/: the best so far, or the last where nothing was judged.
/// Rank 0's. A disk that is full ends no training: what it lost is said at the end, as an error.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/model/model.h"
#include "runtime/model/weights.h"
#include "runtime/train/trainer.h"

namespace muster {

class KeptModel {
 public:
  /// `forms` of files, as train.save has them. References must outlive it.
  KeptModel(Trainer& trainer, const Model& model, Path directory, std::vector<std::string> forms,
            ModelNotes notes)
      : trainer_(trainer),
        model_(model),
        directory_(std::move(directory)),
        forms_(std::move(forms)),
        notes_(std::move(notes)) {}

  void keep_best();
  /// Throws io when the best model could not be written.
  void require_best() const;
  /// Writes the model as it is, unless there is one.
  void keep_last();
  /// Which of its forms the model does not have, as sentences.
  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  void write();

  Trainer& trainer_;
  const Model& model_;
  Path directory_;
  std::vector<std::string> forms_;
  ModelNotes notes_;
  std::vector<std::string> left_out_;
  std::string lost_best_;  // why the best model so far is not in model/
};

}  // namespace muster
