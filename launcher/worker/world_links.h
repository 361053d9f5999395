/// WorldPost: texts between the ranks of an MPI world, in order, and the links of a sweep made of
/// them. All of MPI happens on the world's own thread; a call waits for its turn there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "collectives/mpi/mpi_world.h"
#include "launcher/sweep/worker_link.h"

namespace muster {

enum class PostTag : int {
  order = 1,
  event = 2,
  end = 3,  ///< to a worker: no more orders
};

struct Letter {
  PostTag tag = PostTag::order;
  std::string text;
};

/// One thread's, that of the rank that made it.
class WorldPost {
 public:
  explicit WorldPost(MpiWorld& world);
  int rank() const { return rank_; }
  int size() const { return size_; }
  void send(int to, PostTag tag, std::string text);
  /// Moves on what is to be sent, takes what has come.
  void poll();
  /// What has come from this rank by the last poll.
  std::vector<Letter> from(int rank);
  /// Until all is sent.
  void drain();

 private:
  struct Sending {
    std::string text;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  MpiWorld& world_;
  int rank_ = 0;
  int size_ = 1;
  std::deque<Sending> sending_;  // a deque: texts stay where they are
  std::map<int, std::vector<Letter>> come_;
};

/// The coordinator's workers: `ranks`, each with `slots_each` trials at once. `on_look` is called
/// now and then.
std::unique_ptr<WorkerSource> rank_workers(WorldPost& post, std::vector<int> ranks,
                                           std::size_t slots_each, std::function<void()> on_look);

}  // namespace muster
