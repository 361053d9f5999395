#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a slot stands empty between two trials.

turnaround.py MUSTER DIGITS.h5 [--trials 60]

Tier A: one slot, trials of three epochs with a record a step: from the moment a trial's model is written (then its slot is free) to the
end of the first step of the next, suggestion ahead. Tier B: one slot, a program that prints the time first and last: from there to there.
Both are upper bounds: the end of one and the first work of the other are in them.
"""
import argparse, json, os, statistics, subprocess, tempfile

JOB = """[data]
path = {data}
validation_fraction = 0.2
[model]
kind = mlp
hidden = 64
[train]
epochs = 3
batch_size = 64
report_every = 1
tensorboard = false
"""
TUNE = """ranks = 1
[tune]
objective = max val_accuracy
strategy = random
max_trials = {trials}
parallel = 1
ahead = 2
[search]
{search}
[trial]
{trial}
"""
PROGRAM = """#!/bin/bash
echo begin=$EPOCHREALTIME
echo val_accuracy=0.5
echo end=$EPOCHREALTIME
"""


def tune(arguments, folder, name, search, trial):
    with open(f"{folder}/{name}.ini", "w") as file:
        file.write(TUNE.format(trials=arguments.trials, search=search, trial=trial))
    subprocess.run([os.path.abspath(arguments.muster), "tune", f"{name}.ini"], cwd=folder, check=True, capture_output=True)
    return [f"{folder}/sweeps/{name}/trials/{n:04}" for n in range(1, arguments.trials + 1)]


def tell(what, gaps):
    gaps = sorted(1000 * gap for gap in gaps)
    print(f"{what}: median {statistics.median(gaps):.2f} ms, 90 % {gaps[int(0.9 * len(gaps))]:.2f} ms, range {gaps[0]:.2f} to {gaps[-1]:.2f}")


def packed(arguments, folder):
    with open(f"{folder}/job.ini", "w") as file:
        file.write(JOB.format(data=os.path.abspath(arguments.digits)))
    spans = []
    for trial in tune(arguments, folder, "packed", "optimizer.lr = log 0.01 1", f"job = {folder}/job.ini"):
        with open(f"{trial}/metrics.jsonl") as file:
            times = [json.loads(line)["time"] for line in file]
        written = max(entry.stat().st_mtime for entry in os.scandir(f"{trial}/model"))
        spans.append((times[0], written))
    tell("tier A, model written to the end of the next trial's first step", [after[0] - before[1] for before, after in zip(spans, spans[1:])])


def processes(arguments, folder):
    with open(f"{folder}/trial.sh", "w") as file:
        file.write(PROGRAM)
    spans = []
    for trial in tune(arguments, folder, "apart", "x = float 0 1", "command = bash trial.sh\nmetric.val_accuracy = val_accuracy=([0-9.]+)"):
        with open(f"{trial}/log/rank-0.log") as file:
            said = dict(line.strip().split("=") for line in file)
        spans.append((float(said["begin"]), float(said["end"])))
    tell("tier B, last line to the next program's first line", [after[0] - before[1] for before, after in zip(spans, spans[1:])])


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("muster")
parser.add_argument("digits")
parser.add_argument("--trials", type=int, default=60)
options = parser.parse_args()
print("load before", os.getloadavg())
with tempfile.TemporaryDirectory() as place:
    packed(options, place)
    processes(options, place)
