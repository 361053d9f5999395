#!/usr/bin/env python3
"""Seconds per suggestion: Muster's Bayesian searcher against Optuna's GPSampler, in turns, one thread each.

    latency.py TUNER_LATENCY [--known 100] [--asks 30] [--peer-asks 30] [--rounds 3]

After `known` random observations in ten dimensions, the mean of `asks` times ask and tell, the cold first one left out on both sides.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import os
import statistics
import subprocess
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
import numpy  # noqa: E402
import optuna  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {f"x{i}": optuna.distributions.FloatDistribution(0, 1) for i in range(10)}


def value_of(params):
    return sum((x - 0.4) ** 2 + 0.05 * numpy.sin(15 * x) for x in params.values())


def peer(known, asks):
    generator = numpy.random.default_rng(7)
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=1))
    for _ in range(known):
        params = {key: generator.random() for key in SPACE}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=SPACE, value=value_of(params)))
    spent = []
    for _ in range(asks + 1):
        start = time.perf_counter()
        trial = study.ask(SPACE)
        study.tell(trial, value_of(trial.params))
        spent.append(time.perf_counter() - start)
    return statistics.mean(spent[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--known", type=int, default=100)
    parser.add_argument("--asks", type=int, default=30)
    parser.add_argument("--peer-asks", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ours, theirs, slowest = [], [], []
    for _ in range(options.rounds):
        words = subprocess.run([options.program, str(options.known), str(options.asks)], capture_output=True, text=True, check=True).stdout.split()
        ours.append(float(words[0]))
        slowest.append(float(words[2]))
        theirs.append(peer(options.known, options.peer_asks))
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    print(f"n {options.known}, d 10: muster {statistics.median(ours) * 1e3:.2f} ms (slowest ask {max(slowest) * 1e3:.1f} ms), "
          f"Optuna {optuna.__version__} GPSampler {statistics.median(theirs) * 1e3:.1f} ms, ratio {statistics.median(theirs) / statistics.median(ours):.1f}")
    print(f"medians of {options.rounds} rounds in turns, 1 thread; asks {options.asks} and {options.peer_asks}; torch {torch.__version__} "
          f"(MKL {torch.backends.mkl.is_available()}), numpy {numpy.__version__} with {blas['name']} {blas['version']}; load {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
