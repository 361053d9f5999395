// SPDX-License-Identifier: Apache-2.0
#include "hpo/journal.h"

#include <cstring>
#include <optional>
#include <utility>

#include "hpo/bytes.h"
#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster::hpo {
namespace {

constexpr std::string_view magic = "MUSTERJ1";
constexpr std::size_t header_size = 12;
constexpr std::size_t large_frame = std::size_t{1} << 20U;

std::uint32_t word_at(std::string_view bytes, std::size_t offset) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + offset, sizeof word);
  return word;
}

void put_word(std::string& bytes, std::uint32_t word) {
  char raw[sizeof word];
  std::memcpy(raw, &word, sizeof word);
  bytes.append(raw, sizeof raw);
}

struct Frame {
  std::uint32_t sequence = 0;
  std::string_view payload;
};

/// The frame at `offset`, if a whole and intact one begins there.
std::optional<Frame> frame_at(std::string_view bytes, std::size_t offset) {
  if (bytes.size() - offset < header_size) {
    return std::nullopt;
  }
  const std::uint32_t length = word_at(bytes, offset);
  if (length == 0 || bytes.size() - offset - header_size < length) {
    return std::nullopt;
  }
  const std::string_view payload = bytes.substr(offset + header_size, length);
  const std::uint32_t head = crc32c(0, bytes.data() + offset, 8);
  if (crc32c(head, payload.data(), payload.size()) != word_at(bytes, offset + 8)) {
    return std::nullopt;
  }
  return Frame{word_at(bytes, offset + 4), payload};
}

/// Where a whole frame with a sequence that can only come later begins, if there is one past
/// `offset`.
std::optional<std::size_t> later_frame(std::string_view bytes, std::size_t offset,
                                       std::uint32_t sequence) {
  const std::uint64_t most = sequence + (bytes.size() - offset) / header_size + 1;
  for (std::size_t at = offset; at + header_size < bytes.size(); ++at) {
    const std::uint32_t claimed = word_at(bytes, at + 4);
    if (claimed >= sequence && claimed <= most && frame_at(bytes, at)) {
      return at;
    }
  }
  return std::nullopt;
}

std::uint64_t visit_payload(std::string_view payload, const RecordVisitor& visit) {
  std::uint64_t records = 0;
  for (ByteReader reader(payload); !reader.at_end(); ++records) {
    visit(reader.text());
  }
  return records;
}

}  // namespace

JournalExtent scan_journal(std::string_view bytes, const std::string& name,
                           const RecordVisitor& visit) {
  JournalExtent extent;
  if (bytes.size() < magic.size() && magic.starts_with(bytes)) {
    extent.torn = bytes.size();  // torn while it was made
    return extent;
  }
  if (!bytes.starts_with(magic)) {
    throw Error(Fault::bad_input, name + " is not a journal of a sweep");
  }
  std::size_t offset = magic.size();
  while (offset < bytes.size()) {
    const std::optional<Frame> frame = frame_at(bytes, offset);
    if (!frame || frame->sequence != extent.frames) {
      if (const auto later = later_frame(bytes, offset, extent.frames)) {
        throw Error(Fault::io, name + " is damaged at byte " + std::to_string(offset) +
                                   ": whole records follow at byte " + std::to_string(*later) +
                                   ", so this is no crash of Muster; restore the file from a copy, "
                                   "or keep the sound part with: head -c " +
                                   std::to_string(offset));
      }
      break;
    }
    extent.records += visit_payload(frame->payload, visit);
    offset += header_size + frame->payload.size();
    ++extent.frames;
  }
  extent.whole = offset;
  extent.torn = bytes.size() - offset;
  return extent;
}

JournalExtent read_journal(const Path& path, const RecordVisitor& visit, FileSystem& files) {
  const std::optional<std::string> bytes = read_file_if_there(path, files);
  return scan_journal(bytes.value_or(""), path.string(), visit);
}

Journal::Journal(Path path, const RecordVisitor& visit, FileSystem& files)
    : path_(std::move(path)), files_(files) {
  found_ = read_journal(path_, visit, files_);
  const bool is_new = found_.whole == 0;
  file_ = files_.open(path_, OpenMode::append);
  if (found_.torn > 0) {
    log::warning(path_.string() + ": the last " + std::to_string(found_.torn) +
                 " bytes are a write that a crash cut short; they are dropped");
    file_->truncate(found_.whole);
    file_->sync();
  }
  size_ = found_.whole;
  next_sequence_ = found_.frames;
  if (is_new) {
    file_->append(as_bytes(magic));
    file_->sync();
    files_.sync_directory(path_.parent_path());
    size_ = magic.size();
  }
}

void Journal::append(std::string_view record) {
  for (std::uint64_t size = record.size(); true; size >>= 7U) {
    payload_.push_back(static_cast<char>(size >= 0x80 ? (size & 0x7fU) | 0x80U : size));
    if (size < 0x80) {
      break;
    }
  }
  payload_ += record;
}

void Journal::commit() {
  require(!is_broken_, "a journal that failed is written to");
  if (payload_.empty()) {
    return;
  }
  is_broken_ = true;
  within("writing the journal " + path_.string(), [&] {
    write_frame(*file_, next_sequence_);
    file_->sync_data();
  });
  is_broken_ = false;
  size_ += frame_.size();
  ++next_sequence_;
}

void Journal::write_frame(File& file, std::uint32_t sequence) {
  require(payload_.size() <= 0xffffffffU, "a commit of more than 4 GiB");
  frame_.clear();
  put_word(frame_, static_cast<std::uint32_t>(payload_.size()));
  put_word(frame_, sequence);
  const std::uint32_t head = crc32c(0, frame_.data(), 8);
  put_word(frame_, crc32c(head, payload_.data(), payload_.size()));
  frame_ += payload_;
  payload_.clear();
  file.append(as_bytes(frame_));
}

void Journal::rewrite(const std::function<void(const RecordVisitor& keep)>& produce) {
  commit();
  const Path fresh = path_.string() + ".new";
  std::unique_ptr<File> file = files_.open(fresh, OpenMode::create_or_cut);
  file->append(as_bytes(magic));
  std::uint64_t size = magic.size();
  std::uint32_t sequence = 0;
  const auto flush = [&] {
    if (!payload_.empty()) {
      write_frame(*file, sequence++);
      size += frame_.size();
    }
  };
  produce([&](std::string_view record) {
    append(record);
    if (payload_.size() >= large_frame) {
      flush();
    }
  });
  flush();
  file->sync();
  file.reset();
  files_.rename(fresh, path_);
  files_.sync_directory(path_.parent_path());
  file_ = files_.open(path_, OpenMode::append);
  size_ = size;
  next_sequence_ = sequence;
}

}  // namespace muster::hpo
