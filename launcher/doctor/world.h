/// World: what the doctor asks of the machine, so that tests can be a machine that lacks things.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace muster {

struct GpuFacts {
  std::string name;
  std::uint64_t memory = 0;
};

struct DriverFacts {
  std::string version;
  std::vector<GpuFacts> gpus;
  int cuda = 0;  ///< the newest CUDA that it speaks, 13000 being 13.0; 0: it does not say
};

class World {
 public:
  virtual ~World() = default;
  /// What a program prints, both streams; nothing when it is not there, fails or takes over 5 s.
  virtual std::optional<std::string> output_of(const std::vector<std::string>& command) = 0;
  virtual bool has_program(const std::string& name) = 0;  ///< in PATH
  virtual std::optional<std::string> read(const std::string& path) = 0;
  virtual std::optional<std::string> variable(const std::string& name) = 0;
  virtual std::vector<int> allowed_cpus() = 0;
  /// Bytes of a mounted file system: whole and free. Nothing where there is none.
  struct Space {
    std::uint64_t total = 0;
    std::uint64_t free = 0;
  };
  virtual std::optional<Space> space(const std::string& path) = 0;
  /// Bytes a second that a durable write to a new file in `directory` reaches.
  virtual double write_rate(const std::string& directory) = 0;
  virtual std::optional<DriverFacts> nvidia_driver() = 0;
  /// Whether the half of Muster that speaks CUDA is where the programs look for it.
  virtual bool has_gpu_module() = 0;
  virtual std::optional<std::string> nccl_version() = 0;
  virtual std::optional<std::string> pmix_version() = 0;
  /// The BLAS inside libtorch and its version: "Intel MKL 2024.2".
  virtual std::optional<std::string> torch_blas() = 0;
  /// A program that lies beside this one.
  virtual bool has_sibling(const std::string& program) = 0;
};

/// The machine that this process runs on.
World& system_world();

}  // namespace muster
