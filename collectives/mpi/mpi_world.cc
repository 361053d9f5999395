// SPDX-License-Identifier: Apache-2.0
#include "collectives/mpi/mpi_world.h"

#include <fmt/format.h>

#include <array>

#include "runtime/base/error.h"
#include "runtime/base/thread_name.h"

namespace muster {

void check_mpi(int code, std::string_view what) {
  if (code == MPI_SUCCESS) [[likely]] {
    return;
  }
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw Error(
      Fault::communication,
      fmt::format("{}: {}", what, std::string_view(text.data(), static_cast<std::size_t>(length))));
}

MpiWorld::MpiWorld() : thread_([this](const std::stop_token& stop) { serve(stop); }) {
  run([] {
    int provided = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided),
              "MPI_Init_thread");
    if (provided < MPI_THREAD_FUNNELED) {
      throw Error(
          Fault::communication,
          "this MPI was built without threads: install one with at least MPI_THREAD_FUNNELED");
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  });
}

MpiWorld::~MpiWorld() = default;  // jthread asks the loop to stop and joins

std::future<void> MpiWorld::post(std::function<void()> task) {
  std::packaged_task<void()> packaged(std::move(task));
  auto future = packaged.get_future();
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(packaged));
  }
  ready_.notify_one();
  return future;
}

void MpiWorld::run(std::function<void()> task) {
  post(std::move(task)).get();
}

void MpiWorld::finish() {
  if (!is_finished_) {
    is_finished_ = true;
    run([] { check_mpi(MPI_Finalize(), "MPI_Finalize"); });
  }
}

void MpiWorld::serve(const std::stop_token& stop) {
  name_thread("MPI");
  for (;;) {
    std::packaged_task<void()> task;
    {
      std::unique_lock lock(mutex_);
      if (!ready_.wait(lock, stop, [this] { return !tasks_.empty(); })) {
        return;
      }
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace muster
