// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/lane_team.h"

namespace muster {
namespace {

class TeamOfOne final : public LaneTeam {
 public:
  RankGroups groups() override { return {*node_, *across_, *world_}; }
  ControlHeader& control() override { return *control_; }

 private:
  std::unique_ptr<NodeGroup> node_ = solo_node_group();
  std::unique_ptr<Communicator> across_ = solo_communicator();
  std::unique_ptr<Communicator> world_ = solo_communicator();
  std::unique_ptr<ControlHeader> control_ = std::make_unique<ControlHeader>();
};

}  // namespace

std::unique_ptr<LaneTeam> team_of_one() {
  return std::make_unique<TeamOfOne>();
}

}  // namespace muster
