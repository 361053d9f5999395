// SPDX-License-Identifier: Apache-2.0
#include "hpo/journal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "hpo/bytes.h"
#include "hpo/slots.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "journal_" + std::to_string(::getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name();
    posix_file_system().make_directory(directory_);
    log::set_sink([](log::Level, std::string_view) {});  // torn tails are told each time
  }
  void TearDown() override {
    log::set_sink({});
    posix_file_system().remove(directory_);
  }

  Path path() const { return directory_ / "journal"; }
  static RecordVisitor into(std::vector<std::string>& records) {
    return [&records](std::string_view record) { records.emplace_back(record); };
  }
  std::vector<std::string> read() const {
    std::vector<std::string> records;
    read_journal(path(), into(records));
    return records;
  }
  void write_bytes(std::string_view bytes) const { write_file_atomically(path(), bytes); }

  Path directory_;
};

const RecordVisitor ignore = [](std::string_view) {};

TEST_F(JournalTest, HoldsWhatWasCommittedAndNothingElse) {
  {
    Journal journal(path(), ignore);
    journal.append("one");
    journal.append(std::string(300, 'x'));
    journal.commit();
    journal.append("lost");
  }
  EXPECT_EQ(read(), (std::vector<std::string>{"one", std::string(300, 'x')}));
}

TEST_F(JournalTest, CutAtEveryByteKeepsEveryWholeCommit) {
  std::vector<std::uint64_t> sizes;
  {
    Journal journal(path(), ignore);
    sizes.push_back(journal.size());
    for (int i = 0; i < 12; ++i) {
      for (int j = 0; j <= i % 3; ++j) {
        journal.append("record " + std::to_string(i) + "." + std::to_string(j) +
                       std::string(static_cast<std::size_t>(i), '\0'));
      }
      journal.commit();
      sizes.push_back(journal.size());
    }
  }
  const std::vector<std::string> all = read();
  const std::string bytes = read_file(path());
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    write_bytes(bytes.substr(0, cut));
    std::vector<std::string> kept;
    {
      Journal journal(path(), into(kept));
      std::uint64_t whole = 0;
      for (const std::uint64_t size : sizes) {
        whole = size <= cut ? size : whole;
      }
      ASSERT_EQ(journal.found().whole, whole) << "cut at " << cut;
      journal.append("after");
      journal.commit();
    }
    ASSERT_TRUE(std::equal(kept.begin(), kept.end(), all.begin()));
    kept.push_back("after");
    ASSERT_EQ(read(), kept) << "cut at " << cut;
  }
}

TEST_F(JournalTest, ATailOfZerosOrRubbishIsTorn) {
  Journal(path(), ignore).append("");
  {
    Journal journal(path(), ignore);
    journal.append("one");
    journal.commit();
  }
  const std::string bytes = read_file(path());
  write_bytes(bytes + std::string(500, '\0'));
  EXPECT_EQ(read().size(), 1u);
  write_bytes(bytes + "no frame begins like this, and none follows");
  EXPECT_EQ(read().size(), 1u);
}

TEST_F(JournalTest, AnyDamageBeforeAWholeCommitIsRefused) {
  {
    Journal journal(path(), ignore);
    for (int i = 0; i < 4; ++i) {
      journal.append("record number " + std::to_string(i));
      journal.commit();
    }
  }
  const std::string bytes = read_file(path());
  const std::size_t last_frame = bytes.size() - (12 + 1 + std::string("record number 0").size());
  for (std::size_t at = 8; at < last_frame; ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    write_bytes(damaged);
    EXPECT_THROW(Journal(path(), ignore), Error) << "byte " << at;
    EXPECT_EQ(read_file(path()), damaged);
  }
}

TEST_F(JournalTest, AFileThatIsNoJournalIsLeftAlone) {
  write_bytes("# notes of mine\n");
  EXPECT_THROW(Journal(path(), ignore), Error);
  EXPECT_EQ(read_file(path()), "# notes of mine\n");
}

TEST_F(JournalTest, RewritingKeepsWhatItIsTold) {
  Journal journal(path(), ignore);
  for (int i = 0; i < 100; ++i) {
    journal.append(std::to_string(i));
    journal.commit();
  }
  const std::uint64_t before = journal.size();
  journal.rewrite([](const RecordVisitor& keep) {
    for (int i = 0; i < 100; i += 2) {
      keep(std::to_string(i));
    }
  });
  EXPECT_LT(journal.size(), before / 2);
  journal.append("100");
  journal.commit();
  const std::vector<std::string> records = read();
  ASSERT_EQ(records.size(), 51u);
  EXPECT_EQ(records[1], "2");
  EXPECT_EQ(records.back(), "100");
}

TEST_F(JournalTest, RandomBytesAreNeverRead) {
  Random random(20261121);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = "MUSTERJ1";
    const std::uint64_t size = random.below(200);
    for (std::uint64_t i = 0; i < size; ++i) {
      bytes.push_back(static_cast<char>(random.below(round % 2 == 0 ? 256 : 4)));
    }
    std::size_t records = 0;
    scan_journal(bytes, "fuzz", [&](std::string_view) { ++records; });
    EXPECT_EQ(records, 0u);
  }
}

TEST(Bytes, NumbersReadBackToTheSameBits) {
  ByteWriter writer;
  const std::vector<double> numbers = {
      0.0,  -0.0,         1.0,          -1.0,   81.0,
      1e-4, 1073741823.0, 1073741824.0, -5e300, std::numeric_limits<double>::infinity(),
      0.1};
  for (const double number : numbers) {
    writer.number(number);
  }
  ByteReader reader(writer.bytes());
  for (const double number : numbers) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(reader.number()), std::bit_cast<std::uint64_t>(number));
  }
  EXPECT_TRUE(reader.at_end());
  EXPECT_THROW(reader.byte(), Error);
}

TEST(Slots, LeasesComeBackAndRespectJoiningAndLeaving) {
  Slots slots(2);
  std::optional<SlotLease> first = slots.try_lease();
  std::optional<SlotLease> second = slots.try_lease();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->numbers().front(), 0u);
  EXPECT_FALSE(slots.try_lease());
  slots.resize(1);
  second.reset();
  EXPECT_EQ(slots.free(), 0u);  // slot 1 has left
  first.reset();
  EXPECT_EQ(slots.free(), 1u);
  slots.resize(4);
  EXPECT_FALSE(slots.try_lease(5));
  EXPECT_EQ(slots.try_lease(3)->numbers().size(), 3u);
  EXPECT_EQ(slots.leased(), 0u);
}

}  // namespace
}  // namespace muster::hpo
