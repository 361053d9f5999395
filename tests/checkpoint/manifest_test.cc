// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

using testing::HasSubstr;

Manifest example() {
  Manifest manifest{.created = "2026-11-21T03:00:00.000Z", .ranks = 2};
  manifest.files.push_back(
      {.name = "state.h5",
       .bytes = 300,
       .info = {.step = 900,
                .score = 0.25,
                .settings = {{"optimizer.lr", "0.1"}, {"note", "two\nlines \\ and a back-slash"}},
                .environment = {{"ranks", "2"}}},
       .tensors = {{.name = "model/w", .dtype = DType::float32, .shape = {2, 3}, .offset = 100},
                   {.name = "model/one", .dtype = DType::float64, .shape = {}, .offset = 124},
                   {.name = "model/conv",
                    .dtype = DType::uint8,
                    .shape = {1, 2, 2, 3},
                    .axes = {0, 2, 3, 1},
                    .offset = 140}},
       .records = {{.name = "step", .kind = RecordPlace::Kind::int64, .offset = 132, .bytes = 8}},
       .blocks = {{0, 200, 0x1234abcd}, {200, 100, 7}}});
  return manifest;
}

std::string problem_of(const std::string& text) {
  try {
    parse_manifest(text, "c/manifest");
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

/// The text with its closing line made right again.
std::string resealed(std::string text) {
  text.resize(text.size() - 16);
  std::array<char, 32> line{};
  std::snprintf(line.data(), line.size(), "crc32c %08x\n", crc32c(0, text.data(), text.size()));
  return text + line.data();
}

TEST(Manifest, ReadsBackWhatItSays) {
  const std::string text = text_of(example());
  const Manifest read = parse_manifest(text, "c/manifest");
  EXPECT_EQ(text_of(read), text);
  EXPECT_EQ(read.files[0].info.settings, example().files[0].info.settings);
  EXPECT_EQ(read.files[0].tensors, example().files[0].tensors);
  EXPECT_EQ(read.bytes(), 300U);
}

TEST(Manifest, RefusesEveryFlippedBitOfItself) {
  const std::string text = text_of(example());
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(problem_of(flipped), "none") << "bit " << bit;
  }
}

TEST(Manifest, RefusesEveryCut) {
  const std::string text = text_of(example());
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_NE(problem_of(text.substr(0, size)), "none") << "cut at " << size;
  }
}

TEST(Manifest, RefusesBlocksThatLeaveAHole) {
  Manifest manifest = example();
  manifest.files[0].blocks[1].offset = 201;
  EXPECT_THAT(problem_of(text_of(manifest)), HasSubstr("leave a hole at byte 200"));
}

TEST(Manifest, RefusesAxesThatAreNotThoseOfTheTensor) {
  for (const std::vector<std::uint8_t>& axes :
       {std::vector<std::uint8_t>{0, 2, 3, 3}, {0, 1, 2}, {1, 2, 3, 4}}) {
    Manifest manifest = example();
    manifest.files[0].tensors[2].axes = axes;
    EXPECT_THAT(problem_of(text_of(manifest)), HasSubstr("axes of a tensor"));
  }
}

TEST(Manifest, SaysThatANewerMusterWroteIt) {
  std::string text = text_of(example());
  text.replace(0, std::string("muster-checkpoint 1").size(), "muster-checkpoint 2");
  text = resealed(text);
  try {
    parse_manifest(text, "c/manifest");
    FAIL() << "a newer format was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("checkpoint format 2; this one reads up to 1"));
  }
}

}  // namespace
}  // namespace muster
