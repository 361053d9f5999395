// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/admission.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace muster {

Admission::Admission(std::uint64_t free_bytes)
    : budget_(static_cast<std::uint64_t>(static_cast<double>(free_bytes) * (1 - kept_free))) {}

Admission::Lease::Lease(Admission& admission, std::string kind, std::uint64_t bytes,
                        bool is_dry_run)
    : admission_(&admission), kind_(std::move(kind)), bytes_(bytes), is_dry_run_(is_dry_run) {}

Admission::Lease::Lease(Lease&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)),
      kind_(std::move(other.kind_)),
      bytes_(other.bytes_),
      is_dry_run_(other.is_dry_run_) {}

Admission::Lease& Admission::Lease::operator=(Lease&& other) noexcept {
  std::swap(admission_, other.admission_);
  std::swap(kind_, other.kind_);
  std::swap(bytes_, other.bytes_);
  std::swap(is_dry_run_, other.is_dry_run_);
  return *this;
}

Admission::Lease::~Lease() {
  if (admission_ == nullptr) {
    return;
  }
  const std::lock_guard lock(admission_->mutex_);
  admission_->used_ -= bytes_;
  --admission_->inside_;
  admission_->is_measuring_ = admission_->is_measuring_ && !is_dry_run_;
  admission_->changed_.notify_all();
}

void Admission::Lease::measured(std::uint64_t bytes) {
  const std::lock_guard lock(admission_->mutex_);
  auto& known = admission_->known_[kind_];
  known = std::max(known, bytes);
  const auto wanted = static_cast<std::uint64_t>(static_cast<double>(known) * margin);
  admission_->used_ = admission_->used_ - bytes_ + wanted;
  bytes_ = wanted;
  admission_->is_measuring_ = admission_->is_measuring_ && !is_dry_run_;
  is_dry_run_ = false;
  admission_->changed_.notify_all();
}

void Admission::Lease::ran_out() {
  const std::lock_guard lock(admission_->mutex_);
  auto& known = admission_->known_[kind_];
  known = static_cast<std::uint64_t>(static_cast<double>(std::max(known, bytes_)) * margin);
  admission_->most_ = std::max(1, admission_->inside_ - 1);
}

std::uint64_t Admission::need_of(const std::string& kind, std::uint64_t guess) const {
  const auto found = known_.find(kind);
  return found == known_.end()
             ? guess
             : static_cast<std::uint64_t>(static_cast<double>(found->second) * margin);
}

bool Admission::may_enter(std::uint64_t bytes, bool is_dry_run) const {
  if (inside_ == 0) {
    return true;
  }
  const bool fits = used_ + bytes <= budget_;
  return fits && inside_ < residency_locked() && !(is_dry_run && is_measuring_);
}

std::optional<Admission::Lease> Admission::try_enter(const std::string& kind, std::uint64_t guess) {
  const std::lock_guard lock(mutex_);
  return take(kind, guess);
}

std::optional<Admission::Lease> Admission::take(const std::string& kind, std::uint64_t guess) {
  const bool is_dry_run = !known_.contains(kind);
  const std::uint64_t bytes = need_of(kind, guess);
  if (!may_enter(bytes, is_dry_run)) {
    return std::nullopt;
  }
  used_ += bytes;
  ++inside_;
  is_measuring_ = is_measuring_ || is_dry_run;
  return Lease(*this, kind, bytes, is_dry_run);
}

Admission::Lease Admission::enter(const std::string& kind, std::uint64_t guess) {
  std::unique_lock lock(mutex_);
  std::optional<Lease> lease;
  changed_.wait(lock, [&] {
    lease = take(kind, guess);
    return lease.has_value();
  });
  return std::move(*lease);
}

void Admission::note_speed(int trials, double samples_per_second) {
  const std::lock_guard lock(mutex_);
  double& known = speed_[trials];
  known = std::max(known, samples_per_second);
  changed_.notify_all();
}

int Admission::residency() const {
  const std::lock_guard lock(mutex_);
  return residency_locked();
}

int Admission::residency_locked() const {
  int best = 0;
  double speed = 0;
  for (const auto& [trials, measured] : speed_) {
    if (measured > speed * (1 + least_gain)) {
      best = trials;
      speed = measured;
    }
  }
  const bool is_last = speed_.empty() || best == speed_.rbegin()->first;
  const int wanted = speed_.empty() ? std::numeric_limits<int>::max() : is_last ? best + 1 : best;
  return most_ > 0 ? std::min(most_, wanted) : wanted;
}

int Admission::inside() const {
  const std::lock_guard lock(mutex_);
  return inside_;
}

std::optional<std::uint64_t> Admission::bytes_of(const std::string& kind) const {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(kind);
  return found == known_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace muster
