/// The resolved file: present values of all keys as an INI text that reads back to the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "runtime/config/keys.h"

namespace muster {

/// With origins, each value is followed by a comment that says where it came from.
std::string resolved_text(const Keys& keys, const std::map<std::string, Origin>* origins);

}  // namespace muster
