/// Which engine starts a job: what was asked for, else what is there. Every refusal says what to
/// add.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launcher/engine/engine.h"

namespace muster {

/// What a choice needs to know of the world, so that tests have their own.
struct Surroundings {
  Environment environment;
  bool has_mpirun = false;
  bool has_srun = false;
  bool srun_has_pmix = false;
};
Surroundings surroundings();

enum class EngineKind { local, mpirun, slurm };
/// `asked` is auto, local, mpirun or slurm. Throws bad_input with the remedy.
EngineKind choose_engine(const std::string& asked, const std::vector<Host>& hosts, int ranks,
                         const Surroundings& world);
std::unique_ptr<Engine> make_engine(EngineKind kind);

/// "a:2,b" or the path of a host file ("a slots=2", "a:2" or "a" a line). Throws bad_input.
std::vector<Host> parse_hosts(const std::string& text);

}  // namespace muster
