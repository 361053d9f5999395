// SPDX-License-Identifier: Apache-2.0
#include "tests/support/communicator_conformance.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "collectives/reduce/half.h"
#include "runtime/base/error.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

constexpr std::array all_types{DType::float32, DType::float64, DType::float16, DType::bfloat16,
                               DType::int32,   DType::int64,   DType::uint8};
constexpr std::array all_operations{ReduceOp::sum, ReduceOp::mean, ReduceOp::max, ReduceOp::min};
constexpr std::array<std::size_t, 8> ragged_counts{0, 1, 3, 17, 1000, 5001, 70001, 300007};

template <class T>
void put(std::byte* memory, std::size_t element, T value) {
  std::memcpy(memory + element * sizeof(T), &value, sizeof value);
}
template <class T>
T get(const std::byte* memory, std::size_t element) {
  T value;
  std::memcpy(&value, memory + element * sizeof(T), sizeof value);
  return value;
}

/// Memory of any type, read and written as doubles.
class Cells {
 public:
  Cells(DType dtype, std::size_t count)
      : dtype_(dtype), count_(count), memory_(count * size_of(dtype) + 1) {}
  Buffer buffer() { return part(0, count_); }
  Buffer part(std::size_t first, std::size_t count) {
    return {.data = memory_.data() + first * size_of(dtype_), .count = count, .dtype = dtype_};
  }
  void set(std::size_t i, double value) {
    switch (dtype_) {
      case DType::float32:
        return put(memory_.data(), i, static_cast<float>(value));
      case DType::float64:
        return put(memory_.data(), i, value);
      case DType::float16:
        return put(memory_.data(), i, to_float16(static_cast<float>(value)));
      case DType::bfloat16:
        return put(memory_.data(), i, to_bfloat16(static_cast<float>(value)));
      case DType::int32:
        return put(memory_.data(), i, static_cast<std::int32_t>(value));
      case DType::int64:
        return put(memory_.data(), i, static_cast<std::int64_t>(value));
      case DType::uint8:
        return put(memory_.data(), i, static_cast<std::uint8_t>(value));
    }
  }
  double at(std::size_t i) const {
    switch (dtype_) {
      case DType::float32:
        return static_cast<double>(get<float>(memory_.data(), i));
      case DType::float64:
        return get<double>(memory_.data(), i);
      case DType::float16:
        return static_cast<double>(to_float(get<Float16>(memory_.data(), i)));
      case DType::bfloat16:
        return static_cast<double>(to_float(get<BFloat16>(memory_.data(), i)));
      case DType::int32:
        return get<std::int32_t>(memory_.data(), i);
      case DType::int64:
        return static_cast<double>(get<std::int64_t>(memory_.data(), i));
      case DType::uint8:
        return get<std::uint8_t>(memory_.data(), i);
    }
    return 0;
  }

 private:
  DType dtype_;
  std::size_t count_;
  std::vector<std::byte> memory_;
};

/// Rank's value at i: 0 to 11, so that four ranks fit uint8 and every sum is exact in bfloat16.
double value_of(int rank, std::size_t i) {
  return static_cast<double>((i * 7 + static_cast<std::size_t>(rank) * 5) % 12);
}

double expected_of(DType dtype, ReduceOp op, int ranks, std::size_t i) {
  double result = value_of(0, i);
  for (int rank = 1; rank < ranks; ++rank) {
    const double next = value_of(rank, i);
    result = op == ReduceOp::max   ? std::max(result, next)
             : op == ReduceOp::min ? std::min(result, next)
                                   : result + next;
  }
  if (op != ReduceOp::mean) {
    return result;
  }
  Cells rounded(dtype, 1);
  const bool whole = dtype == DType::int32 || dtype == DType::int64 || dtype == DType::uint8;
  const double exact =
      dtype == DType::float64
          ? result / ranks
          : static_cast<double>(static_cast<float>(result) / static_cast<float>(ranks));
  rounded.set(0, whole ? std::floor(result / ranks) : exact);
  return rounded.at(0);
}

Cells filled(DType dtype, std::size_t count, int rank) {
  Cells cells(dtype, count);
  for (std::size_t i = 0; i < count; ++i) {
    cells.set(i, value_of(rank, i));
  }
  return cells;
}

void demand_equal(double is, double should, std::string_view what, std::size_t i) {
  if (is != should) {
    throw std::runtime_error(
        fmt::format("{}: element {} is {} and should be {}", what, i, is, should));
  }
}

void reduces_every_type_and_operation(Communicator& comm) {
  for (const auto dtype : all_types) {
    for (const auto op : all_operations) {
      for (const std::size_t count : {std::size_t{5}, std::size_t{2500}}) {
        auto cells = filled(dtype, count, comm.rank());
        comm.all_reduce(cells.buffer(), op).wait();
        for (std::size_t i = 0; i < count; ++i) {
          demand_equal(cells.at(i), expected_of(dtype, op, comm.size(), i),
                       fmt::format("{} of {}", name_of(op), name_of(dtype)), i);
        }
      }
    }
  }
}

void reduces_ragged_counts(Communicator& comm) {
  for (const auto dtype : {DType::float32, DType::bfloat16}) {
    for (const auto count : ragged_counts) {
      auto cells = filled(dtype, count, comm.rank());
      comm.all_reduce(cells.buffer(), ReduceOp::sum).wait();
      for (std::size_t i = 0; i < count; ++i) {
        demand_equal(cells.at(i), expected_of(dtype, ReduceOp::sum, comm.size(), i),
                     fmt::format("{} elements", count), i);
      }
    }
  }
}

void scatters_reduced_parts(Communicator& comm) {
  const auto ranks = static_cast<std::size_t>(comm.size());
  for (const std::size_t part : {std::size_t{1}, std::size_t{333}, std::size_t{100003}}) {
    for (const bool in_place : {false, true}) {
      auto in = filled(DType::float32, part * ranks, comm.rank());
      Cells out(DType::float32, part);
      const auto first = part * static_cast<std::size_t>(comm.rank());
      comm.reduce_scatter(in.buffer(), in_place ? in.part(first, part) : out.buffer(),
                          ReduceOp::mean)
          .wait();
      for (std::size_t i = 0; i < part; ++i) {
        const double is = in_place ? in.at(first + i) : out.at(i);
        demand_equal(is, expected_of(DType::float32, ReduceOp::mean, comm.size(), first + i),
                     "reduce_scatter", i);
      }
    }
  }
}

void gathers_parts_in_rank_order(Communicator& comm) {
  const auto ranks = static_cast<std::size_t>(comm.size());
  for (const std::size_t part : {std::size_t{1}, std::size_t{333}, std::size_t{200003}}) {
    for (const bool in_place : {false, true}) {
      auto in = filled(DType::int32, part, comm.rank());
      Cells out(DType::int32, part * ranks);
      const auto first = part * static_cast<std::size_t>(comm.rank());
      if (in_place) {
        std::memcpy(out.part(first, part).data, in.buffer().data, in.buffer().bytes());
      }
      comm.all_gather(in_place ? out.part(first, part) : in.buffer(), out.buffer()).wait();
      for (std::size_t i = 0; i < part * ranks; ++i) {
        demand_equal(out.at(i), value_of(static_cast<int>(i / part), i % part), "all_gather", i);
      }
    }
  }
}

void broadcasts_from_every_root(Communicator& comm) {
  for (int root = 0; root < comm.size(); ++root) {
    for (const std::size_t count : {std::size_t{0}, std::size_t{9}, std::size_t{400001}}) {
      auto cells = filled(DType::uint8, count, comm.rank());
      comm.broadcast(cells.buffer(), root).wait();
      for (std::size_t i = 0; i < count; ++i) {
        demand_equal(cells.at(i), value_of(root, i), "broadcast", i);
      }
    }
  }
}

void passes_nan_through(Communicator& comm) {
  for (const auto dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16}) {
    for (const auto op : all_operations) {
      Cells cells(dtype, 3000);
      const auto mine = static_cast<std::size_t>(comm.rank());
      cells.set(mine, std::numeric_limits<double>::quiet_NaN());
      comm.all_reduce(cells.buffer(), op).wait();
      for (std::size_t i = 0; i < 3000; ++i) {
        demand(std::isnan(cells.at(i)) == (i < static_cast<std::size_t>(comm.size())),
               "NaN passes through, and only NaN");
      }
    }
  }
}

void gives_equal_bits_on_all_ranks_and_every_time(Communicator& comm) {
  std::vector<float> first;
  for (int round = 0; round < 3; ++round) {
    std::vector<float> values(4099);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = std::sin(static_cast<float>(i) * (1.0F + static_cast<float>(comm.rank())));
    }
    comm.all_reduce(buffer_of(values.data(), values.size()), ReduceOp::sum).wait();
    auto of_root = values;
    comm.broadcast(buffer_of(of_root.data(), of_root.size()), 0).wait();
    demand(std::memcmp(of_root.data(), values.data(), values.size() * sizeof(float)) == 0,
           "all ranks get equal bits");
    first = round == 0 ? values : first;
    demand(first == values, "the same call gives the same bits");
  }
}

void splits_into_working_parts(Communicator& comm) {
  const auto part = comm.split(comm.rank() % 2, -comm.rank());
  const int size = (comm.size() + 1 - comm.rank() % 2) / 2;
  demand(part->size() == size && part->rank() == size - 1 - comm.rank() / 2,
         "a part has the ranks of its colour, by key");
  reduces_ragged_counts(*part);
  broadcasts_from_every_root(*part);
  demand(comm.split(comm.rank() == 0 ? 3 : -1, 0) == nullptr || comm.rank() == 0,
         "a negative colour joins none");
  part->barrier();
  comm.barrier();
}

void lets_work_be_kept_and_moved(Communicator& comm) {
  auto cells = filled(DType::float32, 100, comm.rank());
  auto more = filled(DType::float32, 50000, comm.rank());
  Work first = comm.all_reduce(cells.buffer(), ReduceOp::sum);
  Work second = comm.all_reduce(more.buffer(), ReduceOp::sum);
  Work moved = std::move(second);
  moved.wait();
  demand(moved.done(), "work that was waited for is done");
  first.wait();
  first.wait();
  demand_equal(cells.at(1), expected_of(DType::float32, ReduceOp::sum, comm.size(), 1), "kept work",
               1);
  demand_equal(more.at(49999), expected_of(DType::float32, ReduceOp::sum, comm.size(), 49999),
               "moved work", 49999);
}

void refuses_what_cannot_be(Communicator& comm) {
  Cells cells(DType::float32, 7);
  const auto is_refused = [](auto&& call) {
    try {
      call().wait();
      return false;
    } catch (const Error& error) {
      return error.fault() == Fault::bug;
    }
  };
  demand(is_refused([&] { return comm.broadcast(cells.buffer(), comm.size()); }),
         "a root outside the group is refused");
  demand(is_refused([&] {
           return comm.all_gather(cells.part(0, 2),
                                  cells.part(0, 5 * static_cast<std::size_t>(comm.size()) % 8));
         }),
         "parts that do not make the whole are refused");
  comm.barrier();
}

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.fault() == Fault::communication ? error.what()
                                                 : fmt::format("wrong fault: {}", error.what());
  }
  return "no error";
}

}  // namespace

std::vector<ConformanceBody> conformance_bodies() {
  return {{"every type and operation", reduces_every_type_and_operation},
          {"ragged counts", reduces_ragged_counts},
          {"reduce_scatter", scatters_reduced_parts},
          {"all_gather", gathers_parts_in_rank_order},
          {"broadcast", broadcasts_from_every_root},
          {"NaN", passes_nan_through},
          {"equal bits", gives_equal_bits_on_all_ranks_and_every_time},
          {"split", splits_into_working_parts},
          {"work", lets_work_be_kept_and_moved},
          {"refusals", refuses_what_cannot_be}};
}

void reduces_in_windows(Communicator& comm, NodeGroup& node) {
  constexpr std::size_t count = 50003;
  const auto memory =
      node.share(static_cast<std::size_t>(node.size()) * (count + 77) * sizeof(float));
  auto* mine = reinterpret_cast<float*>(memory->bytes().data()) +
               static_cast<std::size_t>(node.rank()) * (count + 77);
  std::vector<float> own(count);
  const auto nan_at = 100 * static_cast<std::size_t>(comm.rank());
  for (const auto op : all_operations) {
    for (float* buffer : {mine, comm.rank() == 0 ? own.data() : mine}) {
      for (std::size_t i = 0; i < count; ++i) {
        buffer[i] = static_cast<float>(value_of(comm.rank(), i));
      }
      buffer[nan_at] = std::numeric_limits<float>::quiet_NaN();
      comm.all_reduce(buffer_of(buffer, count), op).wait();
      for (std::size_t i = 0; i < count; ++i) {
        if (i % 100 == 0 && i < 100 * static_cast<std::size_t>(comm.size())) {
          demand(std::isnan(buffer[i]), "NaN passes through in windows");
          continue;
        }
        demand_equal(static_cast<double>(buffer[i]),
                     expected_of(DType::float32, op, comm.size(), i),
                     fmt::format("{} in windows", name_of(op)), i);
      }
    }
  }
  node.barrier();  // nobody unmaps before all have read
}

std::string error_of_mismatched_counts(Communicator& comm) {
  return error_of([&] {
    auto cells = filled(DType::float32, 2001, comm.rank());
    comm.all_reduce(cells.part(0, comm.rank() == 1 ? 2001 : 2000), ReduceOp::sum).wait();
  });
}

std::string error_of_mismatched_operations(Communicator& comm) {
  return error_of([&] {
    auto cells = filled(DType::float32, 100, comm.rank());
    if (comm.rank() == comm.size() - 1) {
      comm.broadcast(cells.buffer(), 0).wait();
    } else {
      comm.all_reduce(cells.buffer(), ReduceOp::sum).wait();
    }
  });
}

std::string error_after_abort(Communicator& comm) {
  return error_of([&] {
    comm.barrier();  // a rank may still be in it when another has left it and aborts
    if (comm.rank() == comm.size() - 1) {
      comm.abort("out of milk");
    }
    auto cells = filled(DType::float32, 5000, comm.rank());
    for (int round = 0; round < 100000; ++round) {
      comm.all_reduce(cells.buffer(), ReduceOp::max).wait();
    }
  });
}

std::string error_of_dropped_work(Communicator& comm) {
  auto cells = filled(DType::float32, 10, comm.rank());
  if (comm.rank() == 0) {
    [[maybe_unused]] const Work dropped = comm.all_reduce(cells.buffer(), ReduceOp::sum);
  } else {
    comm.all_reduce(cells.buffer(), ReduceOp::sum).wait();
  }
  return error_of([&] { comm.barrier(); });
}

}  // namespace muster::test
