/// Admission: how many trials share a GPU. Memory is hard: a trial enters when what its like took
/// before, with a margin, fits in what the driver said was free at the start. A kind that was never
/// seen enters while no other unseen one is being measured; its first steps are the dry run. Speed
/// is soft: trials are added while all of them together still gain, and the last one is taken back
/// when they do not. Thread-safe.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace muster {

/// Steps until a trial's memory is known: two to warm up, one captured, one played.
inline constexpr std::uint64_t dry_run_steps = 4;

class Admission {
 public:
  static constexpr double margin = 1.1;       ///< of what was measured
  static constexpr double kept_free = 0.05;   ///< of what was free
  static constexpr double least_gain = 0.05;  ///< for one trial more

  explicit Admission(std::uint64_t free_bytes);

  class Lease {
   public:
    Lease() = default;
    Lease(Admission& admission, std::string kind, std::uint64_t bytes, bool is_dry_run);
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();
    /// The dry run is over: this is what it took. Later, larger figures correct it.
    void measured(std::uint64_t bytes);
    /// It did not fit: its kind needs more than was thought, and one trial less at a time.
    void ran_out();

   private:
    Admission* admission_ = nullptr;
    std::string kind_;
    std::uint64_t bytes_ = 0;
    bool is_dry_run_ = false;
  };

  /// Waits until the trial may enter. `guess`: bytes of a kind never seen. One alone always may.
  Lease enter(const std::string& kind, std::uint64_t guess);
  /// The same without waiting.
  std::optional<Lease> try_enter(const std::string& kind, std::uint64_t guess);

  /// Samples a second of all trials together, with so many inside. What residency() goes by.
  void note_speed(int trials, double samples_per_second);
  /// The most trials that should be inside: one more than were tried while that gains, else the
  /// fewest that reach the best speed.
  int residency() const;
  int inside() const;
  std::optional<std::uint64_t> bytes_of(const std::string& kind) const;

 private:
  std::optional<Lease> take(const std::string& kind, std::uint64_t guess);
  bool may_enter(std::uint64_t bytes, bool is_dry_run) const;
  std::uint64_t need_of(const std::string& kind, std::uint64_t guess) const;
  int residency_locked() const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t budget_;
  std::uint64_t used_ = 0;
  int inside_ = 0;
  int most_ = 0;  // after a trial ran out; 0: no limit
  bool is_measuring_ = false;
  std::map<std::string, std::uint64_t> known_;
  std::map<int, double> speed_;
};

}  // namespace muster
