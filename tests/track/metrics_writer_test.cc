// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/metrics_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/track/tensorboard.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using testing::HasSubstr;

class MetricsWriterTest : public testing::Test {
 protected:
  std::string lines() const { return read_file(root_ / "metrics.jsonl"); }
  std::vector<Path> event_files() const {
    std::vector<Path> files;
    for (const auto& each : std::filesystem::directory_iterator(root_ / "tensorboard")) {
      files.push_back(each.path());
    }
    return files;
  }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  VirtualClock clock_{WallTime(std::chrono::seconds(1732158543))};
};

/// A reader of protobuf's wire format, written from its definition: fields by number; numbers as
/// their bits.
struct Message {
  std::multimap<unsigned, std::uint64_t> numbers;
  std::multimap<unsigned, std::string> texts;
};

std::uint64_t read_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(0));
    bytes.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if ((byte & 0x80) == 0) {
      return value;
    }
  }
}

Message parse(std::string_view bytes) {
  Message message;
  while (!bytes.empty()) {
    const std::uint64_t key = read_varint(bytes);
    const auto field = static_cast<unsigned>(key >> 3);
    if ((key & 7) == 0) {
      message.numbers.emplace(field, read_varint(bytes));
      continue;
    }
    const std::size_t size = (key & 7) == 2 ? read_varint(bytes) : (key & 7) == 1 ? 8 : 4;
    if ((key & 7) == 2) {
      message.texts.emplace(field, bytes.substr(0, size));
    } else {
      std::uint64_t bits = 0;
      std::memcpy(&bits, bytes.data(), size);
      message.numbers.emplace(field, bits);
    }
    bytes.remove_prefix(size);
  }
  return message;
}

std::vector<Message> read_events(const Path& path) {
  const std::string file = read_file(path);
  std::string_view bytes = file;
  std::vector<Message> events;
  while (!bytes.empty()) {
    std::uint64_t length = 0;
    std::uint32_t head_sum = 0;
    std::uint32_t sum = 0;
    std::memcpy(&length, bytes.data(), 8);
    std::memcpy(&head_sum, bytes.data() + 8, 4);
    EXPECT_EQ(head_sum, masked_crc32c(bytes.substr(0, 8)));
    const std::string_view payload = bytes.substr(12, length);
    std::memcpy(&sum, bytes.data() + 12 + length, 4);
    EXPECT_EQ(sum, masked_crc32c(payload));
    events.push_back(parse(payload));
    bytes.remove_prefix(16 + length);
  }
  return events;
}

TEST_F(MetricsWriterTest, WritesALineARecord) {
  MetricsWriter writer(root_, 0, {.tensorboard = false}, posix_file_system(), clock_);
  writer.write({.step = 3,
                .epoch = 0.5,
                .values = {{"train_loss", 0.1}, {"bad", std::nan("")}, {"a\"b", 1e300}}});
  EXPECT_EQ(lines(),
            "{\"step\":3,\"epoch\":0.5,\"time\":1732158543.000,\"train_loss\":0.1,\"bad\":null,"
            "\"a\\\"b\":1e+300}\n");
}

TEST_F(MetricsWriterTest, CutsWhatWillBeDoneAgainAndTornLines) {
  {
    MetricsWriter writer(root_, 0, {.tensorboard = false}, posix_file_system(), clock_);
    for (std::uint64_t step = 1; step <= 5; ++step) {
      writer.write({.step = step, .epoch = 0, .values = {}});
    }
  }
  const std::string before = lines();
  posix_file_system()
      .open(root_ / "metrics.jsonl", OpenMode::append)
      ->append(as_bytes("{\"step\":6,\"ep"));
  { const MetricsWriter again(root_, 9, {.tensorboard = false}, posix_file_system(), clock_); }
  EXPECT_EQ(lines(), before);
  MetricsWriter later(root_, 3, {.tensorboard = false}, posix_file_system(), clock_);
  later.write({.step = 4, .epoch = 1, .values = {}});
  EXPECT_EQ(split(lines(), '\n').size(), 5U);  // steps 1 to 4, and the end
  EXPECT_THAT(lines(), HasSubstr("{\"step\":4,\"epoch\":1,"));
}

TEST_F(MetricsWriterTest, WritesEventsThatReadBack) {
  {
    MetricsWriter writer(root_, 0, {}, posix_file_system(), clock_);
    writer.write_text("job", "lr = 0.1");
    writer.write(
        {.step = 300, .epoch = 0, .values = {{"train_loss", 0.25}, {"val_accuracy", 0.5}}});
  }
  ASSERT_EQ(event_files().size(), 1U);
  EXPECT_THAT(event_files()[0].filename().string(), HasSubstr("events.out.tfevents.1732158543."));
  const std::vector<Message> events = read_events(event_files()[0]);
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[0].texts.find(3)->second, "brain.Event:2");
  double wall = 0;
  std::memcpy(&wall, &events[0].numbers.find(1)->second, 8);
  EXPECT_EQ(wall, 1732158543);
  const Message text = parse(parse(events[2].texts.find(5)->second).texts.find(1)->second);
  EXPECT_EQ(text.texts.find(1)->second, "job");
  EXPECT_EQ(parse(text.texts.find(8)->second).texts.find(8)->second, "lr = 0.1");
  EXPECT_EQ(events[3].numbers.find(2)->second, 300U);
  const Message summary = parse(events[3].texts.find(5)->second);
  EXPECT_EQ(summary.texts.count(1), 2U);
  const Message first = parse(summary.texts.find(1)->second);
  EXPECT_EQ(first.texts.find(1)->second, "train_loss");
  EXPECT_EQ(first.numbers.find(2)->second, 0x3e800000U);  // 0.25F
}

TEST_F(MetricsWriterTest, WritesHyperparametersThatReadBack) {
  {
    MetricsWriter writer(root_, 0, {}, posix_file_system(), clock_);
    writer.write_hyperparameters("0017", {{"lr", "0.25"}, {"kind", "mlp"}, {"bias", "true"}});
  }
  const Message event = read_events(event_files()[0]).at(2);
  const Message value = parse(parse(event.texts.find(5)->second).texts.find(1)->second);
  EXPECT_EQ(value.texts.find(1)->second, "_hparams_/session_start_info");
  const Message plugin = parse(parse(value.texts.find(9)->second).texts.find(1)->second);
  EXPECT_EQ(plugin.texts.find(1)->second, "hparams");
  const Message start = parse(parse(plugin.texts.find(2)->second).texts.find(3)->second);
  EXPECT_EQ(start.texts.find(4)->second, "0017");
  std::map<std::string, Message> words;
  for (auto [at, end] = start.texts.equal_range(1); at != end; ++at) {
    const Message entry = parse(at->second);
    words[entry.texts.find(1)->second] = parse(entry.texts.find(2)->second);
  }
  EXPECT_EQ(words["lr"].numbers.find(2)->second, 0x3fd0000000000000U);  // 0.25
  EXPECT_EQ(words["kind"].texts.find(3)->second, "mlp");
  EXPECT_EQ(words["bias"].numbers.find(4)->second, 1U);
}

TEST_F(MetricsWriterTest, MasksChecksumsAsTheFormatSays) {
  EXPECT_EQ(tensorboard_record("").size(), 16U);
  constexpr std::uint32_t check = 0xe3069283U;  // CRC32C of "123456789", from its specification
  EXPECT_EQ(masked_crc32c("123456789"), (check >> 15 | check << 17) + 0xa282ead8U);
}

/// A file system whose files take `room` more bytes and then are full.
class FullDisk final : public FileSystem {
 public:
  explicit FullDisk(std::uint64_t room) : room_(room) {}
  std::unique_ptr<File> open(const Path& path, OpenMode mode) override {
    return std::make_unique<Limited>(real_.open(path, mode), room_);
  }
  std::unique_ptr<File> open_direct(const Path&, OpenMode) override { return nullptr; }
  void make_directory(const Path& path) override { real_.make_directory(path); }
  void rename(const Path& from, const Path& to) override { real_.rename(from, to); }
  void remove(const Path& path) override { real_.remove(path); }
  void sync_directory(const Path& path) override { real_.sync_directory(path); }
  std::vector<std::string> list(const Path& directory) override { return real_.list(directory); }
  bool exists(const Path& path) override { return real_.exists(path); }
  std::uint64_t free_bytes(const Path& path) override { return real_.free_bytes(path); }

 private:
  class Limited final : public File {
   public:
    Limited(std::unique_ptr<File> file, std::uint64_t& room)
        : file_(std::move(file)), room_(room) {}
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) override {
      return file_->read_at(offset, into);
    }
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      file_->write_at(offset, bytes);
    }
    void append(std::span<const std::byte> bytes) override {
      const std::size_t fits = std::min<std::size_t>(bytes.size(), room_);
      file_->append(bytes.first(fits));  // a full disk takes the beginning
      room_ -= fits;
      if (fits < bytes.size()) {
        throw_errno("write", ENOSPC);
      }
    }
    void sync() override { file_->sync(); }
    void sync_data() override { file_->sync_data(); }
    void allocate(std::uint64_t bytes) override { file_->allocate(bytes); }
    void truncate(std::uint64_t bytes) override { file_->truncate(bytes); }
    std::uint64_t size() override { return file_->size(); }
    bool is_direct() const noexcept override { return false; }

   private:
    std::unique_ptr<File> file_;
    std::uint64_t& room_;
  };
  FileSystem& real_ = posix_file_system();
  std::uint64_t room_;
};

TEST_F(MetricsWriterTest, SaysWhenTheDiskIsFullAndLeavesWholeLines) {
  FullDisk disk(80);
  MetricsWriter writer(root_, 0, {.tensorboard = false}, disk, clock_);
  const MetricRecord record{.step = 1, .epoch = 0.5, .values = {{"train_loss", 0.1}}};
  writer.write(record);
  const std::string before = lines();
  try {
    writer.write(record);
    FAIL() << "a full disk was written to";
  } catch (const std::exception& error) {
    EXPECT_EQ(exit_code_of(error), 1);
    EXPECT_THAT(report(error), HasSubstr("metrics.jsonl (free space on its disk"));
    EXPECT_THAT(report(error), HasSubstr("No space left on device"));
  }
  EXPECT_EQ(lines(), before);
}

}  // namespace
}  // namespace muster
