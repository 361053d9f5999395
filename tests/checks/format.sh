#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails on source that clang-format 14 would write differently. Skips (77) where that version is not there: others differ.
set -euo pipefail
cd "$1"
format=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$format" ] || ! "$format" --version | grep -q 'version 14\.'; then
  echo "skipped: clang-format 14 is not here (apt install clang-format-14)"
  exit 77
fi
git ls-files -z '*.h' '*.cc' | xargs -0 "$format" --dry-run -Werror --style=file || {
  echo "run: git ls-files -z '*.h' '*.cc' | xargs -0 $format -i"
  exit 1
}
