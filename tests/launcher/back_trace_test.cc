// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/back_trace.h"

#include <gmock/gmock.h>

namespace muster {
namespace {

using testing::HasSubstr;

TEST(BackTrace, NamesAreThoseOfTheSource) {
  EXPECT_EQ(readable_back_trace("/lib/libx.so(_ZN6muster4saveEv+0x1f) [0x55d0]"),
            "  muster::save()  (libx.so)");
  EXPECT_EQ(readable_back_trace("/lib/libc.so.6(abort+0xd3)[0x7f00]"), "  abort  (libc.so.6)");
}

TEST(BackTrace, WhatCannotBeNamedKeepsItsOffset) {
  EXPECT_EQ(readable_back_trace("/no/such/program(+0x1f)[0x55d0]"), "  +0x1f  (program)");
}

TEST(BackTrace, OtherLinesStayAsTheyAre) {
  const std::string text = "crashed with SIGSEGV (at step 3)\nback-trace:\n[vdso] 0x12\n";
  EXPECT_EQ(readable_back_trace(text), text);
}

}  // namespace
}  // namespace muster
