/// What our own GPU kernels are told, as plain structs: one a kernel. Pointers are memory of the
/// GPU (of the host, for the stand-in) unless said otherwise. Everything that varies from step to
/// step lies in a StepState on the GPU, so that a captured graph can be played again and again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/comm/buffer.h"

namespace muster {

/// The scalars of a training step that live on the GPU. decide() is the only writer.
struct StepState {
  std::uint64_t step = 0;        ///< steps done, skipped ones included
  std::uint64_t updates = 0;     ///< steps that updated
  float loss_scale = 1;          ///< what the loss is multiplied by before backward
  std::uint32_t good_steps = 0;  ///< since the scale last changed
  // What this step's update does, as decide() found.
  float factor = 1;  ///< the gradient times this: 1 / loss_scale, and the clip
  float rate = 0;
  float first_correction = 1;   ///< 1 / (1 - beta1^t)
  float second_correction = 1;  ///< 1 / sqrt(1 - beta2^t)
  float ema_keep = 0;
  std::uint32_t skips = 0;  ///< 1: nothing is updated
};

/// What the host hears of a step. Written to pinned memory, at slot step % count.
struct StepResult {
  std::uint64_t step = 0;  ///< the one that ended, counted from 1
  double loss = 0;         ///< of the whole batch
  double norm = 0;         ///< of the gradient, unscaled
  float loss_scale = 1;    ///< that this step ran with
  std::uint32_t skipped = 0;
};

/// What the ranks sum, each step.
struct StepNotes {
  double loss = 0;
  double squares = 0;  ///< of the scaled gradient; not finite where an element is not
};

/// A part of the arena that one block works on; it lies in one segment.
struct Chunk {
  std::uint64_t at = 0;        ///< element of the arena
  std::uint64_t state_at = 0;  ///< element of the optimiser's state (a shard's own, with ZeRO-1)
  std::uint32_t count = 0;
  std::uint32_t decays = 1;
  float rate_factor = 1;
};

/// Copies tensors into flat memory: to[offset + i] = from[i] (+ add[offset + i]). One launch.
struct PackPiece {
  const void* from = nullptr;  ///< null: zeros
  DType type = DType::float32;
  std::uint64_t offset = 0;
  std::uint64_t count = 0;
};
struct PackJob {
  std::span<const PackPiece> pieces;  ///< on the host: copied into the launch
  void* to = nullptr;
  DType to_type = DType::float32;
  const float* add = nullptr;  ///< sums of earlier parts of the batch
};

/// Says what the update does, and closes the step: rate, corrections, clip, loss scale, skip.
struct DecideJob {
  StepState* state = nullptr;
  const StepNotes* notes = nullptr;
  StepResult* results = nullptr;  ///< pinned
  std::uint64_t result_count = 1;
  const float* rates = nullptr;  ///< on the GPU, that of a step at step % count
  std::uint64_t rate_count = 1;  ///< a power of two
  double clip_norm = 0;          ///< 0: none
  bool corrects = true;  ///< by Adam's powers of the betas, which one thread takes a while for
  double beta1 = 0.9;
  double beta2 = 0.999;
  double ema = 0;
  bool scales_loss = false;
  std::uint32_t growth_every = 2000;  ///< good steps until the scale doubles
};

/// notes.squares = sum of squares of the chunks' gradients, notes.loss = factor times the sum of
/// the losses; in a fixed order. The last block of the launch adds up; where nobody else has to be
/// asked, it decides as well.
struct NormJob {
  const void* gradients = nullptr;
  DType type = DType::float32;
  const Chunk* chunks = nullptr;
  std::uint64_t chunk_count = 0;
  double* partial = nullptr;         ///< 2 * blocks() of them
  std::uint32_t* arrived = nullptr;  ///< blocks that are done; 0 between launches
  const float* losses = nullptr;
  std::uint64_t loss_count = 0;
  double loss_factor = 1;
  StepNotes* notes = nullptr;
  bool decides = false;
  DecideJob decide;
  /// A rank without chunks (all of its part is padding) still has losses.
  constexpr std::uint64_t blocks() const { return chunk_count == 0 ? 1 : chunk_count; }
};
/// Both at once, where nothing is exchanged between them: a short step is as long as it has
/// kernels. `pack` writes all that `norm` reads; partial has room for 2 * blocks() numbers.
struct PackNormJob {
  static constexpr std::size_t most_pieces = 64;
  static constexpr std::uint64_t piece_part = 2048;  ///< of a block: little ones keep a card busy
  PackJob pack;
  NormJob norm;
  constexpr std::uint64_t blocks() const {
    std::uint64_t sum = 0;
    for (const PackPiece& piece : pack.pieces) {
      sum += (piece.count + piece_part - 1) / piece_part;
    }
    return sum;
  }
};
/// What goes back to z = product + bias, from what comes back behind z; and its sums over rows, the
/// bias's gradient.
struct BiasBackwardJob {
  enum class Kind : std::uint8_t {
    rectified,  ///< from y = max(0, z): `kept` is y
    gelu,       ///< from gelu(z), by its tanh form: `kept` is z
    split,      ///< from three parts of z, side by side, which come back apart
    head,       ///< from y = max(0, z) through a small layer behind it: `kept` is y
  };
  static constexpr std::uint64_t most_outputs = 16;  ///< of that layer
  Kind kind = Kind::rectified;
  /// [rows, width] each, or the parts, or [rows, outputs] of the layer behind.
  std::array<const void*, 3> gradients{};
  const void* kept = nullptr;
  void* to = nullptr;
  DType type = DType::float32;
  float* bias_gradient = nullptr;
  float* partial = nullptr;  ///< parts * width floats; not used by one part
  std::uint64_t parts = 1;
  std::uint64_t rows = 0;
  std::uint64_t width = 0;
  // The layer behind, float32 and in one part: a short step is as long as it has kernels.
  std::uint64_t outputs = 0;
  const float* weight = nullptr;           ///< [outputs, width]
  float* weight_gradient = nullptr;        ///< likewise
  float* outputs_bias_gradient = nullptr;  ///< [outputs]
};

/// The optimiser over the chunks, in one pass, with the state's scalars. The rules are those of
/// runtime/train/kernels.h.
struct UpdateJob {
  enum class Kind : std::uint8_t { sgd, momentum, nesterov, adam, adamw };
  Kind kind = Kind::sgd;
  const StepState* state = nullptr;
  const Chunk* chunks = nullptr;
  std::uint64_t chunk_count = 0;
  const void* gradients = nullptr;
  DType type = DType::float32;
  float* parameters = nullptr;
  std::array<float*, 2> slots{};
  float* average = nullptr;  ///< null: none is kept
  float momentum = 0;
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float decay = 0;
  /// What the step's passes moved before it was known whether it is skipped (running statistics):
  /// put back as it was kept where it is, else kept for the next step. In words of 4 bytes, whole
  /// 16-byte accesses.
  static constexpr std::uint64_t moved_part = 2048;  ///< of a block
  std::uint32_t* moved = nullptr;
  std::uint32_t* kept = nullptr;
  std::uint64_t moved_count = 0;
  constexpr std::uint64_t moved_parts() const {
    return (moved_count + moved_part - 1) / moved_part;
  }
};

/// The order of an epoch: that of runtime/data/order.h for the same key.
struct OrderJob {
  std::uint32_t* to = nullptr;
  std::uint64_t rows = 0;
  std::uint64_t key = 0;
  bool shuffles = true;
};

/// Rows of a data set that lies on the GPU: to[i] = rows[order[first + i]], where `first` follows
/// from the step, and their labels likewise. Images may be shifted (zeros come in) and mirrored, by
/// random numbers keyed by (seed, step, place).
struct GatherJob {
  const StepState* state = nullptr;
  const void* rows = nullptr;
  const std::uint32_t* order = nullptr;  ///< of the epoch; null: the rows are these, in order
  void* to = nullptr;
  std::uint64_t row_bytes = 0;  ///< whole 4-byte words, as label_bytes
  const void* labels = nullptr;
  void* labels_to = nullptr;
  std::uint64_t label_bytes = 0;
  std::uint64_t count = 0;
  std::uint64_t steps_per_epoch = 1;
  std::uint64_t batch = 0;       ///< global: positions a step moves on by
  std::uint64_t first_part = 0;  ///< where this rank's part begins in a batch
  // Images of float32 [channels, height, width] alone:
  std::uint32_t channels = 0;
  std::uint32_t height = 0;
  std::uint32_t width = 0;
  std::uint32_t crop_padding = 0;  ///< shifted by up to this many pixels each way
  bool flips = false;
  std::uint64_t seed = 0;
};

/// Softmax cross-entropy of rows of logits: adds the mean-of-positions loss to losses[row], and
/// leaves the gradient where the logits were, so that they exist once.
struct CrossEntropyJob {
  void* logits = nullptr;
  DType type = DType::float32;
  const std::int64_t* labels = nullptr;  ///< a negative one is left out
  float* losses = nullptr;               ///< one a row
  std::uint64_t rows = 0;
  std::uint64_t classes = 0;
  std::uint64_t stride = 0;   ///< elements from row to row
  std::uint64_t padding = 0;  ///< columns behind the classes, whose gradient is 0
  float smoothing = 0;
  float scale = 1;  ///< of loss and gradient: one over the values of a sample
  const float* gradient_scale =
      nullptr;  ///< one number: the loss's own gradient. Null: no gradient
};

/// sum = x + x_bias + residual; y = (sum - mean) * inverse * weight + bias, row by row.
struct AddNormJob {
  const void* x = nullptr;
  const float* x_bias = nullptr;   ///< null: none; else there is a residual
  const void* residual = nullptr;  ///< null: none, and `sum` is not written
  void* sum = nullptr;
  void* y = nullptr;
  DType type = DType::float32;  ///< of x, residual, sum and y
  const float* weight = nullptr;
  const float* bias = nullptr;
  float* mean = nullptr;
  float* inverse = nullptr;
  std::uint64_t rows = 0;
  std::uint64_t width = 0;
  float epsilon = 1e-5F;
};

/// Its backward: to = (gradient of the norm's input) + add; weight and bias by parts of the rows,
/// which a second launch adds up.
struct AddNormBackwardJob {
  const void* gradient = nullptr;  ///< of y
  const void* add = nullptr;       ///< of sum, from further on; null: none
  const void* input = nullptr;     ///< sum
  void* to = nullptr;
  DType type = DType::float32;
  const float* weight = nullptr;
  const float* mean = nullptr;
  const float* inverse = nullptr;
  float* weight_gradient = nullptr;
  float* bias_gradient = nullptr;
  float* x_bias_gradient = nullptr;  ///< null: not asked for; the sums of `to`
  float* partial = nullptr;          ///< parts * 3 * width floats
  std::uint64_t parts = 1;           ///< blocks that the rows are divided among
  std::uint64_t rows = 0;
  std::uint64_t width = 0;
};

/// Batch norm of images whose channels lie last, as rows of channels, a whole number of 16-byte
/// accesses each: y = rectified((x - mean) * inverse * weight + bias + residual). Moves the running
/// statistics.
struct ImageNormJob {
  const void* x = nullptr;
  const void* residual = nullptr;  ///< null: none
  void* y = nullptr;
  DType type = DType::float32;  ///< of x, residual and y
  const float* weight = nullptr;
  const float* bias = nullptr;
  float* running_mean = nullptr;
  float* running_variance = nullptr;
  float momentum = 0.1F;
  float* mean = nullptr;  ///< of this batch, as inverse
  float* inverse = nullptr;
  float* partial = nullptr;  ///< parts * 2 * channels floats
  std::uint64_t parts = 1;   ///< blocks that the rows are divided among
  std::uint64_t rows = 0;
  std::uint64_t channels = 0;
  float epsilon = 1e-5F;
  bool rectifies = true;
};

/// Its backward.
struct ImageNormBackwardJob {
  const void* gradient = nullptr;  ///< of y
  const void* other = nullptr;     ///< another one, to be added; null: none. With residual_to only
  const void* x = nullptr;
  const void* y = nullptr;  ///< where something was added; null: what was cut off follows from x
  void* to = nullptr;
  void* residual_to = nullptr;  ///< null: nothing was added
  DType type = DType::float32;
  const float* weight = nullptr;
  const float* bias = nullptr;
  const float* mean = nullptr;
  const float* inverse = nullptr;
  float* weight_gradient = nullptr;
  float* bias_gradient = nullptr;
  float* partial = nullptr;
  std::uint64_t parts = 1;
  std::uint64_t rows = 0;
  std::uint64_t channels = 0;
  bool rectifies = true;
};

/// Max-pooling of images whose channels lie last, with a step of 2.
struct PoolShape {
  std::uint64_t images = 0;
  std::uint32_t height = 1;
  std::uint32_t width = 1;
  std::uint32_t channels = 0;  ///< whole 16-byte accesses
  std::uint32_t side = 3;      ///< of a window: 3 with a margin of 1, or 2 without
  constexpr std::uint32_t rows_out() const { return (height + side - 4) / 2 + 1; }
  constexpr std::uint32_t columns_out() const { return (width + side - 4) / 2 + 1; }
};
struct PoolJob {
  PoolShape shape;
  const void* x = nullptr;
  const float* bias = nullptr;  ///< of channels; null: none, else y = max(0, maximum + bias)
  void* y = nullptr;
  std::uint8_t* chosen = nullptr;  ///< of each output, where in its window it came from
  DType type = DType::float32;
};
struct PoolBackwardJob {
  PoolShape shape;
  const void* gradient = nullptr;
  const std::uint8_t* chosen = nullptr;
  void* to = nullptr;
  DType type = DType::float32;
};

/// to = gelu(x), by its tanh form.
struct GeluJob {
  const void* x = nullptr;
  void* to = nullptr;
  DType type = DType::float32;
  std::uint64_t count = 0;
};

/// to = x * mask, the mask of runtime/model/random_fill.h for key mix(mix(mix(seed, step), lane,
/// part), place), with the step on the GPU. Its own backward.
struct DropoutJob {
  const StepState* state = nullptr;
  const void* x = nullptr;
  void* to = nullptr;
  DType type = DType::float32;
  std::uint64_t count = 0;
  double share = 0;
  std::uint64_t seed = 0;
  std::uint64_t lane = 0;
  std::uint64_t part = 0;
  std::uint64_t place = 0;
};

}  // namespace muster
