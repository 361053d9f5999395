// SPDX-License-Identifier: Apache-2.0
#include "hpo/bayesian.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hpo/acquisition.h"
#include "hpo/output_warp.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

constexpr std::size_t refit_each_until = 200;
constexpr double refit_growth = 1.01;
constexpr std::size_t two_starts_until = 150;
constexpr std::size_t warp_from = 30;
constexpr std::size_t warp_decided_until = 300;  // rows; beyond, the last decision stands
constexpr double least_warp_gain = 1.0;          // nats
constexpr int cold_evaluations = 60;
constexpr int warm_evaluations = 15;
constexpr std::size_t most_fidelity_rows = 350;
constexpr std::size_t most_high_rows = 250;
constexpr std::size_t most_region_rows = 512;
constexpr std::size_t best_region_rows = 128;
constexpr std::size_t most_pending = 1000;
constexpr double explore_when_idle = 0.75;
constexpr double explore_when_noisy = 0.7;
constexpr double prior_strength = 10.0;

std::size_t usual_initial(std::size_t dimensions) {
  return std::max<std::size_t>(10, std::min<std::size_t>(2 * dimensions, 20));
}

}  // namespace

BayesianSearcher::BayesianSearcher(const Space& space, const SearcherOptions& options)
    : space_(space),
      options_(options),
      inputs_(space, options.min_resource, options.max_resource, options.deterministic),
      sobol_(space, options.seed),
      maximiser_(space, inputs_, options.seed),
      initial_(options.initial > 0 ? options.initial : usual_initial(space.dimensions())),
      cardinality_(space.cardinality()) {
  if (options_.acquisition == Acquisition::automatic) {
    options_.acquisition = space.dimensions() <= 4 ? Acquisition::logei : Acquisition::ucb;
  }
}

std::optional<Proposal> BayesianSearcher::propose(const Question& question) {
  require(question.seen == 0 || question.history != nullptr,
          "a question with observations needs their history");
  remember(question);
  if (space_.dimensions() == 0 || is_initial(question)) {
    return initial(question);
  }
  return from_model(question);
}

bool BayesianSearcher::is_initial(const Question& question) const {
  if (question.seen >= initial_) {
    return false;
  }
  return question.number < initial_ || question.seen < std::max<std::size_t>(2, initial_ / 2);
}

std::optional<Proposal> BayesianSearcher::initial(const Question& question) {
  Proposal proposal{
      space_.shape(std::vector<double>(space_.dimensions(), 0.5)), "start", question.seen, {}, {}};
  if (question.number > 0 || !space_.allows(proposal.config)) {
    proposal.config = sobol_.point(question.number);
    proposal.origin = "sobol";
  }
  return was_tried(question, proposal.config) ? fallback(question, std::move(proposal)) : proposal;
}

std::optional<Proposal> BayesianSearcher::from_model(const Question& question) {
  const bool is_local = !inputs_.has_resource() && question.seen > options_.exact_until;
  std::optional<Box> box;
  if (is_local) {
    box = region_box(question);
    if (!box) {  // a fresh region gathers quasi-random points first
      Proposal proposal{sobol_.point(question.number), "sobol", question.seen, {}, {}};
      return was_tried(question, proposal.config) ? fallback(question, std::move(proposal))
                                                  : proposal;
    }
  }
  const History& history = *question.history;
  const Rows rows = inputs_.has_resource() ? fidelity_rows(history, question.seen)
                    : is_local             ? region_rows(history, question.seen, *box)
                                           : all_rows(question.seen);
  const std::vector<double> values = warped(history, rows);
  Proposal proposal{{}, is_local ? "region" : "model", question.seen, {}, {}};
  if (is_due(question.seen)) {
    refit(question, rows, values);
    proposal.state = "gp 1 " + std::to_string(fitted_.at);
    for (double x : fitted_.theta) {
      proposal.state += " " + exact(x);
    }
  }
  build(history, rows);
  const std::size_t known = model_->size();
  for (const Config& config :
       question.pending.first(std::min(question.pending.size(), most_pending))) {
    append(config, 0.0);
  }
  model_->set_values(values);

  Random random(mix(options_.seed, 0xba7e5), question.number);
  const Criterion wanted = criterion(question, rows, values, random);
  proposal.origin = wanted.kind == Criterion::Kind::explore ? "explore" : proposal.origin;
  const std::vector<Config> best = best_of(history, rows, values);
  const Box limits = box ? *box : maximiser_.whole();
  const double prior_weight =
      space_.has_priors()
          ? prior_strength / static_cast<double>(std::max<std::size_t>(question.seen, 1))
          : 0.0;
  std::vector<Candidate> candidates =
      maximiser_.refine(*model_, wanted, maximiser_.raw(question.number, limits, best),
                        best.front(), limits, prior_weight, random);
  const Candidate* const chosen = choose(question, candidates);
  if (chosen != nullptr) {
    const auto [low, high] = std::ranges::minmax(values);
    const double deviation = chosen->deviation;
    const double gain =
        std::exp(std::log(deviation) + log_improvement((low - chosen->mean) / deviation));
    proposal.expected_gain = high > low ? gain / (high - low) : gain;
    proposal.config = chosen->config;
  }
  model_->truncate(known);
  return chosen != nullptr ? std::optional<Proposal>(std::move(proposal))
                           : fallback(question, std::move(proposal));
}

// Rows.

BayesianSearcher::Rows BayesianSearcher::all_rows(std::size_t seen) const {
  Rows rows{std::vector<std::size_t>(seen), true};
  std::iota(rows.positions.begin(), rows.positions.end(), std::size_t{0});
  return rows;
}

/// The newest results of the upper half of the rungs, then the newest others; in the order of the
/// history.
BayesianSearcher::Rows BayesianSearcher::fidelity_rows(const History& history,
                                                       std::size_t seen) const {
  Rows rows;
  std::vector<std::size_t> low;
  for (std::size_t i = seen;
       i-- > 0 && rows.positions.size() + low.size() < 100 * most_fidelity_rows;) {
    const bool is_high = inputs_.fidelity(history[i].resource) > 0.5;
    if (is_high && rows.positions.size() < most_high_rows) {
      rows.positions.push_back(i);
    } else if (!is_high && low.size() < most_fidelity_rows) {
      low.push_back(i);
    }
  }
  low.resize(std::min(low.size(), most_fidelity_rows - rows.positions.size()));
  rows.positions.insert(rows.positions.end(), low.begin(), low.end());
  std::ranges::sort(rows.positions);
  return rows;
}

/// What lies in the box blown up to twice its size (newest first), and the best of the region
/// wherever they lie.
BayesianSearcher::Rows BayesianSearcher::region_rows(const History& history, std::size_t seen,
                                                     const Box& box) const {
  Rows rows;
  std::vector<std::size_t> outside;
  for (std::size_t i = seen; i-- > region_->begin();) {
    const std::vector<double> u = space_.encode(history[i].config);
    bool is_inside = rows.positions.size() < most_region_rows;
    for (std::size_t k = 0; k < u.size() && is_inside; ++k) {
      const double margin = 0.5 * (box.high[k] - box.low[k]);
      is_inside = std::isnan(u[k]) || (u[k] >= box.low[k] - margin && u[k] <= box.high[k] + margin);
    }
    (is_inside ? rows.positions : outside).push_back(i);
  }
  const auto is_better = [&](std::size_t a, std::size_t b) {
    return history[a].failed != history[b].failed ? history[b].failed
                                                  : history[a].value < history[b].value;
  };
  const auto last =
      outside.begin() + static_cast<std::ptrdiff_t>(std::min(best_region_rows, outside.size()));
  std::ranges::partial_sort(outside, last, is_better);
  rows.positions.insert(rows.positions.end(), outside.begin(), last);
  std::ranges::sort(rows.positions);
  return rows;
}

std::vector<double> BayesianSearcher::warped(const History& history, const Rows& rows) const {
  std::vector<double> values;
  std::vector<bool> failed;
  for (const std::size_t i : rows.positions) {
    values.push_back(history[i].value);
    failed.push_back(history[i].failed);
  }
  return warp_outputs(values, failed);
}

Matrix BayesianSearcher::features_of(const History& history, const Rows& rows,
                                     std::size_t count) const {
  Matrix features(count, inputs_.size());
  for (std::size_t i = 0; i < count; ++i) {
    const Observation& row = history[rows.positions[i]];
    inputs_.write(row.config, row.resource, features.row(i));
  }
  return features;
}

// The model.

bool BayesianSearcher::is_due(std::size_t seen) const {
  if (fitted_.theta.empty()) {
    return true;
  }
  return seen <= refit_each_until
             ? seen != fitted_.at
             : static_cast<double>(seen) >= refit_growth * static_cast<double>(fitted_.at);
}

void BayesianSearcher::refit(const Question& question, const Rows& rows,
                             const std::vector<double>& values) {
  const Matrix features = features_of(*question.history, rows, rows.positions.size());
  const bool may_warp = values.size() >= warp_from;
  if (!fitted_.theta.empty() && values.size() > warp_decided_until) {
    fitted_.theta = fit(inputs_.shape(), features, values, {fitted_.theta}, warm_evaluations);
  } else {
    const Theta plain = fit_plain(features, values);
    fitted_.theta = may_warp ? warped_where_better(features, values, plain) : plain;
  }
  fitted_.at = question.seen;
  model_.reset();
}

Theta BayesianSearcher::fit_plain(const Matrix& features, const std::vector<double>& values) const {
  const KernelShape& shape = inputs_.shape();
  std::vector<Theta> starts;
  if (!fitted_.theta.empty()) {
    starts.push_back(fitted_.theta);
    starts.back().resize(shape.plain_size());
  }
  const bool is_cold = starts.empty() || values.size() <= two_starts_until;
  if (is_cold) {
    starts.push_back(usual_start(shape));
  }
  return fit(shape, features, values, starts, is_cold ? cold_evaluations : warm_evaluations);
}

/// Bent inputs help on most surfaces of learning and harm where a function is turned, so each fit
/// asks the data: warps are kept where every value is predicted better from all the others.
Theta BayesianSearcher::warped_where_better(const Matrix& features,
                                            const std::vector<double>& values,
                                            const Theta& plain) const {
  const KernelShape& shape = inputs_.shape();
  if (shape.warped.empty()) {
    return plain;
  }
  std::vector<Theta> starts{with_identity_warp(shape, plain)};
  if (fitted_.theta.size() == shape.warped_size()) {
    starts.push_back(fitted_.theta);
  }
  Theta warped = fit(shape, features, values, starts, cold_evaluations);
  const double gain = leave_one_out(shape, features, values, warped) -
                      leave_one_out(shape, features, values, plain);
  return gain > least_warp_gain ? warped : plain;
}

/// A prefix of the history is factored as it stood at the fit and grown row by row from there, so
/// that a restored searcher computes the same bits as one that was there all along.
void BayesianSearcher::build(const History& history, const Rows& rows) {
  const bool can_grow = model_ && rows.is_prefix && model_fitted_at_ == fitted_.at &&
                        model_rows_ > 0 && model_rows_ <= rows.positions.size();
  if (!can_grow) {
    const std::size_t count =
        rows.is_prefix ? std::min(fitted_.at, rows.positions.size()) : rows.positions.size();
    model_.emplace(inputs_.shape(), fitted_.theta);
    model_->append_all(features_of(history, rows, count));
    model_rows_ = rows.is_prefix ? count : 0;
    model_fitted_at_ = fitted_.at;
  }
  for (; rows.is_prefix && model_rows_ < rows.positions.size(); ++model_rows_) {
    append(history[model_rows_].config, history[model_rows_].resource);
  }
}

void BayesianSearcher::append(const Config& config, double resource) {
  std::vector<double> features(inputs_.size());
  inputs_.write(config, resource, features.data());
  model_->append(features);
}

// What is wanted.

Criterion BayesianSearcher::criterion(const Question& question, const Rows& rows,
                                      const std::vector<double>& values, Random& random) {
  Criterion wanted;
  wanted.coefficient = options_.exploration;
  wanted.pending = model_->size() - rows.positions.size();
  const bool is_idle = question.number > 0 && question.seen == question.seen_before;
  double explore = is_idle && wanted.pending > 0 ? explore_when_idle : 0.0;
  if (model_->signal() / model_->noise() < 0.7) {
    explore = std::max(explore, explore_when_noisy);
  }
  const double draw = random.uniform();
  if (options_.acquisition == Acquisition::logei) {
    wanted.kind = Criterion::Kind::logei;
    wanted.best = best_value(*question.history, rows, values);
    if (wanted.pending > 0) {
      Matrix features(wanted.pending, inputs_.size());
      for (std::size_t i = 0; i < wanted.pending; ++i) {
        inputs_.write(question.pending[i], 0.0, features.row(i));
      }
      GaussianProcess::Answer answer;
      model_->ask(features, answer, false);
      wanted.imagine(answer, mix(options_.seed, 0xfa, question.number));
    }
  } else if (draw < explore) {
    std::vector<Candidate> raw = maximiser_.raw(question.number, maximiser_.whole(),
                                                best_of(*question.history, rows, values));
    maximiser_.judge(*model_, wanted, raw);
    const auto bound = std::ranges::min_element(raw, {}, &Candidate::value);
    wanted.threshold = bound == raw.end() ? 0.0 : bound->mean;
    wanted.kind = Criterion::Kind::explore;
  }
  return wanted;
}

/// The best value where there is next to no noise, else the least posterior mean over what was
/// observed (at the full resource).
double BayesianSearcher::best_value(const History& history, const Rows& rows,
                                    const std::vector<double>& values) const {
  if (model_->noise() < 0.01 && !inputs_.has_resource()) {
    return *std::ranges::min_element(values);
  }
  Matrix features(rows.positions.size(), inputs_.size());
  for (std::size_t i = 0; i < features.rows(); ++i) {
    inputs_.write(history[rows.positions[i]].config, 0.0, features.row(i));
  }
  GaussianProcess::Answer answer;
  model_->ask(features, answer, false);
  return *std::ranges::min_element(answer.means);
}

std::vector<Config> BayesianSearcher::best_of(const History& history, const Rows& rows,
                                              const std::vector<double>& values) const {
  std::vector<std::size_t> order(rows.positions.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto rank =
      [&](std::size_t i) {  // a result at a low rung says less: the highest resource first
        return std::pair(
            inputs_.has_resource() ? -inputs_.fidelity(history[rows.positions[i]].resource) : 0.0,
            values[i]);
      };
  const auto last =
      order.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(5, order.size()));
  std::ranges::partial_sort(order, last, {}, rank);
  std::vector<Config> best;
  for (auto i = order.begin(); i != last; ++i) {
    best.push_back(history[rows.positions[*i]].config);
  }
  return best;
}

std::optional<Box> BayesianSearcher::region_box(const Question& question) {
  if (!region_) {
    region_.emplace(*question.history, options_.exact_until, space_.dimensions(), initial_);
  }
  region_->advance(question.seen);
  if (region_->is_gathering() || !region_->has_best()) {
    return std::nullopt;
  }
  std::vector<double> lengths(space_.dimensions(), 1.0);
  for (std::size_t k = 0; k < lengths.size() && !fitted_.theta.empty(); ++k) {
    lengths[k] = std::exp(fitted_.theta[k]);
  }
  return region_->box(space_.encode((*question.history)[region_->best()].config),
                      std::move(lengths));
}

// What was there before.

void BayesianSearcher::remember(const Question& question) {
  for (; tried_until_ < question.seen; ++tried_until_) {
    tried_.insert(space_.hash((*question.history)[tried_until_].config));
  }
}

bool BayesianSearcher::was_tried(const Question& question, const Config& config) const {
  return tried_.contains(space_.hash(config)) ||
         std::ranges::find(question.pending, config) != question.pending.end();
}

const Candidate* BayesianSearcher::choose(const Question& question,
                                          const std::vector<Candidate>& candidates) {
  const auto found = std::ranges::find_if(candidates, [&](const Candidate& candidate) {
    return !was_tried(question, candidate.config);
  });
  return found == candidates.end() ? nullptr : &*found;
}

/// Everything the model liked was tried before: quasi-random points, then nothing where the space
/// is exhausted and repeating is useless.
std::optional<Proposal> BayesianSearcher::fallback(const Question& question, Proposal proposal) {
  Random random(mix(options_.seed, 0xfa11), question.number);
  for (int attempt = 0; attempt < 50; ++attempt) {
    proposal.config = space_.sample(random);
    if (!was_tried(question, proposal.config)) {
      proposal.origin = "random";
      return proposal;
    }
  }
  std::unordered_set<std::uint64_t> distinct = tried_;
  for (const Config& config : question.pending) {
    distinct.insert(space_.hash(config));
  }
  const bool is_exhausted = cardinality_ && distinct.size() >= *cardinality_;
  if (is_exhausted && options_.deterministic) {
    return std::nullopt;
  }
  if (!is_exhausted && cardinality_ && *cardinality_ <= 1'000'000) {
    return untried(question, std::move(proposal));
  }
  proposal.origin = "repeat";
  return proposal;
}

/// The space is nearly exhausted: the first configuration of the grid that is left.
std::optional<Proposal> BayesianSearcher::untried(const Question& question, Proposal proposal) {
  GridSearcher grid(space_);
  for (std::uint64_t number = 0;; ++number) {
    std::optional<Proposal> next = grid.propose({.number = number});
    if (!next) {
      proposal.origin = "repeat";
      return proposal;
    }
    if (!was_tried(question, next->config)) {
      proposal.config = std::move(next->config);
      proposal.origin = "grid";
      return proposal;
    }
  }
}

void BayesianSearcher::restore(std::string_view state) {
  const std::vector<std::string> parts = words(state);
  const auto refuse = [&] {
    throw Error(Fault::bad_input, "'" + std::string(state) +
                                      "' is no state of the Bayesian searcher over this space");
  };
  const std::size_t numbers = parts.size() - std::min<std::size_t>(3, parts.size());
  const bool fits =
      numbers == inputs_.shape().plain_size() || numbers == inputs_.shape().warped_size();
  if (!fits || parts[0] != "gp" || parts[1] != "1") {
    refuse();
  }
  Fitted fitted;
  const std::optional<std::int64_t> at = parse_int(parts[2]);
  if (!at || *at < 0) {
    refuse();
  }
  fitted.at = static_cast<std::size_t>(*at);
  for (std::size_t i = 3; i < parts.size(); ++i) {
    const std::optional<double> x = parse_double(parts[i]);
    if (!x || !std::isfinite(*x)) {
      refuse();
    }
    fitted.theta.push_back(*x);
  }
  fitted_ = std::move(fitted);
  model_.reset();
}

}  // namespace muster::hpo
