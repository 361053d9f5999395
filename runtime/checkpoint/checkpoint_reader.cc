// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checkpoint_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/checkpoint/record_bytes.h"

namespace muster {
namespace {

std::string describe(DType dtype, const std::vector<std::uint64_t>& shape,
                     const std::vector<std::uint8_t>& axes) {
  return fmt::format("{} [{}]{}", name_of(dtype), fmt::join(shape, ", "),
                     axes.empty() ? "" : " (channels last)");
}

/// A list that names every difference helps nobody when all differ.
class Differences {
 public:
  void add(std::string line) {
    if (++count_ <= most) {
      lines_ += (lines_.empty() ? "" : "; ") + line;
    }
  }
  std::string text() const {
    return count_ <= most ? lines_ : fmt::format("{}; and {} more", lines_, count_ - most);
  }

 private:
  static constexpr int most = 8;
  int count_ = 0;
  std::string lines_;
};

std::uint64_t end_of(const Block& block) {
  return block.offset + block.bytes;
}

}  // namespace

std::string model_difference(const ManifestFile& file, const StateTree& tree) {
  std::map<std::string_view, const TensorPlace*> there;
  for (const TensorPlace& tensor : file.tensors) {
    there.emplace(tensor.name, &tensor);
  }
  Differences differences;
  std::set<std::string_view> here;
  for (const TensorSlice& slice : tree.slices()) {
    if (!here.insert(slice.name).second) {
      continue;
    }
    const auto found = there.find(slice.name);
    if (found == there.end()) {
      differences.add(fmt::format("it has no {}", slice.name));
    } else if (const TensorPlace& other = *found->second; other.dtype != slice.dtype ||
                                                          other.shape != slice.shape ||
                                                          other.axes != slice.axes) {
      differences.add(fmt::format("{} is {} there and {} here", slice.name,
                                  describe(other.dtype, other.shape, other.axes),
                                  describe(slice.dtype, slice.shape, slice.axes)));
    }
  }
  for (const TensorPlace& tensor : file.tensors) {
    if (!here.contains(tensor.name)) {
      differences.add(fmt::format("{} is there and not here", tensor.name));
    }
  }
  for (const Record& record : tree.records()) {
    const auto found = std::ranges::find(file.records, record.name, &RecordPlace::name);
    if (found == file.records.end() ||
        static_cast<std::size_t>(found->kind) != record.value.index()) {
      differences.add(fmt::format("it has no record {} of this kind", record.name));
    }
  }
  return differences.text();
}

std::vector<std::string> setting_differences(const std::vector<Setting>& there,
                                             const std::vector<Setting>& here) {
  const auto shown = [](const std::string& value) { return value.empty() ? "not set" : value; };
  std::vector<std::string> differences;
  for (const Setting& mine : here) {
    const auto found = std::ranges::find(there, mine.key, &Setting::key);
    if (found != there.end() && found->value != mine.value) {
      differences.push_back(fmt::format("{} is {} there and {} here", mine.key, shown(found->value),
                                        shown(mine.value)));
    }
  }
  return differences;
}

std::vector<std::string> unknown_settings(const std::vector<Setting>& there,
                                          const std::vector<Setting>& here) {
  std::vector<std::string> unknown;
  for (const Setting& mine : here) {
    if (std::ranges::find(there, mine.key, &Setting::key) == there.end()) {
      unknown.push_back(fmt::format("{} is {} here and unknown there", mine.key, mine.value));
    }
  }
  for (const Setting& other : there) {
    if (std::ranges::find(here, other.key, &Setting::key) == here.end()) {
      unknown.push_back(fmt::format("{} is {} there and unknown here", other.key, other.value));
    }
  }
  return unknown;
}

void read_blocks(const Path& path, std::span<const Block> blocks, FileSystem& files,
                 const std::function<void(const Block&, std::span<const std::byte>)>& use) {
  std::uint64_t longest = 0;
  for (const Block& block : blocks) {
    longest = std::max(longest, block.bytes);
  }
  auto file = files.open_direct(path, OpenMode::read);
  if (!file) {
    file = files.open(path, OpenMode::read);
  }
  const PinnedMemory memory(longest + 2 * page);  // direct reads begin and end at whole pages
  for (const Block& block : blocks) {
    const std::uint64_t first = block.offset / page * page;
    const std::uint64_t size = (end_of(block) - first + page - 1) / page * page;
    const std::uint64_t got = file->read_at(first, memory.bytes().first(size));
    if (got < end_of(block) - first) {
      throw Error(Fault::io, fmt::format("{}: the file ends at byte {}, {} were written",
                                         path.string(), first + got, end_of(block)));
    }
    const auto bytes = memory.bytes().subspan(block.offset - first, block.bytes);
    if (crc32c(0, bytes) != block.crc) {
      throw Error(Fault::io, fmt::format("{}: bytes {} to {} do not match their checksum",
                                         path.string(), block.offset, end_of(block)));
    }
    use(block, bytes);
  }
}

CheckpointReader::CheckpointReader(Path path, const ManifestFile& file, const StateTree& tree,
                                   FileSystem& files)
    : path_(std::move(path)), file_(file), files_(files) {
  std::map<std::string_view, const TensorPlace*> places;
  for (const TensorPlace& tensor : file.tensors) {
    places.emplace(tensor.name, &tensor);
  }
  std::uint64_t at = 0;
  const auto want = [&](std::uint64_t offset, std::uint64_t bytes) {
    wants_.push_back({.offset = offset, .bytes = bytes, .at = at});
    at += bytes;
  };
  for (const TensorSlice& slice : tree.slices()) {
    want(places.at(slice.name)->offset + slice.first * size_of(slice.dtype), slice.bytes.size());
  }
  for (const Record& record : tree.records()) {
    const auto place = std::ranges::find(file.records, record.name, &RecordPlace::name);
    want(place->offset, place->bytes);
  }
  memory_.resize(at);
  by_offset_ = wants_;
  std::erase_if(by_offset_, [](const Want& some) { return some.bytes == 0; });
  std::ranges::sort(by_offset_, {}, &Want::offset);
}

std::vector<std::int64_t> CheckpointReader::needed_blocks() const {
  std::vector<std::int64_t> needed(file_.blocks.size(), 0);
  for (const Want& want : by_offset_) {
    auto block = std::ranges::upper_bound(file_.blocks, want.offset, {}, &Block::offset) -
                 file_.blocks.begin() - 1;
    for (; block < std::ssize(file_.blocks) &&
           file_.blocks[static_cast<std::size_t>(block)].offset < want.offset + want.bytes;
         ++block) {
      needed[static_cast<std::size_t>(block)] = 1;
    }
  }
  return needed;
}

void CheckpointReader::read(const std::vector<std::int64_t>& also) {
  const auto needed = needed_blocks();
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < file_.blocks.size(); ++i) {
    if (needed[i] != 0 || also[i] != 0) {
      blocks.push_back(file_.blocks[i]);
    }
  }
  read_blocks(path_, blocks, files_,
              [this](const Block& block, auto bytes) { keep(block, bytes); });
}

/// Copies what is wanted out of a block that was found right.
void CheckpointReader::keep(const Block& block, std::span<const std::byte> bytes) {
  auto want = std::ranges::upper_bound(by_offset_, block.offset, {}, &Want::offset);
  while (want != by_offset_.begin() &&
         std::prev(want)->offset + std::prev(want)->bytes > block.offset) {
    --want;
  }
  for (; want != by_offset_.end() && want->offset < end_of(block); ++want) {
    const std::uint64_t first = std::max(want->offset, block.offset);
    const std::uint64_t end = std::min(want->offset + want->bytes, end_of(block));
    std::ranges::copy(
        bytes.subspan(first - block.offset, end - first),
        memory_.begin() + static_cast<std::ptrdiff_t>(want->at + first - want->offset));
  }
}

void CheckpointReader::fill(StateTree& tree, Mover& mover) const {
  std::size_t next = 0;
  const auto bytes_of = [&](const Want& want) {
    return std::span(memory_).subspan(want.at, want.bytes);
  };
  for (const TensorSlice& slice : tree.slices()) {
    mover.in(slice, slice.bytes, bytes_of(wants_[next++]));
  }
  for (const Record& record : tree.records()) {
    get_record(bytes_of(wants_[next++]), record.value);
  }
  mover.finish();
}

}  // namespace muster
