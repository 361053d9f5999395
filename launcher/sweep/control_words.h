/// control_words: what a running sweep answered to a request in its control directory, as a
/// sentence for people: what `muster set`, `enqueue` and `stop` print.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace muster {

/// `answer` is the JSON object of hpo/control.h. Throws bad_input with the sweep's own words where
/// it refused.
std::string control_words(const std::string& sweep, const std::string& answer);

}  // namespace muster
