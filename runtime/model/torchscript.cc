// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/torchscript.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <array>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/model/built_in.h"

namespace muster {
namespace {

constexpr std::array<std::string_view, 14> random_operators{
    "aten::dropout",       "aten::dropout_",  "aten::feature_dropout",
    "aten::alpha_dropout", "aten::bernoulli", "aten::bernoulli_",
    "aten::rand",          "aten::randn",     "aten::rand_like",
    "aten::randn_like",    "aten::randint",   "aten::multinomial",
    "aten::normal",        "aten::uniform_"};

/// The first operator of the graph, inner blocks included, that `is_wanted` names.
template <class Wanted>
std::string find_operator(at::ArrayRef<const torch::jit::Block*> blocks, const Wanted& is_wanted) {
  for (const torch::jit::Block* block : blocks) {
    for (const torch::jit::Node* node : block->nodes()) {
      const std::string name = node->kind().toQualString();
      if (is_wanted(name)) {
        return name;
      }
      if (std::string inside = find_operator(node->blocks(), is_wanted); !inside.empty()) {
        return inside;
      }
    }
  }
  return {};
}

template <class Wanted>
std::string find_operator(const torch::jit::Module& module, const Wanted& is_wanted) {
  const auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  const torch::jit::Block* whole = graph->block();
  return find_operator(at::ArrayRef<const torch::jit::Block*>(whole), is_wanted);
}

class ScriptModel final : public Model {
 public:
  ScriptModel(std::string file, torch::jit::Module module)
      : file_(std::move(file)), module_(std::move(module)) {
    for (const auto& each : module_.named_parameters()) {
      check_type(each.name, each.value);
      each.value.requires_grad_(true);
      const bool is_last = each.value.dim() == 4 && !each.value.is_contiguous() &&
                           each.value.is_contiguous(at::MemoryFormat::ChannelsLast);
      parameters_.push_back({.name = each.name, .tensor = each.value, .channels_last = is_last});
    }
    for (const auto& each : module_.named_buffers()) {
      buffers_.push_back({.name = each.name, .tensor = each.value});
    }
    random_operator_ = find_operator(module_, [](const std::string& name) {
      return std::ranges::find(random_operators, name) != random_operators.end();
    });
    has_batch_norm_ = !find_operator(module_, [](const std::string& name) {
                         return name == "aten::batch_norm";
                       }).empty();
  }

  const std::vector<NamedTensor>& parameters() const override { return parameters_; }
  const std::vector<NamedTensor>& buffers() const override { return buffers_; }
  std::string_view kind() const override { return "torchscript"; }
  bool has_batch_norm() const override { return has_batch_norm_; }
  bool has_dropout() const override { return !random_operator_.empty(); }
  bool writes_own_buffers() const override { return has_batch_norm_; }
  const std::string& file() const { return file_; }

  std::string refuses_strict() const override {
    if (!random_operator_.empty()) {
      return fmt::format("the TorchScript file {} draws random numbers ({})", file_,
                         random_operator_);
    }
    return has_batch_norm_ ? fmt::format(
                                 "the TorchScript file {} has batch normalisation, which moves its "
                                 "statistics itself",
                                 file_)
                           : std::string();
  }

  std::string fingerprint() const override { return shapes_fingerprint(*this); }

  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    if (!is_training_ || *is_training_ != pass.training) {
      module_.train(pass.training);
      is_training_ = pass.training;
    }
    const c10::IValue output = module_.forward({features});
    if (!output.isTensor()) {
      throw Error(Fault::bad_input,
                  fmt::format("{}: forward() returns {}, but one tensor is wanted", file_,
                              output.tagKind()));
    }
    return output.toTensor();
  }

 private:
  void check_type(const std::string& name, const at::Tensor& tensor) const {
    if (tensor.scalar_type() != at::kFloat) {
      throw Error(
          Fault::bad_input,
          fmt::format("{}: parameter {} is {}, but training wants float32; save module.float()",
                      file_, name, at::toString(tensor.scalar_type())));
    }
  }

  std::string file_;
  torch::jit::Module module_;
  std::vector<NamedTensor> parameters_;
  std::vector<NamedTensor> buffers_;
  std::string random_operator_;
  bool has_batch_norm_ = false;
  std::optional<bool> is_training_;
};

torch::jit::Module read(const std::string& file) {
  if (file.empty()) {
    throw Error(Fault::bad_input, "model.file is missing: name the TorchScript file");
  }
  if (!std::filesystem::exists(file)) {
    throw Error(Fault::bad_input, fmt::format("model.file: there is no file {}", file));
  }
  try {
    return torch::jit::load(file, at::kCPU);
  } catch (const std::exception& error) {
    const std::string why = error.what();
    throw Error(
        Fault::bad_input,
        fmt::format("model.file: {} is no TorchScript file, or is damaged ({}); save it with "
                    "torch.jit.script(model).save(...)",
                    file, why.substr(0, why.find('\n'))));
  }
}

/// What two samples give, or a sentence about the shape that the model did not take.
at::Tensor try_out(ScriptModel& model, const DataShape& data) {
  std::vector<std::int64_t> sizes{2};
  sizes.insert(sizes.end(), data.features.begin(), data.features.end());
  const at::ScalarType type = data.feature_type == DType::int64 ? at::kLong : at::kFloat;
  const at::NoGradGuard no_gradients;
  try {
    return model.forward(at::zeros(sizes, type), {});
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string why = error.what();
    const std::size_t last = why.rfind("RuntimeError: ");
    const std::string reason = last == std::string::npos
                                   ? why.substr(0, why.find('\n'))
                                   : why.substr(last + 14, why.find('\n', last) - last - 14);
    throw Error(Fault::bad_input,
                fmt::format("model.file: {} does not take the data ({}): {}; check data.shape",
                            model.file(), data.text(), reason));
  }
}

std::string flat_name(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

at::Tensor own_copy(const at::Tensor& tensor) {
  return tensor.detach().to(at::kCPU).contiguous(at::MemoryFormat::Contiguous).clone();
}

/// torch.jit.load(path, _extra_files={"muster.txt": ""}) gives them back, a line each.
torch::jit::ExtraFilesMap extra_files(const ModelNotes& notes) {
  std::string lines;
  for (const auto& [name, text] : notes) {
    lines += name + " = " + text + "\n";
  }
  return notes.empty() ? torch::jit::ExtraFilesMap()
                       : torch::jit::ExtraFilesMap{{"muster.txt", lines}};
}

/// The file again, with what was learned: the model's own tensors are views of an arena, which
/// would be saved whole.
void save_script_model(const ScriptModel& model, const Path& path, const ModelNotes& notes) {
  torch::jit::Module module = read(model.file());
  const at::NoGradGuard no_gradients;
  std::size_t at = 0;
  for (const auto& each : module.named_parameters()) {
    each.value.copy_(model.parameters()[at++].tensor);
  }
  at = 0;
  for (const auto& each : module.named_buffers()) {
    each.value.copy_(model.buffers()[at++].tensor);
  }
  module.eval();
  module.save(path.string(), extra_files(notes));
}

}  // namespace

std::unique_ptr<Model> open_torchscript(const std::string& file, const DataShape& data) {
  auto model = std::make_unique<ScriptModel>(file, read(file));
  if (model->parameters().empty()) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.file: {} has no parameters to train (was it frozen? save it before "
                    "torch.jit.freeze)",
                    file));
  }
  const at::Tensor output = try_out(*model, data);
  std::vector<std::int64_t> expected = output_shape_of(data);
  expected.insert(expected.begin(), 2);
  const bool is_one_value = expected.back() == 1 && output.sizes() == at::IntArrayRef{2};
  if (output.sizes() != expected && !is_one_value) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "model.file: {} gives outputs of {} for two samples, but the labels ({}) want {}; the "
            "last layer must have {} outputs",
            file, fmt::join(output.sizes(), " x "), data.text(), fmt::join(expected, " x "),
            expected.back()));
  }
  return model;
}

bool save_torchscript(const Model& model, const Path& path, const ModelNotes& notes) {
  if (const auto* scripted = dynamic_cast<const ScriptModel*>(&model)) {
    save_script_model(*scripted, path, notes);
    return true;
  }
  const auto* network = dynamic_cast<const Network*>(&model);
  const std::string source = network == nullptr ? std::string() : network->script();
  if (source.empty()) {
    return false;
  }
  torch::jit::Module module("MusterModel");
  for (const NamedTensor& each : model.parameters()) {
    module.register_parameter(flat_name(each.name), own_copy(each.tensor), false);
  }
  for (const NamedTensor& each : model.buffers()) {
    module.register_buffer(flat_name(each.name), own_copy(each.tensor));
  }
  module.define(source);
  module.eval();
  module.save(path.string(), extra_files(notes));
  return true;
}

}  // namespace muster
