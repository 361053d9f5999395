/// Admission: which trials share a memory: a GPU's, or that of a process whose trials are threads.
/// A trial enters when what its like took before, with a margin, fits in what was free at the
/// start. A kind that was never seen enters on a guess while no other unseen one is being measured,
/// or while there is room even if guesses are far too low; its first steps are the dry run. Of
/// those that wait, the largest that fits enters, but nobody is passed for ever. Thread-safe.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace muster {

/// Steps until a trial's memory is known: two to warm up, one captured, one played.
inline constexpr std::uint64_t dry_run_steps = 4;

class Admission {
 public:
  static constexpr double margin = 1.1;      ///< of what was measured
  static constexpr double kept_free = 0.05;  ///< of what was free
  static constexpr int most_passed = 8;      ///< then nobody enters before it

  /// `doubt`: unseen kinds enter together while there is room for so many times their guesses; 0:
  /// always one at a time. `shared`: bytes that are taken for all trials together by now; any
  /// thread, at once.
  explicit Admission(std::uint64_t free_bytes, double doubt = 0,
                     std::function<std::uint64_t()> shared = nullptr);

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
  /// Nothing when `is_called_off` says so; look_again() has it asked.
  std::optional<Lease> enter(const std::string& kind, std::uint64_t guess,
                             const std::function<bool()>& is_called_off = nullptr);
  /// The same without waiting.
  std::optional<Lease> try_enter(const std::string& kind, std::uint64_t guess);
  void look_again();

  int inside() const;
  /// Bytes that those inside and what they share are reckoned to take.
  std::uint64_t reserved() const;
  int waiting() const;
  std::optional<std::uint64_t> bytes_of(const std::string& kind) const;

 private:
  struct Waiter {
    std::string kind;
    std::uint64_t guess = 0;
    int passed = 0;  // by others that entered
  };
  Lease take(const Waiter& waiter);
  bool fits(const Waiter& waiter) const;
  bool is_next(const Waiter& waiter) const;
  std::uint64_t need_of(const Waiter& waiter) const;
  std::uint64_t left() const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t budget_;
  double doubt_;
  std::function<std::uint64_t()> shared_;
  std::uint64_t used_ = 0;
  int inside_ = 0;
  int most_ = 0;       // after a trial ran out; 0: no limit
  int measuring_ = 0;  // dry runs
  std::list<Waiter> waiting_;
  std::map<std::string, std::uint64_t> known_;
};

}  // namespace muster
