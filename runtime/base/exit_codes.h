/// The exit codes of every Muster program, the same everywhere.
/// A program must not exit with another one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace muster {

inline constexpr int exit_finished = 0;  ///< finished, or already finished
inline constexpr int exit_failed = 1;    ///< failed
inline constexpr int exit_usage = 64;    ///< bad usage or configuration: never retried
inline constexpr int exit_saved = 75;    ///< stopped early, all state saved: run me again
inline constexpr int exit_unsaved = 76;  ///< stopped early, an older checkpoint stands
inline constexpr int exit_stopped = 77;  ///< stopped on purpose, state saved: nobody restarts it

}  // namespace muster
