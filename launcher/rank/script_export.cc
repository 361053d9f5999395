// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/script_export.h"

#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/job.h"
#include "runtime/config/load.h"
#include "runtime/model/export.h"
#include "runtime/model/model.h"
#include "runtime/model/torchscript.h"
#include "runtime/train/fingerprint.h"

namespace muster {

int script_export(const std::vector<std::string>& words) {
  require(words.size() == 6,
          "--torchscript takes config.ini, weights, a file, samples, and their scale and shift");
  JobSettings job;
  Keys keys;
  describe(keys, job);
  load(keys, {.file = words[0], .environment = {}, .arguments = {}});
  job.model.init = words[1];
  job.model.init_map.clear();
  job.model.init_skip.clear();
  const auto model = make_model(job.model, sample_from(words[3]), job.train.seed);
  const Path output = words[2];
  const Path part = output.string() + ".part";
  if (!save_torchscript(*model, part, notes_on(sample_from(words[3]), words[4], words[5]))) {
    throw Error(Fault::bad_input,
                fmt::format("model.kind = {} cannot be written as TorchScript; export safetensors "
                            "and load them into the model",
                            job.model.kind));
  }
  posix_file_system().open(part, OpenMode::read_write)->sync();
  posix_file_system().rename(part, output);
  return exit_finished;
}

}  // namespace muster
