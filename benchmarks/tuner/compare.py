#!/usr/bin/env python3
"""Compares tuners from the traces that tuner_quality and peers.py write: compare.py TRACES.csv ... [--ours muster] [--seeds n]

Only (problem, seed) pairs that every method has count. Normalised regret: 0 is the best value that any method found on the problem,
1 the median of all values of random search. Rank: among the methods of the table, by best value so far, ties share. Win rate of ours
over a peer: pairs with the same problem and seed, ties half (values are compared at nine digits, which is what traces carry); p from Wilcoxon's signed-rank test on normalised regrets.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import collections
import csv
import random
import statistics


def load(paths):
    runs = collections.defaultdict(dict)  # method -> (problem, seed) -> (seconds, values)
    for path in paths:
        with open(path, newline="") as file:
            for method, problem, seed, seconds, *values in csv.reader(file):
                runs[method][problem, int(seed)] = float(seconds), [float(f"{float(value):.9g}") for value in values]
    return runs


def ranks(values):
    order = sorted(values)
    return [order.index(v) + (order.count(v) + 1) / 2 for v in values]


def wilcoxon(differences):
    """Two-sided p by the normal approximation with ties; 1 where nothing differs."""
    kept = [d for d in differences if d != 0]
    if not kept:
        return 1.0
    rank = ranks([abs(d) for d in kept])
    plus = sum(r for r, d in zip(rank, kept) if d > 0)
    n = len(kept)
    sizes = collections.Counter(abs(d) for d in kept).values()
    variance = n * (n + 1) * (2 * n + 1) / 24 - sum(t**3 - t for t in sizes) / 48
    z = (plus - n * (n + 1) / 4) / variance**0.5
    return 2 * (1 - statistics.NormalDist().cdf(abs(z)))


def bootstrap_upper(ours, theirs, problems, pairs, draws=2000):
    """97.5 % bound of the ratio of mean regrets, runs drawn again within each problem."""
    generator = random.Random(1)
    groups = [[pair for pair in pairs if pair[0] == problem] for problem in problems]
    ratios = []
    for _ in range(draws):
        drawn = [generator.choice(group) for group in groups for _ in group]
        below = sum(theirs[pair] for pair in drawn)
        ratios.append(sum(ours[pair] for pair in drawn) / below if below else float("inf"))
    return sorted(ratios)[int(0.975 * draws)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+")
    parser.add_argument("--ours", default="muster")
    parser.add_argument("--seeds", type=int, default=10**9)
    options = parser.parse_args()
    runs = load(options.traces)
    methods = sorted(runs)
    pairs = sorted(set.intersection(*(set(runs[method]) for method in methods)))
    pairs = [pair for pair in pairs if pair[1] < options.seeds]
    problems = sorted({problem for problem, _ in pairs})
    print(f"{len(problems)} problems, {len(pairs)} pairs of problem and seed; methods: {', '.join(methods)}\n")
    low = {p: min(min(run[1]) for m in methods for pair, run in runs[m].items() if pair[0] == p) for p in problems}
    high = {p: statistics.median(v for pair, run in runs["random"].items() if pair[0] == p for v in run[1]) for p in problems}

    def regret(method, pair, n):
        return (min(runs[method][pair][1][:n]) - low[pair[0]]) / (high[pair[0]] - low[pair[0]])

    sets = {"all": problems, "synthetic": [p for p in problems if not p.startswith("lcbench")], "lcbench": [p for p in problems if p.startswith("lcbench")]}
    for title, chosen in sets.items():
        some = [pair for pair in pairs if pair[0] in chosen]
        if not some:
            continue
        print(f"### {title}: {len(chosen)} problems, {len(some)} runs each\n")
        counts = [30, 50, 100]
        print("| method | " + " | ".join(f"rank {n}" for n in counts) + " | " + " | ".join(f"regret {n}" for n in counts) + " | s per run |")
        print("|" + "---|" * (2 * len(counts) + 2))
        table = {n: [ranks([min(runs[m][pair][1][:n]) for m in methods]) for pair in some] for n in counts}
        for i, method in enumerate(methods):
            cells = [f"{statistics.mean(row[i] for row in table[n]):.2f}" for n in counts]
            cells += [f"{statistics.mean(regret(method, pair, n) for pair in some):.4f}" for n in counts]
            print(f"| {method} | " + " | ".join(cells) + f" | {statistics.median(runs[method][pair][0] for pair in some):.2f} |")
        print()
        for method in methods:
            if method == options.ours:
                continue
            for n in counts:
                ours = {pair: regret(options.ours, pair, n) for pair in some}
                theirs = {pair: regret(method, pair, n) for pair in some}
                wins = statistics.mean(1.0 if ours[p] < theirs[p] else 0.5 if ours[p] == theirs[p] else 0.0 for p in some)
                ratio = statistics.mean(ours.values()) / statistics.mean(theirs.values())
                print(f"{options.ours} over {method}, {n} trials: wins {wins:.3f}, p {wilcoxon([theirs[p] - ours[p] for p in some]):.2g}, "
                      f"regret ratio {ratio:.3f}, bootstrap upper bound {bootstrap_upper(ours, theirs, chosen, some):.3f}")
        print()
    print("### mean regret at 100 trials, by problem\n")
    print("| problem | " + " | ".join(methods) + " |")
    print("|" + "---|" * (len(methods) + 1))
    for problem in problems:
        mine = [pair for pair in pairs if pair[0] == problem]
        print(f"| {problem} | " + " | ".join(f"{statistics.mean(regret(m, pair, 100) for pair in mine):.4f}" for m in methods) + " |")


if __name__ == "__main__":
    main()
