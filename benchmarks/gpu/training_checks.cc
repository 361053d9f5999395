// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "benchmarks/gpu/gpu_bench.h"
#include "benchmarks/gpu/twin.h"
#include "collectives/nccl/nccl_communicator.h"
#include "collectives/shm/open_node.h"
#include "runtime/gpu/host_gpu.h"

namespace muster::bench {
namespace {

template <class T>
double furthest(const std::vector<T>& a, const std::vector<T>& b) {
  double most = a.size() == b.size() && !a.empty() ? 0 : 1e300;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double apart = std::abs(static_cast<double>(a[i]) - b[i]);
    most = apart <= most ? most : apart;  // NaN stays
  }
  return most;
}

/// Losses alone where the optimiser divides by a gradient's size: what is noise about zero (the
/// bias of a key moves no attention) would be as large as a step.
struct Allowed {
  double loss = 0;
  double parameters = 1e300;
};

/// `mode`: how the second has to have run in the end.
int compare(const std::string& what, Session& a, Session& b, std::uint64_t steps, Allowed allowed,
            const std::string& mode = "") {
  const double losses = furthest(a.trainer().run_steps(steps), b.trainer().run_steps(steps));
  const double parameters = furthest(a.parameters(), b.parameters());
  const bool ok = losses <= allowed.loss && parameters <= allowed.parameters &&
                  b.trainer().gpu_mode().starts_with(mode);
  fmt::print(
      "{{\"part\": \"training\", \"what\": \"{}\", \"steps\": {}, \"losses\": {}, "
      "\"parameters\": {}, \"allowed\": {:g}, \"modes\": [\"{}\", \"{}\"], \"ok\": {}}}\n",
      what, steps, number(losses), number(parameters), allowed.loss, a.trainer().gpu_mode(),
      b.trainer().gpu_mode(), ok);
  return ok ? 0 : 1;
}

/// Graph and eager are the same kernels; those of cuDNN may add in any order, which norms of few
/// values enlarge from step to step. cuDNN multiplies float32 in TF32 unless told otherwise.
Allowed of_graph(const std::string& model, const std::string& amp) {
  if (model == "resnet50") {
    return amp == "none" ? Allowed{1e-2} : Allowed{0.1};
  }
  if (amp != "none") {
    return Allowed{0.02};
  }
  return model == "cnn" ? Allowed{1e-3} : model == "gpt" ? Allowed{1e-5} : Allowed{1e-6, 1e-6};
}

int check_model(Gpus& gpus, const GpuBench& bench, const std::string& name) {
  GpuBench small = bench;
  small.model = name;
  small.small = true;
  JobSettings job = job_of(small);
  int wrong = 0;
  for (const std::string amp : {"none", "bf16"}) {
    job.train.amp = amp;
    job.train.graph = "off";
    JobSettings graphed = job;
    graphed.train.graph = "on";
    graphed.train.short_ms = 1e9;  // all are, on whatever machine
    Session eager(job, gpus.lane(0));
    Session graph(graphed, gpus.lane(0));
    const bool plays_many = name == "mlp";  // after 64 steps, within an epoch of 10
    const std::uint64_t steps = plays_many ? 120 : name == "resnet50" ? 6 : 24;
    wrong += compare(fmt::format("{} {}: graph against eager", name, amp), eager, graph, steps,
                     of_graph(name, amp), plays_many ? "graph of 8 steps" : "graph");
  }
  job.train.amp = "none";
  job.train.graph = "off";
  Session card(job, gpus.lane(0));
  Session twin(job, host_gpu());
  if (name == "resnet50") {  // one rounding of a weight moves the second step's loss by 1 %
    return wrong + compare(name + ": GPU against CPU", card, twin, 1, Allowed{0.05});
  }
  return wrong + compare(name + ": GPU against CPU", card, twin, 8,
                         name == "cnn" ? Allowed{1e-2} : Allowed{1e-4});
}

/// What a rank of several has to do with the others.
struct Side {
  Gpus* gpus = nullptr;  ///< null: the stand-in
  Communicator& world;
  std::unique_ptr<Gpu> gpu;
  std::unique_ptr<NcclCommunicator> nccl;

  Side(Gpus* cards, Communicator& group) : gpus(cards), world(group), gpu(lane()) {
    if (gpus == nullptr) {
      return;
    }
    static const nccl::NcclTable table = nccl::load_nccl();
    static const nccl::CudaTable cuda = nccl::load_cuda();
    nccl = std::make_unique<NcclCommunicator>(
        table, cuda, world,
        NcclOptions{.device = gpu->device().index,
                    .compute = static_cast<nccl::Stream>(gpu->stream(Gpu::Queue::compute))});
  }
  std::unique_ptr<Gpu> lane() const {
    return gpus == nullptr ? host_gpu() : gpus->lane(world.local_rank() % gpus->count());
  }
  Communicator& device() { return nccl ? static_cast<Communicator&>(*nccl) : world; }
};

/// Whole numbers up to 160, whose sums are exact in any order and type: all_reduce, reduce_scatter
/// and all_gather.
template <class T>
bool sums_are_exact(Side& side, DType type) {
  const auto ranks = static_cast<std::size_t>(side.world.size());
  const auto own = static_cast<std::size_t>(side.world.rank());
  const std::size_t part = 10008;  // on 16 bytes in any type
  const std::size_t count = part * ranks;
  std::vector<T> values(count);
  std::vector<T> wanted(count);
  for (std::size_t i = 0; i < count; ++i) {
    from_float(static_cast<float>((own + 1) * (i % 17)), values[i]);
    from_float(static_cast<float>(ranks * (ranks + 1) / 2 * (i % 17)), wanted[i]);
  }
  const auto memory = side.gpu->allocate(count * sizeof(T));
  auto* data = reinterpret_cast<T*>(memory.get());
  const auto buffer = [&](std::size_t first, std::size_t length) {
    return Buffer{
        .data = data + first, .count = length, .dtype = type, .device = side.gpu->device()};
  };
  const auto bring = [&](std::vector<T>& host, bool up) {
    side.gpu->copy(up ? static_cast<void*>(data) : host.data(),
                   up ? static_cast<const void*>(host.data()) : data, count * sizeof(T),
                   Gpu::Queue::compute);
    side.gpu->synchronise();
  };
  const auto as_wanted = [&](const std::vector<T>& found) { return distance(found, wanted) == 0; };
  std::vector<T> found(count);
  bring(values, true);
  side.device().all_reduce(buffer(0, count), ReduceOp::sum).wait();
  bring(found, false);
  const bool ok = as_wanted(found);
  bring(values, true);
  side.device().reduce_scatter(buffer(0, count), buffer(own * part, part), ReduceOp::sum).wait();
  side.device().all_gather(buffer(own * part, part), buffer(0, count)).wait();
  bring(found, false);
  return ok && as_wanted(found);
}

struct Steps {
  std::vector<double> losses;
  std::vector<float> parameters;
  std::string mode;
};

Steps train(const JobSettings& job, std::unique_ptr<Gpu> gpu, Communicator* world = nullptr,
            Communicator* device = nullptr, std::function<void(bool)> capturing = {}) {
  constexpr std::uint64_t steps = 8;  // two eager, one captured, the rest played
  Session session(job, std::move(gpu), {}, world, device, std::move(capturing));
  Steps result{.losses = session.trainer().run_steps(steps)};
  result.mode = session.trainer().gpu_mode();
  result.parameters = session.parameters();
  return result;
}

int report_ranks(const Communicator& world, const std::string& what, double losses,
                 double parameters, const std::string& mode, bool ok) {
  fmt::print(
      "{{\"part\": \"ranks\", \"what\": \"{} of {} ranks\", \"ranks\": {}, \"losses\": {}, "
      "\"parameters\": {}, \"mode\": \"{}\", \"ok\": {}}}\n",
      what, world.size(), world.size(), number(losses), number(parameters), mode, ok);
  return ok ? 0 : 1;
}

/// Every rank trains with the others, in a graph and not, with ZeRO-1 and without; rank 0 once more
/// alone.
int check_together(Gpus* gpus, const GpuBench& bench, Communicator& world) {
  int wrong = 0;
  Steps plain;
  for (const bool is_sharded : {false, true}) {
    JobSettings job = job_of(bench);
    job.train.bucket_mb = 0.15;  // few collectives: on one card each takes turns of milliseconds
    job.train.shard_optimizer = is_sharded;
    Side side(gpus, world);
    auto* nccl = side.nccl.get();
    const Steps all = train(job, std::move(side.gpu), &world, &side.device(),
                            [nccl](bool on) { nccl != nullptr ? nccl->capture(on) : void(); });
    world.barrier();
    if (world.rank() == 0) {
      const Steps& beside = is_sharded ? plain : (plain = train(job, side.lane()));
      const double losses = furthest(all.losses, beside.losses);
      const double parameters = furthest(all.parameters, beside.parameters);
      wrong += report_ranks(world, is_sharded ? "ZeRO-1 against plain" : "against one", losses,
                            parameters, all.mode,
                            losses <= 1e-5 && parameters <= 1e-4 && all.mode.starts_with("graph"));
      plain = all;
    }
    world.barrier();
  }
  return wrong;
}

}  // namespace

int check_training(Gpus& gpus, const GpuBench& bench) {
  int wrong = 0;
  for (const std::string name : {"mlp", "gpt", "cnn", "resnet50"}) {
    wrong += check_model(gpus, bench, name);
  }
  return wrong;
}

/// Ranks on one card find each other through NCCL_HOSTID.
int check_ranks(Gpus* gpus, const GpuBench& bench) {
  const auto ranks = open_node(launch_context(process_environment()));
  Communicator& world = ranks->world();
  GpuBench small = bench;
  small.small = true;
  int wrong = 0;
  {
    Side side(gpus, world);
    const std::array found{sums_are_exact<float>(side, DType::float32),
                           sums_are_exact<Bf16>(side, DType::bfloat16),
                           sums_are_exact<F16>(side, DType::float16)};  // all ranks do them all
    std::int32_t exact = std::ranges::all_of(found, std::identity()) ? 1 : 0;
    world.all_reduce(buffer_of(&exact, 1), ReduceOp::min).wait();
    if (world.rank() == 0) {
      wrong += report_ranks(world, "sums", 0, 0, "", exact != 0);
    }
  }
  wrong += check_together(gpus, small, world);
  ranks->finish();
  return wrong;
}

}  // namespace muster::bench
