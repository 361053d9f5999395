/// GpuStep's inside: what is queued, the graphs by the shape of their steps, what has come back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/train/gpu_mover.h"
#include "runtime/train/gpu_program.h"
#include "runtime/train/gpu_step.h"

namespace muster {

struct GpuStep::Impl {
  /// A step's shape, which is what a graph is made for.
  struct Shape {
    std::uint64_t own = 0;
    std::uint64_t whole = 0;
    std::uint64_t steps = 1;
    auto operator<=>(const Shape&) const = default;
  };

  struct Captured {
    std::uint64_t runs = 0;
    std::unique_ptr<GpuGraph> graph;
    bool failed = false;
  };

  /// Queued and perhaps not over.
  struct Queued {
    GpuEvent over;
    std::uint64_t first = 0;  // step, from 0
    std::uint64_t steps = 1;
  };

  Impl(Model& trained, const Dataset& data, const Loss& loss, const GpuParts& gpu_parts,
       Communicator& ranks, const Options& wanted, std::function<void(const std::string&)> say);

  std::unique_ptr<GpuInput> make_input(const Dataset& data);
  DataPosition position(std::uint64_t at) const {
    return {at / input->plan().steps(), at % input->plan().steps()};
  }
  Shape shape_of(std::uint64_t at, std::uint64_t steps) const {
    const SampleRange whole = input->plan().of_step(position(at).step);
    return {input->own_part(whole).count, whole.count, steps};
  }
  std::uint64_t block_length(std::uint64_t room);
  bool may_capture(const Captured& captured) const;
  void queue(std::uint64_t steps);
  void run_eagerly(const Shape& shape, Captured& captured);
  bool capture(const Shape& shape, Captured& captured);
  bool all_have(bool own);
  void body(const Shape& shape);
  void agree(Wishes own);
  void collect(bool waits);
  void note_pace();
  std::vector<Finished> take() { return std::exchange(finished, {}); }
  void average_buffers();

  Options options;
  Model& model;
  GpuParts parts;
  Communicator& world;
  std::function<void(const std::string&)> remark;
  ResidentSets own_sets;
  std::unique_ptr<GpuInput> input;  // may take long to read: lanes come and go meanwhile
  std::unique_ptr<GpuScope> scope;  // while this is made
  GpuProgram program;
  GpuMover mover;
  std::map<Shape, Captured> graphs;
  std::string why_eager;
  std::uint64_t next = 0;   // step that step() stands for
  std::uint64_t ahead = 0;  // steps queued beyond it
  bool has_played_many = false;
  Wishes asked;
  Wishes agreed;
  bool is_quick = false;       // on this rank
  bool all_are_quick = false;  // so that all cut the same blocks
  std::deque<Queued> blocks;
  std::vector<Finished> finished;
  std::chrono::steady_clock::time_point pace_since{};
  std::uint64_t pace_steps = 0;
  double kept_scale = 1;  // what a checkpoint keeps of the scaler
  std::uint64_t kept_good_steps = 0;
};

}  // namespace muster
