/// Text: the small things done with words everywhere: split, trim, strict numbers, the nearest
/// known word, bytes for people. Numbers are read and written in the C locale, always.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

std::string_view trim(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);
/// Words between blanks; no quoting.
std::vector<std::string> words(std::string_view text);
std::string join(std::span<const std::string> parts, std::string_view separator);
/// Splits as a shell does (quotes, backslash), expanding nothing. Throws bad_input on an open
/// quote.
std::vector<std::string> shell_words(std::string_view text);
/// The same word, quoted for a POSIX shell where it must be.
std::string shell_quoted(std::string_view word);

/// The whole text as a number, or nothing. "inf" and "nan" are numbers to parse_double only.
std::optional<double> parse_double(std::string_view text);
std::optional<std::int64_t> parse_int(std::string_view text);
/// true/false, yes/no, on/off, 1/0.
std::optional<bool> parse_bool(std::string_view text);
/// "90", "90 s", "15m", "2h", "1-12:00:00", "02:30:00": seconds.
std::optional<double> parse_seconds(std::string_view text);
/// "512", "64K", "1.5 GB", "2GiB" in bytes; K, M and G are powers of 1024.
std::optional<std::uint64_t> parse_bytes(std::string_view text);
/// The shortest text that reads back to the same double.
std::string exact(double value);

/// The known word nearest to `word` by edits, if near enough to propose ("did you mean
/// 'optimizer.lr'?").
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known);
std::string human_bytes(double bytes);  ///< "1.5 GB": powers of 1000

}  // namespace muster
