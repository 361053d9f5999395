#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs a build, moves the tree, runs its programs, and builds a small program against its package: install_test.sh BUILD
set -euo pipefail
build=$(readlink -f "$1"); here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/first" > /dev/null
mv "$work/first" "$work/moved"

echo "== programs"
"$work/moved/bin/muster" --version
"$work/moved/bin/muster" --help > /dev/null
for program in "$work"/moved/bin/*; do
  if ldd "$program" | grep 'not found'; then echo "$program lacks libraries"; exit 1; fi
done

echo "== nothing in the tree names the place it was first installed to, nor the source"
source_tree=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt")
if grep -rIl -e "$work/first" -e "$source_tree" "$work/moved" --include='*.cmake' --include='*.h' --include='*.ini'; then
  echo "the files above name an absolute path"; exit 1
fi

echo "== a program of someone else"
cmake -S "$here/consumer" -B "$work/consumer" -DCMAKE_PREFIX_PATH="$work/moved" -DCMAKE_BUILD_TYPE=Release > "$work/log" 2>&1 ||
  { cat "$work/log"; exit 1; }
cmake --build "$work/consumer" > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
out=$("$work/consumer/consumer" --greeting.word=hello)
[ "$out" = "hello, 3" ] || { echo "the consumer said '$out'"; exit 1; }
echo "$out"

echo "== a model of someone else, as its example says"
mkdir "$work/mine"; cd "$work/mine"
ln -s "$work/moved/share/muster/configs" configs
{ cmake -S configs/examples/plugin_model -B build -DCMAKE_PREFIX_PATH="$work/moved" && cmake --build build; } > "$work/log" 2>&1 ||
  { cat "$work/log"; exit 1; }
"$work/moved/bin/muster" train configs/examples/plugin_model/job.ini --ranks 2 --train.threads 1 > "$work/log" 2>&1 ||
  { cat "$work/log"; exit 1; }
[ -s runs/two_towers/model/model.h5 ] || { cat "$work/log"; echo "it left no model"; exit 1; }
echo "two_towers trained"
