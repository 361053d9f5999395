#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From TERM to a durable checkpoint of 100 MB, through the real `muster train`, beside a raw O_DIRECT write of as many bytes.

usage: term.py MUSTER DIRECTORY [ROUNDS] [RANKS] [SECONDS ...]     (DIRECTORY on the disk that is measured)

Each round writes the raw bytes, starts the run anew (it goes on from its checkpoint), lets it train, sends TERM and waits until the
rank says that its state is durable. The longest step is of the 25 before the TERM; the state is the checkpoint's own size. TERM to
durable is taken from outside, by looking at the run's log every half millisecond.

For each SECONDS half as many rounds follow in which the notice comes with a deadline so far away (through notice_file): who cannot save by
then must not begin. Told are how many saved (75) or left an older checkpoint (76), and how long before the deadline muster had ended.
"""
import json
import mmap
import os
import datetime
import platform
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

JOB = """ranks = {ranks}
grace = 30
[data]
format = synthetic
shape = 784
classes = 10
rows = 6400
[model]
kind = mlp
hidden = 3000 3300
[optimizer]
lr = 0.001
momentum = 0.9
[train]
epochs = 100000
batch_size = 64
threads = 1
report_every = 1
evaluate_every = 0
tensorboard = false
progress = false
save = hdf5
[checkpoint]
every = never
keep = 1
"""
BLOCK = 8 << 20


def raw_write(path, size, threads):
    memory = mmap.mmap(-1, BLOCK)
    memory.write(b"x" * BLOCK)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_DIRECT, 0o600)
    places = iter(range(0, size // BLOCK * BLOCK, BLOCK))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                at = next(places, None)
            if at is None:
                return
            os.pwrite(file, memory, at)

    start = time.perf_counter()
    os.posix_fallocate(file, 0, size // BLOCK * BLOCK)
    helpers = [threading.Thread(target=work) for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    os.fsync(file)
    took = time.perf_counter() - start
    os.close(file)
    os.unlink(path)
    return took * size / (size // BLOCK * BLOCK)


def lines_of(path):
    try:
        with open(path) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def times_of(metrics):
    return [json.loads(line)["time"] for line in lines_of(metrics)[-26:] if line.endswith("}")]


class Run:
    """One start of `muster train`, up to its end by TERM."""

    def __init__(self, muster, folder):
        self.log = os.path.join(folder, "runs", "job", "log", "rank-0.log")
        self.metrics = os.path.join(folder, "runs", "job", "metrics.jsonl")
        self.logged = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        self.before = len(lines_of(self.metrics))
        self.notice = os.path.join(folder, "leave")
        self.words = open(os.path.join(folder, "muster.log"), "w+")
        if os.path.exists(self.notice):
            os.unlink(self.notice)
        self.process = subprocess.Popen([muster, "train", "job.ini", "--notice_file=leave"], cwd=folder, stdout=subprocess.DEVNULL, stderr=self.words)

    def train(self, steps):
        while len(lines_of(self.metrics)) < self.before + steps:
            if self.process.poll() is not None:
                sys.exit(f"the run ended by itself with {self.process.returncode}: see {self.log}")
            time.sleep(0.05)

    def said(self, words):
        with open(self.log) as file:
            file.seek(self.logged)
            return words in file.read()

    def term(self):
        start = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        while not self.said("saved at step"):
            if self.process.poll() is not None and not self.said("saved at step"):
                sys.exit(f"the run ended with {self.process.returncode} and saved nothing: see {self.log}")
            time.sleep(0.0005)
        durable = time.perf_counter() - start
        code = self.process.wait()
        if code != 75:
            sys.exit(f"exit code {code} instead of 75")
        return durable, time.perf_counter() - start


    def leave_within(self, seconds):
        """The exit code, and how long before the deadline that it heard muster had ended."""
        with open(self.notice + ".new", "w") as file:
            file.write(str(seconds))
        os.rename(self.notice + ".new", self.notice)
        code = self.process.wait()
        ended = time.time()
        self.words.seek(0)
        heard = re.search(r"(\S+)Z .*: saving, then leaving within", self.words.read()).group(1)
        start = datetime.datetime.fromisoformat(heard + "+00:00").timestamp()
        return code, start + seconds - ended


def deadline_rounds(muster, folder, rounds, seconds):
    codes, spare = [], []
    for _ in range(rounds):
        run = Run(muster, folder)
        run.train(30)
        code, left = run.leave_within(seconds)
        codes.append(code)
        spare.append(left)
    unexpected = [code for code in codes if code not in (75, 76)]
    if unexpected:
        sys.exit(f"exit codes {unexpected} instead of 75 or 76")
    return codes, spare


def checkpoint_bytes(folder):
    root = os.path.join(folder, "runs", "job", "checkpoints")
    newest = max(os.listdir(root))
    return os.path.getsize(os.path.join(root, newest, "state.h5"))


def main():
    muster, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    ranks = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "job.ini"), "w") as file:
        file.write(JOB.format(ranks=ranks))
    load = os.getloadavg()[0]
    durable, ended, longest, raw = [], [], [], {1: [], 2: [], 4: []}
    size = 100 << 20
    for number in range(rounds + 1):
        now = {threads: raw_write(os.path.join(folder, "raw"), size, threads) for threads in raw}
        run = Run(muster, folder)
        run.train(30)
        saved, left = run.term()
        size = checkpoint_bytes(folder)
        if number == 0:
            continue  # it tells the size, and warms everything up
        times = times_of(run.metrics)
        durable.append(saved)
        ended.append(left)
        longest.append(max(b - a for a, b in zip(times, times[1:])))
        for threads, took in now.items():
            raw[threads].append(took)
    best = min(statistics.median(values) for values in raw.values())
    bound = statistics.median(longest) + 1.5 * best
    name = lambda values: f"{statistics.median(values) * 1e3:.0f} ms ({min(values) * 1e3:.0f} to {max(values) * 1e3:.0f})"
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start, {time.strftime('%Y-%m-%d')}, "
          f"{size / 1e6:.0f} MB of state, {ranks} ranks, {rounds} rounds")
    print("\n| what | median (range) |\n|---|---|")
    print(f"| TERM to durable | {name(durable)} |\n| TERM to the end of muster | {name(ended)} |\n| longest step | {name(longest)} |")
    for threads, values in raw.items():
        print(f"| raw O_DIRECT + fsync, {threads} threads | {name(values)} |")
    print(f"| bound: longest step + 1.5x the best raw | {bound * 1e3:.0f} ms |")
    print(f"| TERM to durable against the bound | {statistics.median(durable) / bound:.2f} |")
    for seconds in [float(word) for word in sys.argv[5:]]:
        codes, spare = deadline_rounds(muster, folder, max(1, rounds // 2), seconds)
        print(f"| deadline {seconds:g} s | {codes.count(75)} saved, {codes.count(76)} left the older checkpoint; ended "
              f"{statistics.median(spare) * 1e3:.0f} ms before it ({min(spare) * 1e3:.0f} to {max(spare) * 1e3:.0f}) |")


if __name__ == "__main__":
    main()
