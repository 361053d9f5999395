/// The resolved file: present values of all keys as an INI text that reads back to the same; and
/// those of them that stay as they are while a run lasts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/config/keys.h"

namespace muster {

/// With origins, each value is followed by a comment that says where it came from.
std::string resolved_text(const Keys& keys, const Origins* origins);

/// The keys that may not change while a run lasts, with their present values in one text each
/// ("0.9 0.999"; "" when unset). Declared keys only.
std::vector<std::pair<std::string, std::string>> fixed_values(const Keys& keys);

}  // namespace muster
