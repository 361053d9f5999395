// SPDX-License-Identifier: Apache-2.0
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cmath>

#include <Eigen/Core>

#include "benchmarks/tuner/problems.h"
#include "runtime/base/error.h"

namespace muster::benchmarks {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A read-only HDF5 file of dense matrices.
class Matrices {
 public:
  explicit Matrices(const std::string& path)
      : path_(path), file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {
    if (file_ < 0) {
      throw Error(Fault::bad_input,
                  path + " is no HDF5 file that can be read: the LCBench surrogate is wanted");
    }
  }
  Matrices(const Matrices&) = delete;
  Matrices& operator=(const Matrices&) = delete;
  ~Matrices() { H5Fclose(file_); }

  Matrix read(const std::string& name) const {
    const hid_t set = H5Dopen2(file_, name.c_str(), H5P_DEFAULT);
    if (set < 0) {
      throw Error(Fault::bad_input, path_ + " has no data set '" + name + "'");
    }
    const hid_t space = H5Dget_space(set);
    std::array<hsize_t, 2> sizes{1, 1};
    H5Sget_simple_extent_dims(space, sizes.data(), nullptr);
    Rows values(static_cast<Eigen::Index>(sizes[0]), static_cast<Eigen::Index>(sizes[1]));
    const herr_t status =
        H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Sclose(space);
    H5Dclose(set);
    if (status < 0) {
      throw Error(Fault::io, path_ + ": reading '" + name + "' failed");
    }
    return values;
  }

  /// The OpenML tasks that the rows of the embedding stand for.
  std::vector<long> tasks() const {
    const hid_t attribute =
        H5Aopen_by_name(file_, "embedding", "openml_task", H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = attribute < 0 ? attribute : H5Aget_space(attribute);
    std::vector<long> tasks(
        space < 0 ? 0 : static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)));
    if (tasks.empty() || H5Aread(attribute, H5T_NATIVE_LONG, tasks.data()) < 0) {
      throw Error(Fault::bad_input, path_ + ": 'embedding' does not say its openml_task");
    }
    H5Sclose(space);
    H5Aclose(attribute);
    return tasks;
  }

 private:
  std::string path_;
  hid_t file_;
};

/// The surrogate network: a gated residual network over a task embedding and eight normalised
/// inputs.
class Surrogate {
 public:
  explicit Surrogate(const Matrices& file)
      : embedding_(file.read("embedding")),
        input_(file.read("input")),
        output_(file.read("output")),
        first_{file.read("first/w"), file.read("first/b")},
        head_{file.read("head/w"), file.read("head/b")},
        scale_(file.read("last/scale")),
        shift_(file.read("last/shift")) {
    for (const char* block : {"block0/", "block1/", "block2/"}) {
      const std::string name(block);
      blocks_.push_back({{file.read(name + "w0"), file.read(name + "b0")},
                         {file.read(name + "w1"), file.read(name + "b1")}});
    }
  }

  /// Six outputs: time in seconds, validation accuracy in per cent, and four that are not used
  /// here.
  Vector answer(int task, const Vector& inputs) const {
    Vector state = first_(joined(task, inputs));
    for (const auto& [widen, narrow] : blocks_) {
      const Vector wide = widen(state);
      const Eigen::Index half = wide.size() / 2;
      const Vector gated = (wide.head(half).array() * wide.tail(half).array().max(0.0)).matrix();
      state += narrow(gated);
    }
    state = (state.array() * scale_.array() + shift_.array()).max(0.0).matrix();
    const Vector raw = (1.0 / (1.0 + (-head_(state).array()).exp())).matrix();
    Vector result(raw.size());
    for (Eigen::Index i = 0; i < raw.size(); ++i) {
      const double linear = raw[i] * output_(i, 1) + output_(i, 2);
      result[i] = output_(i, 0) != 0.0 ? std::exp(linear) : linear;
    }
    return result;
  }

 private:
  struct Layer {
    Matrix weight;
    Vector bias;
    Vector operator()(const Vector& x) const { return weight * x + bias; }
  };

  Vector joined(int task, const Vector& inputs) const {
    Vector all(embedding_.cols() + inputs.size());
    all.head(embedding_.cols()) = embedding_.row(task).transpose();
    for (Eigen::Index i = 0; i < inputs.size(); ++i) {
      const double x = input_(i, 0) != 0.0 ? std::log(inputs[i]) : inputs[i];
      all[embedding_.cols() + i] = (x - input_(i, 1)) / input_(i, 2);
    }
    return all;
  }

  Matrix embedding_, input_, output_;
  Layer first_, head_;
  std::vector<std::pair<Layer, Layer>> blocks_;
  Vector scale_, shift_;
};

std::vector<hpo::SpaceLine> lcbench_space() {
  return {
      {"batch_size", "int log 16 512", "lcbench"}, {"learning_rate", "log 1e-4 1e-1", "lcbench"},
      {"momentum", "linear 0.1 0.99", "lcbench"},  {"weight_decay", "linear 1e-5 0.1", "lcbench"},
      {"num_layers", "int 1 5", "lcbench"},        {"max_units", "int log 64 1024", "lcbench"},
      {"max_dropout", "linear 0 1", "lcbench"}};
}

}  // namespace

std::vector<Problem> lcbench_problems(const std::string& path) {
  const Matrices file(path);
  const auto surrogate = std::make_shared<const Surrogate>(file);  // shared by the problems
  const std::vector<long> tasks = file.tasks();
  std::vector<Problem> problems;
  for (std::size_t task = 0; task < tasks.size(); ++task) {
    Problem problem{.name = "lcbench" + std::to_string(tasks[task]),
                    .suite = "lcbench",
                    .search = lcbench_space(),
                    .max_resource = 52};
    problem.evaluate = [surrogate, task](std::span<const double> values, int resource) {
      Vector inputs(8);
      inputs[0] = resource > 0 ? resource : 52;
      std::ranges::copy(values, inputs.data() + 1);
      const Vector answer = surrogate->answer(static_cast<int>(task), inputs);
      return Outcome{1.0 - answer[1] / 100.0, answer[0]};
    };
    problems.push_back(std::move(problem));
  }
  return problems;
}

double lcbench_worst_difference(const std::string& path) {
  const Matrices file(path);
  const Surrogate surrogate(file);
  const Matrix task = file.read("check/task");
  const Matrix x = file.read("check/x");
  const Matrix y = file.read("check/y");
  double worst = 0;
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    const Vector answer = surrogate.answer(static_cast<int>(task(i, 0)), x.row(i).transpose());
    for (Eigen::Index k = 1; k < y.cols(); ++k) {
      worst = std::max(worst, std::abs(answer[k] - y(i, k)) / std::abs(y(i, k)));
    }
  }
  return worst;
}

}  // namespace muster::benchmarks
