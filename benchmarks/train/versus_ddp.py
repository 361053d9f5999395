#!/usr/bin/env python3
"""versus_ddp.py BUILD_DIRECTORY [--models mlp deep wide resnet18] [--rounds N] [--no-agreement]

Training steps of two ranks, one thread each: `muster bench step` in turns with DistributedDataParallel over gloo
(ddp_steps.py), medians. First the agreement of several ranks with a single process, by the tests that hold it. DDP's
ranks are bound to a core each and not, for it is faster in one or the other; the better of its four ways counts. Needs the
Python of `./bootstrap peers`. A model takes under two minutes.
SPDX-License-Identifier: Apache-2.0"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

RANKS = 2
BLOCK_US = 40e3  # of `muster bench step`
BARS = {"mlp": (2.0, 0.90), "deep": (1.4, 0.95), "wide": (1.4, 0.95), "resnet18": (1.1, 0.95)}
# Blocks a round: of muster, three times as many are run.
BLOCKS = {"mlp": 10, "deep": 10, "wide": 10, "resnet18": 5}


class Peer:
    """torchrun and its ranks, which sleep between blocks."""

    def __init__(self, model, pin):
        self.directory = tempfile.TemporaryDirectory()
        names = [f"{self.directory.name}/{kind}.{rank}" for kind in ("go", "took") for rank in range(RANKS)]
        for name in names:
            os.mkfifo(name)
        script = pathlib.Path(__file__).with_name("ddp_steps.py")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}",
             str(script), model, self.directory.name, "pin" if pin else "free"],
            env=dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo"))
        self.go = [open(name, "w") for name in names[:RANKS]]
        self.took = [open(name) for name in names[RANKS:]]

    def block(self, mode, steps):
        for pipe in self.go:
            print(mode, steps, file=pipe, flush=True)
        return max(float(pipe.readline()) for pipe in self.took)

    def close(self):
        for pipe in self.go:
            pipe.close()
        self.process.wait()


def time_peer(peers, model, times):
    for pin, peer in peers.items():
        for mode in ("alone", "plain", "tuned"):
            steps = max(2, min(500, int(BLOCK_US / statistics.median(times[pin, mode] or [peer.block(mode, 5)]))))
            times[pin, mode] += [peer.block(mode, steps) for _ in range(BLOCKS[model] if steps > 2 else 2)]


def time_ours(muster, model):
    words = [muster, "bench", "step", "--model", model, "--ranks", str(RANKS), "--blocks", str(BLOCKS[model]), "--json"]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compare(muster, model, rounds):
    peers = {pin: Peer(model, pin) for pin in (True, False)}
    times = {(pin, mode): [] for pin in peers for mode in ("alone", "plain", "tuned")}
    ours = []
    for _ in range(rounds):
        ours.append(time_ours(muster, model))
        time_peer(peers, model, times)
    for peer in peers.values():
        peer.close()
    median = {key: statistics.median(values) for key, values in times.items()}
    return {key: statistics.median(line[key] for line in ours) for key in ours[0] if key.endswith(("_us", "ency", "coupled"))}, \
        any(line["busy"] for line in ours), median


def overhead(times, mode):
    return min(times[pin, mode] - times[pin, "alone"] for pin in (True, False))


def report(model, ours, busy, peer):
    best = min((peer[pin, mode], mode, pin) for pin in (True, False) for mode in ("plain", "tuned"))
    plain = min(peer[pin, "plain"] for pin in (True, False))
    bar, alone_bar = BARS[model]
    print(f"\n{model}: microseconds a step{' (BUSY: do not judge by this)' if busy else ''}")
    print(f"  muster  alone {ours['alone_us']:.1f}  coupled {ours['coupled_us']:.1f}  together {ours['together_us']:.1f}  "
          f"efficiency {ours['efficiency']:.3f} (bar {alone_bar}), against coupled {ours['efficiency_coupled']:.3f} (bar 0.95)")
    for pin in (True, False):
        print(f"  DDP {'bound' if pin else 'free '}  " + "  ".join(f"{mode} {peer[pin, mode]:.1f}" for mode in ("alone", "plain", "tuned")))
    print(f"  throughput against DDP: {plain / ours['together_us']:.2f} plain, {best[0] / ours['together_us']:.2f} at its best "
          f"({best[1]}, {'bound' if best[2] else 'free'}); bar {bar}")
    cost = ours["together_us"] - ours["alone_us"]
    print(f"  overhead: ours {cost:.1f} us, DDP {overhead(peer, 'plain'):.1f} plain, {overhead(peer, 'tuned'):.1f} tuned", flush=True)


def agree(build):
    for name in ("train_agreement_test", "train_agreement_slow_test"):
        done = subprocess.run([f"{build}/tests/{name}", "--gtest_filter=Agreement*"], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{done.stdout}\nresults do not agree with a single process: no time counts")
        print(f"{name}: agreed with a single process", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("build")
    parser.add_argument("--models", nargs="+", default=list(BARS), choices=list(BARS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-agreement", action="store_true")
    arguments = parser.parse_args()
    import torch  # only for its version
    print(f"torch {torch.__version__}, BLAS MKL {torch.backends.mkl.is_available()}, load {os.getloadavg()[0]:.1f}, "
          f"{os.cpu_count()} cores")
    if not arguments.no_agreement:
        agree(arguments.build)
    for model in arguments.models:
        report(model, *compare(f"{arguments.build}/bin/muster", model, arguments.rounds))


if __name__ == "__main__":
    main()
