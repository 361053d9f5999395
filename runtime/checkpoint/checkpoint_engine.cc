// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checkpoint_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/agreement.h"
#include "runtime/checkpoint/checkpoint_reader.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/parts.h"
#include "runtime/checkpoint/persister.h"
#include "runtime/checkpoint/recovery.h"
#include "runtime/checkpoint/save_schedule.h"

namespace muster {
namespace {

/// "host-4711": no other writer of this file system has it.
std::string writer_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return fmt::format("{}-{}", host.data(), ::getpid());
}

}  // namespace

struct CheckpointEngine::Impl {
  Impl(EngineOptions given, Communicator& ranks, FileSystem& files, Clock& the_clock)
      : options(std::move(given)),
        group(ranks),
        clock(the_clock),
        store(options.directory, files),
        schedule(options.interval, ranks, the_clock) {}

  enum class Begin { started, busy, failed };

  bool is_first() const { return group.rank() == 0; }
  Path temporary_name(std::int64_t for_sequence) const {
    return store.directory() / fmt::format(".tmp-{}-{}", writer, for_sequence);
  }

  void lay_out(const StateTree& tree) { persister->set_plan(Plan::make(tree, group)); }

  /// Rank 0 of several makes the directory before the others are told that there is one.
  std::string begin_directory() {
    if (!is_first() || group.size() == 1) {
      return {};
    }
    try {
      const Path temporary = temporary_name(sequence + 1);
      begin_file(temporary, state_file, persister->plan().layout().file_bytes, false,
                 store.files());
      Parts(temporary, persister->plan(), store.files()).create();
    } catch (const std::exception& error) {
      return report(error);
    }
    return {};
  }

  /// The others have begun by now: a copy that fails here fails this save, as a full disk does.
  std::function<void()> begin(Snapshot& slot, const StateTree& tree, CheckpointInfo info) {
    try {
      return slot.begin(tree, std::move(info), *mover);
    } catch (const std::exception&) {
      return [why = std::current_exception()] { std::rethrow_exception(why); };
    }
  }

  Begin try_save(const StateTree& tree, CheckpointInfo info) {
    const auto begun = clock.now();
    Snapshot* slot = persister->free_slot();
    const bool fits = persister->plan().fits(tree);
    problem = slot != nullptr && fits ? begin_directory() : "";
    std::array<std::int64_t, 4> flags{slot == nullptr, !fits, persister->last_own_failure(),
                                      !problem.empty()};
    agree_on_max(group, flags);
    persister->abandon_up_to(flags[2]);
    if (flags[1] != 0) {
      wait();
      lay_out(tree);
      return try_save(tree, std::move(info));
    }
    if (flags[0] != 0) {
      return Begin::busy;
    }
    if (flags[3] != 0) {
      return Begin::failed;
    }
    ++sequence;
    auto there = begin(*slot, tree, std::move(info));
    stall = clock.now() - begun;
    persister->submit({.snapshot = slot,
                       .there = std::move(there),
                       .sequence = sequence,
                       .temporary = temporary_name(sequence),
                       .stall_seconds = std::chrono::duration<double>(stall).count()});
    return Begin::started;
  }

  void wait() {
    if (!is_first()) {
      persister->wait_own();
    }
    std::int64_t failed = persister->last_own_failure();
    agree_on_max(group, std::span(&failed, 1));
    persister->abandon_up_to(failed);
    if (is_first()) {
      persister->wait_settled();
    }
    tell_outcome();
  }

  /// What only rank 0 knows: the others learn it here.
  void tell_outcome() {
    const auto state = persister->state();
    std::array<std::int64_t, 3> numbers{-1, 0, 0};
    if (is_first()) {
      numbers = {state.last_committed.value_or(-1), static_cast<std::int64_t>(state.committed),
                 static_cast<std::int64_t>(state.failed)};
    }
    agree_on_max(group, numbers);
    if (numbers[0] >= 0) {
      last_committed = numbers[0];
    }
    committed = static_cast<std::uint64_t>(numbers[1]);
    failed_later = static_cast<std::uint64_t>(numbers[2]);
  }

  EngineOptions options;
  Communicator& group;
  Clock& clock;
  Mover* mover = &host_mover();
  CheckpointStore store;
  SaveSchedule schedule;
  std::string writer;
  bool direct = false;
  std::int64_t sequence = 0;
  Nanoseconds stall{0};
  std::string problem;  // of the last begin on this rank
  std::uint64_t skipped = 0, failed_to_begin = 0, committed = 0, failed_later = 0;
  std::optional<std::int64_t> last_committed;  // as of the last wait()
  std::vector<Path> untrusted;
  std::unique_ptr<Persister> persister;
};

CheckpointEngine::CheckpointEngine(EngineOptions options, Communicator& group, FileSystem& files,
                                   Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(options), group, files, clock)) {}

CheckpointEngine::~CheckpointEngine() {
  if (impl_->persister && impl_->is_first() && impl_->group.size() > 1) {
    impl_->persister.reset();
    try {  // a directory begun for a save that then was skipped
      impl_->store.files().remove(impl_->temporary_name(impl_->sequence + 1));
    } catch (const std::exception& error) {
      log::warning(error.what());
    }
  }
}

void CheckpointEngine::prepare(const StateTree& tree) {
  Impl& self = *impl_;
  DiskProbe probe;
  all_or_none(self.group, [&] {
    if (self.is_first()) {
      probe = within("preparing to save checkpoints", [&] {
        make_directory_durably(self.store.directory(), self.store.files());
        self.store.remove_debris();
        return probe_disk(self.store.directory(), tree.local_bytes(), self.options.direct,
                          self.store.files(), self.clock);
      });
    }
  });
  std::int64_t direct = probe.direct ? 1 : 0;
  agree_on_max(self.group, std::span(&direct, 1));
  self.direct = direct != 0;
  self.writer = broadcast_text(self.group, writer_name());
  self.persister = std::make_unique<Persister>(
      self.store, self.clock,
      PersistOptions{.write = {.threads = self.options.threads, .direct = self.direct},
                     .keep = self.options.keep,
                     .keep_best = self.options.keep_best,
                     .poison = self.options.poison});
  self.lay_out(tree);
  if (probe.bytes_per_second > 0) {
    self.persister->start_from_rate(probe.bytes_per_second);
  }
  self.persister->will_remove(self.untrusted);
}

void CheckpointEngine::set_mover(Mover& mover) {
  impl_->mover = &mover;
}

std::optional<Restored> CheckpointEngine::restore(StateTree& tree, const CheckpointInfo& expected) {
  Impl& self = *impl_;
  auto restored = recover(self.store, self.group, state_file, tree, expected, *self.mover);
  if (restored) {
    self.last_committed = restored->info.step;
    for (const CheckpointEntry& entry : restored->skipped) {
      self.untrusted.push_back(entry.path);
    }
  }
  if (self.persister) {
    self.persister->will_remove(self.untrusted);
  }
  return restored;
}

bool CheckpointEngine::due(std::int64_t step) {
  return impl_->schedule.due(step,
                             impl_->persister ? impl_->persister->state().cost : std::nullopt);
}

bool CheckpointEngine::save(const StateTree& tree, CheckpointInfo info) {
  Impl& self = *impl_;
  require(self.persister != nullptr, "save() before prepare()");
  const std::int64_t step = info.step;
  switch (self.try_save(tree, std::move(info))) {
    case Impl::Begin::started:
      return true;
    case Impl::Begin::busy:
      ++self.skipped;
      if (self.is_first()) {
        log::info(fmt::format(
            "the checkpoint of step {} is skipped: the disk is still busy with the two before it",
            step));
      }
      return false;
    case Impl::Begin::failed:
      ++self.failed_to_begin;
      if (!self.problem.empty()) {
        log::warning(
            fmt::format("the checkpoint of step {} was not saved; training goes on, and the older "
                        "ones are untouched: {}",
                        step, self.problem));
      }
      return false;
  }
  return false;
}

void CheckpointEngine::save_now(const StateTree& tree, CheckpointInfo info) {
  Impl& self = *impl_;
  const std::string context = fmt::format("saving the checkpoint of step {}", info.step);
  wait();
  const bool started = self.try_save(tree, std::move(info)) == Impl::Begin::started;
  self.failed_to_begin += started ? 0 : 1;
  wait();
  const std::string own = started ? self.persister->state().last_problem : self.problem;
  const std::string problem = first_failure(self.group, own);
  if (!problem.empty() || !started) {
    throw Error(Fault::io, fmt::format("{}: {}", context, problem));
  }
}

void CheckpointEngine::wait() {
  require(impl_->persister != nullptr, "wait() before prepare()");
  impl_->wait();
}

std::optional<std::int64_t> CheckpointEngine::last_committed() const {
  if (impl_->persister && impl_->is_first()) {
    if (const auto step = impl_->persister->state().last_committed) {
      return step;
    }
  }
  return impl_->last_committed;
}

SaveCounts CheckpointEngine::counts() const {
  const Impl& self = *impl_;
  SaveCounts counts{.started = static_cast<std::uint64_t>(self.sequence),
                    .committed = self.committed,
                    .skipped = self.skipped,
                    .failed = self.failed_to_begin + self.failed_later};
  if (self.persister && self.is_first()) {
    const auto state = self.persister->state();
    counts.committed = state.committed;
    counts.failed = self.failed_to_begin + state.failed;
  }
  return counts;
}

Nanoseconds CheckpointEngine::predicted_save() const {
  constexpr double copied_per_second = 2e9;
  const Persister& persister = *impl_->persister;
  const std::uint64_t bytes = persister.plan().image_bytes();
  const double seconds = persister.seconds_under_way() + persister.seconds_to_persist(bytes) +
                         static_cast<double>(bytes) / copied_per_second;
  return std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(seconds));
}

Nanoseconds CheckpointEngine::last_stall() const {
  return impl_->stall;
}
std::optional<SaveCost> CheckpointEngine::last_cost() const {
  return impl_->persister ? impl_->persister->state().cost : std::nullopt;
}
bool CheckpointEngine::is_direct() const {
  return impl_->direct;
}
const CheckpointStore& CheckpointEngine::store() const {
  return impl_->store;
}

}  // namespace muster
