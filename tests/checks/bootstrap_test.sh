#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What bootstrap says and does where things are missing, with a pip and an apt of our own: bootstrap_test.sh SOURCE
set -euo pipefail
source_tree=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache
unset MUSTER_TORCH CMAKE_PREFIX_PATH
mkdir -p "$work/bin" "$work/wheel/torch/lib"
echo library > "$work/wheel/torch/lib/libtorch_cpu.so"

expect() {  # CODE WORDS COMMAND...
  local code=$1 words=$2 out status=0; shift 2
  out=$("$@" 2>&1) || status=$?
  if [ "$status" != "$code" ] || [[ "$out" != *"$words"* ]]; then
    echo "expected exit $code and '$words' of: $*"; echo "got $status and: $out"; exit 1
  fi
}
function_of() { bash -c 'source "$0/bootstrap" > /dev/null; "$@"' "$source_tree" "$@"; }

echo "== usage"
expect 0 "usage: ./bootstrap COMMAND" "$source_tree/bootstrap" help
expect 0 "usage: ./bootstrap COMMAND" "$source_tree/bootstrap"
expect 0 "usage: ./bootstrap COMMAND" "$source_tree/bootstrap" --help
expect 0 "usage: ./bootstrap COMMAND" "$source_tree/bootstrap" build --help
expect 64 "there is no command 'tset'" "$source_tree/bootstrap" tset
expect 64 "'test' takes no '--al'" "$source_tree/bootstrap" test --al
expect 64 "'clean' takes no '--all'" "$source_tree/bootstrap" clean --all
expect 64 "'demo' takes no 'dev'" "$source_tree/bootstrap" demo dev
expect 64 "there is no preset 'fast'" "$source_tree/bootstrap" build fast

# A python3 whose pip writes one wheel, or fails, and counts its calls.
cat > "$work/bin/python3" <<PYTHON
#!/bin/bash
real=$(command -v python3 || true)
if [ "\$1 \$2 \$3" = "-m pip --version" ]; then exit \${NO_PIP:-0}; fi
if [ "\$1 \$2 \$3" = "-m pip download" ]; then
  echo x >> $work/calls
  [ -z "\${PIP_FAILS:-}" ] || { echo "ERROR: no matching distribution"; exit 1; }
  while [ "\$1" != --dest ]; do shift; done
  touch "\$2/torch.whl"; exit 0
fi
if [ "\$1 \$2 \$3" = "-m zipfile -e" ]; then cp -r $work/wheel/torch "\$5/"; exit 0; fi
exec "\$real" "\$@"
PYTHON
chmod +x "$work/bin/python3"
export PATH=$work/bin:$PATH
torch=$XDG_CACHE_HOME/muster/torch-2.11.0

echo "== libtorch: a failed download leaves nothing"
PIP_FAILS=yes expect 1 "no matching distribution" function_of fetch_torch
[ -z "$(ls -A "$XDG_CACHE_HOME/muster" 2> /dev/null)" ] || { ls -R "$XDG_CACHE_HOME"; exit 1; }

echo "== libtorch: without pip it says so"
expect 1 "libtorch is missing and so is pip" env NO_PIP=1 bash -c \
  'source "$0/bootstrap" > /dev/null; may_install=false; fetch_torch' "$source_tree"

echo "== libtorch: fetched once, whole"
rm -f "$work/calls"
expect 0 "fetching libtorch" function_of fetch_torch
[ -e "$torch/torch/lib/libtorch_cpu.so" ] && [ "$(ls "$XDG_CACHE_HOME/muster")" = torch-2.11.0 ]
expect 0 "" function_of fetch_torch
[ "$(wc -l < "$work/calls")" -le 2 ] || { echo "the second run fetched again"; exit 1; }

echo "== libtorch: another one is taken"
rm -rf "$torch" "$work/calls"
MUSTER_TORCH=$work/wheel/torch expect 0 "" function_of fetch_torch
CMAKE_PREFIX_PATH=/nowhere:$work/wheel expect 0 "" function_of fetch_torch
[ ! -e "$work/calls" ] || { echo "it fetched although one was named"; exit 1; }
MUSTER_TORCH=/nowhere expect 1 "MUSTER_TORCH=/nowhere holds no lib/libtorch_cpu.so" function_of fetch_torch

echo "== packages: --no-install calls no apt, and without root it names what is missing"
printf '#!/bin/sh\necho apt >> %s\n' "$work/apt" > "$work/bin/apt-get"; chmod +x "$work/bin/apt-get"
expect 0 "" bash -c 'source "$0/bootstrap" > /dev/null; may_install=false; install_packages no-such-package' "$source_tree"
[ ! -e "$work/apt" ] || { echo "it called apt"; exit 1; }
expect 1 "apt-get install no-such-package" bash -c \
  'source "$0/bootstrap" > /dev/null; id() { echo 1000; }; has() { [ "$1" = apt-get ]; }; install_packages no-such-package' "$source_tree"
echo "== packages: a name that nothing stands behind is told, and the others are installed"
printf '#!/bin/sh\necho "$@" >> %s\n' "$work/apt" > "$work/bin/apt-get"
cat > "$work/bin/apt-cache" <<'APT'
#!/bin/sh
case $2 in chromium) echo "chromium:"; echo "  Candidate: (none)" ;; mold) echo "mold:"; echo "  Candidate: 2.30"; seq -f "     2.%g 500" 20000 ;; esac  # more than a pipe holds
APT
printf '#!/bin/sh\nexit 1\n' > "$work/bin/dpkg-query"
chmod +x "$work/bin/apt-cache" "$work/bin/dpkg-query"
expect 0 "chromium is not to be had here: the report is not tested in a browser" bash -c \
  'source "$0/bootstrap" > /dev/null; as_root() { "$@"; }; install_packages chromium mold no-such-package' "$source_tree"
grep -q -- '--no-install-recommends mold$' "$work/apt" || { cat "$work/apt"; exit 1; }

echo "== packages: what apt refuses is said, with what it said itself"
refusing() { printf '#!/bin/sh\n[ "$1" != %s ] || { echo "E: no network"; exit 100; }\n' "$1" > "$work/bin/apt-get"; }
installing() { bash -c 'source "$0/bootstrap" > /dev/null; as_root() { "$@"; }; install_packages mold' "$source_tree" 2>&1; }
refusing update; expect 1 "apt-get update failed" installing
refusing install; expect 1 "apt-get install mold failed" installing
refusing install; expect 1 "E: no network" installing
printf '#!/bin/sh\n' > "$work/bin/apt-get"
expect 0 "no apt here: libraries must come from modules" bash -c \
  'source "$0/bootstrap" > /dev/null; has() { false; }; install_packages mold' "$source_tree"

echo "== libtorch: no wheel for another processor"
rm -rf "$torch"
printf '#!/bin/sh\necho aarch64\n' > "$work/bin/uname"; chmod +x "$work/bin/uname"
expect 1 "no torch wheel for aarch64 in this script: set MUSTER_TORCH" function_of fetch_torch
rm "$work/bin/uname"

echo "== building: what CMake, the compiler or a test refuses is said"
failing() { printf '#!/bin/sh\n[ "$1" != %s ] || { echo "the reason"; exit 1; }\n' "$1" > "$work/bin/cmake"; chmod +x "$work/bin/cmake"; }
building() { MUSTER_TORCH=$work/wheel bash -c 'cd "$1"; source "$0/bootstrap" > /dev/null; may_install=false; build' "$source_tree" "$work" 2>&1; }
failing --preset; expect 1 "CMake could not configure" building
failing --preset; expect 1 "the reason" building
failing --build; expect 1 "the build failed" building
rm "$work/bin/cmake"
echo good
