// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/tensor_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/data/hdf5.h"
#include "tests/support/python.h"
#include "tests/support/sample_state.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using testing::HasSubstr;

class ExportTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto alone = solo_communicator();
    SystemClock clock;
    CheckpointEngine engine({.directory = root_ / "checkpoints"}, *alone, posix_file_system(),
                            clock);
    engine.prepare(state_.tree());
    state_.fill(12);
    engine.save_now(state_.tree(), {.step = 12});
    checkpoint_ = root_ / "checkpoints" / "step-00000012";
  }

  test::ShellOutcome muster(const std::string& words) const {
    return test::shell(std::string(std::getenv("MUSTER_PROGRAM")) + " checkpoint " + words);
  }

  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  Path checkpoint_;
  SampleState state_;
};

TEST_F(ExportTest, WritesSafetensorsWithTheModelsOwnNames) {
  export_safetensors(checkpoint_, root_ / "m.safetensors", "model/");
  const std::string text = read_file(root_ / "m.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, text.data(), 8);
  EXPECT_THAT(text.substr(8, header),
              HasSubstr(R"("fc1.weight":{"dtype":"F32","shape":[30,50],"data_offsets":[)"));
  EXPECT_EQ((8 + header) % 8, 0U);
  EXPECT_EQ(text.size(), 8 + header + 1500 * 4 + 10 * 4 + 33 * 8);
}

/// A convolution's weight of 2 x 3 x 2 x 2 that lies channels last, each value its place in the
/// model's order plus `base`.
struct ChannelsLast {
  std::vector<float> values = std::vector<float>(24);
  explicit ChannelsLast(float base) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t image = i / 12, pixel = i / 3 % 4, channel = i % 3;
      values[i] = base + static_cast<float>(image * 12 + channel * 4 + pixel);
    }
  }
  void add_to(StateTree& tree, const std::string& name) {
    tree.add({.name = name,
              .shape = {2, 2, 2, 3},
              .axes = {0, 2, 3, 1},
              .bytes = std::as_writable_bytes(std::span(values))});
  }
};

class ExportOfChannelsLast : public ExportTest {
 protected:
  void save(bool with_average) {
    ChannelsLast weight(0);
    ChannelsLast average(100);
    StateTree tree;
    weight.add_to(tree, "model/conv.weight");
    if (with_average) {
      average.add_to(tree, "optimizer/average/conv.weight");
    }
    const auto alone = solo_communicator();
    SystemClock clock;
    CheckpointEngine engine({.directory = root_ / "images"}, *alone, posix_file_system(), clock);
    engine.prepare(tree);
    engine.save_now(tree, {.step = 1});
    checkpoint_ = root_ / "images" / "step-00000001";
  }
  std::vector<float> exported() const {
    export_safetensors(checkpoint_, root_ / "images.safetensors", "model/");
    const std::string text = read_file(root_ / "images.safetensors");
    EXPECT_THAT(text, HasSubstr(R"("conv.weight":{"dtype":"F32","shape":[2,3,2,2])"));
    std::vector<float> values(24);
    std::memcpy(values.data(), text.data() + text.size() - 96, 96);
    return values;
  }
  static std::vector<float> counted_from(float first) {
    std::vector<float> values(24);
    std::iota(values.begin(), values.end(), first);
    return values;
  }
};

TEST_F(ExportOfChannelsLast, IsInTheModelsOrder) {
  save(false);
  EXPECT_EQ(exported(), counted_from(0));
}

TEST_F(ExportOfChannelsLast, TakesTheMovingAverageForTheModel) {
  save(true);
  EXPECT_EQ(exported(), counted_from(100));
}

TEST_F(ExportOfChannelsLast, SaysInTheFileHowToReadIt) {
  save(false);
  const h5::File file = h5::File::open(checkpoint_ / "state.h5");
  const std::string name = "/model/conv.weight";
  EXPECT_EQ(file.dataset(name).info().shape, (h5::Shape{2, 2, 2, 3}));
  EXPECT_EQ(file.ints(name, "axes"), (std::vector<std::int64_t>{0, 2, 3, 1}));
  EXPECT_EQ(file.ints(name, "model_shape"), (std::vector<std::int64_t>{2, 3, 2, 2}));
  EXPECT_THAT(file.text(name, "about").value(), HasSubstr("transpose(0, 3, 1, 2)"));
}

TEST_F(ExportOfChannelsLast, IsReadByOtherPrograms) {
  const auto python = test::python_with("numpy, h5py");
  if (!python) {
    GTEST_SKIP() << "no Python with numpy and h5py (Debian: python3-h5py)";
  }
  save(false);
  export_npz(checkpoint_, root_ / "images.npz", "model/");
  const Path script = root_ / "check.py";
  write_file_atomically(script, R"(
import sys, numpy, h5py
right = numpy.arange(24, dtype='f4').reshape(2, 3, 2, 2)
stored = h5py.File(sys.argv[2], 'r')['model/conv.weight']
assert (numpy.load(sys.argv[1])['conv.weight'] == right).all()
assert (stored[()].transpose(numpy.argsort(stored.attrs['axes'])) == right).all()
assert 'transpose(0, 3, 1, 2)' in stored.attrs['about'], stored.attrs['about']
assert (stored[()].transpose(0, 3, 1, 2) == right).all()
)");
  const auto [status, text] =
      test::shell(*python + " " + script.string() + " " + (root_ / "images.npz").string() + " " +
                  (checkpoint_ / "state.h5").string());
  EXPECT_EQ(status, 0) << text;
}

TEST_F(ExportTest, SumsLikeZip) {
  EXPECT_EQ(crc32_zip(0, "123456789"), 0xCBF43926U);
}

TEST_F(ExportTest, RefusesADamagedCheckpoint) {
  std::filesystem::resize_file(checkpoint_ / "state.h5", 1000);
  EXPECT_THROW(export_npz(checkpoint_, root_ / "m.npz", "model/"), Error);
  EXPECT_FALSE(std::filesystem::exists(root_ / "m.npz"));
}

TEST_F(ExportTest, IsReadByOtherPrograms) {
  const auto python = test::python_with("numpy, h5py");
  if (!python) {
    GTEST_SKIP() << "no Python with numpy and h5py (Debian: python3-h5py)";
  }
  export_npz(checkpoint_, root_ / "m.npz", "");
  const Path script = root_ / "check.py";
  write_file_atomically(script, R"(
import sys, numpy, h5py
arrays = numpy.load(sys.argv[1])
file = h5py.File(sys.argv[2], "r")
assert file.attrs["format"] == "Muster checkpoint", file.attrs["format"]
assert file["records/step"][()] == 12
for name in ("model/fc1.weight", "model/fc1.bias", "model/bn.running_mean", "data/counts"):
    assert (arrays[name] == file[name][()]).all(), name
assert arrays["model/fc1.weight"].shape == (30, 50)
assert bytes(file["records/generator"][()]).rstrip(b"\0").startswith(b"philox")
print("weight", float(arrays["model/fc1.weight"][3, 4]))
)");
  const auto [status, text] =
      test::shell(*python + " " + script.string() + " " + (root_ / "m.npz").string() + " " +
                  (checkpoint_ / "state.h5").string());
  EXPECT_EQ(status, 0) << text;
  EXPECT_NEAR(std::strtod(text.c_str() + 7, nullptr), state_.weight[154], 1e-6);
}

TEST_F(ExportTest, OpensInH5dump) {
  if (std::system("command -v h5dump >/dev/null") != 0) {
    GTEST_SKIP() << "hdf5-tools is not installed";
  }
  const auto [status, text] =
      test::shell("h5dump -d /model/fc1.weight -H " + (checkpoint_ / "state.h5").string());
  EXPECT_EQ(status, 0) << text;
  EXPECT_THAT(text, HasSubstr("( 30, 50 )"));
}

TEST_F(ExportTest, CommandVerifiesEveryCheckpointOfARun) {
  const auto [status, text] = muster("verify " + root_.string());
  EXPECT_EQ(status, 0) << text;
  EXPECT_THAT(text, HasSubstr("valid    step 12"));
  auto file = posix_file_system().open(checkpoint_ / "state.h5", OpenMode::read_write);
  file->write_at(5000, as_bytes("x"));
  const auto [json_status, json] = muster("verify --json " + checkpoint_.string());
  EXPECT_EQ(json_status, 1) << json;
  EXPECT_THAT(json, HasSubstr("do not match their checksum"));
  EXPECT_THAT(json, HasSubstr(R"("valid":false)"));
}

TEST_F(ExportTest, CommandExportsTheNewest) {
  const auto [status, text] =
      muster("export " + root_.string() + " --to npz --output " + (root_ / "x.npz").string());
  EXPECT_EQ(status, 0) << text;
  EXPECT_TRUE(std::filesystem::exists(root_ / "x.npz"));
}

TEST_F(ExportTest, CommandSaysWhatItNeeds) {
  for (const auto& [words, sentence] : std::vector<std::pair<std::string, std::string>>{
           {"", "it takes what to do and where"},
           {"verify /nowhere/at/all", "there is no /nowhere/at/all"},
           {"export " + root_.string(), "export needs a format"},
           {"export " + root_.string() + " --to onnx", "safetensors"},
           {"export " + root_.string() + " --to torchscript", "needs the settings of the run"},
           {"export " + root_.string() + " --to torchscript --all", "a model alone"}}) {
    const auto [status, text] = muster(words);
    EXPECT_EQ(status, 64) << words;
    EXPECT_THAT(text, HasSubstr(sentence));
  }
}

}  // namespace
}  // namespace muster
