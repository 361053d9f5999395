// SPDX-License-Identifier: Apache-2.0
#include "launcher/report/report_page.h"

#include <array>
#include <utility>

#include "launcher/report/page_parts.h"

namespace muster {
namespace {

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<':
        result += "&lt;";
        break;
      case '&':
        result += "&amp;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

/// JSON may write "<" as \u003c, so that no "</script>" in a trial's parameters ends the element.
std::string safe_in_script(std::string_view json) {
  std::string result;
  result.reserve(json.size());
  for (const char c : json) {
    c == '<' ? result += "\\u003c" : result += c;
  }
  return result;
}

}  // namespace

std::string report_page(std::string_view name, std::string_view data) {
  const std::array<std::pair<std::string_view, std::string>, 4> parts{
      {{"@NAME@", escaped(name)},
       {"@STYLE@", std::string(page_style)},
       {"@DATA@", safe_in_script(data)},
       {"@SCRIPT@", std::string(page_script)}}};
  std::string page;
  std::string_view rest = page_frame;
  for (const auto& [mark, text] :
       parts) {  // in the order of the frame: what is put in is never searched
    const auto at = rest.find(mark);
    page += rest.substr(0, at);
    page += text;
    rest.remove_prefix(at + mark.size());
  }
  return page += rest;
}

}  // namespace muster
