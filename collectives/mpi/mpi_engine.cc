// SPDX-License-Identifier: Apache-2.0
#include "collectives/mpi/mpi_engine.h"

#include <fmt/format.h>

#include <cstring>
#include <thread>
#include <utility>

#include "collectives/mpi/mpi_world.h"
#include "collectives/node/shared_text.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr int abort_tag = 2;
constexpr std::chrono::milliseconds peers_every(50);

}  // namespace

MpiEngine::MpiEngine(MPI_Comm comm, RankSlot* flight, PeerWatch watch)
    : comm_(comm),
      flight_(flight),
      watch_(std::move(watch)),
      watched_(std::chrono::steady_clock::now()) {
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  greetings_.resize(static_cast<std::size_t>(size_));
  MPI_Irecv(heard_.data(), static_cast<int>(heard_.size()), MPI_CHAR, MPI_ANY_SOURCE, abort_tag,
            comm_, &listening_);
}

void MpiEngine::close() {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) {
    return;  // leave it to the launcher
  }
  MPI_Cancel(&listening_);
  MPI_Request_free(&listening_);
  MPI_Comm_free(&comm_);
}

void MpiEngine::abort(std::string_view sentence) {
  const std::lock_guard lock(mutex_);
  if (failure_.empty()) {
    failure_ = sentence;
    must_tell_ = true;
  }
}

void MpiEngine::check() {
  look();
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) {
    throw Error(Fault::communication, failure_);
  }
}

void MpiEngine::look() {
  int heard = 0;
  if (listening_ != MPI_REQUEST_NULL) {
    MPI_Test(&listening_, &heard, MPI_STATUS_IGNORE);
  }
  if (heard != 0) {
    const std::lock_guard lock(mutex_);
    failure_ = failure_.empty() ? read_shared(heard_) : failure_;
  }
  look_at_peers();
  tell_others();
}

/// Not at every turn: it makes system calls.
void MpiEngine::look_at_peers() {
  const auto now = std::chrono::steady_clock::now();
  if (!watch_ || now - watched_ < peers_every) {
    return;
  }
  watched_ = now;
  if (auto sentence = watch_(); !sentence.empty()) {
    abort(sentence);
  }
}

/// Sends are not waited for: a rank that has gone would keep us.
void MpiEngine::tell_others() {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(must_tell_, false)) {
    return;
  }
  write_shared(told_, failure_);
  for (int other = 0; other < size_; ++other) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (other != rank_) {
      MPI_Isend(told_.data(), static_cast<int>(told_.size()), MPI_CHAR, other, abort_tag, comm_,
                &request);
    }
    if (request != MPI_REQUEST_NULL) {
      MPI_Request_free(&request);
    }
  }
}

void MpiEngine::wait(std::vector<MPI_Request>& requests) {
  for (unsigned turn = 1;; ++turn) {
    int done = 0;
    check_mpi(
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
        "MPI_Testall");
    if (done != 0) {
      requests.clear();
      return;
    }
    if (turn % 64 == 0) {
      check();
      std::this_thread::yield();
    }
  }
}

void MpiEngine::wait(MPI_Request request) {
  std::vector<MPI_Request> requests{request};
  wait(requests);
}

void MpiEngine::meet(const Call& call, const void* payload, std::size_t bytes) {
  ++operations_;
  check();
  Greeting mine{.call = call, .payload = {}};
  if (bytes > 0) {
    std::memcpy(mine.payload.data(), payload, bytes);
  }
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(&mine, sizeof mine, MPI_BYTE, greetings_.data(), sizeof mine, MPI_BYTE,
                           comm_, &request),
            "MPI_Iallgather");
  wait(request);
  compare_calls();
}

void MpiEngine::compare_calls() {
  const auto& first = greetings_[0].call;
  for (int other = 1; other < size_; ++other) {
    const auto& its = greetings_[static_cast<std::size_t>(other)].call;
    if (!its.agrees_with(first)) {
      const auto sentence = fmt::format(
          "operation {}: rank {} calls {} where rank 0 calls {}; every rank must call the same",
          operations_, other, describe(its), describe(first));
      const std::lock_guard lock(mutex_);
      failure_ = sentence;
      throw Error(Fault::communication, sentence);
    }
  }
}

}  // namespace muster
