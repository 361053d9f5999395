#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the shape of the tree: for each top folder its files, lines, longest files and functions, density of #if, share of
# comments in headers. Warns at a file over 300 lines, a function over 60, more than 2 #if in 1000 lines, header comments under
# 20 %. Warnings do not fail: they are for whoever reads. shape.sh [SOURCE]
set -euo pipefail
cd "${1:-.}"

# A function is what stands between a line that ends in "{" at the outermost level inside namespaces and its "}" in that column.
measure() {
  awk '
    FNR == 1 { files++; if (lines > longest) { longest = lines } lines = 0; depth = 0; open = 0
               header = FILENAME ~ /\.h$/ }
    { lines++; total++ }
    header && !/^[ \t]*$/ { header_lines++; if (/\/\//) header_comments++ }
    /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)/ { ifs++ }
    !open && /^[^ \t#\/}].*\{$/ && !/^namespace/ && !/^(class|struct|enum|union|extern)/ && !/= *\{$/ { open = 1; begin = lines; where = FILENAME ":" FNR }
    open && /^\}/ { open = 0; length_of = lines - begin + 1; functions++; sizes[functions] = length_of
                    if (length_of > 60) printf "warn function %d %s\n", length_of, where }
    END {
      if (lines > longest) longest = lines
      n = asort_numbers(sizes, functions)
      printf "row %d %d %d %d %d %d %.1f %.0f\n", files, total, longest, functions,
        functions ? sizes[int((functions + 1) / 2)] : 0, functions ? sizes[int(functions * 0.9 + 0.5)] : 0,
        total ? ifs * 1000 / total : 0, header_lines ? header_comments * 100 / header_lines : 0
    }
    function asort_numbers(values, count,   i, j, value) {
      for (i = 2; i <= count; i++) {
        value = values[i]
        for (j = i - 1; j >= 1 && values[j] > value; j--) values[j + 1] = values[j]
        values[j + 1] = value
      }
      return count
    }' "$@"
}

printf '%-14s %6s %7s %8s %10s %7s %5s %8s %9s\n' folder files lines longest functions median p90 '#if/1000' 'header //'
warnings=()
for folder in runtime launcher hpo collectives tests benchmarks; do
  mapfile -t sources < <(git ls-files "$folder/*.h" "$folder/*.cc" "$folder/*.cu")
  [ ${#sources[@]} -gt 0 ] || continue
  while read -r kind a b c d e f g h; do
    if [ "$kind" = warn ]; then
      warnings+=("a function of $b lines: $c")
    else
      printf '%-14s %6s %7s %8s %10s %7s %5s %8s %8s%%\n' "$folder" "$a" "$b" "$c" "$d" "$e" "$f" "$g" "$h"
      if [ "$folder" != tests ] && [ "$folder" != benchmarks ]; then
        awk "BEGIN {exit !($g > 2)}" && warnings+=("$folder: $g #if in 1000 lines")
        [ "$h" -ge 20 ] || warnings+=("$folder: only $h % of its headers are comments")
      fi
    fi
  done < <(measure "${sources[@]}")
  while read -r count file; do
    [ "$file" = total ] || [ "$count" -le 300 ] || warnings+=("a file of $count lines: $file")
  done < <(wc -l "${sources[@]}")
done
printf '\n%d warnings\n' ${#warnings[@]}
[ ${#warnings[@]} -eq 0 ] || printf 'warning: %s\n' "${warnings[@]}"
