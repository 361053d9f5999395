#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trials an hour of a random search over the digits network, five epochs a trial, two cores: muster tune beside peers.py.

throughput.py MUSTER DIGITS.h5 PYTHON [--rounds 3] [--peers optuna,process,ray] [--slow 12]

MUSTER: build/release/bin/muster; PYTHON: of the environment that ./bootstrap peers makes. Interleaved; medians and ratios. Muster and
Optuna run 100 trials a round; a process per trial and Ray, which take a second or more a trial, run --slow of them. Muster's time is of the
whole command: start, workers, report. The peers' begins with their first trial. For Optuna the best of n_jobs 1 and 2 counts.
"""
import argparse, os, statistics, subprocess, tempfile, time

SWEEP = """ranks = {ranks}
[tune]
objective = max val_accuracy
strategy = random
max_trials = 100
parallel = {parallel}
[search]
optimizer.lr = log 1e-3 1
optimizer.momentum = float 0 0.95
model.hidden = int log 8 256
train.batch_size = choice 16 32 64 128
[trial]
job = {folder}/job.ini
"""
JOB = """[data]
path = {data}
validation_fraction = 0.2
[model]
kind = mlp
hidden = 64
[optimizer]
kind = sgd
[train]
epochs = 5
"""


def muster(arguments, folder, number, ranks, parallel):
    with open(f"{folder}/job.ini", "w") as file:
        file.write(JOB.format(data=os.path.abspath(arguments.digits)))
    with open(f"{folder}/sweep.ini", "w") as file:
        file.write(SWEEP.format(folder=folder, ranks=ranks, parallel=parallel))
    begin = time.time()
    subprocess.run([os.path.abspath(arguments.muster), "tune", "sweep.ini", f"--name=s{number}"], cwd=folder, check=True, capture_output=True)
    return 100 / (time.time() - begin) * 3600


def peer(arguments, how, jobs, trials):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers.py")
    words = [arguments.python, script, os.path.abspath(arguments.digits), how, str(jobs), str(trials)]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return trials / float(out[-2]) * 3600


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("muster")
    parser.add_argument("digits")
    parser.add_argument("python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="optuna,process,ray")
    parser.add_argument("--slow", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=2)
    arguments = parser.parse_args()
    peers = arguments.peers.split(",") if arguments.peers else []
    rates = {}
    print("load before", os.getloadavg())
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            rates.setdefault("muster", []).append(muster(arguments, folder, number, arguments.workers, arguments.parallel))
            for how in peers:
                for jobs in ((1, 2) if how == "optuna" else (2,)):
                    rates.setdefault(f"{how} {jobs}", []).append(peer(arguments, how, jobs, 100 if how == "optuna" else arguments.slow))
    ours = statistics.median(rates["muster"])
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:12} {rate:10.0f} trials/h   ratio {ours / rate:6.1f}   range {min(values):.0f} to {max(values):.0f}")


main()
