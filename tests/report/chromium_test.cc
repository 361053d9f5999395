// The report in a real browser: it opens, reacts to clicks, and can be seen.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <memory>

#include "launcher/report/report_page.h"
#include "runtime/base/file_system.h"
#include "runtime/base/random.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

std::string output_of(const std::string& command) {
  std::string text;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::array<char, 65536> block{};
  for (std::size_t got = 1; got > 0;) {
    got = std::fread(block.data(), 1, block.size(), pipe.get());
    text.append(block.data(), got);
  }
  return text;
}

std::string browser() {
  for (const std::string name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (!output_of("command -v " + name).empty()) {
      return name;
    }
  }
  return "";
}

/// A sweep of `count` trials; the value falls with the distance of the rate from 0.01.
std::string sweep(int count) {
  Random random(5);
  std::string trials;
  for (int trial = 1; trial <= count; ++trial) {
    const double exponent = -4 + 3 * random.uniform();
    const double value = 0.95 - 0.1 * (exponent + 2) * (exponent + 2);
    if (trial % 10 == 0) {
      trials += fmt::format(
          R"(,{{"trial":{},"state":"failed","value":null,"resource":null,"worker":"a","started":{},"ended":{},"retries":0,)"
          R"("reason":"out of memory","params":{{"optimizer.lr":{},"model.kind":"mlp"}},"curve":[]}})",
          trial, trial, trial + 0.9, std::pow(10, exponent));
      continue;
    }
    trials += fmt::format(
        R"({}{{"trial":{},"state":"complete","value":{},"resource":3,"worker":"a","started":{},"ended":{},"retries":0,)"
        R"("params":{{"optimizer.lr":{},"model.kind":"{}"}},"curve":[[1,0.5],[3,{}]]}})",
        trial == 1 ? "" : ",", trial, value, trial, trial + 0.9, std::pow(10, exponent),
        trial % 2 == 0 ? "mlp" : "cnn", value);
  }
  return fmt::format(
      R"({{"name":"digits","objective":"max val_accuracy","metric":"val_accuracy","goal":"max","seconds":{},"resource":"epochs",)"
      R"("keys":[{{"name":"optimizer.lr","kind":"float","scale":"log","low":0.0001,"high":0.1}},)"
      R"({{"name":"model.kind","kind":"choice","values":["mlp","cnn"]}}],"trials":[{}],"rungs":[{{"resource":1,"entered":9,"promoted":3}}],)"
      R"("slots":[{{"worker":"slot 0","spans":[[1,0,1],[2,1,2]]}}],"importance":{{}}}})",
      count + 1, trials);
}

/// What a person does: selects the upper half of the first axis, sorts by trial, types a filter.
/// Results go into attributes.
constexpr std::string_view visitor = R"js(<script>
const note = (name, value) => document.body.setAttribute('data-' + name, value);
const canvas = document.getElementById('parallel'), box = canvas.getBoundingClientRect();
const mouse = (type, y) => canvas.dispatchEvent(new MouseEvent(type, { clientX: box.left + 50, clientY: box.top + y, bubbles: true }));
mouse('mousedown', 45); mouse('mousemove', 190); mouse('mouseup', 190);
note('brushed', document.getElementById('table-count').textContent);
selection.ranges.clear();
document.querySelectorAll('#table th')[0].click();
note('first', document.querySelector('#table tbody td').textContent);
const filter = document.getElementById('filter');
filter.value = 'model.kind = mlp trial <= 10'; filter.dispatchEvent(new Event('input'));
note('filtered', document.getElementById('table-count').textContent);
filter.value = ''; filter.dispatchEvent(new Event('input'));
document.querySelector('#table tbody tr').onmouseenter();
note('pointed', document.querySelectorAll('tr.pointed').length);
const isBlank = canvas => !canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte);
setTimeout(() => note('blank', [...document.querySelectorAll('canvas[id]')].filter(isBlank).map(c => c.id).join(' ') || 'none'), 500);
note('failures', document.getElementById('failures').textContent);
</script>)js";

class ReportInBrowser : public testing::Test {
 protected:
  void SetUp() override {
    browser_ = browser();
    if (browser_.empty()) {
      GTEST_SKIP() << "no Chromium here: apt-get install chromium";
    }
  }

  std::string visit(const std::string& page, const std::string& what) {
    write_file_atomically(root_ / "report.html", page);
    return output_of(fmt::format(
        "HOME={0} timeout 100 {1} --headless --no-sandbox --disable-gpu "
        "--user-data-dir={0}/profile "
        "--window-size=1400,1600 --virtual-time-budget=4000 {2} file://{0}/report.html 2>/dev/null",
        root_.string(), browser_, what));
  }

  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  std::string browser_;
};

TEST_F(ReportInBrowser, SelectsSortsAndFilters) {
  auto page = report_page("digits", sweep(200));
  page.insert(page.find("</body>"), visitor);
  const auto dom = visit(page, "--dump-dom");
  EXPECT_NE(dom.find("data-ready=\"yes\""), std::string::npos) << "the script failed";
  EXPECT_NE(dom.find("data-first=\"1\""), std::string::npos);
  EXPECT_NE(dom.find("data-filtered=\"5 of 200\""), std::string::npos);
  EXPECT_NE(dom.find("data-pointed=\"1\""), std::string::npos);
  EXPECT_NE(dom.find("data-blank=\"none\""), std::string::npos) << "a chart was not drawn";
  EXPECT_NE(dom.find("data-failures=\"20 trialsout of memory10, 20, 30"), std::string::npos);
  const auto brushed = dom.find("data-brushed=\"");
  ASSERT_NE(brushed, std::string::npos);
  const int chosen = std::stoi(dom.substr(brushed + 14));
  EXPECT_GT(chosen, 60);  // half of the axis, uniformly filled
  EXPECT_LT(chosen, 140);
}

TEST_F(ReportInBrowser, CanBeSeenWithTenThousandTrials) {
  const auto picture = root_ / "report.png";
  visit(report_page("digits", sweep(10000)), "--screenshot=" + picture.string());
  const auto png = read_file(picture);
  EXPECT_EQ(png.substr(1, 3), "PNG");
  EXPECT_GT(png.size(), 30000U) << "an empty page compresses to less";
}

}  // namespace
}  // namespace muster
