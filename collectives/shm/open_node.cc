// SPDX-License-Identifier: Apache-2.0
#include "collectives/shm/open_node.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "collectives/node/node_communicator.h"
#include "collectives/shm/shm_node_group.h"
#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using std::chrono::milliseconds;
constexpr std::chrono::seconds meeting_deadline(120);

class NodeRanks final : public Ranks {
 public:
  NodeRanks(const LaunchContext& context, ControlPage page)
      : page_(std::move(page)), slot_(page_.slot(context.local_rank)) {
    slot_.global_rank = context.rank;
    group_ = shm_node_group(page_, context.local_rank, context.local_size, {.bind = context.bind});
    world_ = std::make_unique<NodeCommunicator>(*group_, &slot_);
  }
  NodeGroup& node() override { return *group_; }
  Communicator& world() override { return *world_; }
  Communicator* lane() override { return nullptr; }
  ControlPage& page() override { return page_; }
  RankSlot& slot() override { return slot_; }
  void finish() override { group_->barrier(); }

 private:
  ControlPage page_;
  RankSlot& slot_;
  std::unique_ptr<LocalGroup> group_;
  std::unique_ptr<NodeCommunicator> world_;
};

/// A file of this user that holds the path of the page; ranks of one torchrun have one parent,
/// which names it.
Path meeting_file(const LaunchContext& context) {
  std::string name = fmt::format("muster-{}-{}", ::getuid(), context.meeting);
  std::ranges::replace(name, '/', '_');
  return std::filesystem::temp_directory_path() / name;
}

std::optional<ControlPage> try_open(const Path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0 || info.st_uid != ::getuid()) {
    return std::nullopt;
  }
  const auto path = read_file_if_there(file);
  try {
    return path ? std::optional<ControlPage>(ControlPage::open(std::string(trim(*path))))
                : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;  // left by an earlier start whose rank 0 is gone
  }
}

ControlPage meet(const LaunchContext& context) {
  const auto file = meeting_file(context);
  if (context.local_rank == 0) {
    auto page = ControlPage::create(context.local_size);
    posix_file_system().remove(file);
    write_file_atomically(file, page.path());
    return page;
  }
  const auto give_up = std::chrono::steady_clock::now() + meeting_deadline;
  while (std::chrono::steady_clock::now() < give_up) {
    if (auto page = try_open(file)) {
      return std::move(*page);
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  throw Error(Fault::communication,
              fmt::format("rank 0 has not left its address in {} within {} s: see its log",
                          file.string(), meeting_deadline.count()));
}

}  // namespace

std::unique_ptr<Ranks> open_node(const LaunchContext& context, std::optional<ControlPage> handed) {
  require(!context.uses_mpi(), "ranks that mpirun or srun started are opened with MPI");
  if (handed) {
    return std::make_unique<NodeRanks>(context, std::move(*handed));
  }
  if (!context.control.empty()) {
    return std::make_unique<NodeRanks>(context, ControlPage::open(context.control));
  }
  if (context.size == 1) {
    return std::make_unique<NodeRanks>(context, ControlPage::create(1));
  }
  auto ranks = std::make_unique<NodeRanks>(context, meet(context));
  if (context.local_rank == 0) {  // all have joined
    posix_file_system().remove(meeting_file(context));
  }
  return ranks;
}

}  // namespace muster
