// SPDX-License-Identifier: Apache-2.0
#include "hpo/bayesian.h"

#include <algorithm>
#include <cmath>

#include "hpo/acquisition.h"
#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

constexpr std::size_t refit_each_until = 200;
constexpr double refit_growth = 1.01;
constexpr std::size_t most_pending = 1000;
constexpr double explore_when_idle = 0.75;
constexpr double explore_when_noisy = 0.7;
constexpr double prior_strength = 10.0;
constexpr std::uint64_t far_every = 2;  // proposals; the others are looked for near the best
constexpr std::size_t near_failures = 4;

std::size_t usual_initial(std::size_t dimensions) {
  return std::max<std::size_t>(10, std::min<std::size_t>(2 * dimensions, 20));
}

}  // namespace

BayesianSearcher::BayesianSearcher(const Space& space, const SearcherOptions& options)
    : space_(space),
      options_(options),
      inputs_(space, options.min_resource, options.max_resource, options.deterministic,
              options.sources),
      sobol_(space, options.seed),
      maximiser_(space, inputs_, options.seed),
      branches_(space),
      initial_(options.initial > 0 ? options.initial : usual_initial(space.dimensions())),
      tried_(space, options) {
  if (options_.acquisition == Acquisition::automatic) {
    options_.acquisition = space.dimensions() <= 4 ? Acquisition::logei : Acquisition::ucb;
  }
}

std::optional<Proposal> BayesianSearcher::propose(const Question& question) {
  require(question.seen == 0 || question.history != nullptr,
          "a question with observations needs their history");
  tried_.learn(question);
  if (space_.dimensions() == 0 || is_initial(question)) {
    return initial(question);
  }
  return from_model(question);
}

bool BayesianSearcher::is_initial(const Question& question) const {
  const std::size_t own = question.seen - tried_.lent();
  const std::size_t wanted = tried_.lent() > 0 ? initial_ / 2 : initial_;
  if (own >= wanted) {
    return false;
  }
  return question.number < wanted || own < std::max<std::size_t>(2, wanted / 2);
}

std::optional<Proposal> BayesianSearcher::initial(const Question& question) {
  Proposal proposal{
      space_.shape(std::vector<double>(space_.dimensions(), 0.5)), "start", question.seen, {}, {}};
  if (question.number > 0 || !space_.allows(proposal.config)) {
    proposal.config = sobol_.point(question.number);
    proposal.origin = "sobol";
  }
  return tried_.has(question, proposal.config) ? tried_.another(question, std::move(proposal))
                                               : proposal;
}

std::optional<Proposal> BayesianSearcher::from_model(const Question& question) {
  const bool is_local = !inputs_.has_resource() && question.seen > options_.exact_until;
  std::optional<Box> box;
  if (is_local) {
    box = region_box(question);
    if (!box) {  // a fresh region gathers quasi-random points first
      Proposal proposal{sobol_.point(question.number), "sobol", question.seen, {}, {}};
      return tried_.has(question, proposal.config) ? tried_.another(question, std::move(proposal))
                                                   : proposal;
    }
  }
  const History& history = *question.history;
  const Rows rows = inputs_.has_resource() ? fidelity_rows(history, question.seen, inputs_)
                    : is_local ? region_rows(history, question.seen, space_, region_->begin(), *box)
                               : all_rows(question.seen);
  const std::vector<double> values = warped_values(history, rows, options_.sources);
  Proposal proposal{{}, is_local ? "region" : "model", question.seen, {}, {}};
  if (is_due(question.seen)) {
    refit(question, rows, values);
    proposal.state = fitted_.text();
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
  const std::vector<Config> best = best_of(history, rows, values, inputs_);
  const Box limits = box ? *box : near_box(question).value_or(maximiser_.whole());
  const double prior_weight =
      space_.has_priors()
          ? prior_strength / static_cast<double>(std::max<std::size_t>(question.seen, 1))
          : 0.0;
  std::vector<Candidate> candidates =
      maximiser_.refine(*model_, wanted, maximiser_.raw(question.number, limits, best),
                        best.front(), limits, prior_weight, random);
  const Candidate* const chosen = choose(question, candidates);
  if (chosen != nullptr) {
    const auto [low, high] = std::ranges::minmax(own_values(history, rows, values));
    const double deviation = chosen->deviation;
    const double gain =
        std::exp(std::log(deviation) + log_improvement((low - chosen->mean) / deviation));
    proposal.expected_gain = high > low ? gain / (high - low) : gain;
    proposal.config = chosen->config;
    if (!branches_.is_empty()) {
      const Config drawn = branches_.redraw(chosen->config, history, question.seen, random);
      proposal.config = tried_.has(question, drawn) ? chosen->config : drawn;
    }
  }
  model_->truncate(known);
  return chosen != nullptr ? std::optional<Proposal>(std::move(proposal))
                           : tried_.another(question, std::move(proposal));
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
  const Matrix features = features_of(*question.history, rows, rows.positions.size(), inputs_);
  fitted_.theta = choose_theta(inputs_.shape(), features, values, fitted_.theta);
  fitted_.at = question.seen;
  model_.reset();
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
    model_->append_all(features_of(history, rows, count, inputs_));
    model_rows_ = rows.is_prefix ? count : 0;
    model_fitted_at_ = fitted_.at;
  }
  for (; rows.is_prefix && model_rows_ < rows.positions.size(); ++model_rows_) {
    append(history[model_rows_].config, history[model_rows_].resource, history[model_rows_].source);
  }
}

void BayesianSearcher::append(const Config& config, double resource, std::uint32_t source) {
  std::vector<double> features(inputs_.size());
  inputs_.write(config, resource, features.data(), source);
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
                                                best_of(*question.history, rows, values, inputs_));
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
    return std::ranges::min(own_values(history, rows, values));
  }
  Matrix features(rows.positions.size(), inputs_.size());
  for (std::size_t i = 0; i < features.rows(); ++i) {
    inputs_.write(history[rows.positions[i]].config, 0.0, features.row(i));
  }
  GaussianProcess::Answer answer;
  model_->ask(features, answer, false);
  return std::ranges::min(own_values(history, rows, answer.means));
}

std::optional<Box> BayesianSearcher::region_box(const Question& question) {
  if (!region_) {
    region_.emplace(*question.history, options_.exact_until,
                    std::max<std::size_t>(4, space_.dimensions()), initial_);
  }
  region_->advance(question.seen);
  if (region_->is_gathering() || !region_->has_best()) {
    return std::nullopt;
  }
  return box_of(*region_, *question.history);
}

/// Every second proposal is looked for near the best result, in a box that shrinks while nothing
/// better is found: a model that is sure of itself where the function is rough would else stay
/// where it is, or go to the corners.
std::optional<Box> BayesianSearcher::near_box(const Question& question) {
  if (inputs_.has_resource() || question.seen < initial_ || question.number % far_every == 0) {
    return std::nullopt;
  }
  if (!near_) {
    near_.emplace(*question.history, initial_, near_failures, 0);
  }
  near_->advance(question.seen);
  return near_->has_best() ? std::optional(box_of(*near_, *question.history)) : std::nullopt;
}

/// The region's box, stretched by the lengths of the model. Lists stay whole, and so do numbers
/// that are inactive at its centre; a number with few values keeps its neighbours.
Box BayesianSearcher::box_of(const Region& region, const History& history) const {
  std::vector<double> lengths(space_.dimensions(), 1.0);
  for (std::size_t k = 0; k < lengths.size() && !fitted_.theta.empty(); ++k) {
    lengths[k] = std::exp(fitted_.theta[k]);
  }
  const std::vector<double> centre = space_.encode(history[region.best()].config);
  Box box = region.box(centre, std::move(lengths));
  for (std::size_t k = 0; k < centre.size(); ++k) {
    const Parameter& parameter = space_[space_.searched()[k]];
    if (parameter.kind == Kind::choice) {
      box.low[k] = 0.0;
      box.high[k] = 1.0;
    } else if (const auto count = parameter.count(); count && !std::isnan(centre[k])) {
      const double cell = 1.0 / static_cast<double>(*count);
      box.low[k] = std::max(0.0, std::min(box.low[k], centre[k] - cell));
      box.high[k] = std::min(1.0, std::max(box.high[k], centre[k] + cell));
    }
  }
  return box;
}

const Candidate* BayesianSearcher::choose(const Question& question,
                                          const std::vector<Candidate>& candidates) {
  const auto found = std::ranges::find_if(candidates, [&](const Candidate& candidate) {
    return !tried_.has(question, candidate.config);
  });
  return found == candidates.end() ? nullptr : &*found;
}

void BayesianSearcher::restore(std::string_view state) {
  std::optional<Fitted> fitted = read_fitted(state, inputs_.shape());
  if (!fitted) {
    throw Error(Fault::bad_input, "'" + std::string(state) +
                                      "' is no state of the Bayesian searcher over this space: "
                                      "another version of muster or another space wrote it; begin "
                                      "a sweep of a new name, with tune.warm_start = this one");
  }
  fitted_ = *std::move(fitted);
  model_.reset();
}

}  // namespace muster::hpo
