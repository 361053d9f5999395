// SPDX-License-Identifier: Apache-2.0
#include "collectives/mpi/open_ranks.h"

#include <fmt/format.h>

#include <array>

#include "collectives/mpi/ranks_of_group.h"
#include "collectives/mpi/two_level_communicator.h"
#include "collectives/node/shared_text.h"
#include "collectives/shm/shm_node_group.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

/// What MPI says about who shares a machine with whom.
struct Machines {
  MPI_Comm all = MPI_COMM_NULL;
  MPI_Comm local = MPI_COMM_NULL;
  MPI_Comm lane = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
  LocalPlace place;
  bool are_even = true;  ///< every machine has equally many ranks
  bool are_several() const { return place.size < size; }
};

/// On the MPI thread.
Machines look_at_machines(MPI_Comm group, int ranks_per_machine) {
  Machines machines;
  check_mpi(MPI_Comm_dup(group, &machines.all), "MPI_Comm_dup");
  MPI_Comm_rank(machines.all, &machines.rank);
  MPI_Comm_size(machines.all, &machines.size);
  if (ranks_per_machine > 0) {
    check_mpi(MPI_Comm_split(machines.all, machines.rank / ranks_per_machine, machines.rank,
                             &machines.local),
              "MPI_Comm_split");
  } else {
    check_mpi(
        MPI_Comm_split_type(machines.all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machines.local),
        "MPI_Comm_split_type");
  }
  MPI_Comm_rank(machines.local, &machines.place.rank);
  MPI_Comm_size(machines.local, &machines.place.size);
  std::array<int, 2> extremes{machines.place.size, -machines.place.size};
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, extremes.data(), 2, MPI_INT, MPI_MAX, machines.all),
            "MPI_Allreduce");
  machines.are_even = extremes[0] == -extremes[1];
  check_mpi(MPI_Comm_split(machines.all, machines.place.rank, machines.rank, &machines.lane),
            "MPI_Comm_split");
  return machines;
}

/// The machine's first rank makes the page; the others open it before anyone goes on, since it
/// lives in its maker.
ControlPage shared_page(MpiWorld& world, const Machines& machines) {
  std::optional<ControlPage> page;
  std::array<char, 128> path{};
  if (machines.place.rank == 0) {
    page = ControlPage::create(machines.place.size);
    write_shared(path, page->path());
  }
  world.run([&] {
    check_mpi(MPI_Bcast(path.data(), static_cast<int>(path.size()), MPI_CHAR, 0, machines.local),
              "MPI_Bcast");
  });
  if (!page) {
    page = ControlPage::open(read_shared(path));
  }
  return std::move(*page);
}

class MpiRanks final : public Ranks {
 public:
  /// `own`: the world, when it is to end with these ranks.
  MpiRanks(MpiWorld& mpi, MPI_Comm group, const MpiOptions& options, bool bind,
           std::unique_ptr<MpiWorld> own = nullptr)
      : own_(std::move(own)),
        mpi_(mpi),
        machines_(examine(group, options.ranks_per_machine)),
        page_(shared_page(mpi_, machines_)),
        slot_(page_.slot(machines_.place.rank)) {
    slot_.global_rank = machines_.rank;
    group_ = shm_node_group(page_, machines_.place.rank, machines_.place.size, {.bind = bind});
    if (!machines_.are_several()) {
      world_ = std::make_unique<NodeCommunicator>(*group_, &slot_);
      return;
    }
    const auto watch = [node = group_.get()] { return node->trouble_seen(); };
    auto all =
        std::make_unique<MpiCommunicator>(mpi_, machines_.all, machines_.place, &slot_, watch);
    if (!machines_.are_even) {
      world_ = std::move(all);
      return;
    }
    auto lane =
        std::make_unique<MpiCommunicator>(mpi_, machines_.lane, LocalPlace{}, nullptr, watch);
    auto both =
        std::make_unique<TwoLevelCommunicator>(std::move(all), std::move(lane), *group_, &slot_);
    lane_ = &both->lane();
    world_ = std::move(both);
  }

  NodeGroup& node() override { return *group_; }
  Communicator& world() override { return *world_; }
  Communicator* lane() override { return lane_; }
  ControlPage& page() override { return page_; }
  RankSlot& slot() override { return slot_; }
  void finish() override {
    world_->barrier();
    world_.reset();
    mpi_.run([this] { free_unused(); });
    if (own_) {
      own_->finish();
    }
  }

 private:
  Machines examine(MPI_Comm group, int ranks_per_machine) {
    Machines machines;
    mpi_.run([&] { machines = look_at_machines(group, ranks_per_machine); });
    return machines;
  }
  /// What no communicator of ours has taken over.
  void free_unused() {
    MPI_Comm_free(&machines_.local);
    if (!machines_.are_several()) {
      MPI_Comm_free(&machines_.all);
    }
    if (!machines_.are_several() || !machines_.are_even) {
      MPI_Comm_free(&machines_.lane);
    }
  }

  std::unique_ptr<MpiWorld> own_;
  MpiWorld& mpi_;
  Machines machines_;
  ControlPage page_;
  RankSlot& slot_;
  std::unique_ptr<LocalGroup> group_;
  std::unique_ptr<Communicator> world_;
  Communicator* lane_ = nullptr;
};

}  // namespace

std::unique_ptr<Ranks> open_ranks(const LaunchContext& context, MpiOptions options) {
  if (!context.uses_mpi()) {
    return open_node(context);
  }
  auto world = std::make_unique<MpiWorld>();
  MpiWorld& mpi = *world;
  return std::make_unique<MpiRanks>(mpi, MPI_COMM_WORLD, options, context.bind, std::move(world));
}

// Not bound: other groups may share the cores.
std::unique_ptr<Ranks> ranks_of_group(MpiWorld& world, MPI_Comm group) {
  return std::make_unique<MpiRanks>(world, group, MpiOptions{}, false);
}

}  // namespace muster
