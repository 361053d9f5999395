// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/line_reader.h"

#include <gmock/gmock.h>
#include <unistd.h>

namespace muster {
namespace {

using testing::ElementsAre;

void put(const Descriptor& into, std::string_view text) {
  ASSERT_EQ(::write(into.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

TEST(LineReader, HandsOverWholeLinesOnly) {
  Pipe pipe = output_pipe();
  LineReader reader(std::move(pipe.ours));
  std::vector<std::string> lines;
  put(pipe.theirs, "one\ntw");
  reader.read(lines);
  EXPECT_THAT(lines, ElementsAre("one"));
  put(pipe.theirs, "o\n\nthree");
  reader.read(lines);
  EXPECT_THAT(lines, ElementsAre("one", "two", ""));
  pipe.theirs.reset();
  reader.read(lines);
  EXPECT_THAT(lines, ElementsAre("one", "two", "", "three"));
  EXPECT_FALSE(reader.open());
}

TEST(LineReader, TakesAProgressBarAsLines) {
  Pipe pipe = output_pipe();
  LineReader reader(std::move(pipe.ours));
  std::vector<std::string> lines;
  put(pipe.theirs, "10 %\r20 %\rdone\r\nnext\n");
  reader.read(lines);
  EXPECT_THAT(lines, ElementsAre("10 %", "20 %", "done", "next"));
}

TEST(LineReader, TellsLinesThatReplaceEachOther) {
  Pipe pipe = output_pipe();
  LineReader reader(std::move(pipe.ours));
  std::vector<OutputLine> lines;
  put(pipe.theirs, "10 %\rdone\r\nnext\n");
  reader.read(lines);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_TRUE(lines[0].is_live);
  EXPECT_FALSE(lines[1].is_live || lines[2].is_live);
}

TEST(LineReader, CutsALineThatNeverEnds) {
  Pipe pipe = output_pipe();
  LineReader reader(std::move(pipe.ours));
  std::vector<std::string> lines;
  std::size_t sent = 0;
  for (int i = 0; i < 10; ++i) {
    put(pipe.theirs, std::string(30'000, 'x'));
    sent += 30'000;
    reader.read(lines);
  }
  pipe.theirs.reset();
  reader.read(lines);
  std::size_t got = 0;
  for (const auto& line : lines) {
    got += line.size();
    EXPECT_LE(line.size(), 64U * 1024);
  }
  EXPECT_EQ(got, sent);
}

}  // namespace
}  // namespace muster
