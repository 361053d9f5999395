// SPDX-License-Identifier: Apache-2.0
#include "hpo/warm_start.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

/// One line of RFC 4180: quotes, doubled quotes; a record does not span lines here.
std::vector<std::string> csv_cells(std::string_view line) {
  std::vector<std::string> cells(1);
  bool is_quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (is_quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      cells.back() += '"';
      ++i;
    } else if (c == '"') {
      is_quoted = !is_quoted;
    } else if (c == ',' && !is_quoted) {
      cells.emplace_back();
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  return cells;
}

struct Columns {
  std::map<std::size_t, std::string> keys;
  std::optional<std::size_t> value, resource, state;
};

Columns columns_of(const std::vector<std::string>& header, const std::string& source,
                   const StudySetup& setup) {
  Columns columns;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const std::string name(trim(header[i]));
    if (setup.space.find(name)) {
      columns.keys[i] = name;
    } else if (name == "value" || name == setup.metric) {
      columns.value = i;
    } else if (name == "resource") {
      columns.resource = i;
    } else if (name == "state") {
      columns.state = i;
    }
  }
  if (!columns.value) {
    throw Error(Fault::bad_input, source + ": no column is called 'value' or '" + setup.metric +
                                      "', so there are no results in it");
  }
  return columns;
}

double number_in(const std::string& cell, const std::string& place) {
  const std::optional<double> number = parse_double(trim(cell));
  if (!number) {
    throw Error(Fault::bad_input, place + ": '" + cell + "' is not a number");
  }
  return *number;
}

/// Nothing where the row does not fit the space.
std::optional<Config> config_of(const Space::Params& params, const Space& space) {
  try {
    return space.config(params);
  } catch (const Error& error) {
    if (error.fault() != Fault::bad_input) {
      throw;
    }
    return std::nullopt;
  }
}

void take(EarlierResults& earlier, const Space::Params& params, const Space& space,
          EarlierResult result) {
  if (auto config = config_of(params, space)) {
    result.config = *std::move(config);
    earlier.results.push_back(std::move(result));
  } else {
    ++earlier.unusable;
  }
}

}  // namespace

EarlierResults results_in_csv(std::string_view csv, const std::string& source,
                              const StudySetup& setup) {
  EarlierResults earlier{.source = source, .results = {}, .unusable = 0};
  const std::vector<std::string> lines = split(csv, '\n');
  const Columns columns = columns_of(csv_cells(lines.front()), source, setup);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (trim(lines[i]).empty()) {
      continue;
    }
    const std::string place = source + ":" + std::to_string(i + 1);
    const std::vector<std::string> cells = csv_cells(lines[i]);
    const auto cell = [&](std::size_t column) {
      return column < cells.size() ? cells[column] : std::string();
    };
    Space::Params params;
    for (const auto& [column, key] : columns.keys) {
      if (!cell(column).empty()) {
        params.emplace_back(key, cell(column));
      }
    }
    EarlierResult result;
    const bool has_value = !trim(cell(*columns.value)).empty();
    if (!has_value && (!columns.state || cell(*columns.state) != "failed")) {
      ++earlier.unusable;  // a trial that had not reported
      continue;
    }
    result.failed = !has_value;
    result.value = has_value ? number_in(cell(*columns.value), place) : 0.0;
    result.failed = result.failed || !std::isfinite(result.value);
    if (columns.resource && !cell(*columns.resource).empty()) {
      result.resource = number_in(cell(*columns.resource), place);
    }
    take(earlier, params, setup.space, std::move(result));
  }
  return earlier;
}

EarlierResults results_in_sweep(const Path& journal, const StudySetup& earlier_setup,
                                const StudySetup& setup) {
  if (earlier_setup.maximise != setup.maximise || earlier_setup.metric != setup.metric) {
    throw Error(Fault::bad_input, "the sweep " + earlier_setup.name + " has another objective (" +
                                      earlier_setup.objective + ") than this one (" +
                                      setup.objective + ")");
  }
  SweepState state(earlier_setup);
  read_journal(journal, [&](std::string_view bytes) { state.apply(decode(bytes)); });
  EarlierResults earlier{.source = earlier_setup.name, .results = {}, .unusable = 0};
  for (const Trial& trial : state.trials()) {
    const bool failed = trial.state == TrialState::failed;
    if (!is_final(trial.state) || (!failed && !trial.value)) {
      continue;
    }
    EarlierResult result;
    result.failed = failed;
    result.value = trial.value.value_or(0.0);
    if (trial.resource > 0.0) {
      result.resource = trial.resource;
    }
    take(earlier, earlier_setup.space.params(trial.config), setup.space, std::move(result));
  }
  return earlier;
}

std::size_t add_all(Study& study, const EarlierResults& earlier) {
  for (const EarlierResult& result : earlier.results) {
    study.add(result.config, result.resource, result.value, result.failed, earlier.source);
  }
  return earlier.results.size();
}

std::size_t enqueue_best(Study& study, std::span<const EarlierResults> parents, std::size_t count) {
  struct Candidate {
    const Config* config = nullptr;
    std::size_t parent = 0;
    double score = 0.0;  // 0 the parent's best, 1 its worst
  };
  std::vector<Candidate> candidates;
  for (std::size_t parent = 0; parent < parents.size(); ++parent) {
    double least = std::numeric_limits<double>::infinity();
    double most = -least;
    for (const EarlierResult& result : parents[parent].results) {
      if (!result.failed) {
        least = std::min(least, study.state().loss_of(result.value));
        most = std::max(most, study.state().loss_of(result.value));
      }
    }
    for (const EarlierResult& result : parents[parent].results) {
      if (!result.failed) {
        const double span = most > least ? most - least : 1.0;
        candidates.push_back(
            {&result.config, parent, (study.state().loss_of(result.value) - least) / span});
      }
    }
  }
  std::vector<double> best(parents.size(), 1.0);
  std::size_t taken = 0;
  for (; taken < count && !candidates.empty(); ++taken) {
    // The most that a configuration lowers its parent's best; where none does, the best that is
    // left.
    const auto gain = [&](const Candidate& c) {
      return std::pair(std::max(0.0, best[c.parent] - c.score), -c.score);
    };
    const auto chosen = std::ranges::max_element(candidates, {}, gain);
    const Candidate candidate = *chosen;
    best[candidate.parent] = std::min(best[candidate.parent], candidate.score);
    std::erase_if(candidates, [&](const Candidate& c) { return *c.config == *candidate.config; });
    study.enqueue(*candidate.config, "transfer");
  }
  return taken;
}

std::size_t lend_rows(Study& study, std::span<const EarlierResults> parents, std::size_t most) {
  std::size_t lent = 0;
  for (std::size_t parent = 0; parent < parents.size(); ++parent) {
    const std::vector<EarlierResult>& results = parents[parent].results;
    const std::size_t share = std::min(results.size(), most / parents.size());
    for (std::size_t i = 0; i < share; ++i) {
      const EarlierResult& row = results[i * results.size() / share];
      study.lend(static_cast<std::uint32_t>(parent + 1), row.config, row.resource, row.value,
                 row.failed);
    }
    lent += share;
  }
  return lent;
}

}  // namespace muster::hpo
