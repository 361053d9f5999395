// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>

#include "benchmarks/gpu/gpu_bench.h"
#include "runtime/base/error.h"
#include "runtime/comm/node_group.h"

namespace muster::bench {
namespace {

class Quiet final : public TrainObserver {
 public:
  Verdict on_report(const TrainReport& /*report*/) override { return Verdict::go_on; }
  void on_remark(const std::string& text) override { std::fprintf(stderr, "%s\n", text.c_str()); }
  void on_progress(const TrainReport& /*report*/) override {}
};

void make_gpt(JobSettings& job, bool small) {
  job.model.kind = "gpt";
  job.data.task = "tokens";
  job.data.context = small ? 32 : 1024;
  job.data.vocabulary = small ? 128 : 50304;
  job.data.rows = small ? 32 : 512;
  job.model.embedding = small ? 64 : 768;
  job.model.heads = small ? 2 : 12;
  job.model.depth = small ? 2 : 12;
  job.train.batch_size = small ? 4 : 64;
  job.optimizer.kind = "adamw";
  job.optimizer.lr = 3e-4;
  job.optimizer.weight_decay = 0.1;
  job.optimizer.clip = 1;
  job.train.amp = "bf16";
}

void make_images(JobSettings& job, bool small, bool deep) {
  job.model.kind = deep ? "resnet50" : "cnn";
  const int large = deep ? 224 : 32;
  const int side = small && deep ? 72 : large;  // still with max-pooling
  job.data.shape = fmt::format("3 {} {}", side, side);
  job.model.width = small && deep ? 16 : job.model.width;
  job.data.classes = deep ? 1000 : 10;
  job.data.rows = small ? 16 : deep ? 512 : 8192;
  job.train.batch_size = small ? 8 : deep ? 256 : 128;
  job.model.channels_last = true;
  job.train.amp = "bf16";
  job.optimizer.momentum = 0.9;
  job.optimizer.lr = 0.01;
}

}  // namespace

JobSettings job_of(const GpuBench& bench) {
  JobSettings job;
  job.data.format = "synthetic";
  job.train.epochs = 1000000;
  job.train.seed = 1;
  job.train.graph = bench.graph;
  if (bench.model == "gpt") {
    make_gpt(job, bench.small);
  } else if (bench.model == "cnn" || bench.model == "resnet50") {
    make_images(job, bench.small, bench.model == "resnet50");
  } else if (bench.model == "mlp") {
    job.data.shape = "784";
    job.data.classes = 10;
    job.data.rows = bench.small ? 640 : 60032;  // whole batches
    job.train.batch_size = 64;
    job.optimizer.lr = 0.01;
    job.optimizer.momentum = 0.9;
  } else {
    throw Error(Fault::bad_input, "--model is one of mlp, cnn, resnet50, gpt");
  }
  if (bench.batch > 0) {
    job.train.batch_size = static_cast<int>(bench.batch);
  }
  return job;
}

struct Session::Impl {
  Impl(const JobSettings& job, std::unique_ptr<Gpu> given, SharedSets shared, Communicator* group,
       Communicator* device, std::function<void(bool)> capturing, StateKeeper* keeper)
      : gpu(std::move(given)),
        data(shared.data ? std::move(shared.data)
                         : std::make_shared<DataSets>(open_data(job.data, *node))),
        model(make_model(job.model, data->train->shape(), job.train.seed)),
        trainer(job,
                TrainerParts{.model = *model,
                             .train = *data->train,
                             .ranks = {*node, *alone, group != nullptr ? *group : *alone},
                             .keeper = keeper,
                             .directory = {},
                             .gpu = {.gpu = gpu.get(),
                                     .device = device,
                                     .capturing = std::move(capturing),
                                     .residents = shared.residents}},
                observer) {}
  Quiet observer;
  std::unique_ptr<NodeGroup> node = solo_node_group();
  std::unique_ptr<Communicator> alone = solo_communicator();
  std::unique_ptr<Gpu> gpu;
  std::shared_ptr<const DataSets> data;
  std::unique_ptr<Model> model;
  Trainer trainer;
};

Session::Session(const JobSettings& job, std::unique_ptr<Gpu> gpu, SharedSets shared,
                 Communicator* world, Communicator* device, std::function<void(bool)> capturing,
                 StateKeeper* keeper)
    : impl_(std::make_unique<Impl>(job, std::move(gpu), std::move(shared), world, device,
                                   std::move(capturing), keeper)) {}
Session::~Session() = default;

Trainer& Session::trainer() {
  return impl_->trainer;
}
Model& Session::model() {
  return *impl_->model;
}
Gpu& Session::gpu() {
  return *impl_->gpu;
}
const DataSets& Session::data() const {
  return *impl_->data;
}

double Session::time_steps(std::uint64_t steps, std::vector<double>* losses) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<double> all = impl_->trainer.run_steps(steps);
  const auto end = std::chrono::steady_clock::now();
  if (losses != nullptr) {
    *losses = std::move(all);
  }
  return std::chrono::duration<double>(end - start).count();
}

std::vector<float> Session::parameters() {
  std::vector<float> all;
  impl_->trainer.with_final_parameters([&] {
    for (const NamedTensor& parameter : impl_->model->parameters()) {
      const at::Tensor dense = parameter.tensor.detach().contiguous();
      const auto* values = dense.const_data_ptr<float>();
      all.insert(all.end(), values, values + dense.numel());
    }
  });
  return all;
}

}  // namespace muster::bench
