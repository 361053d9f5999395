// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/kept_model.h"

#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/model/export.h"

namespace muster {

void KeptModel::write() {
  trainer_.with_final_parameters(
      [this] { left_out_ = export_model(model_, directory_, forms_, notes_); });
}

void KeptModel::keep_best() {
  lost_best_.clear();
  try {
    write();
  } catch (const Error& error) {
    if (error.fault() != Fault::io) {
      throw;
    }
    lost_best_ = fmt::format("the best model so far, of step {}, was not written to {}: {}",
                             trainer_.step(), directory_.string(), report(error));
    log::warning(lost_best_ + "; training goes on");
  }
}

void KeptModel::require_best() const {
  if (!lost_best_.empty()) {
    throw Error(Fault::io,
                lost_best_ + "; a checkpoint has the last one: muster checkpoint export");
  }
}

void KeptModel::keep_last() {
  if (!posix_file_system().exists(directory_ / "model.h5")) {
    write();
  }
}

}  // namespace muster
