#!/usr/bin/env python3
"""Runs Optuna's samplers on the benchmark problems and keeps every value, so that only Muster's own runs need repeating.

    peers.py PROGRAM OUT.csv [--data lcbench.h5] [--methods gp,tpe,random] [--seeds 20] [--trials 100] [--suite lcbench] [--plugin functions.so]

PROGRAM is tuner_problems. A row of OUT: method, problem, seed, seconds spent in the sampler, value 1 .. value n. Rows already there
are kept, so a stopped run continues. Seeds are the outer loop: a part of the file is a fair sample.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import csv
import os
import subprocess
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
import optuna  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.ERROR)


class Problems:
    def __init__(self, program, *words):
        self.process = subprocess.Popen([program, *filter(None, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.list = {}
        for line in iter(self.process.stdout.readline, "\n"):
            name, suite, resource, *keys = line.rstrip("\n").split("\t")
            self.list[name] = (suite, int(resource), dict(self.distribution(key) for key in keys))

    @staticmethod
    def distribution(text):
        key, domain = text.split(":", 1)
        words = domain.split()
        low, high = words[-2:]
        if "int" in words:
            return key, optuna.distributions.IntDistribution(int(low), int(high), log="log" in words)
        return key, optuna.distributions.FloatDistribution(float(low), float(high), log="log" in words)

    def evaluate(self, name, params, resource=0):
        values = " ".join(repr(params[key]) for key in self.list[name][2])
        self.process.stdin.write(f"{name} {resource} {values}\n")
        self.process.stdin.flush()
        value, seconds = self.process.stdout.readline().split()
        return float(value), float(seconds)


def sampler(method, seed):
    if method == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if method == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def run(problems, method, name, seed, trials):
    study = optuna.create_study(sampler=sampler(method, seed))
    space = problems.list[name][2]
    values, spent = [], 0.0
    for _ in range(trials):
        start = time.perf_counter()
        trial = study.ask(space)
        spent += time.perf_counter() - start
        value = problems.evaluate(name, trial.params)[0]
        start = time.perf_counter()
        study.tell(trial, value)
        spent += time.perf_counter() - start
        values.append(value)
    return spent, values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("out")
    parser.add_argument("--data")
    parser.add_argument("--methods", default="random,tpe,gp")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--suite", help="only the problems of this one")
    parser.add_argument("--plugin", help="in place of the synthetic functions: a shared object, or the word development")
    options = parser.parse_args()
    done = set()
    if os.path.exists(options.out):
        with open(options.out, newline="") as file:
            done = {(row[0], row[1], int(row[2])) for row in csv.reader(file)}
    problems = Problems(options.program, options.plugin, options.data)
    with open(options.out, "a", newline="") as file:
        writer = csv.writer(file)
        for method in options.methods.split(","):
            for seed in range(options.seeds):
                for name in problems.list:
                    if (method, name, seed) in done or options.suite not in (None, problems.list[name][0]):
                        continue
                    spent, values = run(problems, method, name, seed, options.trials)
                    writer.writerow([method, name, seed, f"{spent:.3f}"] + [f"{value:.9g}" for value in values])
                    file.flush()


if __name__ == "__main__":
    main()
