#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare.py COORDINATOR_BENCH DIR [rounds]: the bookkeeping of a sweep beside Optuna's journal storage, interleaved, medians.

Both write to DIR, which must lie on the disk to be measured. Run it with the Python of `./bootstrap peers`.
"""
import json, os, shutil, statistics, subprocess, sys, time

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {f"x{i}": FloatDistribution(0, 1) for i in range(10)}


def optuna_trials_per_second(directory, trials, in_flight):
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    storage = JournalStorage(JournalFileBackend(os.path.join(directory, "journal.log")))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    start = time.perf_counter()
    for _ in range(0, trials, in_flight):
        for trial in [study.ask(SPACE) for _ in range(in_flight)]:
            study.tell(trial, 1.0)
    return trials / (time.perf_counter() - start)


def main():
    program, directory = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append((optuna_trials_per_second(os.path.join(directory, "peer"), 100, 1),
                       optuna_trials_per_second(os.path.join(directory, "peer"), 256, 256)))
        ours.append(json.loads(subprocess.check_output([program, directory])))
    mine = {key: statistics.median(run[key] for run in ours) for key in ours[0]}
    peer = [statistics.median(column) for column in zip(*theirs)]
    one, many = mine["trials_per_second_1"], mine["trials_per_second_256"]
    print(f"optuna {optuna.__version__}, Python {sys.version.split()[0]}, median of {rounds}, load {os.getloadavg()[0]:.2f}\n")
    print("| what | Muster | Optuna journal | ratio | bar |\n|---|---|---|---|---|")
    print(f"| durable trials/s, 256 in flight | {many:,.0f} | {peer[1]:.0f} | {many / peer[1]:.0f}x | >= 20,000 and >= 100x |")
    print(f"| durable trials/s, one in flight | {one:.0f} | {peer[0]:.1f} | {one / peer[0]:.1f}x | >= 4x |")
    print(f"| reports/s, parsed, journalled, decided | {mine['reports_per_second']:,.0f} | | | >= 100,000 |")
    print(f"| replay of 10^5 trials, s | {mine['replay_seconds']:.2f} | | | < 1 |")
    print(f"| bytes a trial | {mine['bytes_per_trial']:.0f} | | | <= 300 |")


main()
