// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/mps_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "runtime/base/file_system.h"

namespace muster {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

/// A control program that writes down what it was told.
Path fake_control(const Path& folder, int code) {
  const Path program = folder / "control";
  std::ofstream(program) << "#!/bin/sh\necho \"$* pipe=$CUDA_MPS_PIPE_DIRECTORY "
                            "cards=$CUDA_VISIBLE_DEVICES\" >> "
                         << (folder / "calls").string() << "\n[ \"$1\" = -d ] || cat >> "
                         << (folder / "calls").string() << "\nexit " << code << "\n";
  ::chmod(program.c_str(), 0755);
  return program;
}

Path fresh_folder(const std::string& name) {
  const Path folder = Path(testing::TempDir()) / (name + "." + std::to_string(::getpid()));
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(MpsServer, RunsADaemonInFoldersOfItsOwnAndTellsItToQuit) {
  const Path folder = fresh_folder("mps");
  ::setenv("CUDA_VISIBLE_DEVICES", "2,3", 1);
  {
    const MpsServer server({.folder = folder / "own", .program = fake_control(folder, 0)});
    EXPECT_TRUE(server.is_running());
    const auto settings = server.environment(std::uint64_t{3} << 30);
    EXPECT_THAT(settings,
                Contains(Pair("CUDA_MPS_PIPE_DIRECTORY", (folder / "own/pipe").string())));
    EXPECT_THAT(settings, Contains(Pair("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=3072M")));
  }
  const std::string calls = read_file(folder / "calls");
  EXPECT_THAT(calls, HasSubstr("-d pipe=" + (folder / "own/pipe").string() + " cards=\n"))
      << "trials name the cards of the machine";
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_THAT(calls, HasSubstr("quit"));
  EXPECT_FALSE(std::filesystem::exists(folder / "own"));
}

/// The kernel frees a dead owner's lock; here nobody ever took it.
TEST(MpsServer, TheNextSweepEndsDaemonsThatWereLeft) {
  const Path folder = fresh_folder("mps_left");
  const Path control = fake_control(folder, 0);
  std::filesystem::create_directories(folder / "muster-mps-dead/pipe");
  std::filesystem::create_directories(folder / "another/pipe");
  std::filesystem::create_directory_symlink(folder / "another", folder / "muster-mps-link");
  const MpsServer alive({.folder = folder / "muster-mps-alive", .program = control});
  quit_left_servers(folder, control);
  EXPECT_FALSE(std::filesystem::exists(folder / "muster-mps-dead"));
  EXPECT_TRUE(std::filesystem::exists(folder / "another/pipe"));
  EXPECT_TRUE(std::filesystem::exists(folder / "muster-mps-alive/pipe"));
  const std::string calls = read_file(folder / "calls");
  EXPECT_THAT(calls,
              HasSubstr("pipe=" + (folder / "muster-mps-dead/pipe").string() + " cards=\nquit\n"));
  EXPECT_EQ(calls.find("quit"), calls.rfind("quit"));
}

TEST(MpsServer, WhatWasLeftStaysWhereNobodyCanTellItToQuit) {
  const Path folder = fresh_folder("mps_stays");
  std::filesystem::create_directories(folder / "muster-mps-dead/pipe");
  quit_left_servers(folder, "/nowhere/mps-control");
  EXPECT_TRUE(std::filesystem::exists(folder / "muster-mps-dead/pipe"));
}

TEST(MpsServer, SaysWhyItDoesNotRun) {
  const Path folder = fresh_folder("mps_refused");
  std::filesystem::create_directories(folder / "own/log");
  std::ofstream(folder / "own/log/control.log") << "Start\nCannot create the daemon\n";
  const MpsServer refused({.folder = folder / "own", .program = fake_control(folder, 3)});
  EXPECT_FALSE(refused.is_running());
  EXPECT_THAT(refused.why(), HasSubstr("ended with 3: Cannot create the daemon"));
  EXPECT_THAT(refused.environment(0), IsEmpty());
  const MpsServer absent({.folder = folder / "none", .program = "/nowhere/mps-control"});
  EXPECT_THAT(absent.why(), HasSubstr("there is no /nowhere/mps-control"));
}

}  // namespace
}  // namespace muster
