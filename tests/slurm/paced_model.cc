// A small model that takes its time: every training pass sleeps PACED_MODEL_MS, so that many
// jobs train at once on a small machine. With PACED_MODEL_DEAF its process hears no signal but
// KILL: a program that ignores whoever tells it to leave. SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/relu.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "runtime/model/plugin.h"

namespace {

/// A signal that is ignored and that the first thread does not block is dropped, whoever else waits
/// for it.
void go_deaf() {
  sigset_t all;
  sigemptyset(&all);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCONT}) {
    std::signal(signal, SIG_IGN);
    sigaddset(&all, signal);
  }
  pthread_sigmask(SIG_UNBLOCK, &all, nullptr);
}

class PacedMlp {
 public:
  PacedMlp(muster::Builder& builder, const muster::DataShape& data,
           const muster::ModelOptions& /*options*/)
      : builder_(builder) {
    std::int64_t features = 1;
    for (const std::int64_t length : data.features) {
      features *= length;
    }
    builder_.add_linear("fc1", features, 32);
    builder_.add_linear("head", 32, data.classes);
    if (const char* pause = std::getenv("PACED_MODEL_MS")) {
      pause_ = std::chrono::milliseconds(std::atoi(pause));
    }
    if (std::getenv("PACED_MODEL_DEAF") != nullptr) {
      go_deaf();
    }
  }

  at::Tensor forward(const at::Tensor& features, const muster::Pass& pass) {
    if (pass.training) {
      std::this_thread::sleep_for(pause_);
    }
    return builder_.linear("head", at::relu(builder_.linear("fc1", features.flatten(1))));
  }

 private:
  muster::Builder& builder_;
  std::chrono::milliseconds pause_{0};
};

}  // namespace

MUSTER_MODEL(PacedMlp)
