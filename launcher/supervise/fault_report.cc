// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/fault_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <initializer_list>
#include <set>
#include <tuple>

#include "launcher/supervise/hang_watch.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

/// 0: a cause; 1: blames another rank; 2: was ended by us.
int rank_of_blame(const RankFault& fault) {
  if (fault.killed_by_us) {
    return 2;
  }
  const bool blames =
      fault.recorded && (fault.fault == Fault::communication || fault.fault == Fault::cancelled);
  return blames ? 1 : 0;
}

/// The chain of a report in one line: "opening the data: there is no file digits.h5". What follows
/// it (a back-trace) is for the file.
std::string in_one_line(const std::string& text) {
  constexpr std::string_view link = "because: ";
  std::string line;
  for (const auto& part : split(text, '\n')) {
    const auto words = trim(part);
    if (line.empty()) {
      line = words;
    } else if (words.starts_with(link)) {
      line += ": " + std::string(words.substr(link.size()));
    } else {
      break;
    }
  }
  return line;
}

bool has_any(const std::string& text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(words, [&](auto word) { return text.find(word) != text.npos; });
}

/// Words of the CUDA runtime, torch and NCCL for what a card did; and of a run that finds its card
/// no more.
bool blames_a_gpu(const std::string& text) {
  return has_any(text, {", on GPU ", "CUDA error", "unhandled cuda error", "CUDA finds no GPU",
                        "has trained on GPUs", "which had one for each before"});
}

}  // namespace

std::optional<FaultReport> first_fault(std::vector<RankFault> faults) {
  if (faults.empty()) {
    return std::nullopt;
  }
  const auto first = std::ranges::min_element(faults, {}, [](const RankFault& fault) {
    return std::tuple(rank_of_blame(fault), fault.time_ns, fault.rank);
  });
  std::set<int> others;
  for (const RankFault& fault : faults) {
    if (fault.rank != first->rank) {  // one that hangs is also one that we kill
      others.insert(fault.rank);
    }
  }
  return FaultReport{*first, static_cast<int>(others.size())};
}

RankFault fault_of_rank(int rank, RankSlot* slot, const std::optional<Ended>& ended,
                        std::int64_t seen_ns) {
  RankFault fault;
  fault.rank = rank;
  fault.ended = ended;
  fault.time_ns = seen_ns;
  if (slot != nullptr) {
    fault.step = slot->step;
    fault.operation = last_operation(*slot).value_or("");
    if (slot->failed.load(std::memory_order_acquire) != 0) {
      fault.recorded = true;
      fault.time_ns = slot->failed_ns;
      fault.fault = static_cast<Fault>(slot->fault.load());
      fault.text = slot->error.data();
    }
  }
  if (!fault.recorded && ended) {
    fault.text = ended->text();
    fault.fault =
        ended->code() == exit_usage || ended->exec_error != 0 ? Fault::bad_input : Fault::io;
  }
  return fault;
}

std::string FaultReport::sentence() const {
  std::string text = fmt::format("rank {}", first.rank);
  const std::string what = in_one_line(first.text);
  if (first.recorded && first.fault == Fault::bad_input) {
    // What the user got wrong: all ranks say it, and where they were does not matter.
    return text + (first.host.empty() ? "" : " on " + first.host) + ": " + what;
  }
  if (what.starts_with(text + " (pid ")) {  // HangWatch names rank, step and operation itself
    text = first.host.empty() ? what : what + ", on " + first.host;
  } else {
    text += first.host.empty() ? "" : " on " + first.host;
    text += first.recorded ? ": " + what : " " + what;
    text += first.step > 0 ? fmt::format(", at step {}", first.step) : "";
    text += first.operation.empty() ? "" : fmt::format(", last operation {}", first.operation);
  }
  if (consequences > 0) {
    text += fmt::format(" ({} more rank{} failed in consequence)", consequences,
                        consequences == 1 ? "" : "s");
  }
  return text;
}

std::string FaultReport::file_text(std::span<const std::string> last_lines,
                                   const std::string& remedy) const {
  std::string text = sentence() + "\n";
  if (first.text.find('\n') != std::string::npos) {
    text += "\n" + first.text + "\n";
  }
  if (first.recorded && first.ended && first.ended->signal() != SIGKILL) {
    text += fmt::format("\nThe rank {}.\n", first.ended->text());
  }
  text += "\n" + remedy + "\n";
  if (!last_lines.empty()) {
    text += fmt::format("\nThe last lines of rank {}:\n", first.rank);
    for (const auto& line : last_lines) {
      text += "  " + line + "\n";
    }
  }
  return text;
}

std::string remedy_for(const FaultReport& report, const std::string& log_file) {
  const auto& first = report.first;
  if (first.fault == Fault::bad_input) {
    return "What to do: correct the configuration, the command or the data, and run the same "
           "command again.";
  }
  if (first.text.find(std::strerror(ENOSPC)) != std::string::npos) {
    return "What to do: free space on that disk; the same command continues from the last "
           "checkpoint.";
  }
  if (first.text.find("out of memory") != std::string::npos) {
    return "What to do: a smaller train.batch_size or model, train.amp = bf16, or train.recompute "
           "(gpt) takes less; if another process has the GPU's memory, nvidia-smi names it.";
  }
  if (first.text.find("busy or unavailable") != std::string::npos) {
    return "What to do: another process may have the card to itself: 'nvidia-smi -q -d COMPUTE' "
           "shows whether its compute mode is exclusive, nvidia-smi who uses it. Start one process "
           "for each card, or have the administrator set the mode to DEFAULT (nvidia-smi -c 0).";
  }
  if (blames_a_gpu(first.text)) {
    return fmt::format(
        "What to do: on that machine, 'dmesg | grep Xid' and 'nvidia-smi -q' say whether the card "
        "is at fault; otherwise read {}. The same command continues from the last checkpoint.",
        log_file);
  }
  if (!first.stacks.empty()) {
    return fmt::format(
        "What to do: {} says where every rank was; the same command continues from "
        "the last checkpoint.",
        first.stacks);
  }
  const auto signal = first.ended ? first.ended->signal() : std::nullopt;
  if (signal == SIGKILL && !first.recorded) {  // else its end came after its cause, by our hand
    return "What to do: somebody killed it; if it was the kernel for want of memory (dmesg says "
           "so), use fewer ranks or a smaller batch.";
  }
  if (signal == SIGSEGV || signal == SIGBUS || signal == SIGABRT || signal == SIGILL ||
      signal == SIGFPE) {
    return fmt::format(
        "What to do: it crashed; the back-trace is in {}. The same command continues from the last "
        "checkpoint.",
        log_file);
  }
  return fmt::format("What to do: read {}; the same command continues from the last checkpoint.",
                     log_file);
}

}  // namespace muster
