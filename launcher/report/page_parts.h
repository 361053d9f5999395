/// The page's parts as text, made from launcher/report/page/ when Muster is built.
/// An implementation detail of report_page.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace muster {

extern const std::string_view page_frame;
extern const std::string_view page_style;
extern const std::string_view page_script;

}  // namespace muster
