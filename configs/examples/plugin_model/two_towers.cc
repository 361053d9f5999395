// A model of one's own: the left and the right half of the features each pass through a matrix
// before they meet. Build it with the CMakeLists.txt beside it; train it with job.ini. The option
// `width` sets the size of the towers. SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/cat.h>
#include <ATen/ops/relu.h>

#include <string>

#include "runtime/model/plugin.h"

namespace {

class TwoTowers {
 public:
  TwoTowers(muster::Builder& builder, const muster::DataShape& data,
            const muster::ModelOptions& options)
      : builder_(builder) {
    for (const std::int64_t length : data.features) {
      features_ *= length;
    }
    const auto found = options.find("width");
    const std::int64_t width = found == options.end() ? 32 : std::stoll(found->second);
    builder_.add_linear("left", features_ / 2, width);
    builder_.add_linear("right", features_ - features_ / 2, width);
    builder_.add_linear("head", 2 * width, data.classes);
  }

  at::Tensor forward(const at::Tensor& features, const muster::Pass& pass) {
    const at::Tensor x = features.flatten(1);
    const at::Tensor left = at::relu(builder_.linear("left", x.narrow(1, 0, features_ / 2)));
    const at::Tensor right =
        at::relu(builder_.linear("right", x.narrow(1, features_ / 2, features_ - features_ / 2)));
    return builder_.linear("head", builder_.dropout(at::cat({left, right}, 1), 0.1, pass, 0));
  }

 private:
  muster::Builder& builder_;
  std::int64_t features_ = 1;
};

}  // namespace

MUSTER_MODEL(TwoTowers)
