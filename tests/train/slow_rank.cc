// A model whose passes take long on rank 1 of an mpirun, as on a machine that is slow.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "runtime/model/plugin.h"

namespace {

class SlowRank {
 public:
  SlowRank(muster::Builder& builder, const muster::DataShape& data,
           const muster::ModelOptions& /*options*/)
      : builder_(builder) {
    builder_.add_linear("layer", 64, data.classes);
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    is_slow_ = rank != nullptr && std::string_view(rank) == "1";
  }
  at::Tensor forward(const at::Tensor& features, const muster::Pass& pass) {
    if (is_slow_ && pass.training) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return builder_.linear("layer", features.flatten(1));
  }

 private:
  muster::Builder& builder_;
  bool is_slow_ = false;
};

}  // namespace

MUSTER_MODEL(SlowRank)
