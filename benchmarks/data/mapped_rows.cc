// Rows of a contiguous HDF5 data set in random order, page cache warm: through Muster's mapped tier
// (checked and normalised float32, as training gets them), against one H5Dread a row into the same
// memory. One thread, rounds interleaved, medians.
//   bench_mapped_rows [DIRECTORY for a file of 307 MB, default /tmp]
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/config/data_settings.h"
#include "runtime/data/dataset.h"
#include "runtime/data/hdf5.h"

namespace muster {
namespace {

constexpr std::uint64_t rows = 100'000;
constexpr std::uint64_t width = 768;  // float32: 3072 bytes a row
constexpr std::uint64_t batch = 64;
constexpr int rounds = 9;

void write_file(const std::string& path) {
  auto file = h5::File::create(path);
  auto features = file.create_dataset("/features", h5::Scalar::float32, {rows, width});
  std::vector<float> block(1000 * width);
  for (std::uint64_t first = 0; first < rows; first += 1000) {
    std::iota(block.begin(), block.end(), static_cast<float>(first));
    features.write_rows(first, 1000, std::as_bytes(std::span(block)), h5::Scalar::float32);
  }
  const std::vector<std::uint8_t> labels(rows, 1);
  file.create_dataset("/labels", h5::Scalar::uint8, {rows})
      .write(std::as_bytes(std::span(labels)), h5::Scalar::uint8);
}

double seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// The peer: identifiers opened once, one selection and one H5Dread a row.
class DirectReader {
 public:
  explicit DirectReader(const std::string& path)
      : file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)),
        dataset_(H5Dopen2(file_, "/features", H5P_DEFAULT)),
        space_(H5Dget_space(dataset_)),
        memory_(H5Screate_simple(1, &width_, nullptr)) {}
  ~DirectReader() {
    H5Sclose(memory_);
    H5Sclose(space_);
    H5Dclose(dataset_);
    H5Fclose(file_);
  }
  DirectReader(const DirectReader&) = delete;
  DirectReader& operator=(const DirectReader&) = delete;

  void read(std::uint64_t row, float* into) const {
    const hsize_t start[2] = {row, 0};
    const hsize_t count[2] = {1, width};
    H5Sselect_hyperslab(space_, H5S_SELECT_SET, start, nullptr, count, nullptr);
    require(H5Dread(dataset_, H5T_NATIVE_FLOAT, memory_, space_, H5P_DEFAULT, into) >= 0,
            "H5Dread failed");
  }

 private:
  static constexpr hsize_t width_ = width;
  hid_t file_, dataset_, space_, memory_;
};

void run(const std::string& path) {
  write_file(path);
  const auto node = solo_node_group();
  const DataSets sets = open_data({.path = path, .normalize = "none", .tier = "mapped"}, *node);
  const DirectReader direct(path);
  std::vector<float> features(batch * width);
  std::vector<float> other(batch * width);
  std::vector<std::byte> labels(batch * 8);
  std::vector<std::uint64_t> picked(batch);
  auto each_batch = [&](std::uint64_t epoch, const std::function<void()>& take) {
    const SampleOrder order(rows, 1, epoch);
    for (std::uint64_t first = 0; first + batch <= rows; first += batch) {
      for (std::uint64_t i = 0; i < batch; ++i) {
        picked[i] = order(first + i);
      }
      take();
    }
  };
  auto mapped = [&] {
    sets.train->gather(picked, std::as_writable_bytes(std::span(features)), labels);
  };
  auto one_by_one = [&] {
    for (std::uint64_t i = 0; i < batch; ++i) {
      direct.read(picked[i], other.data() + i * width);
    }
  };
  each_batch(0, [&] {  // warms the cache, and holds both to the same rows
    mapped();
    one_by_one();
    require(features == other, "the two ways differ");
  });
  std::vector<double> mapped_times, direct_times, ratios;
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    mapped_times.push_back(seconds([&] { each_batch(round, mapped); }));
    direct_times.push_back(seconds([&] { each_batch(round, one_by_one); }));
    ratios.push_back(direct_times.back() / mapped_times.back());
  }
  auto line = [](const char* name, double time) {
    fmt::print("| {} | {:.0f} k | {:.2f} |\n", name, rows / time / 1e3,
               rows * width * 4 / time / 1e9);
  };
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  fmt::print(
      "{} rows of {} float32, random order, page cache warm, 1 thread, medians of {} interleaved "
      "rounds, HDF5 {}.{}.{}\n",
      rows, width, rounds, major, minor, release);
  fmt::print("| way | rows/s | GB/s |\n|---|---|---|\n");
  line("mapped (labels, checks and keyed order included)", median(mapped_times));
  line("one H5Dread a row (keyed order included)", median(direct_times));
  fmt::print("ratio {:.1f} (rounds {:.1f} to {:.1f})\n", median(ratios),
             *std::ranges::min_element(ratios), *std::ranges::max_element(ratios));
}

}  // namespace
}  // namespace muster

int main(int count, char** words) {
  const std::string path = std::string(count > 1 ? words[1] : "/tmp") + "/muster-bench-rows.h5";
  muster::run(path);
  std::filesystem::remove(path);
  return 0;
}
