#!/usr/bin/env python3
"""Optuna TPE + Hyperband on the same simulated clock as tuner_anytime: anytime_peers.py PROGRAM OURS.csv OUT.csv --data lcbench.h5

PROGRAM is tuner_problems. A report an epoch, pruning as the sampler's and pruner's documentation show; its time, in seconds of the processor, is in the clock. Runs that OUT has
already are kept.
With --table, prints normalised regret of all methods in OURS.csv and OUT.csv: 0 the best value anyone saw on the problem, 1 the median of
random search at full fidelity after one full run.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import collections
import csv
import heapq
import itertools
import os
import statistics
import time

MARKS = [0.5, 1, 2, 3, 5, 8, 12, 18, 25]


def simulate(problems, name, seed, full, workers):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    resource = problems.list[name][1]
    space = problems.list[name][2]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.HyperbandPruner(1, resource, 3),
                                study_name=f"anytime-{name}-{seed}")
    best, spent, order, events, trials = [1.0] * len(MARKS), 0.0, itertools.count(), [], 0

    def begin(now):
        nonlocal spent, trials
        start = time.process_time()
        trial = study.ask(space)
        cost = time.process_time() - start
        spent += cost
        trials += 1
        heapq.heappush(events, (now + cost + problems.evaluate(name, trial.params, 1)[1], next(order), trial, 1, now + cost))

    for _ in range(workers):
        begin(0.0)
    while events:
        now, _, trial, epoch, began = heapq.heappop(events)
        if now > MARKS[-1] * full:
            break
        value = problems.evaluate(name, trial.params, epoch)[0]
        best = [min(b, value) if now <= mark * full else b for b, mark in zip(best, MARKS)]
        start = time.process_time()
        trial.report(value, epoch)
        is_over = epoch == resource or trial.should_prune()
        if is_over:
            study.tell(trial, value if epoch == resource else None, state=None if epoch == resource else optuna.trial.TrialState.PRUNED)
        cost = time.process_time() - start
        spent += cost
        if is_over:
            begin(now + cost)
        else:
            end = max(now + cost, began + problems.evaluate(name, trial.params, epoch + 1)[1])
            heapq.heappush(events, (end, next(order), trial, epoch + 1, began + cost))
    return spent, best, trials


def table(paths):
    runs = collections.defaultdict(dict)
    for path in paths:
        with open(path, newline="") as file:
            for method, problem, seed, seconds, *values in csv.reader(file):
                if method != "horizon":
                    runs[method][problem, int(seed)] = [float(v) for v in values]
    pairs = sorted(set.intersection(*(set(rows) for rows in runs.values())))
    low = {p: min(row[len(MARKS) - 1] for rows in runs.values() for (q, _), row in rows.items() if q == p) for p, _ in pairs}
    high = {p: statistics.median(row[1] for (q, _), row in runs["random, full"].items() if q == p) for p, _ in pairs}
    print(f"{len(pairs)} runs of each method\n\n| method | " + " | ".join(str(m) for m in MARKS) + " | trials |")
    print("|" + "---|" * (len(MARKS) + 2))
    for method, rows in runs.items():
        cells = [statistics.mean((rows[pair][k] - low[pair[0]]) / (high[pair[0]] - low[pair[0]]) for pair in pairs) for k in range(len(MARKS))]
        print(f"| {method} | " + " | ".join(f"{c:.3f}" for c in cells) + f" | {statistics.mean(rows[pair][len(MARKS)] for pair in pairs):.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("ours")
    parser.add_argument("out")
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        table([options.ours, options.out])
        return
    from peers import Problems

    problems = Problems(options.program, options.data)
    with open(options.ours, newline="") as file:
        full = {row[1]: float(row[3]) for row in csv.reader(file) if row[0] == "horizon"}
    done = set()
    if os.path.exists(options.out):
        with open(options.out, newline="") as file:
            done = {(row[1], int(row[2])) for row in csv.reader(file)}
    with open(options.out, "a", newline="") as file:
        writer = csv.writer(file)
        for seed in range(options.seeds):
            for name in full:
                if (name, seed) in done:
                    continue
                spent, best, trials = simulate(problems, name, seed, full[name], options.workers)
                writer.writerow(["Optuna TPE + Hyperband", name, seed, f"{spent:.3f}"] + best + [trials])
                file.flush()


if __name__ == "__main__":
    main()
