// SPDX-License-Identifier: Apache-2.0
// Synthetic data of any shape: features uniform in [-1, 1), labels from a fixed linear teacher plus
// noise. Row i is a function of (seed, i), so sets of any length begin alike. Tokens follow a noisy
// walk that a model can learn.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/data/table.h"

namespace muster {
namespace {

constexpr std::size_t teacher_length = 64;  // features that the labels depend on
constexpr std::uint64_t validation_rows_from = std::uint64_t{1} << 40;

class Teacher {
 public:
  Teacher(const DataSettings& settings, std::size_t features, std::int64_t outputs)
      : seed_(settings.seed), noise_(settings.noise), length_(std::min(features, teacher_length)) {
    Random random(settings.seed, 1);
    weights_.resize(static_cast<std::size_t>(outputs) * length_);
    std::ranges::generate(weights_, [&] { return random.normal(); });
  }

  double score(const float* features, std::size_t output, Random& random) const {
    double sum = 0;
    for (std::size_t i = 0; i < length_; ++i) {
      sum += weights_[output * length_ + i] * static_cast<double>(features[i]);
    }
    return sum / std::sqrt(static_cast<double>(length_) / 3) + noise_ * random.normal();
  }

  std::int64_t best(const float* features, std::int64_t classes, std::uint64_t row) const {
    Random random(seed_, 3 + row);
    std::int64_t best = 0;
    double most = -1e300;
    for (std::int64_t k = 0; k < classes; ++k) {
      if (const double value = score(features, static_cast<std::size_t>(k), random); value > most) {
        most = value;
        best = k;
      }
    }
    return best;
  }

  double value(const float* features, std::uint64_t row) const {
    Random random(seed_, 3 + row);
    return score(features, 0, random);
  }

 private:
  std::uint64_t seed_;
  double noise_;
  std::size_t length_;
  std::vector<double> weights_;
};

void draw_features(std::uint64_t seed, std::uint64_t row, std::size_t count, float* into) {
  for (std::size_t i = 0; i < count; i += 4) {
    const auto block = philox(mix(seed, 2), row, i);
    for (std::size_t j = i; j < std::min(i + 4, count); ++j) {
      into[j] = static_cast<float>(static_cast<double>(block[j - i] >> 8) * 0x1.0p-23 - 1);
    }
  }
}

void draw_tokens(const DataSettings& settings, std::uint64_t stream, std::int64_t vocabulary,
                 std::span<std::uint32_t> tokens) {
  Random random(settings.seed, stream);
  std::uint64_t token = 0;
  for (std::uint32_t& each : tokens) {
    const bool jumps = random.uniform() < settings.noise / 2;
    token = jumps ? random.below(static_cast<std::uint64_t>(vocabulary))
                  : (3 * token + 7) % static_cast<std::uint64_t>(vocabulary);
    each = static_cast<std::uint32_t>(token);
  }
}

std::uint64_t rows_of(const DataSettings& settings, const TableSource& source) {
  return source.is_validation ? settings.validation_rows : settings.rows;
}

Table make_tokens(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  const std::int64_t vocabulary = settings.vocabulary > 0 ? settings.vocabulary : 256;
  const std::uint64_t count =
      rows_of(settings, source) * static_cast<std::uint64_t>(settings.context) + 1;
  auto memory = filled_once(node, count * sizeof(std::uint32_t), [&](std::span<std::byte> into) {
    draw_tokens(settings, source.is_validation ? 2 : 1, vocabulary,
                {reinterpret_cast<std::uint32_t*>(into.data()), count});
  });
  const std::byte* base = memory->bytes().data() + 4096;
  const ColumnInfo info{
      .name = "synthetic tokens", .scalar = h5::Scalar::uint32, .row_shape = {}, .rows = count};
  Table table;
  table.features = std::make_unique<MemoryColumn>(info, base, sizeof(std::uint32_t),
                                                  std::move(memory), "resident");
  table.classes = vocabulary;
  return table;
}

}  // namespace

Table make_synthetic(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  if (settings.task == "tokens") {
    return make_tokens(settings, source, node);
  }
  const h5::Shape shape =
      parse_shape(settings.shape.empty() ? "784" : settings.shape, "data.shape");
  const bool has_values = settings.task == "values";
  const std::int64_t classes = has_values ? 0 : settings.classes > 0 ? settings.classes : 10;
  const std::size_t width = h5::elements_of(shape);
  ColumnInfo features{.name = "synthetic features",
                      .scalar = h5::Scalar::float32,
                      .row_shape = shape,
                      .rows = rows_of(settings, source)};
  ColumnInfo labels{.name = "synthetic labels",
                    .scalar = has_values ? h5::Scalar::float64 : h5::Scalar::int64,
                    .row_shape = {},
                    .rows = features.rows};
  const std::size_t labels_at = (features.bytes() + 7) / 8 * 8;
  std::shared_ptr<SharedMemory> memory =
      filled_once(node, labels_at + labels.bytes(), [&](std::span<std::byte> into) {
        const Teacher teacher(settings, width, has_values ? 1 : classes);
        for (std::uint64_t i = 0; i < features.rows; ++i) {
          const std::uint64_t row = source.is_validation ? validation_rows_from + i : i;
          auto* values = reinterpret_cast<float*>(into.data()) + i * width;
          draw_features(settings.seed, row, width, values);
          std::byte* label = into.data() + labels_at + 8 * i;
          if (has_values) {
            const double value = teacher.value(values, row);
            std::memcpy(label, &value, 8);
          } else {
            const std::int64_t best = teacher.best(values, classes, row);
            std::memcpy(label, &best, 8);
          }
        }
      });
  const std::byte* base = memory->bytes().data() + 4096;
  Table table;
  table.features =
      std::make_unique<MemoryColumn>(features, base, features.row_bytes(), memory, "resident");
  table.labels = std::make_unique<MemoryColumn>(labels, base + labels_at, 8, memory, "resident");
  table.classes = classes;
  return table;
}

}  // namespace muster
