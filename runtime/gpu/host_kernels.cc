// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/host_kernels.h"

#include "runtime/gpu/by_type.h"
#include "runtime/gpu/image_norm_bodies.h"
#include "runtime/gpu/input_bodies.h"
#include "runtime/gpu/layer_bodies.h"
#include "runtime/gpu/norm_bodies.h"
#include "runtime/gpu/pool_bodies.h"
#include "runtime/gpu/update_bodies.h"

namespace muster::host_kernels {
namespace {

struct TeamOfOne {
  static std::uint64_t rank() { return 0; }
  static std::uint64_t size() { return 1; }
  template <class T>
  static T sum(T value) {
    return value;
  }
  static float max(float value) { return value; }
  static void barrier() {}
};
constexpr TeamOfOne team;

}  // namespace

void run(const PackJob& job) {
  for (const PackPiece& piece : job.pieces) {
    by_type(piece.type, [&](auto* from) {
      by_type(job.to_type, [&](auto* to) {
        using From = std::remove_pointer_t<decltype(from)>;
        using To = std::remove_pointer_t<decltype(to)>;
        bodies::pack(team, static_cast<const From*>(piece.from),
                     static_cast<To*>(job.to) + piece.offset,
                     job.add == nullptr ? nullptr : job.add + piece.offset, piece.count);
      });
    });
  }
}

void run(const NormJob& job) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (std::uint64_t i = 0; i < job.blocks(); ++i) {
      bodies::norm_part(team, job, static_cast<const T*>(job.gradients), i);
    }
  });
  bodies::sum_parts(team, job, job.blocks());
  if (job.decides) {
    bodies::decide(job.decide);
  }
}

void run(const DecideJob& job) {
  bodies::decide(job);
}

void run(const UpdateJob& job) {
  by_type(job.type, [&](auto* type) {
    for (std::uint64_t i = 0; i < job.chunk_count; ++i) {
      bodies::update<std::remove_pointer_t<decltype(type)>>(team, job, job.chunks[i]);
    }
  });
  for (std::uint64_t part = 0; part < job.moved_parts(); ++part) {
    bodies::settle_moved(team, job, part);
  }
}

void run(const OrderJob& job) {
  for (std::uint64_t i = 0; i < job.rows; ++i) {
    bodies::order(job, i);
  }
}

void run(const GatherJob& job) {
  for (std::uint64_t row = 0; row < job.count; ++row) {
    bodies::gather(team, job, row, 0, 1);
  }
}

void run(const CrossEntropyJob& job) {
  by_type(job.type, [&](auto* type) {
    for (std::uint64_t row = 0; row < job.rows; ++row) {
      bodies::cross_entropy<std::remove_pointer_t<decltype(type)>>(team, job, row);
    }
  });
}

void run(const AddNormJob& job) {
  by_type(job.type, [&](auto* type) {
    for (std::uint64_t row = 0; row < job.rows; ++row) {
      bodies::add_norm<std::remove_pointer_t<decltype(type)>>(team, job, row);
    }
  });
}

void run(const AddNormBackwardJob& job) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (std::uint64_t row = 0; row < job.rows; ++row) {
      bodies::add_norm_backward_row<T>(team, job, row);
    }
    for (std::uint64_t part = 0; part < job.parts; ++part) {
      bodies::norm_weights_part<T>(team, job, part);
    }
  });
  for (std::uint64_t column = 0; column < job.width; ++column) {
    const auto sums = bodies::column_slice<3>(job.partial, job.width, job.parts, column, 0, 1);
    job.weight_gradient[column] = sums.of[0];
    job.bias_gradient[column] = sums.of[1];
    if (job.x_bias_gradient != nullptr) {
      job.x_bias_gradient[column] = sums.of[2];
    }
  }
}

void run(const ImageNormJob& job) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (std::uint64_t part = 0; part < job.parts; ++part) {
      bodies::image_norm_part<T>(team, nullptr, job, part);
    }
    for (std::uint64_t i = 0; i < job.channels; ++i) {
      const auto sums = bodies::column_slice<2>(job.partial, job.channels, job.parts, i, 0, 1);
      bodies::image_norm_finish<T>(job, i, sums.of[0], sums.of[1]);
    }
    for (std::uint64_t part = 0; part < job.parts; ++part) {
      bodies::image_norm_apply<T>(team, job, part);
    }
  });
}

void run(const ImageNormBackwardJob& job) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (std::uint64_t part = 0; part < job.parts; ++part) {
      bodies::image_norm_backward_part<T>(team, nullptr, job, part);
    }
    for (std::uint64_t i = 0; i < job.channels; ++i) {
      const auto sums = bodies::column_slice<2>(job.partial, job.channels, job.parts, i, 0, 1);
      job.bias_gradient[i] = sums.of[0];
      job.weight_gradient[i] = sums.of[1];
    }
    for (std::uint64_t part = 0; part < job.parts; ++part) {
      bodies::image_norm_backward_apply<T>(team, job, part);
    }
  });
}

void run(const PackNormJob& job) {
  run(job.pack);
  run(job.norm);
}

namespace {

void run_head(const BiasBackwardJob& job) {
  for (std::uint64_t column = 0; column < job.width; ++column) {
    bodies::HeadSums sums;
    bodies::head_backward(job, column, 0, 1, sums);
    job.bias_gradient[column] = sums.bias;
    for (std::uint64_t k = 0; k < job.outputs; ++k) {
      job.weight_gradient[k * job.width + column] = sums.weight[k];
    }
  }
  for (std::uint64_t k = 0; k < job.outputs; ++k) {
    job.outputs_bias_gradient[k] = bodies::head_bias(job, k, 0, 1);
  }
}

}  // namespace

void run(const BiasBackwardJob& job) {
  if (job.kind == BiasBackwardJob::Kind::head) {
    run_head(job);
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (std::uint64_t column = 0; column < job.width; ++column) {
      float sum[1]{};  // NOLINT(modernize-avoid-c-arrays)
      bodies::bias_backward<T, 1>(job, column, 0, 1, job.rows, sum);
      job.bias_gradient[column] = sum[0];
    }
  });
}

void run(const PoolJob& job) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (std::uint64_t row = 0; row < job.shape.images * job.shape.rows_out(); ++row) {
      job.shape.side == 2 ? bodies::pool_row<T, 2>(team, job, row)
                          : bodies::pool_row<T, 3>(team, job, row);
    }
  });
}

void run(const PoolBackwardJob& job) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for (std::uint64_t row = 0; row < job.shape.images * job.shape.height; ++row) {
      job.shape.side == 2 ? bodies::pool_backward_row<T, 2>(team, job, row)
                          : bodies::pool_backward_row<T, 3>(team, job, row);
    }
  });
}

void run(const GeluJob& job) {
  by_type(job.type, [&](auto* type) {
    for (std::uint64_t i = 0; i < job.count; ++i) {
      bodies::gelu<std::remove_pointer_t<decltype(type)>, 1>(job, i);
    }
  });
}

void run(const DropoutJob& job) {
  const std::uint64_t key = bodies::dropout_key(job);
  by_type(job.type, [&](auto* type) {
    for (std::uint64_t block = 0; 4 * block < job.count; ++block) {
      bodies::dropout<std::remove_pointer_t<decltype(type)>>(job, key, block);
    }
  });
}

}  // namespace muster::host_kernels
