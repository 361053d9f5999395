// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/checkpoint/block_writer.h"

namespace muster {
namespace {

constexpr std::size_t problem_bytes = 1024;

/// What stands before a rank's sums.
struct Header {
  std::uint32_t crc = 0;  ///< of everything after it, to the end of the rank's record
  std::uint32_t is_posted = 0;
  std::array<char, problem_bytes> problem{};
};

std::size_t record_bytes(std::size_t blocks) {
  return sizeof(Header) + blocks * sizeof(std::uint32_t);
}

}  // namespace

Parts::Parts(Path directory, const Plan& plan, FileSystem& files)
    : path_(std::move(directory) / file_name), plan_(plan), files_(files) {}

std::uint64_t Parts::place_of(int rank) const {
  std::uint64_t at = 0;
  for (int before = 0; before < rank; ++before) {
    at += (record_bytes(blocks_of(plan_.runs(before)).size()) + page - 1) / page * page;
  }
  return at;
}

void Parts::create() const {
  files_.open(path_, OpenMode::create_or_cut)->truncate(place_of(plan_.ranks()));
}

void Parts::post(const std::vector<Block>& blocks, const std::string& problem) const {
  const std::size_t count = blocks_of(plan_.own_runs()).size();
  std::vector<std::byte> record(record_bytes(count));
  Header header{.is_posted = 1};
  problem.copy(header.problem.data(), problem_bytes - 1);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(record.data() + sizeof header + i * sizeof(std::uint32_t), &blocks[i].crc,
                sizeof(std::uint32_t));
  }
  std::memcpy(record.data(), &header, sizeof header);
  header.crc = crc32c(0, std::span(record).subspan(sizeof header.crc));
  std::memcpy(record.data(), &header.crc, sizeof header.crc);
  files_.open(path_, OpenMode::read_write)->write_at(place_of(plan_.rank()), record);
}

std::optional<std::vector<Block>> Parts::look(int rank) const {
  std::vector<Block> blocks = blocks_of(plan_.runs(rank));
  std::vector<std::byte> record(record_bytes(blocks.size()));
  const auto got = files_.open(path_, OpenMode::read)->read_at(place_of(rank), record);
  Header header;
  std::memcpy(&header, record.data(), sizeof header);
  if (got < record.size() || header.is_posted == 0 ||
      header.crc != crc32c(0, std::span<const std::byte>(record).subspan(sizeof header.crc))) {
    return std::nullopt;  // not yet, or half-way there
  }
  if (header.problem[0] != '\0') {
    throw Error(Fault::io,
                fmt::format("rank {} could not write its part: {}", rank, header.problem.data()));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(&blocks[i].crc, record.data() + sizeof header + i * sizeof(std::uint32_t),
                sizeof(std::uint32_t));
  }
  return blocks;
}

std::vector<Block> Parts::gather(const std::function<bool()>& give_up) const {
  constexpr auto shortest = std::chrono::microseconds(200);
  constexpr auto longest = std::chrono::milliseconds(10);
  std::vector<Block> all;
  for (int rank = 1; rank < plan_.ranks(); ++rank) {
    std::chrono::microseconds pause = shortest;
    for (auto blocks = look(rank);; blocks = look(rank)) {
      if (blocks) {
        all.insert(all.end(), blocks->begin(), blocks->end());
        break;
      }
      if (give_up()) {
        throw Error(Fault::cancelled, fmt::format("rank {} never finished its part", rank));
      }
      std::this_thread::sleep_for(pause);
      pause = std::min<std::chrono::microseconds>(2 * pause, longest);
    }
  }
  return all;
}

void Parts::remove() const {
  files_.remove(path_);
}

}  // namespace muster
