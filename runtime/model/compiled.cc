// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/compiled.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/model/compiled_package.h"
#include "runtime/model/loss.h"

namespace muster {
namespace {

using Loader = torch::inductor::AOTIModelPackageLoader;

/// One function of the package. Calls of one model come from one thread.
std::unique_ptr<Loader> open_function(const std::string& file, const char* name) {
  try {
    return std::make_unique<Loader>(file, name, /*run_single_threaded=*/true);
  } catch (const std::exception& error) {
    const std::string why = error.what();
    throw Error(Fault::bad_input,
                fmt::format("model.file: '{}' of {} cannot be opened ({}); make it again with "
                            "configs/examples/compiled_step/compile_step.py",
                            name, file, why.substr(0, why.find('\n'))));
  }
}

at::Tensor empty_batch(std::int64_t batch, const std::vector<std::int64_t>& sample,
                       at::ScalarType type) {
  std::vector<std::int64_t> sizes{batch};
  sizes.insert(sizes.end(), sample.begin(), sample.end());
  return at::empty(sizes, type);
}

class CompiledModel final : public Model, public WholeStep {
 public:
  CompiledModel(CompiledPackage package, const DataShape& data)
      : about_(std::move(package)),
        step_(open_function(about_.file, "step")),
        forward_(open_function(about_.file, "forward")),
        features_(empty_batch(about_.batch, data.features,
                              data.feature_type == DType::int64 ? at::kLong : at::kFloat)),
        labels_(empty_batch(about_.batch, data.label_shape,
                            data.label_type() == DType::int64 ? at::kLong : at::kFloat)),
        weights_(at::empty({about_.batch}, at::kFloat)) {}

  const std::vector<NamedTensor>& parameters() const override { return about_.parameters; }
  const std::vector<NamedTensor>& buffers() const override { return about_.buffers; }
  std::string_view kind() const override { return "compiled"; }
  bool has_dropout() const override { return !about_.random.empty(); }
  std::string refuses_strict() const override {
    return about_.random.empty() ? std::string()
                                 : fmt::format("the compiled step {} draws random numbers ({})",
                                               about_.file, about_.random);
  }
  std::string fingerprint() const override { return shapes_fingerprint(*this); }
  WholeStep* whole_step() override { return this; }

  at::Tensor forward(const at::Tensor& features, const Pass& pass) override;
  double run(const at::Tensor& features, const at::Tensor& labels, double scale) override;
  void check(const Loss& loss) const override;
  std::int64_t batch() const override { return about_.batch; }

 private:
  std::vector<at::Tensor> with_tensors(const at::Tensor& features) const;
  at::Tensor filled(const at::Tensor& samples, std::int64_t first, std::int64_t count,
                    at::Tensor& room) const;
  void take_gradients(const std::vector<at::Tensor>& outputs);

  CompiledPackage about_;
  std::unique_ptr<Loader> step_;
  std::unique_ptr<Loader> forward_;
  at::Tensor features_;  // a batch of the compiled size, for samples that do not fill one
  at::Tensor labels_;
  at::Tensor weights_;
};

/// All parameters and buffers, as the functions take them, before the samples.
std::vector<at::Tensor> CompiledModel::with_tensors(const at::Tensor& features) const {
  std::vector<at::Tensor> inputs;
  for (const auto* tensors : {&about_.parameters, &about_.buffers}) {
    for (const NamedTensor& each : *tensors) {
      inputs.push_back(each.tensor);
    }
  }
  inputs.push_back(features);
  return inputs;
}

/// Samples from `first` on as a whole batch, ended by copies of one of them: these weigh nothing,
/// and unlike zeros they are finite through every layer where the sample is.
at::Tensor CompiledModel::filled(const at::Tensor& samples, std::int64_t first, std::int64_t count,
                                 at::Tensor& room) const {
  const at::Tensor piece = samples.narrow(0, first, count);
  if (count == about_.batch) {
    return piece;
  }
  room.narrow(0, 0, count).copy_(piece);
  room.narrow(0, count, about_.batch - count).copy_(piece.narrow(0, 0, 1));
  return room;
}

at::Tensor CompiledModel::forward(const at::Tensor& features, const Pass& pass) {
  require(!pass.training, "a compiled model trains by its own step");
  const at::NoGradGuard no_gradients;
  std::vector<at::Tensor> outputs;
  for (std::int64_t first = 0; first < features.size(0); first += about_.batch) {
    const std::int64_t count = std::min(about_.batch, features.size(0) - first);
    const auto answer = forward_->run(with_tensors(filled(features, first, count, features_)));
    outputs.push_back(answer.at(0).narrow(0, 0, count));
  }
  return outputs.empty() ? empty_batch(0, about_.outputs.shape, at::kFloat) : at::cat(outputs);
}

double CompiledModel::run(const at::Tensor& features, const at::Tensor& labels, double scale) {
  const at::NoGradGuard no_gradients;
  double sum = 0;
  for (std::int64_t first = 0; first < features.size(0); first += about_.batch) {
    const std::int64_t count = std::min(about_.batch, features.size(0) - first);
    weights_.zero_();
    weights_.narrow(0, 0, count).fill_(scale);
    std::vector<at::Tensor> inputs = with_tensors(filled(features, first, count, features_));
    inputs.push_back(filled(labels, first, count, labels_));
    inputs.push_back(weights_);
    const std::vector<at::Tensor> outputs = step_->run(inputs);
    require(outputs.size() == 1 + about_.parameters.size(),
            "a compiled step answers with the loss and a gradient for each parameter");
    sum += outputs[0].item<double>();
    take_gradients(outputs);
  }
  return sum;
}

/// Never in place: parameters whose gradients are equal may have been given one block for both.
void CompiledModel::take_gradients(const std::vector<at::Tensor>& outputs) {
  for (std::size_t i = 0; i < about_.parameters.size(); ++i) {
    at::Tensor& gradient = about_.parameters[i].tensor.mutable_grad();
    gradient = gradient.defined() ? gradient.add(outputs[i + 1]) : outputs[i + 1];
  }
}

void CompiledModel::check(const Loss& loss) const {
  if (name_of(loss.kind) != about_.loss || loss.label_smoothing != about_.label_smoothing) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.file: {} was compiled for the loss {} (label smoothing {}), but the job "
                    "asks for {} ({}); set train.loss and train.label_smoothing, or make it again "
                    "with --loss and --label-smoothing",
                    about_.file, about_.loss, about_.label_smoothing, name_of(loss.kind),
                    loss.label_smoothing));
  }
}

}  // namespace

std::unique_ptr<Model> open_compiled(const std::string& file, const DataShape& data) {
  CompiledPackage package = read_compiled_package(file);
  check_data(package, data);
  return std::make_unique<CompiledModel>(std::move(package), data);
}

}  // namespace muster
