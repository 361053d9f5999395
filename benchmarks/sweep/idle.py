#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Share of the slots' time in which they ran no trial: 200 trials of the digits network under ASHA on four workers.

idle.py MUSTER DIGITS.h5 [--trials 200] [--epochs 30]

Prints what the report of the sweep says (the drain after the last start is left out there), and how long the launches took.
"""
import argparse, json, os, re, statistics, subprocess, tempfile, time

JOB = """[data]
path = {data}
validation_fraction = 0.2
[model]
kind = mlp
hidden = 64
[train]
epochs = 90
batch_size = 32
"""
SWEEP = """ranks = 4
[tune]
objective = max val_accuracy
searcher = random
scheduler = asha
max_trials = {trials}
parallel = 4
min_resource = {least}
max_resource = {most}
[search]
optimizer.lr = log 1e-3 1
optimizer.momentum = float 0 0.95
model.hidden = int log 32 256
[trial]
job = {folder}/job.ini
"""

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("muster")
parser.add_argument("digits")
parser.add_argument("--trials", type=int, default=200)
parser.add_argument("--epochs", type=int, default=30)
options = parser.parse_args()
print("load before", os.getloadavg())
with tempfile.TemporaryDirectory() as folder:
    with open(f"{folder}/job.ini", "w") as file:
        file.write(JOB.format(data=os.path.abspath(options.digits)))
    with open(f"{folder}/idle.ini", "w") as file:
        file.write(SWEEP.format(trials=options.trials, least=options.epochs, most=3 * options.epochs, folder=folder))
    begin = time.time()
    subprocess.run([os.path.abspath(options.muster), "tune", "idle.ini"], cwd=folder, check=True, capture_output=True)
    seconds = time.time() - begin
    with open(f"{folder}/sweeps/idle/report.html") as file:
        page = file.read()
    idle = float(re.search(r'"idle":([0-9.e-]+)', page).group(1))
    spans = [span for row in re.findall(r'"spans":(\[\[.*?\]\])', page) for span in json.loads(row)]
    lengths = sorted(end - start for _, start, end in spans)
    print(f"idle {100 * idle:.2f} %; {len(lengths)} launches of {lengths[0]:.2f} to {lengths[-1]:.2f} s, median {statistics.median(lengths):.2f} s; "
          f"the sweep took {seconds:.0f} s")
