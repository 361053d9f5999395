/// MpiWorld: MPI as this process has it. One thread of ours calls MPI_Init and every other MPI
/// function, so that MPI_THREAD_FUNNELED is enough, whoever asks for an operation. One object, made
/// in main(), after launch_context() has said that MPI is there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>

namespace muster {

/// Throws Error(communication) with MPI's own words.
void check_mpi(int code, std::string_view what);

class MpiWorld {
 public:
  MpiWorld();
  /// Without finish() MPI is left as it is: a rank that fails must not wait for the others, and the
  /// launcher ends them.
  ~MpiWorld();
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  /// Runs the task on the MPI thread, after those before it.
  std::future<void> post(std::function<void()> task);
  /// The same, and waits; what the task throws is thrown here.
  void run(std::function<void()> task);
  /// MPI_Finalize. Collective: the last thing that a rank which is well does with MPI.
  void finish();

 private:
  void serve(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<std::packaged_task<void()>> tasks_;
  bool is_finished_ = false;
  std::jthread thread_;
};

}  // namespace muster
