// The probes of what is installed: the rank program, MPI, PMIx, Slurm, GPUs, NCCL, BLAS.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "launcher/cli/build_info.h"
#include "launcher/doctor/doctor.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using State = Finding::State;

std::string first_line(const std::string& text) {
  return std::string(trim(text.substr(0, text.find('\n'))));
}

Finding rank_program(World& world) {
  if (world.has_sibling("muster-rank")) {
    return {"rank_program", "muster-rank", State::good, "beside this program", ""};
  }
  return {"rank_program", "muster-rank", State::missing, "not beside this program",
          "no job trains without it; './bootstrap build' makes it where MPI, HDF5 and libtorch "
          "are found"};
}

Finding mpi(World& world) {
  const auto output = world.output_of({"mpirun", "--version"});
  if (!output) {
    return {"mpi", "MPI", State::missing, "no mpirun",
            "jobs on several hosts without Slurm need it: apt install openmpi-bin, or load your "
            "cluster's module"};
  }
  auto version = first_line(*output);
  if (version.starts_with("mpirun (")) {  // "mpirun (Open MPI) 4.1.4"
    version = version.substr(8);
    version.erase(std::ranges::remove(version, ')').begin(), version.end());
  }
  if (version.find("Open MPI") == std::string::npos &&
      version.find("OpenRTE") == std::string::npos) {
    return {"mpi", "MPI", State::poor, version,
            "mpirun is not Open MPI's, whose options Muster uses: put Open MPI first in PATH"};
  }
  return {"mpi", "MPI", State::good, version, ""};
}

Finding pmix(World& world) {
  const auto version = world.pmix_version();
  if (!version) {
    return {"pmix", "PMIx", State::missing, "no libpmix",
            "'srun --mpi=pmix' cannot tell ranks of each other: apt install libpmix2"};
  }
  return {"pmix", "PMIx", State::good, *version, ""};
}

Finding slurm(World& world) {
  const auto version = world.output_of({"sbatch", "--version"});
  if (!version && world.has_program("sbatch")) {
    return {"slurm", "Slurm", State::poor, "installed, without a cluster",
            "'muster submit' needs your cluster's /etc/slurm/slurm.conf, or SLURM_CONF"};
  }
  if (!version) {
    return {"slurm", "Slurm", State::missing, "no sbatch",
            "'muster submit' needs it: apt install slurm-client and your cluster's slurm.conf"};
  }
  const auto partitions = world.output_of({"sinfo", "--noheader", "--format=%P"});
  if (!partitions) {
    return {"slurm", "Slurm", State::poor, first_line(*version) + ", no controller answers",
            "jobs cannot be submitted from here: check slurm.conf and 'scontrol ping'"};
  }
  const auto kinds = world.output_of({"srun", "--mpi=list"});
  std::string value = first_line(*version) + ", partitions " + join(words(*partitions), " ");
  if (const auto job = world.variable("SLURM_JOB_ID")) {
    value += ", inside job " + *job;
  }
  if (kinds && kinds->find("pmix") == std::string::npos) {
    return {"slurm", "Slurm", State::poor, value,
            "its srun has no pmix plug-in, so MPI jobs start by mpirun inside an allocation; ask "
            "for slurm built with PMIx"};
  }
  return {"slurm", "Slurm", State::good, value, ""};
}

Finding gpus(World& world) {
  const auto driver = world.nvidia_driver();
  if (!driver) {
    return {"gpus", "GPUs", State::missing, "no NVIDIA driver",
            "training runs on the CPUs; a card needs its driver: apt install nvidia-driver "
            "(Debian, non-free), or ubuntu-drivers install"};
  }
  if (driver->gpus.empty()) {
    return {"gpus", "GPUs", State::poor, "driver " + driver->version + ", no GPU",
            "the driver sees no device: look at nvidia-smi and CUDA_VISIBLE_DEVICES"};
  }
  std::string value = "driver " + driver->version;
  for (const auto& gpu : driver->gpus) {
    value += fmt::format("; {} {}", gpu.name, human_bytes(static_cast<double>(gpu.memory)));
  }
  if (constexpr int oldest = 13000; driver->cuda > 0 && driver->cuda < oldest) {
    return {
        "gpus", "GPUs", State::poor,
        fmt::format("{}; speaks CUDA {}.{}", value, driver->cuda / 1000, driver->cuda % 1000 / 10),
        "training runs on the CPUs: Muster's GPU half needs a driver that speaks CUDA 13, which "
        "is 580 or newer"};
  }
  if (!world.has_gpu_module()) {
    return {"gpus", "GPUs", State::poor, value + "; no libmuster_cuda.so beside the programs",
            "training runs on the CPUs: Muster's GPU half was not built; configure with "
            "-DMUSTER_WITH_CUDA=ON, which needs the CUDA toolkit (nvcc), and build again"};
  }
  if (const auto visible = world.variable("CUDA_VISIBLE_DEVICES"); visible && visible->empty()) {
    return {"gpus", "GPUs", State::poor, value,
            "CUDA_VISIBLE_DEVICES is empty, which hides them all: unset it"};
  }
  return {"gpus", "GPUs", State::good, value, ""};
}

Finding nccl(World& world) {
  const auto version = world.nccl_version();
  if (version) {
    return {"nccl", "NCCL", State::good, *version, ""};
  }
  return {"nccl", "NCCL", State::missing, "no libnccl.so.2",
          "ranks on several GPUs need it: pip download nvidia-nccl-cu13 and put its lib folder in "
          "LD_LIBRARY_PATH, or apt install libnccl2"};
}

Finding blas(World& world) {
  if (const auto name = world.torch_blas()) {
    return {"blas", "BLAS", State::good, *name + ", inside libtorch", ""};
  }
  return {"blas", "BLAS", State::missing, "no libtorch where this program expects it",
          "training cannot start: './bootstrap build' fetches it" +
              (build_torch_libraries().empty() ? "" : " to " + build_torch_libraries()) +
              ", or set MUSTER_TORCH to a libtorch and build again"};
}

}  // namespace

std::vector<Finding> examine_software(World& world) {
  return {rank_program(world), mpi(world),  pmix(world), slurm(world),
          gpus(world),         nccl(world), blas(world)};
}

}  // namespace muster
