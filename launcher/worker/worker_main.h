/// `muster-rank --worker`: a worker of a sweep. Orders on stdin, events on stdout, words for people
/// on stderr. Ends when stdin does, with all running trials saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace muster {

/// `arguments` without the `--worker`: --job FILE --sweep DIR --objective METRIC [--max-resource R]
/// [-- --key=value ...].
int worker_main(const std::vector<std::string>& arguments);

}  // namespace muster
