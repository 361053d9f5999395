// SPDX-License-Identifier: Apache-2.0
#include "launcher/attend/attendant.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <csignal>
#include <memory>
#include <optional>
#include <utility>

#include "launcher/engine/beats.h"
#include "launcher/engine/end_record.h"
#include "launcher/engine/keeper.h"
#include "launcher/engine/line_reader.h"
#include "launcher/engine/machine_place.h"
#include "launcher/engine/orders.h"
#include "launcher/engine/owner_lock.h"
#include "launcher/engine/process.h"
#include "launcher/engine/resources.h"
#include "launcher/program/program_job.h"
#include "launcher/supervise/fault_report.h"
#include "launcher/supervise/hang_watch.h"
#include "launcher/supervise/run_directory.h"
#include "launcher/supervise/stack_dumps.h"
#include "runtime/base/clock.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/base/text.h"
#include "runtime/comm/control_page.h"
#include "runtime/comm/launch_context.h"

namespace muster {
namespace {

/// To load its libraries and meet the others, before there is a page to watch.
constexpr std::chrono::milliseconds least_start_time{60'000};

/// The page that the ranks of this host made for themselves, found among the rank's open files.
std::unique_ptr<ControlPage> find_page(pid_t rank) {
  const Path folder = fmt::format("/proc/{}/fd", rank);
  for (const auto& name : posix_file_system().list(folder)) {
    std::error_code code;
    const auto target = std::filesystem::read_symlink(folder / name, code);
    if (!code && target.string().find("muster-control") != std::string::npos) {
      auto page = ControlPage::open_if_made((folder / name).string());
      return page ? std::make_unique<ControlPage>(*std::move(page)) : nullptr;
    }
  }
  return nullptr;
}

std::int64_t wall_ns() {
  return std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

/// As Slurm calls this machine, where it does: that name can be left out of a later start.
std::string name_of_host() {
  const auto environment = process_environment();
  const auto node = environment.find("SLURMD_NODENAME");
  return node == environment.end() ? this_host() : node->second;
}

class Attendant {
 public:
  explicit Attendant(const AttendantOptions& options)
      : options_(options),
        context_(launch_context(process_environment())),
        log_(posix_file_system().open(options.logs / fmt::format("rank-{}.log", context_.rank),
                                      OpenMode::append)),
        beats_(options.logs, context_.rank, name_of_host()) {}

  int run() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a launcher that is killed takes its ranks with it
    const Descriptor wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    std::atomic<std::uint64_t> signalled{0};  // a bit each: CONT and TERM come together
    const StopSignals signals([&](int signal) {
      signalled |= std::uint64_t{1} << signal;
      const std::uint64_t one = 1;
      [[maybe_unused]] const auto put = ::write(wake.get(), &one, sizeof one);
    });
    start();
    while (!ended_) {
      std::array<pollfd, 4> waits{{{process_->descriptor(), POLLIN, 0},
                                   {output_->descriptor(), POLLIN, 0},
                                   {error_->descriptor(), POLLIN, 0},
                                   {wake.get(), POLLIN, 0}}};
      ::poll(waits.data(), waits.size(), page_ || options_.foreign ? 200 : 20);
      std::uint64_t count = 0;
      [[maybe_unused]] const auto got = ::read(wake.get(), &count, sizeof count);
      held_ |= signalled.exchange(0);
      heed_orders();
      pass_on_held();
      beats_.beat(std::chrono::steady_clock::now());
      watch();
      ended_ = process_->poll();
      keep_log();
      note_failure();
    }
    return note_the_end();
  }

 private:
  void start() {
    Pipe output = output_pipe();
    Pipe error = output_pipe();
    ProcessSpec spec;
    spec.command = options_.command;
    spec.environment = process_environment();
    spec.environment["MUSTER_ATTENDED"] = "1";  // the rank leaves the run's files to the supervisor
    const int local_size = context_.local_size > 0  // under PMIx Slurm's own variables know it
                               ? context_.local_size
                               : machine_place(spec.environment).local_size;
    const Machine machine = this_machine();
    const auto shares = divide(machine, local_size, options_.threads);
    const auto& share = shares.at(static_cast<std::size_t>(context_.local_rank % local_size));
    spec.environment.try_emplace("OMP_NUM_THREADS", std::to_string(share.threads));
    if (options_.foreign) {
      const auto& master = spec.environment["MASTER_ADDR"];
      const auto port =
          static_cast<int>(parse_int(spec.environment["MASTER_PORT"]).value_or(29500));
      for (auto& [variable, value] : rendezvous_environment(
               context_.rank, context_.size, context_.local_rank, local_size, master, port)) {
        spec.environment[variable] = value;
      }
    }
    if (!options_.foreign && !options_.on_cpu && !share.gpus.empty()) {
      spec.environment["CUDA_VISIBLE_DEVICES"] = join(share.gpus, ",");
      warn_of_misfit(machine.gpus.size(), static_cast<std::size_t>(local_size));
    }
    spec.output = output.theirs.get();
    spec.error = error.theirs.get();
    output_ = std::make_unique<LineReader>(std::move(output.ours));
    error_ = std::make_unique<LineReader>(std::move(error.ours));
    process_ = std::make_unique<Process>(Process::start(spec));
    started_ = std::chrono::steady_clock::now();
  }

  /// Only who is there sees a host's cards. Hosts are alike, so one of them speaks.
  void warn_of_misfit(std::size_t cards, std::size_t ranks) {
    const auto host = name_of_host();
    const auto amiss =
        misfit(cards, ranks,
               fmt::format("hosts = {}:{} or Slurm's --ntasks-per-node={}", host, cards, cards));
    if (context_.rank == 0 && !amiss.empty()) {
      keep({fmt::format("{} [rank 0] warning: {} on {}: {}",
                        iso_time(std::chrono::system_clock::now()), counted(ranks, "rank"), host,
                        amiss)});
    }
  }

  void keep_log() {
    std::vector<std::string> lines;
    output_->read(lines);
    error_->read(lines);
    keep(lines);
  }

  void keep(const std::vector<std::string>& lines) {
    try {
      for (const auto& line : lines) {
        log_->append(as_bytes(line + "\n"));
      }
    } catch (const Error&) {  // a full disk must not end a rank that may save on another one
    }
  }

  /// A rank of ours that is still being loaded would die of them: they wait for its page.
  void pass_on_held() {
    if (page_ || options_.foreign) {
      for (auto bits = std::exchange(held_, 0); bits != 0; bits &= bits - 1) {
        pass_on(std::countr_zero(bits));
      }
    }
  }

  void pass_on(int signal) {
    heed_deadline(read_orders(options_.logs));  // what cannot be saved by then is not begun
    process_->signal(options_.foreign && signal == SIGUSR1 ? SIGTERM : signal);
  }

  void heed_deadline(const std::optional<Orders>& orders) {
    if (!page_ && !options_.foreign) {
      page_ = find_page(process_->pid());
    }
    if (page_ && orders && orders->deadline_wall_ns != 0) {
      page_->header().deadline_ns = monotonic_ns() + (orders->deadline_wall_ns - wall_ns());
    }
  }

  /// What the supervisor asks for through the run's directory.
  void heed_orders() {
    const auto orders = read_orders(options_.logs);
    is_over_ = orders && !options_.start.empty() && orders->start != options_.start;
    if (is_over_) {
      process_->kill_tree();
    }
    if (!orders || is_over_) {
      return;
    }
    if (orders->signal != 0 && !std::exchange(told_, true)) {
      held_ |= std::uint64_t{1} << orders->signal;
    }
    if (orders->hints != hints_ && !options_.foreign) {
      hints_ = orders->hints;
      held_ |= std::uint64_t{1} << SIGCONT;
    }
  }

  void watch() {
    const auto now = std::chrono::steady_clock::now();
    if (!page_ && !options_.foreign) {  // soon: a rank that fails early leaves its reason there
      page_ = find_page(process_->pid());
    }
    if (options_.foreign || now < next_look_ || !hang_.empty()) {
      return;
    }
    if (!page_ && now - started_ > std::max(least_start_time, 4 * options_.hang_after)) {
      hang_ =
          fmt::format("rank {} (pid {}) hangs: it has not met the other ranks {} after its start",
                      context_.rank, process_->pid(), human_duration(now - started_));
      end_hanging(true, {process_->pid()});
      return;
    }
    next_look_ = now + std::chrono::milliseconds(250);
    if (!hangs_) {
      hangs_ = page_
                   ? std::make_unique<HangWatch>(page_->slots(), options_.hang_after, precedence())
                   : nullptr;
      return;
    }
    const std::vector<bool> alive(static_cast<std::size_t>(page_->slots()), true);
    const auto hang = hangs_->tick(*page_, alive, now);
    if (hang && page_->slot(hang->local_rank).global_rank ==
                    context_.rank) {  // each attendant acts on its own rank only
      hang_ = hang->text;
      end_hanging(hang->waits, pids_of_page());
    }
  }

  /// Attendants of other hosts have it over one whose rank waits: who ends first ends all, and it
  /// is to be the rank that holds the others up.
  std::chrono::milliseconds precedence() const {
    return std::max<std::chrono::milliseconds>(std::chrono::seconds(2), options_.hang_after / 4);
  }

  std::vector<pid_t> pids_of_page() {
    std::vector<pid_t> pids;
    for (int slot = 0; slot < page_->slots(); ++slot) {
      pids.push_back(page_->slot(slot).pid);
    }
    return pids;
  }

  /// `waits`: for somebody, so that it blames nobody itself.
  void end_hanging(bool waits, const std::vector<pid_t>& pids) {
    hang_waits_ = waits;
    note_so_far();  // the stacks take seconds, in which ranks that wait for this one end
    try {
      write_file_atomically(options_.logs / fmt::format("stacks-rank-{}.txt", context_.rank),
                            hang_ + "\n\n" + stack_dumps(pids));
    } catch (const std::exception&) {  // a full disk: it ends all the same
    }
    process_->kill_tree();
  }

  RankSlot* slot() {
    for (int i = 0; page_ && i < page_->slots(); ++i) {
      if (page_->slot(i).global_rank == context_.rank && page_->slot(i).pid != 0) {
        return &page_->slot(i);
      }
    }
    return nullptr;
  }

  int note_the_end() {
    keep_log();
    heed_orders();
    if (is_over_) {  // the next start has records of its own
      return exit_failed;
    }
    write_end_record(options_.logs, end_so_far());
    const auto code = ended_->code();
    const bool in_order =
        code == exit_finished || code == exit_saved || code == exit_unsaved || code == exit_stopped;
    return in_order ? 0 : code.value_or(128 + ended_->signal().value_or(0));
  }

  void note_failure() {
    RankSlot* own = slot();
    if (!ended_ && !is_over_ && own != nullptr && own->failed != 0) {
      note_so_far();
    }
  }

  /// Its end may take long, and who hears of it may be faster.
  void note_so_far() {
    if (std::exchange(has_noted_, true)) {
      return;
    }
    try {
      write_end_record(options_.logs, end_so_far(), false);
    } catch (const Error&) {  // a full disk: its end has to do
    }
  }

  RankEvent end_so_far() {
    const auto fault = fault_of_rank(context_.rank, slot(), ended_, monotonic_ns());
    RankEvent event;
    event.kind = RankEvent::Kind::ended;
    event.rank = context_.rank;
    event.ended = ended_.value_or(Ended{SIGKILL, 0, 0});
    event.host = name_of_host();
    event.step = fault.step;
    event.operation = fault.operation;
    // Who waits inside an operation waits for somebody: the rank that never entered it is the
    // cause.
    event.fault = hang_.empty() ? fault.fault : hang_waits_ ? Fault::communication : Fault::io;
    event.cause = !hang_.empty() ? hang_ : fault.recorded ? fault.text : "";
    event.time_ns = wall_ns() - (monotonic_ns() - fault.time_ns);
    return event;
  }

  const AttendantOptions& options_;
  LaunchContext context_;
  std::unique_ptr<File> log_;
  BeatWriter beats_;
  std::unique_ptr<LineReader> output_;
  std::unique_ptr<LineReader> error_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<ControlPage> page_;
  std::unique_ptr<HangWatch> hangs_;
  std::chrono::steady_clock::time_point started_{};
  std::chrono::steady_clock::time_point next_look_{};
  std::string hang_;
  bool hang_waits_ = false;
  std::uint64_t held_ = 0;  ///< signals for the rank, a bit each
  bool told_ = false;
  bool has_noted_ = false;
  int hints_ = 0;
  bool is_over_ = false;
  std::optional<Ended> ended_;
};

}  // namespace

int attend(const AttendantOptions& options) {
  return within(
      fmt::format("attending {} on {}",
                  options.command.empty() ? "nothing" : options.command.front(), this_host()),
      [&] { return Attendant(options).run(); });
}

}  // namespace muster
