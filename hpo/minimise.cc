// SPDX-License-Identifier: Apache-2.0
#include "hpo/minimise.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace muster::hpo {
namespace {

constexpr std::size_t memory = 10;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// One start: where it stands, what it tries next, and the curvature it has seen.
class Walk {
 public:
  Walk(Start& start, const Box& box, const MinimiseOptions& options)
      : start_(start), box_(box), options_(options), trial_(start.point) {
    for (std::size_t i = 0; i < trial_.size(); ++i) {
      trial_[i] = std::clamp(trial_[i], box.low[i], box.high[i]);
    }
  }

  bool is_done() const { return is_done_; }
  const std::vector<double>& trial() const { return trial_; }

  void tell(double value, const std::vector<double>& gradient) {
    ++evaluations_;
    if (evaluations_ == 1) {
      accept(value, gradient);
      is_done_ = !std::isfinite(value);
    } else if (std::isfinite(value) && value <= start_.value + 1e-4 * expected_) {
      const double fall = start_.value - value;
      remember(gradient);
      accept(value, gradient);
      // One short step may fall little for its length alone; two in a row are the end.
      idle_ = fall <= options_.tolerance * std::max(1.0, std::abs(value)) ? idle_ + 1 : 0;
      is_done_ = idle_ == 2;
    } else {
      shorten(value);
    }
    if (!is_done_ && evaluations_ >= options_.evaluations) {
      is_done_ = true;
    }
    if (!is_done_ && is_fresh_) {
      aim();
    }
    start_.is_active = !is_done_;
  }

 private:
  void accept(double value, const std::vector<double>& gradient) {
    start_.point = trial_;
    start_.value = value;
    gradient_ = gradient;
    is_fresh_ = true;
    shortenings_ = 0;
  }

  void remember(const std::vector<double>& gradient) {
    std::vector<double> step(trial_.size());
    std::vector<double> change(trial_.size());
    for (std::size_t i = 0; i < trial_.size(); ++i) {
      step[i] = trial_[i] - start_.point[i];
      change[i] = gradient[i] - gradient_[i];
    }
    if (dot(step, change) > 1e-10 * dot(change, change)) {
      if (steps_.size() == memory) {
        steps_.erase(steps_.begin());
        changes_.erase(changes_.begin());
      }
      steps_.push_back(std::move(step));
      changes_.push_back(std::move(change));
    }
  }

  /// The next trial: a quasi-Newton step in the free variables, cut to the box.
  void aim() {
    is_fresh_ = false;
    scale_ = 1.0;
    std::vector<double> free = gradient_;
    double largest = 0.0;
    for (std::size_t i = 0; i < free.size(); ++i) {
      const bool is_held = (start_.point[i] <= box_.low[i] && gradient_[i] > 0) ||
                           (start_.point[i] >= box_.high[i] && gradient_[i] < 0);
      free[i] = is_held ? 0.0 : free[i];
      largest = std::max(largest, std::abs(free[i]));
    }
    if (largest <= options_.gradient_tolerance) {
      is_done_ = true;
      return;
    }
    direction_ = two_loops(free);
    if (dot(direction_, free) > -1e-12 * std::sqrt(dot(direction_, direction_) * dot(free, free))) {
      steps_.clear();
      changes_.clear();
      direction_ = two_loops(free);
    }
    place();
  }

  std::vector<double> two_loops(const std::vector<double>& free) const {
    std::vector<double> q = free;
    std::vector<double> alphas(steps_.size());
    for (std::size_t k = steps_.size(); k-- > 0;) {
      alphas[k] = dot(steps_[k], q) / dot(steps_[k], changes_[k]);
      for (std::size_t i = 0; i < q.size(); ++i) {
        q[i] -= alphas[k] * changes_[k][i];
      }
    }
    const double norm = std::sqrt(dot(free, free));
    const double gamma = steps_.empty() ? first_step / norm
                                        : dot(steps_.back(), changes_.back()) /
                                              dot(changes_.back(), changes_.back());
    for (double& x : q) {
      x *= gamma;
    }
    for (std::size_t k = 0; k < steps_.size(); ++k) {
      const double beta = dot(changes_[k], q) / dot(steps_[k], changes_[k]);
      for (std::size_t i = 0; i < q.size(); ++i) {
        q[i] += (alphas[k] - beta) * steps_[k][i];
      }
    }
    for (std::size_t i = 0; i < q.size(); ++i) {
      q[i] = free[i] == 0.0 ? 0.0 : -q[i];  // what the box holds stays
    }
    return q;
  }

  void place() {
    expected_ = 0.0;
    for (std::size_t i = 0; i < trial_.size(); ++i) {
      trial_[i] = std::clamp(start_.point[i] + scale_ * direction_[i], box_.low[i], box_.high[i]);
      expected_ += gradient_[i] * (trial_[i] - start_.point[i]);
    }
    if (!(expected_ < 0.0)) {
      is_done_ = true;
    }
  }

  void shorten(double value) {
    const double curvature = value - start_.value - expected_;
    const double best = std::isfinite(value) && curvature > 0
                            ? -0.5 * expected_ / curvature
                            : 0.1;  // the parabola through what is known
    scale_ *= std::clamp(best, 0.1, 0.5);
    is_done_ = ++shortenings_ > 12;
    if (!is_done_) {
      place();
    }
  }

  static constexpr double first_step = 0.1;
  Start& start_;
  const Box& box_;
  const MinimiseOptions& options_;
  std::vector<double> trial_, gradient_, direction_;
  std::vector<std::vector<double>> steps_, changes_;
  double scale_ = 1.0;
  double expected_ = 0.0;
  int evaluations_ = 0;
  int shortenings_ = 0;
  int idle_ = 0;
  bool is_fresh_ = false;
  bool is_done_ = false;
};

}  // namespace

void minimise(const BatchFunction& function, const Box& box, std::vector<Start>& starts,
              const MinimiseOptions& options) {
  std::vector<Walk> walks;
  walks.reserve(starts.size());
  for (Start& start : starts) {
    walks.emplace_back(start, box, options);
  }
  std::vector<const std::vector<double>*> points;
  std::vector<double> values;
  std::vector<std::vector<double>> gradients(starts.size());
  std::vector<Walk*> moving;
  for (;;) {
    points.clear();
    moving.clear();
    for (Walk& walk : walks) {
      if (!walk.is_done()) {
        moving.push_back(&walk);
        points.push_back(&walk.trial());
      }
    }
    if (moving.empty()) {
      return;
    }
    values.assign(moving.size(), 0.0);
    for (std::size_t i = 0; i < moving.size(); ++i) {
      gradients[i].assign(box.low.size(), 0.0);
    }
    function(points, values, std::span(gradients).first(moving.size()));
    for (std::size_t i = 0; i < moving.size(); ++i) {
      moving[i]->tell(values[i], gradients[i]);
    }
  }
}

}  // namespace muster::hpo
