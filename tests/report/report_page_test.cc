// SPDX-License-Identifier: Apache-2.0
#include "launcher/report/report_page.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

TEST(ReportPage, IsOneFileThatAsksTheNetworkForNothing) {
  const auto page = report_page("digits", R"({"name":"digits","trials":[]})");
  EXPECT_EQ(page.substr(0, 15), "<!doctype html>");
  EXPECT_EQ(count(page, "http://") + count(page, "https://") + count(page, " src="), 0U);
  EXPECT_NE(page.find(R"({"name":"digits","trials":[]})"), std::string::npos);
  EXPECT_EQ(count(page, "@DATA@") + count(page, "@SCRIPT@") + count(page, "@STYLE@") +
                count(page, "@NAME@"),
            0U);
}

TEST(ReportPage, NoTextOfATrialEndsTheScript) {
  const auto plain = report_page("a", "{}");
  const auto hostile = report_page(
      "</title><b>",
      R"json({"trials":[{"params":{"x":"</script><script>alert(1)"}}],"name":"@SCRIPT@"})json");
  EXPECT_EQ(count(hostile, "</script>"), count(plain, "</script>"));
  EXPECT_EQ(count(hostile, "<script>"), count(plain, "<script>"));
  EXPECT_NE(hostile.find("&lt;/title>&lt;b>"), std::string::npos);
  EXPECT_NE(hostile.find("\"name\":\"@SCRIPT@\""), std::string::npos);
}

}  // namespace
}  // namespace muster
