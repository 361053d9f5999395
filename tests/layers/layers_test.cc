// Holds the tree to the table of layers in ARCHITECTURE.md.
// SPDX-License-Identifier: Apache-2.0
#include "tests/layers/layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace muster {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Path source() {
  const char* path = std::getenv("MUSTER_SOURCE");
  return path == nullptr ? "." : path;
}

TEST(Layers, EveryIncludeOfThisTreeIsInTheTable) {
  ASSERT_GT(layered_files(source()), 50U);
  EXPECT_THAT(layer_violations(source(), layers()), IsEmpty());
}

class LayersOfATree : public ::testing::Test {
 protected:
  LayersOfATree()
      : root_(Path(::testing::TempDir()) / ("layers_test_" + std::to_string(::getpid()))) {}
  ~LayersOfATree() override { posix_file_system().remove(root_); }

  std::vector<std::string> with(const std::string& file, const std::string& text) {
    posix_file_system().make_directory((root_ / file).parent_path());
    write_file_atomically(root_ / file, text);
    return layer_violations(root_, layers());
  }

  Path root_;
};

TEST_F(LayersOfATree, FindsAnEdgeThatGoesUp) {
  EXPECT_THAT(with("runtime/base/a.cc", "#include <vector>\n#include \"launcher/b.h\"\n"),
              ElementsAre("runtime/base/a.cc:2: runtime/base may not include launcher/b.h"));
}

TEST_F(LayersOfATree, FindsSiblingsThatKnowEachOther) {
  EXPECT_THAT(with("hpo/a.h", "#include \"collectives/shm/b.h\"\n"),
              ElementsAre(HasSubstr("hpo/a.h:1")));
}

TEST_F(LayersOfATree, FindsALibraryOutOfPlace) {
  EXPECT_THAT(with("hpo/a.cc", "#  include <torch/script.h>\n"),
              ElementsAre("hpo/a.cc:1: hpo may not name torch (<torch/script.h>)"));
}

TEST_F(LayersOfATree, TheLightLauncherNamesNoMpiAndTheRankProgramMay) {
  EXPECT_THAT(with("launcher/cli/a.cc", "#include <mpi.h>\n"), ElementsAre(HasSubstr("name mpi")));
  posix_file_system().remove(root_);
  EXPECT_THAT(with("launcher/rank/a.cc", "#include <mpi.h>\n#include \"hpo/x.h\"\n"), IsEmpty());
}

TEST_F(LayersOfATree, FindsAFolderWithoutARow) {
  EXPECT_THAT(with("collectives/carrier/a.cc", ""), ElementsAre(HasSubstr("in no row")));
}

TEST_F(LayersOfATree, FindsIncludesThatAreNotFromTheRootAndFmtInHeaders) {
  EXPECT_THAT(with("hpo/a.h", "#include \"b.h\"\n#include <fmt/format.h>\n"),
              ElementsAre(HasSubstr("named from the root"), HasSubstr("belong in a header")));
}

TEST_F(LayersOfATree, AllowsWhatTheTableAllows) {
  EXPECT_THAT(with("hpo/a.cc",
                   "#include \"hpo/a.h\"\n#include <sys/mman.h>\n"
                   "#include <fmt/format.h>\n#include \"runtime/config/keys.h\"\n"),
              IsEmpty());
}

}  // namespace
}  // namespace muster
