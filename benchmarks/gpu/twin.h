/// Twin: arrays that lie on the host and on the GPU, so that a kernel and its twin on the CPU can
/// be run on the same values and compared; and the line that says how far apart they are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/random.h"
#include "runtime/gpu/gpu.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bench {

/// Arrays that lie on the host and on the GPU, so that a kernel can be run on both and compared.
template <class T>
class Twin {
 public:
  Twin(Gpu& gpu, std::size_t count) : host(count), gpu_(gpu), memory_(gpu.allocate(bytes())) {}
  T* device() { return reinterpret_cast<T*>(memory_.get()); }
  void upload() {
    gpu_.copy(device(), host.data(), bytes(), Gpu::Queue::compute);
    gpu_.synchronise();
  }
  std::vector<T> fetched() {
    std::vector<T> values(host.size());
    gpu_.copy(values.data(), device(), bytes(), Gpu::Queue::compute);
    gpu_.synchronise();
    return values;
  }
  std::vector<T> host;

 private:
  std::size_t bytes() const { return host.size() * sizeof(T); }
  Gpu& gpu_;
  std::shared_ptr<std::byte> memory_;
};

template <class T>
void fill(Twin<T>& twin, std::uint64_t seed, double size = 1) {
  Random random(seed);
  for (T& value : twin.host) {
    from_float(static_cast<float>(size * random.normal()), value);
  }
  twin.upload();
}

/// |a - b| over |b|, all elements together; NaN never passes.
template <class T>
double distance(const std::vector<T>& a, const std::vector<T>& b) {
  double apart = 0;
  double whole = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = to_float(a[i]);
    const double y = to_float(b[i]);
    apart += (x - y) * (x - y);
    whole += y * y;
  }
  return std::sqrt(apart / std::max(whole, 1e-300));
}

/// As JSON, which has no NaN.
inline std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{:.3g}", value) : "null";
}

inline int report(const std::string& what, double distance, double allowed) {
  const bool ok = distance <= allowed;  // false for NaN
  fmt::print(
      "{{\"part\": \"kernels\", \"what\": \"{}\", \"distance\": {}, \"allowed\": {:g}, "
      "\"ok\": {}}}\n",
      what, number(distance), allowed, ok);
  return ok ? 0 : 1;
}

}  // namespace muster::bench
