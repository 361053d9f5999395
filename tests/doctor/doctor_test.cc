// SPDX-License-Identifier: Apache-2.0
#include "launcher/doctor/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/base/error.h"

namespace muster {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using State = Finding::State;

/// A machine made of answers; without any it lacks everything.
class FakeWorld final : public World {
 public:
  std::optional<std::string> output_of(const std::vector<std::string>& command) override {
    return answer(outputs, command.front());
  }
  bool has_program(const std::string& name) override { return programs.contains(name); }
  std::optional<std::string> read(const std::string& path) override { return answer(files, path); }
  std::optional<std::string> variable(const std::string& name) override {
    return answer(variables, name);
  }
  std::vector<int> allowed_cpus() override { return cpus; }
  std::optional<Space> space(const std::string&) override { return shm; }
  double write_rate(const std::string& directory) override {
    if (rate <= 0) {
      throw Error(Fault::io, "open " + directory + ": Permission denied");
    }
    return rate;
  }
  std::optional<DriverFacts> nvidia_driver() override { return driver; }
  bool has_gpu_module() override { return has_module; }
  std::optional<std::string> nccl_version() override { return nccl; }
  std::optional<std::string> pmix_version() override { return pmix; }
  std::optional<std::string> torch_blas() override { return blas; }
  bool has_sibling(const std::string&) override { return has_rank; }

  std::map<std::string, std::string> outputs, files, variables;
  std::set<std::string> programs;
  std::vector<int> cpus;
  std::optional<Space> shm;
  double rate = 0;
  std::optional<DriverFacts> driver;
  std::optional<std::string> nccl, pmix, blas;
  bool has_rank = false;
  bool has_module = false;

 private:
  static std::optional<std::string> answer(const std::map<std::string, std::string>& from,
                                           const std::string& key) {
    const auto at = from.find(key);
    return at == from.end() ? std::nullopt : std::optional(at->second);
  }
};

FakeWorld whole_machine() {
  FakeWorld world;
  world.outputs = {{"mpirun", "mpirun (Open MPI) 4.1.4\n\nReport bugs to\n"},
                   {"sbatch", "slurm-wlm 22.05.8\n"},
                   {"sinfo", "main*\nspot\n"},
                   {"srun", "MPI plugin types are...\n\tpmix\n"}};
  world.files = {
      {"/proc/cpuinfo", "processor : 0\nmodel name : Xeon\nflags : avx2 avx512f\nprocessor : 1\n"},
      {"/proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"},
      {"/sys/fs/cgroup/cpu.max", "max 100000\n"}};
  world.cpus = {0, 1};
  world.shm = World::Space{std::uint64_t{8} << 30, std::uint64_t{8} << 30};
  world.rate = 500e6;
  world.driver = DriverFacts{"580.1", {{"NVIDIA H200", std::uint64_t{140} << 30}}};
  world.nccl = "2.28.9";
  world.pmix = "OpenPMIx 4.2.2";
  world.blas = "Intel MKL";
  world.has_rank = true;
  world.has_module = true;
  return world;
}

const Finding& part(const std::vector<Finding>& findings, const std::string& name) {
  for (const auto& finding : findings) {
    if (finding.part == name) {
      return finding;
    }
  }
  throw Error(Fault::bug, "no part " + name);
}

TEST(Doctor, SaysThatADriverIsTooOldForTheGpuHalf) {
  auto world = whole_machine();
  world.driver->cuda = 12040;
  const auto findings = examine(world, ".");
  const auto& gpus = part(findings, "gpus");
  EXPECT_EQ(gpus.state, State::poor);
  EXPECT_THAT(gpus.value, testing::HasSubstr("speaks CUDA 12.4"));
  world.driver->cuda = 13000;
  EXPECT_EQ(part(examine(world, "."), "gpus").state, State::good);
}

TEST(Doctor, SaysThatCardsLieIdleWithoutTheGpuHalf) {
  auto world = whole_machine();
  world.has_module = false;
  const auto findings = examine(world, ".");
  const auto& gpus = part(findings, "gpus");
  EXPECT_EQ(gpus.state, State::poor);
  EXPECT_THAT(gpus.value, HasSubstr("no libmuster_cuda.so"));
  EXPECT_THAT(gpus.remedy, HasSubstr("-DMUSTER_WITH_CUDA=ON"));
}

TEST(Doctor, FindsNothingWrongWithAWholeMachine) {
  auto world = whole_machine();
  const auto findings = examine(world, ".");
  for (const auto& finding : findings) {
    EXPECT_EQ(finding.state, State::good) << finding.name << ": " << finding.remedy;
    EXPECT_EQ(finding.remedy, "");
  }
  EXPECT_EQ(part(findings, "mpi").value, "Open MPI 4.1.4");
  EXPECT_EQ(part(findings, "slurm").value, "slurm-wlm 22.05.8, partitions main* spot");
  EXPECT_EQ(part(findings, "cores").value, "2 of 2 (0-1), Xeon, avx512f");
  EXPECT_THAT(part(findings, "gpus").value, HasSubstr("NVIDIA H200 150 GB"));
  EXPECT_THAT(part(findings, "disk").value, HasSubstr("500 MB/s durable in ."));
  EXPECT_THAT(findings_text(findings), Not(HasSubstr("What is missing")));
}

TEST(Doctor, SaysOfEachThingMissingHowToGetIt) {
  FakeWorld world;
  const auto findings = examine(world, "/nowhere");
  const std::map<std::string, std::string> words{{"rank_program", "./bootstrap build"},
                                                 {"mpi", "apt install openmpi-bin"},
                                                 {"pmix", "apt install libpmix2"},
                                                 {"slurm", "apt install slurm-client"},
                                                 {"gpus", "apt install nvidia-driver"},
                                                 {"nccl", "nvidia-nccl-cu13"},
                                                 {"blas", "MUSTER_TORCH"},
                                                 {"shared_memory", "mount -t tmpfs"},
                                                 {"disk", "--disk"}};
  for (const auto& [name, remedy] : words) {
    EXPECT_EQ(part(findings, name).state, State::missing) << name;
    EXPECT_THAT(part(findings, name).remedy, HasSubstr(remedy));
    EXPECT_THAT(findings_text(findings), HasSubstr(remedy));
  }
  EXPECT_THAT(part(findings, "disk").value, HasSubstr("Permission denied"));
}

TEST(Doctor, NoticesWhatIsThereAndWillNotDo) {
  auto world = whole_machine();
  world.outputs["mpirun"] = "HYDRA build details:\n";
  world.outputs["srun"] = "MPI plugin types are...\n\tpmi2\n";
  world.files["/sys/fs/cgroup/cpu.max"] = "100000 100000\n";
  world.shm = World::Space{64 << 20, 64 << 20};
  world.rate = 5e6;
  world.driver->gpus.clear();
  world.variables["SLURM_JOB_ID"] = "17";
  const auto findings = examine(world, ".");
  for (const auto* name : {"mpi", "slurm", "cores", "shared_memory", "disk", "gpus"}) {
    EXPECT_EQ(part(findings, name).state, State::poor) << name;
    EXPECT_NE(part(findings, name).remedy, "") << name;
  }
  EXPECT_THAT(part(findings, "slurm").value, HasSubstr("inside job 17"));
  EXPECT_THAT(part(findings, "cores").value, HasSubstr("limited to 1.0 by cgroup"));
}

TEST(Doctor, ASlurmWithoutAControllerIsPoor) {
  auto world = whole_machine();
  world.outputs.erase("sinfo");
  const auto findings = examine(world, ".");
  EXPECT_EQ(part(findings, "slurm").state, State::poor);
  EXPECT_THAT(part(findings, "slurm").value, HasSubstr("no controller answers"));
}

TEST(Doctor, ASlurmWithoutItsConfigurationIsPoor) {
  FakeWorld world;
  world.programs = {"sbatch"};
  const auto findings = examine(world, ".");
  EXPECT_EQ(part(findings, "slurm").state, State::poor);
  EXPECT_THAT(part(findings, "slurm").remedy, HasSubstr("slurm.conf"));
}

TEST(Doctor, JsonSaysWhetherTrainingCanStart) {
  auto world = whole_machine();
  world.driver.reset();
  auto json = nlohmann::json::parse(findings_json(examine(world, ".")));
  EXPECT_TRUE(json["ok"]);
  EXPECT_EQ(json["parts"]["gpus"]["state"], "missing");
  EXPECT_EQ(json["parts"]["mpi"]["value"], "Open MPI 4.1.4");
  EXPECT_FALSE(json["parts"]["mpi"].contains("remedy"));
  world.has_rank = false;
  EXPECT_FALSE(nlohmann::json::parse(findings_json(examine(world, ".")))["ok"]);
}

TEST(SystemWorld, AnswersForThisMachine) {
  auto& world = system_world();
  EXPECT_EQ(world.output_of({"echo", "a", "b"}), "a b\n");
  EXPECT_EQ(world.output_of({"no-such-program-at-all"}), std::nullopt);
  EXPECT_EQ(world.output_of({"false"}), std::nullopt);
  EXPECT_FALSE(world.allowed_cpus().empty());
  EXPECT_GT(world.space("/")->total, 0U);
  EXPECT_GT(world.write_rate(::testing::TempDir()), 0);
  EXPECT_THROW(world.write_rate("/no/such/directory"), Error);
  EXPECT_FALSE(world.has_sibling("no-such-program"));
  EXPECT_TRUE(world.has_program("sh"));
  EXPECT_FALSE(world.has_program("no-such-program"));
}

}  // namespace
}  // namespace muster
