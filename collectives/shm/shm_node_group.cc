// SPDX-License-Identifier: Apache-2.0
#include "collectives/shm/shm_node_group.h"

#include "collectives/shm/robust_peers.h"
#include "collectives/shm/shm_windows.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

/// What lies in ControlHeader::node_group.
struct NodeLayout {
  GroupBlock block;
  std::array<PeerRecord, GroupBlock::most_members> records;
};
static_assert(sizeof(NodeLayout) <= sizeof(ControlHeader::node_group));

}  // namespace

std::unique_ptr<LocalGroup> shm_node_group(ControlPage& page, int local_rank, int local_size,
                                           ShmOptions options) {
  require(local_rank >= 0 && local_rank < local_size,
          "a local rank is below the number of local ranks");
  require(local_size <= page.slots() && local_size <= GroupBlock::most_members,
          "the control page is too small for the ranks of this machine");
  auto* layout = reinterpret_cast<NodeLayout*>(page.header().node_group.data());
  auto peers = std::make_shared<RobustPeers>(page, layout->records.data(), local_rank, local_size,
                                             options.join_deadline, options.bind);
  const bool core_each = peers->has_core_each();
  return std::make_unique<LocalGroup>(
      LocalGroup::Parts{.block = &layout->block,
                        .rank = local_rank,
                        .size = local_size,
                        .core_each = core_each,
                        .source = std::make_shared<ShmWindows>(options.allow_memfd),
                        .peers = std::move(peers)});
}

}  // namespace muster
