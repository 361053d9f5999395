// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/layout.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"
#include "runtime/data/hdf5.h"

namespace muster {
namespace {

/// A file that libhdf5 can open by name (it takes no /proc/self/fd), and that has none as soon as
/// it is open: only a rank that is killed before leaves it behind. Sparse, so the payload that
/// nobody writes costs nothing; in memory where there is a place for that.
class ScratchFile {
 public:
  ScratchFile() {
    std::error_code code;
    const Path memory("/dev/shm");
    const bool has_memory = std::filesystem::is_directory(memory, code);
    for (const Path& where :
         {has_memory ? memory : Path(), std::filesystem::temp_directory_path()}) {
      name_ = (where / "muster-layout-XXXXXX").string();
      descriptor_.reset(where.empty() ? -1 : ::mkostemp(name_.data(), O_CLOEXEC));
      if (descriptor_) {
        return;
      }
    }
    throw_errno("make a scratch file for the layout of a checkpoint in /dev/shm or $TMPDIR", errno);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile() { hide(); }
  Path path() const {
    return name_.empty() ? fmt::format("/proc/self/fd/{}", descriptor_.get()) : name_;
  }
  void hide() {
    if (!name_.empty()) {
      ::unlink(name_.c_str());
      name_.clear();
    }
  }

 private:
  std::string name_;
  Descriptor descriptor_;
};

RecordPlace::Kind kind_of(const RecordRef& value) {
  return static_cast<RecordPlace::Kind>(value.index());  // both lists are in the same order
}

/// Room for a text: twice its length at least, so that a growing one seldom moves everything.
std::uint64_t room_for(const RecordRef& value) {
  if (const auto* const* text = std::get_if<std::string*>(&value)) {
    const std::uint64_t least = std::max<std::uint64_t>(64, 2 * (*text)->size());
    return (least + 63) / 64 * 64;
  }
  return std::holds_alternative<bool*>(value) ? 1 : 8;
}

h5::Scalar scalar_of(RecordPlace::Kind kind) {
  switch (kind) {
    case RecordPlace::Kind::int64:
      return h5::Scalar::int64;
    case RecordPlace::Kind::uint64:
      return h5::Scalar::uint64;
    case RecordPlace::Kind::float64:
      return h5::Scalar::float64;
    case RecordPlace::Kind::boolean:
    case RecordPlace::Kind::text:
      return h5::Scalar::uint8;
  }
  return h5::Scalar::uint8;
}

std::uint64_t place(h5::File& file, const std::string& path, h5::Scalar scalar,
                    const std::vector<std::uint64_t>& shape) {
  const h5::Dataset dataset = file.create_dataset(path, scalar, shape);
  if (elements_in(shape) == 0) {
    return 0;
  }
  require(dataset.info().offset.has_value(),
          fmt::format("libhdf5 gave '{}' no place of its own in the file", path));
  return *dataset.info().offset;
}

/// A data set whose order is not the model's says how to bring it there.
void explain_axes(h5::File& file, const TensorPlace& tensor) {
  if (tensor.axes.empty()) {
    return;
  }
  const std::string path = "/" + tensor.name;
  std::vector<std::size_t> back(tensor.axes.size());
  for (std::size_t i = 0; i < back.size(); ++i) {
    back.at(tensor.axes[i]) = i;
  }
  const std::vector<std::int64_t> axes(tensor.axes.begin(), tensor.axes.end());
  const auto shape = tensor.model_shape();
  file.set_ints(path, "axes", axes);
  file.set_ints(path, "model_shape", std::vector<std::int64_t>(shape.begin(), shape.end()));
  file.set_text(path, "about",
                fmt::format("channels last, as in memory: transpose({}) gives the model's {}",
                            fmt::join(back, ", "), fmt::join(shape, " x ")));
}

void place_tensors(h5::File& file, const StateTree& tree, Layout& layout) {
  std::set<std::string_view> seen;
  for (const TensorSlice& slice : tree.slices()) {
    if (seen.insert(slice.name).second) {
      layout.tensors.push_back(
          {.name = slice.name,
           .dtype = slice.dtype,
           .shape = slice.shape,
           .axes = slice.axes,
           .offset = place(file, "/" + slice.name, h5::scalar_of(slice.dtype), slice.shape)});
      explain_axes(file, layout.tensors.back());
    }
  }
}

void place_records(h5::File& file, const StateTree& tree, Layout& layout) {
  for (const Record& record : tree.records()) {
    const std::string path = "/records/" + record.name;
    const auto kind = kind_of(record.value);
    const std::uint64_t bytes = room_for(record.value);
    const bool is_text = kind == RecordPlace::Kind::text;
    const auto shape = is_text ? std::vector<std::uint64_t>{bytes} : std::vector<std::uint64_t>{};
    layout.records.push_back({.name = record.name,
                              .kind = kind,
                              .offset = place(file, path, scalar_of(kind), shape),
                              .bytes = bytes});
    if (is_text) {
      file.set_text(path, "encoding", "UTF-8, zero-padded");
    }
  }
}

/// What lies between the data, cut out of the file that libhdf5 made.
std::vector<Fragment> cut_skeleton(File& file, const Layout& layout) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
  for (const TensorPlace& tensor : layout.tensors) {
    taken.emplace_back(tensor.offset, tensor.bytes());
  }
  for (const RecordPlace& record : layout.records) {
    taken.emplace_back(record.offset, record.bytes);
  }
  taken.emplace_back(layout.file_bytes, 0);
  std::ranges::sort(taken);
  std::vector<Fragment> fragments;
  std::uint64_t at = 0;
  for (const auto& [offset, bytes] : taken) {
    if (offset > at) {
      Fragment fragment{.offset = at, .bytes = std::string(offset - at, '\0')};
      file.read_at(at, std::as_writable_bytes(std::span(fragment.bytes)));
      fragments.push_back(std::move(fragment));
    }
    at = std::max(at, offset + bytes);
  }
  return fragments;
}

}  // namespace

std::vector<std::uint64_t> TensorPlace::model_shape() const {
  std::vector<std::uint64_t> lengths = shape;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    lengths.at(axes[i]) = shape[i];
  }
  return lengths;
}

std::string_view name_of(RecordPlace::Kind kind) {
  constexpr std::array<std::string_view, 5> names{"int64", "uint64", "float64", "boolean", "text"};
  return names.at(static_cast<std::size_t>(kind));
}

Layout make_layout(const StateTree& tree) {
  ScratchFile scratch;
  Layout layout;
  {
    h5::File file = h5::File::create(scratch.path());
    scratch.hide();
    file.set_text("/", "format", "Muster checkpoint");
    file.set_int("/", "version", 1);
    file.set_text("/", "about",
                  "records/step says which; the checksums are in the file 'manifest' beside");
    place_tensors(file, tree, layout);
    place_records(file, tree, layout);
    file.close();
  }
  auto file = posix_file_system().open(scratch.path(), OpenMode::read);
  layout.file_bytes = file->size();
  for (const TensorPlace& tensor : layout.tensors) {  // an unwritten end is not in the size yet
    layout.file_bytes = std::max(layout.file_bytes, tensor.offset + tensor.bytes());
  }
  layout.skeleton = cut_skeleton(*file, layout);
  std::ranges::sort(layout.tensors, {}, &TensorPlace::offset);
  return layout;
}

namespace {

/// Fixed-width numbers and counted strings, one after the other.
class Packer {
 public:
  void number(std::uint64_t value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view value) {
    number(value.size());
    bytes_.append(value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    std::memcpy(&value, next(sizeof value).data(), sizeof value);
    return value;
  }
  std::string text() { return std::string(next(number())); }

 private:
  std::string_view next(std::uint64_t count) {
    require(count <= bytes_.size(), "the layout from rank 0 is cut short");
    const auto part = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return part;
  }
  std::string_view bytes_;
};

}  // namespace

std::string to_bytes(const Layout& layout) {
  Packer pack;
  pack.number(layout.file_bytes);
  pack.number(layout.tensors.size());
  for (const TensorPlace& tensor : layout.tensors) {
    pack.text(tensor.name);
    pack.number(static_cast<std::uint64_t>(tensor.dtype));
    pack.number(tensor.shape.size());
    for (const std::uint64_t length : tensor.shape) {
      pack.number(length);
    }
    pack.text({reinterpret_cast<const char*>(tensor.axes.data()), tensor.axes.size()});
    pack.number(tensor.offset);
  }
  pack.number(layout.records.size());
  for (const RecordPlace& record : layout.records) {
    pack.text(record.name);
    pack.number(static_cast<std::uint64_t>(record.kind));
    pack.number(record.offset);
    pack.number(record.bytes);
  }
  pack.number(layout.skeleton.size());
  for (const Fragment& fragment : layout.skeleton) {
    pack.number(fragment.offset);
    pack.text(fragment.bytes);
  }
  return pack.take();
}

Layout layout_from_bytes(std::string_view bytes) {
  Unpacker unpack(bytes);
  Layout layout;
  layout.file_bytes = unpack.number();
  layout.tensors.resize(unpack.number());
  for (TensorPlace& tensor : layout.tensors) {
    tensor.name = unpack.text();
    tensor.dtype = static_cast<DType>(unpack.number());
    tensor.shape.resize(unpack.number());
    for (std::uint64_t& length : tensor.shape) {
      length = unpack.number();
    }
    const std::string axes = unpack.text();
    tensor.axes.assign(axes.begin(), axes.end());
    tensor.offset = unpack.number();
  }
  layout.records.resize(unpack.number());
  for (RecordPlace& record : layout.records) {
    record.name = unpack.text();
    record.kind = static_cast<RecordPlace::Kind>(unpack.number());
    record.offset = unpack.number();
    record.bytes = unpack.number();
  }
  layout.skeleton.resize(unpack.number());
  for (Fragment& fragment : layout.skeleton) {
    fragment.offset = unpack.number();
    fragment.bytes = unpack.text();
  }
  return layout;
}

}  // namespace muster
