// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/admission.h"

#include <algorithm>
#include <utility>

namespace muster {

Admission::Admission(std::uint64_t free_bytes, double doubt, std::function<std::uint64_t()> shared)
    : budget_(static_cast<std::uint64_t>(static_cast<double>(free_bytes) * (1 - kept_free))),
      doubt_(doubt),
      shared_(std::move(shared)) {}

/// Of the budget, what trials may have.
std::uint64_t Admission::left() const {
  return budget_ - std::min(budget_, shared_ ? shared_() : 0);
}

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
  admission_->measuring_ -= is_dry_run_ ? 1 : 0;
  admission_->changed_.notify_all();
}

void Admission::Lease::measured(std::uint64_t bytes) {
  const std::lock_guard lock(admission_->mutex_);
  auto& known = admission_->known_[kind_];
  known = std::max(known, bytes);
  const auto wanted = static_cast<std::uint64_t>(static_cast<double>(known) * margin);
  admission_->used_ = admission_->used_ - bytes_ + wanted;
  bytes_ = wanted;
  admission_->measuring_ -= is_dry_run_ ? 1 : 0;
  is_dry_run_ = false;
  admission_->changed_.notify_all();
}

void Admission::Lease::ran_out() {
  const std::lock_guard lock(admission_->mutex_);
  auto& known = admission_->known_[kind_];
  known = static_cast<std::uint64_t>(static_cast<double>(std::max(known, bytes_)) * margin);
  admission_->most_ = std::max(1, admission_->inside_ - 1);
}

std::uint64_t Admission::need_of(const Waiter& waiter) const {
  const auto found = known_.find(waiter.kind);
  return found == known_.end()
             ? waiter.guess
             : static_cast<std::uint64_t>(static_cast<double>(found->second) * margin);
}

bool Admission::fits(const Waiter& waiter) const {
  if (inside_ == 0) {
    return true;
  }
  const std::uint64_t bytes = need_of(waiter);
  const bool is_known = known_.contains(waiter.kind);
  const auto careful = static_cast<std::uint64_t>(doubt_ * static_cast<double>(bytes));
  const bool may_be_measured = measuring_ == 0 || (doubt_ > 0 && used_ + careful <= left());
  return used_ + bytes <= left() && (most_ == 0 || inside_ < most_) &&
         (is_known || may_be_measured);
}

/// Best fit: the largest that fits, unless somebody has been passed too often.
bool Admission::is_next(const Waiter& waiter) const {
  if (!fits(waiter)) {
    return false;
  }
  return std::ranges::none_of(waiting_, [&](const Waiter& other) {
    const bool has_waited = other.passed >= most_passed && waiter.passed < most_passed;
    const bool is_better = need_of(other) > need_of(waiter) && waiter.passed < most_passed;
    return &other != &waiter && (has_waited || (is_better && fits(other)));
  });
}

Admission::Lease Admission::take(const Waiter& waiter) {
  const bool is_dry_run = !known_.contains(waiter.kind);
  const std::uint64_t bytes = need_of(waiter);
  used_ += bytes;
  ++inside_;
  measuring_ += is_dry_run ? 1 : 0;
  for (Waiter& other : waiting_) {
    other.passed += &other == &waiter ? 0 : 1;
  }
  return {*this, waiter.kind, bytes, is_dry_run};
}

std::optional<Admission::Lease> Admission::try_enter(const std::string& kind, std::uint64_t guess) {
  const std::lock_guard lock(mutex_);
  const Waiter waiter{.kind = kind, .guess = guess};
  return is_next(waiter) ? std::optional(take(waiter)) : std::nullopt;
}

std::optional<Admission::Lease> Admission::enter(const std::string& kind, std::uint64_t guess,
                                                 const std::function<bool()>& is_called_off) {
  std::unique_lock lock(mutex_);
  const auto own = waiting_.insert(waiting_.end(), Waiter{.kind = kind, .guess = guess});
  bool is_over = false;
  changed_.wait(lock, [&] {
    is_over = is_called_off && is_called_off();
    return is_over || is_next(*own);
  });
  std::optional<Lease> lease;
  if (!is_over) {
    lease = take(*own);
  }
  waiting_.erase(own);
  changed_.notify_all();  // who stood behind it may be next
  return lease;
}

void Admission::look_again() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

int Admission::waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(waiting_.size());
}

int Admission::inside() const {
  const std::lock_guard lock(mutex_);
  return inside_;
}

std::uint64_t Admission::reserved() const {
  const std::lock_guard lock(mutex_);
  return used_ + (shared_ ? shared_() : 0);
}

std::optional<std::uint64_t> Admission::bytes_of(const std::string& kind) const {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(kind);
  return found == known_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace muster
