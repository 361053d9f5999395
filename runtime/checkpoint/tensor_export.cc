// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/tensor_export.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/checkpoint/checkpoint_store.h"

namespace muster {
namespace {

constexpr std::string_view model_prefix = "model/";
constexpr std::string_view average_prefix = "optimizer/average/";

/// The same elements in the order of the model's dimensions.
std::vector<std::byte> in_model_order(const TensorPlace& tensor,
                                      std::span<const std::byte> stored) {
  const std::size_t size = size_of(tensor.dtype);
  const auto shape = tensor.model_shape();
  std::vector<std::uint64_t> step(shape.size());  // bytes from one to the next, as stored
  std::uint64_t length = size;
  for (std::size_t i = tensor.axes.size(); i-- > 0;) {
    step.at(tensor.axes[i]) = length;
    length *= tensor.shape[i];
  }
  std::vector<std::byte> ordered(stored.size());
  std::vector<std::uint64_t> index(shape.size(), 0);
  std::uint64_t from = 0;
  for (std::size_t to = 0; to < ordered.size(); to += size) {
    std::ranges::copy(stored.subspan(from, size),
                      ordered.begin() + static_cast<std::ptrdiff_t>(to));
    for (std::size_t i = shape.size(); i-- > 0;) {
      from += step[i];
      if (++index[i] < shape[i]) {
        break;
      }
      from -= step[i] * shape[i];
      index[i] = 0;
    }
  }
  return ordered;
}

/// The chosen tensors of one verified checkpoint, in file order, under their new names.
class Source {
 public:
  Source(const Path& checkpoint, std::string_view prefix) {
    verify_checkpoint(checkpoint);
    const Manifest manifest = read_manifest(checkpoint);
    const ManifestFile& file = manifest.files.front();
    if (manifest.files.size() > 1) {
      throw Error(Fault::bad_input,
                  fmt::format("{} holds {} states; export one of them after it was restored",
                              checkpoint.string(), manifest.files.size()));
    }
    for (const TensorPlace& tensor : file.tensors) {
      if (tensor.name.starts_with(prefix)) {
        const std::string name = tensor.name.substr(prefix.size());
        tensors_.push_back(prefix == model_prefix ? averaged(file, tensor, name) : tensor);
        tensors_.back().name = name;
      }
    }
    if (tensors_.empty()) {
      throw Error(Fault::bad_input,
                  fmt::format("{} holds no tensor below '{}'", checkpoint.string(), prefix));
    }
    data_ = posix_file_system().open(checkpoint / file.name, OpenMode::read);
  }

  const std::vector<TensorPlace>& tensors() const { return tensors_; }

  /// The bytes of a tensor in the order of the model's dimensions, piece by piece.
  void read(const TensorPlace& tensor, const std::function<void(std::span<const std::byte>)>& use) {
    if (tensor.axes.empty()) {
      read_stored(tensor, use);
      return;
    }
    std::vector<std::byte> stored;
    read_stored(tensor, [&](std::span<const std::byte> piece) {
      stored.insert(stored.end(), piece.begin(), piece.end());
    });
    use(in_model_order(tensor, stored));
  }

 private:
  /// Of a model's parameter: its moving average where the run keeps one, for that is the model.
  static const TensorPlace& averaged(const ManifestFile& file, const TensorPlace& tensor,
                                     const std::string& name) {
    const auto average =
        std::ranges::find(file.tensors, std::string(average_prefix) + name, &TensorPlace::name);
    return average == file.tensors.end() ? tensor : *average;
  }

  void read_stored(const TensorPlace& tensor,
                   const std::function<void(std::span<const std::byte>)>& use) {
    std::vector<std::byte> piece(std::min<std::uint64_t>(tensor.bytes(), 8 << 20));
    for (std::uint64_t done = 0; done < tensor.bytes();) {
      const std::uint64_t size = std::min<std::uint64_t>(piece.size(), tensor.bytes() - done);
      const auto part = std::span(piece).first(size);
      if (data_->read_at(tensor.offset + done, part) != size) {
        throw Error(Fault::io, fmt::format("tensor {} is cut short", tensor.name));
      }
      use(part);
      done += size;
    }
  }

  std::vector<TensorPlace> tensors_;
  std::unique_ptr<File> data_;
};

/// A file beside its place until it is whole.
class Output {
 public:
  explicit Output(const Path& path) : path_(path), temporary_(path) {
    temporary_ += ".tmp";
    file_ = posix_file_system().open(temporary_, OpenMode::create_or_cut);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() {
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
  }
  void write(std::span<const std::byte> bytes) {
    file_->write_at(at_, bytes);
    at_ += bytes.size();
  }
  void write(std::string_view text) { write(as_bytes(text)); }
  void overwrite(std::uint64_t offset, std::string_view text) {
    file_->write_at(offset, as_bytes(text));
  }
  std::uint64_t position() const { return at_; }
  void finish() {
    file_->sync();
    posix_file_system().rename(temporary_, path_);
  }

 private:
  Path path_;
  Path temporary_;
  std::unique_ptr<File> file_;
  std::uint64_t at_ = 0;
};

std::string_view safetensors_type(DType dtype) {
  constexpr std::array<std::string_view, 7> names{"F32", "F64", "F16", "BF16", "I32", "I64", "U8"};
  return names.at(static_cast<std::size_t>(dtype));
}

std::string_view numpy_type(DType dtype) {
  constexpr std::array<std::string_view, 7> names{"<f4", "<f8", "<f2", "<u2", "<i4", "<i8", "|u1"};
  return names.at(static_cast<std::size_t>(dtype));
}

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) {
    text += static_cast<char>(value >> (8 * i) & 0xff);
  }
  return text;
}

std::string json_name(std::string_view name) {
  std::string quoted;
  for (const char c : name) {
    quoted += c == '"' || c == '\\' ? "\\" : "";
    quoted += c;
  }
  return quoted;
}

std::string npy_header(const TensorPlace& tensor) {
  std::string shape;
  for (const std::uint64_t length : tensor.model_shape()) {
    shape += fmt::format("{}, ", length);
  }
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
                                 numpy_type(tensor.dtype), shape);
  constexpr std::size_t before = 10;  // magic, version and length
  text.append(63 - (before + text.size()) % 64, ' ');
  text += '\n';
  return "\x93NUMPY" + little_endian(1, 1) + little_endian(0, 1) + little_endian(text.size(), 2) +
         text;
}

/// What the zip's directory must know of a member.
struct ZipMember {
  std::string name;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint32_t crc = 0;
};

constexpr std::uint64_t all_ones_32 = 0xffffffff;

/// The sizes stand in the zip64 field, for files beyond 4 GB as for others: one way for all.
std::string zip_local_header(const ZipMember& member) {
  return little_endian(0x04034b50, 4) + little_endian(45, 2) + little_endian(0, 2) +
         little_endian(0, 2) + little_endian(0x00210000, 4) + little_endian(member.crc, 4) +
         little_endian(all_ones_32, 4) + little_endian(all_ones_32, 4) +
         little_endian(member.name.size(), 2) + little_endian(20, 2) + member.name +
         little_endian(1, 2) + little_endian(16, 2) + little_endian(member.bytes, 8) +
         little_endian(member.bytes, 8);
}

std::string zip_central_header(const ZipMember& member) {
  return little_endian(0x02014b50, 4) + little_endian(45, 2) + little_endian(45, 2) +
         little_endian(0, 2) + little_endian(0, 2) + little_endian(0x00210000, 4) +
         little_endian(member.crc, 4) + little_endian(all_ones_32, 4) +
         little_endian(all_ones_32, 4) + little_endian(member.name.size(), 2) +
         little_endian(28, 2) + little_endian(0, 2) + little_endian(0, 2) + little_endian(0, 2) +
         little_endian(0, 4) + little_endian(all_ones_32, 4) + member.name + little_endian(1, 2) +
         little_endian(24, 2) + little_endian(member.bytes, 8) + little_endian(member.bytes, 8) +
         little_endian(member.offset, 8);
}

std::string zip_end(std::size_t members, std::uint64_t start, std::uint64_t bytes) {
  return little_endian(0x06064b50, 4) + little_endian(44, 8) + little_endian(45, 2) +
         little_endian(45, 2) + little_endian(0, 4) + little_endian(0, 4) +
         little_endian(members, 8) + little_endian(members, 8) + little_endian(bytes, 8) +
         little_endian(start, 8) +  // and where this lies
         little_endian(0x07064b50, 4) + little_endian(0, 4) + little_endian(start + bytes, 8) +
         little_endian(1, 4) + little_endian(0x06054b50, 4) + little_endian(0, 4) +
         little_endian(0xffff, 2) + little_endian(0xffff, 2) + little_endian(all_ones_32, 4) +
         little_endian(all_ones_32, 4) + little_endian(0, 2);
}

ZipMember write_member(Output& output, Source& source, const TensorPlace& tensor) {
  const std::string header = npy_header(tensor);
  ZipMember member{.name = tensor.name + ".npy",
                   .offset = output.position(),
                   .bytes = header.size() + tensor.bytes(),
                   .crc = crc32_zip(0, header)};
  output.write(zip_local_header(member));
  output.write(header);
  source.read(tensor, [&](std::span<const std::byte> bytes) {
    member.crc = crc32_zip(member.crc, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    output.write(bytes);
  });
  output.overwrite(member.offset, zip_local_header(member));
  return member;
}

}  // namespace

std::uint32_t crc32_zip(std::uint32_t seed, std::string_view bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) {
        value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320U : 0U);
      }
      made[i] = value;
    }
    return made;
  }();
  std::uint32_t crc = ~seed;
  for (const char c : bytes) {
    crc = (crc >> 8) ^ table[(crc ^ static_cast<std::uint8_t>(c)) & 0xff];
  }
  return ~crc;
}

void export_safetensors(const Path& checkpoint, const Path& output_path, std::string_view prefix) {
  Source source(checkpoint, prefix);
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::uint64_t at = 0;
  for (const TensorPlace& tensor : source.tensors()) {
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                          json_name(tensor.name), safetensors_type(tensor.dtype),
                          fmt::join(tensor.model_shape(), ","), at, at + tensor.bytes());
    at += tensor.bytes();
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  Output output(output_path);
  output.write(little_endian(header.size(), 8));
  output.write(header);
  for (const TensorPlace& tensor : source.tensors()) {
    source.read(tensor, [&](std::span<const std::byte> bytes) { output.write(bytes); });
  }
  output.finish();
}

void export_npz(const Path& checkpoint, const Path& output_path, std::string_view prefix) {
  Source source(checkpoint, prefix);
  Output output(output_path);
  std::vector<ZipMember> members;
  for (const TensorPlace& tensor : source.tensors()) {
    members.push_back(write_member(output, source, tensor));
  }
  const std::uint64_t start = output.position();
  for (const ZipMember& member : members) {
    output.write(zip_central_header(member));
  }
  output.write(zip_end(members.size(), start, output.position() - start));
  output.finish();
}

}  // namespace muster
