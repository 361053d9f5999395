// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::string_view magic = "muster-checkpoint";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\\') {
      out += "\\\\";
    } else {
      out += c;
    }
  }
  return out;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 1 < text.size();
    if (escape) {
      ++i;
    }
    out += escape && text[i] == 'n' ? '\n' : text[i];
  }
  return out;
}

std::string text_of_shape(const std::vector<std::uint64_t>& shape) {
  return shape.empty() ? "scalar" : fmt::format("{}", fmt::join(shape, "x"));
}

/// Behind the shape, and only where memory runs in another order: " axes 0,2,3,1".
std::string text_of_axes(const std::vector<std::uint8_t>& axes) {
  return axes.empty() ? "" : fmt::format(" axes {}", fmt::join(axes, ","));
}

std::string closing_line(std::string_view body) {
  return fmt::format("crc32c {:08x}\n", crc32c(0, body.data(), body.size()));
}

void write_file_entry(std::string& out, const ManifestFile& file) {
  auto line = std::back_inserter(out);
  fmt::format_to(line, "file {} {}\nstep {}\n", file.name, file.bytes, file.info.step);
  if (file.info.score) {
    fmt::format_to(line, "score {}\n", exact(*file.info.score));
  }
  for (const Setting& setting : file.info.settings) {
    fmt::format_to(line, "setting {} {}\n", setting.key, escaped(setting.value));
  }
  for (const Setting& setting : file.info.environment) {
    fmt::format_to(line, "environment {} {}\n", setting.key, escaped(setting.value));
  }
  for (const TensorPlace& tensor : file.tensors) {
    fmt::format_to(line, "tensor {} {} {} {}{}\n", tensor.name, name_of(tensor.dtype),
                   tensor.offset, text_of_shape(tensor.shape), text_of_axes(tensor.axes));
  }
  for (const RecordPlace& record : file.records) {
    fmt::format_to(line, "record {} {} {} {}\n", record.name, name_of(record.kind), record.offset,
                   record.bytes);
  }
  for (const Block& block : file.blocks) {
    fmt::format_to(line, "block {} {} {:08x}\n", block.offset, block.bytes, block.crc);
  }
}

/// Reads one line's fields in order; anything unexpected is damage.
class Fields {
 public:
  explicit Fields(std::string_view line) : rest_(line) {}
  std::string_view word() {
    const auto end = std::min(rest_.find(' '), rest_.size());
    const auto found = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return found;
  }
  std::string_view rest() const { return rest_; }
  template <class Number>
  Number number(int base = 10) {
    const auto text = word();
    Number value{};
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (code != std::errc{} || end != text.data() + text.size()) {
      throw Error(Fault::io, fmt::format("'{}' is no number", text));
    }
    return value;
  }

 private:
  std::string_view rest_;
};

DType dtype_named(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(DType::uint8); ++i) {
    if (name_of(static_cast<DType>(i)) == name) {
      return static_cast<DType>(i);
    }
  }
  throw Error(Fault::io, fmt::format("'{}' is no type of numbers", name));
}

RecordPlace::Kind kind_named(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(RecordPlace::Kind::text); ++i) {
    if (name_of(static_cast<RecordPlace::Kind>(i)) == name) {
      return static_cast<RecordPlace::Kind>(i);
    }
  }
  throw Error(Fault::io, fmt::format("'{}' is no kind of record", name));
}

std::vector<std::uint64_t> shape_from(std::string_view text) {
  std::vector<std::uint64_t> shape;
  if (text == "scalar") {
    return shape;
  }
  for (const std::string& part : split(text, 'x')) {
    shape.push_back(Fields(part).number<std::uint64_t>());
  }
  return shape;
}

/// One for each dimension, each of them once.
std::vector<std::uint8_t> axes_from(Fields& fields, std::size_t dimensions) {
  std::vector<std::uint8_t> axes;
  if (fields.rest().empty()) {
    return axes;
  }
  if (fields.word() != "axes") {
    throw Error(Fault::io, "a tensor's line goes on after its shape");
  }
  for (const std::string& part : split(fields.word(), ',')) {
    axes.push_back(Fields(part).number<std::uint8_t>());
  }
  std::vector<std::uint8_t> sorted = axes;
  std::ranges::sort(sorted);
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != i || sorted.size() != dimensions) {
      throw Error(Fault::io, "the axes of a tensor are not its dimensions");
    }
  }
  return axes;
}

void read_place(ManifestFile& file, std::string_view kind, Fields& fields) {
  if (kind == "tensor") {
    TensorPlace& tensor = file.tensors.emplace_back();
    tensor.name = fields.word();
    tensor.dtype = dtype_named(fields.word());
    tensor.offset = fields.number<std::uint64_t>();
    tensor.shape = shape_from(fields.word());
    tensor.axes = axes_from(fields, tensor.shape.size());
  } else if (kind == "record") {
    RecordPlace& record = file.records.emplace_back();
    record.name = fields.word();
    record.kind = kind_named(fields.word());
    record.offset = fields.number<std::uint64_t>();
    record.bytes = fields.number<std::uint64_t>();
  } else {
    Block& block = file.blocks.emplace_back();
    block.offset = fields.number<std::uint64_t>();
    block.bytes = fields.number<std::uint64_t>();
    block.crc = fields.number<std::uint32_t>(16);
  }
}

void read_file_line(ManifestFile& file, std::string_view kind, Fields& fields) {
  if (kind == "step") {
    file.info.step = fields.number<std::int64_t>();
  } else if (kind == "score") {
    file.info.score = parse_double(fields.word());
  } else if (kind == "setting" || kind == "environment") {
    auto& list = kind == "setting" ? file.info.settings : file.info.environment;
    const std::string key(fields.word());
    list.push_back({.key = key, .value = unescaped(fields.rest())});
  } else if (kind == "tensor" || kind == "record" || kind == "block") {
    read_place(file, kind, fields);
  } else {
    throw Error(Fault::io, fmt::format("'{}' is no line of a manifest", kind));
  }
}

void read_line(Manifest& manifest, std::string_view line) {
  Fields fields(line);
  const auto kind = fields.word();
  if (kind == "created") {
    manifest.created = fields.rest();
  } else if (kind == "ranks") {
    manifest.ranks = fields.number<int>();
  } else if (kind == "file") {
    ManifestFile& file = manifest.files.emplace_back();
    file.name = fields.word();
    file.bytes = fields.number<std::uint64_t>();
  } else if (manifest.files.empty()) {
    throw Error(Fault::io, fmt::format("'{}' stands before any file", kind));
  } else {
    read_file_line(manifest.files.back(), kind, fields);
  }
}

/// The blocks must cover the file from its first byte to its last.
void require_cover(const ManifestFile& file) {
  std::uint64_t at = 0;
  for (const Block& block : file.blocks) {
    if (block.offset != at) {
      throw Error(Fault::io,
                  fmt::format("the blocks of {} leave a hole at byte {}", file.name, at));
    }
    at += block.bytes;
  }
  if (at != file.bytes) {
    throw Error(Fault::io,
                fmt::format("the blocks of {} end at byte {} of {}", file.name, at, file.bytes));
  }
}

/// The text without its closing line, which must be the sum of all before it, to the last
/// character.
std::string_view checked_body(std::string_view text) {
  constexpr std::size_t closing_bytes = 16;
  if (text.size() < closing_bytes) {
    throw Error(Fault::io, "the manifest is cut short");
  }
  const auto body = text.substr(0, text.size() - closing_bytes);
  if (text.substr(body.size()) != closing_line(body)) {
    throw Error(Fault::io, "the manifest does not match its own checksum");
  }
  return body;
}

void require_format(std::string_view first_line, const std::string& path) {
  Fields fields(first_line);
  if (fields.word() != magic) {
    throw Error(Fault::io, "this is no manifest of a checkpoint");
  }
  if (const int format = fields.number<int>(); format > checkpoint_format) {
    throw Error(Fault::bad_input, fmt::format("{}: written by a newer Muster in checkpoint format "
                                              "{}; this one reads up to {}. Continue with the "
                                              "version that wrote it, or give the run another name",
                                              path, format, checkpoint_format));
  }
}

}  // namespace

std::uint64_t Manifest::bytes() const {
  std::uint64_t sum = 0;
  for (const ManifestFile& file : files) {
    sum += file.bytes;
  }
  return sum;
}

const ManifestFile* Manifest::find(std::string_view file) const {
  const auto found = std::ranges::find(files, file, &ManifestFile::name);
  return found == files.end() ? nullptr : &*found;
}

std::string text_of(const Manifest& manifest) {
  std::string out = fmt::format("{} {}\ncreated {}\nranks {}\n", magic, checkpoint_format,
                                manifest.created, manifest.ranks);
  for (const ManifestFile& file : manifest.files) {
    write_file_entry(out, file);
  }
  return out + closing_line(out);
}

Manifest parse_manifest(std::string_view text, const std::string& path) {
  const auto body = checked_body(text);
  Manifest manifest;
  bool is_first = true;
  for (const std::string& line : split(trim(body), '\n')) {
    if (is_first) {
      require_format(line, path);
      is_first = false;
    } else {
      read_line(manifest, line);
    }
  }
  std::ranges::for_each(manifest.files, require_cover);
  return manifest;
}

}  // namespace muster
