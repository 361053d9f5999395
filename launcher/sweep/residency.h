/// Residency: how many trials one worker should run at once, found by measuring. Trials are added
/// while the work done a second by all of them together still grows by 5 %; the last one is taken
/// back when it does not. Memory and trials that did not fit set a ceiling. Knows no trials and no
/// clock.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "runtime/base/clock.h"

namespace muster {

class Residency {
 public:
  /// `start`: at once from the beginning; the search for more starts there. Never more than `most`.
  explicit Residency(std::size_t start, std::size_t most = std::numeric_limits<std::size_t>::max())
      : wanted_(std::min(start, most)), most_(most), is_settled_(start >= most) {}

  /// A trial has done `amount` of work (samples, epochs) while `residents` ran.
  void measure(std::size_t residents, double amount, Monotonic now);
  /// One did not fit: never again more than `most`, which is less than now.
  void did_not_fit(std::size_t most);
  /// What a trial takes at most, and what there is for all.
  void set_memory(std::uint64_t each, std::uint64_t all);

  std::size_t wanted() const { return wanted_; }
  bool is_settled() const { return is_settled_; }

 private:
  void judge(double rate);
  void begin(Monotonic now);
  std::size_t wanted_;
  std::size_t most_;
  double rate_before_ = 0;  // of one resident fewer; 0: not measured
  bool is_settled_;
  bool has_begun_ = false;
  Monotonic begun_{};
  double amount_ = 0;
  std::size_t reports_ = 0;
};

}  // namespace muster
