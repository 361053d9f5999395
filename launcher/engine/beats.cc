// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/beats.h"

#include <fmt/format.h>

#include <algorithm>

namespace muster {
namespace {

Path beat_path(const Path& logs, int rank) {
  return logs / fmt::format("rank-{}.beat", rank);
}

}  // namespace

BeatWriter::BeatWriter(const Path& log_directory, int rank, const std::string& host)
    : file_(posix_file_system().open(beat_path(log_directory, rank), OpenMode::create_or_cut)) {
  file_->write_at(0, as_bytes(host + "\n"));
  file_ = posix_file_system().open(beat_path(log_directory, rank), OpenMode::append);
}

void BeatWriter::beat(Monotonic now) {
  if (now >= next_) {
    next_ = now + beat_every;
    try {
      file_->append(as_bytes("."));
    } catch (const std::exception&) {  // a full disk must not end a rank that may save elsewhere
    }
  }
}

BeatWatch::BeatWatch(Path log_directory, int ranks)
    : logs_(std::move(log_directory)), heard_(static_cast<std::size_t>(ranks)) {
  for (int rank = 0; rank < ranks; ++rank) {
    posix_file_system().remove(beat_path(logs_, rank));
  }
}

bool BeatWatch::anybody_came() const {
  for (std::size_t rank = 0; rank < heard_.size(); ++rank) {
    if (posix_file_system().exists(beat_path(logs_, static_cast<int>(rank)))) {
      return true;
    }
  }
  return false;
}

bool BeatWatch::all_beat() const {
  for (std::size_t rank = 0; rank < heard_.size(); ++rank) {
    if (!read_file_if_there(beat_path(logs_, static_cast<int>(rank))).value_or("").ends_with('.')) {
      return false;
    }
  }
  return true;
}

std::vector<std::pair<int, BeatWatch::Lost>> BeatWatch::look(const std::vector<int>& watched,
                                                             Monotonic now) {
  std::vector<std::pair<int, Lost>> lost;
  const auto passed = last_ ? std::min<std::chrono::nanoseconds>(now - *last_, beat_every)
                            : std::chrono::nanoseconds(0);
  last_ = now;
  next_ = now + beat_every;
  for (const int rank : watched) {
    auto& heard = heard_.at(static_cast<std::size_t>(rank));
    const auto text = read_file_if_there(beat_path(logs_, rank)).value_or("");
    heard.silent += passed;
    if (text.size() != heard.bytes) {
      heard.bytes = text.size();
      heard.host = text.substr(0, text.find('\n'));
      heard.silent = {};
    }
    if (heard.silent > (heard.bytes == 0 ? absent_after : lost_after)) {
      lost.emplace_back(rank, Lost{heard.host, heard.silent});
    }
  }
  return lost;
}

}  // namespace muster
