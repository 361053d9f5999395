/// allreduce_versus_mpi SECONDS [BYTES ...] under mpirun on one machine: our all_reduce in shared
/// windows, MPI_Allreduce on its own memory, and the bound (all ranks together scale the same
/// windows in place), interleaved call by call. A JSON line a size from rank 0. Each call is
/// preceded by every rank rewriting its whole buffer and a barrier; times are medians of the
/// slowest rank.
// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "collectives/node/node_communicator.h"
#include "collectives/shm/shm_node_group.h"

namespace muster {
namespace {

using SteadyClock = std::chrono::steady_clock;

int rank_of_world() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
int size_of_world() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

/// Rank 0 makes the page; it must stay with its maker, so both are kept.
ControlPage shared_page() {
  std::array<char, 128> path{};
  if (rank_of_world() == 0) {
    auto page = ControlPage::create(size_of_world());
    std::snprintf(path.data(), path.size(), "%s", page.path().c_str());
    MPI_Bcast(path.data(), static_cast<int>(path.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    return page;
  }
  MPI_Bcast(path.data(), static_cast<int>(path.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
  auto page = ControlPage::open(path.data());
  MPI_Barrier(MPI_COMM_WORLD);
  return page;
}

double median(std::vector<double> times) {
  std::ranges::sort(times);
  return times[times.size() / 2];
}

class Contest {
 public:
  Contest(LocalGroup& group, NodeCommunicator& comm, std::size_t bytes)
      : group_(group),
        comm_(comm),
        count_(bytes / sizeof(float)),
        source_(count_, 1.0F),
        own_(count_),
        stride_((bytes + 4095) / 4096 * 4096),
        window_(group.share(stride_ * static_cast<std::size_t>(group.size()))) {}

  void run(double seconds) {
    std::vector<double> ours;
    std::vector<double> mpi;
    std::vector<double> bound;
    const std::size_t together = count_ * sizeof(float) <= 16384 ? 200 : 1;
    const auto stop = SteadyClock::now() + std::chrono::duration<double>(seconds);
    for (int round = 0, go_on = 1; go_on != 0 || round < 7; ++round) {
      ours.push_back(time(together, mine(), [&] {
        comm_.all_reduce(buffer_of(mine(), count_), ReduceOp::sum).wait();
      }));
      bound.push_back(time(together, mine(), [&] { scale_windows(); }));
      mpi.push_back(time(together, own_.data(), [&] {
        MPI_Allreduce(MPI_IN_PLACE, own_.data(), static_cast<int>(count_), MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
      }));
      go_on = SteadyClock::now() < stop ? 1 : 0;
      MPI_Bcast(&go_on, 1, MPI_INT, 0, MPI_COMM_WORLD);
    }
    if (group_.rank() == 0) {
      std::printf(
          "{\"size_bytes\":%zu,\"ranks\":%d,\"shm_us\":%.3f,\"mpi_us\":%.3f,\"bound_us\":%.3f,"
          "\"rounds\":%zu}\n",
          count_ * sizeof(float), group_.size(), median(ours), median(mpi), median(bound),
          ours.size());
      std::fflush(stdout);
    }
  }

 private:
  float* window_of(int rank) const {
    return reinterpret_cast<float*>(window_->bytes().data() +
                                    stride_ * static_cast<std::size_t>(rank));
  }
  float* mine() const { return window_of(group_.rank()); }

  double time(std::size_t calls, float* buffer, const std::function<void()>& call) {
    std::memcpy(buffer, source_.data(), count_ * sizeof(float));
    group_.barrier();
    const auto start = SteadyClock::now();
    for (std::size_t i = 0; i < calls; ++i) {
      if (calls > 1) {
        std::memcpy(buffer, source_.data(), count_ * sizeof(float));
      }
      call();
    }
    double us = std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count() /
                static_cast<double>(calls);
    comm_.all_reduce(buffer_of(&us, 1), ReduceOp::max).wait();
    return us;
  }

  /// The same lines as the all-reduce, read and written once each, with nothing to compute.
  [[gnu::optimize("O3"), gnu::target_clones("avx512f", "avx2", "default")]] void scale_windows() {
    const std::size_t share = count_ / static_cast<std::size_t>(group_.size());
    for (int rank = 0; rank < group_.size(); ++rank) {
      float* values = window_of(rank) + share * static_cast<std::size_t>(group_.rank());
      for (std::size_t i = 0; i < share; ++i) {
        values[i] *= 1.0001F;
      }
    }
    group_.barrier();
  }

  LocalGroup& group_;
  NodeCommunicator& comm_;
  std::size_t count_;
  std::vector<float> source_;
  std::vector<float> own_;
  std::size_t stride_;
  std::unique_ptr<SharedMemory> window_;
};

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  {
    auto page = muster::shared_page();
    const auto group =
        muster::shm_node_group(page, muster::rank_of_world(), muster::size_of_world());
    muster::NodeCommunicator comm(*group);
    const double seconds = argc > 1 ? std::stod(argv[1]) : 2;
    for (int i = 2; i < argc; ++i) {
      muster::Contest(*group, comm, std::stoul(argv[i])).run(seconds);
    }
    group->barrier();
  }
  MPI_Finalize();
  return 0;
}
