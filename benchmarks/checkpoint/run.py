#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Durable rate, stall and group commits of checkpoints, next to raw O_DIRECT writes (by 1, 2, 4 and 8 threads: the best of them
counts) and torch.save + fsync, interleaved.

usage: run.py CHECKPOINT_BENCH DIRECTORY [ROUNDS]     (a Python that has torch; without it that column is left out)
"""
import os
import platform
import statistics
import subprocess
import sys
import time

try:
    import torch
except ImportError:
    torch = None


RAW = ("raw1", "raw2", "raw4", "raw8")
THREADS = "8"  # that write a checkpoint, as in muster-rank


class Bench:
    def __init__(self, program, directory):
        self.process = subprocess.Popen([program, directory, THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        size, self.way = self.process.stdout.readline().split()
        self.bytes = int(size)

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return [float(number) for number in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def torch_state():
    sizes = [3_500_000] * 100 + [400_000] * 100 + [1024] * 100
    return {f"layer{i}.weight": torch.full((n,), 1.0) for i, n in enumerate(sizes)}


def torch_save(state, path):
    start = time.perf_counter()
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    took = time.perf_counter() - start
    os.unlink(path)
    return took


def line(name, values, unit=1.0, digits=3):
    scaled = [value * unit for value in values]
    return f"| {name} | {statistics.median(scaled):.{digits}f} | {min(scaled):.{digits}f} to {max(scaled):.{digits}f} |"


def main():
    program, directory = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    load = os.getloadavg()[0]
    bench = Bench(program, os.path.join(directory, "muster-checkpoint-bench"))
    state = torch_state() if torch else None
    times = {key: [] for key in ("persist", "stall", *RAW, "copy", "torch", "alone", "together", "group")}
    bench.ask("save"), bench.ask("copy")  # warm
    for _ in range(rounds):
        for word in RAW:
            times[word] += bench.ask(word)
        persist, stall = bench.ask("save")
        times["persist"].append(persist)
        times["stall"].append(stall)
        times["copy"] += bench.ask("copy")
        if torch:
            times["torch"].append(torch_save(state, os.path.join(directory, "muster-torch.pt")))
        for word in ("alone", "group", "together"):
            times[word] += bench.ask(word)
    bench.close()

    median = {key: statistics.median(values) for key, values in times.items() if values}
    gb = bench.bytes / 1e9
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start, {time.strftime('%Y-%m-%d')}, "
          f"{gb:.2f} GB in 300 tensors, {bench.way}, {rounds} rounds" + (f", torch {torch.__version__}" if torch else ""))
    print("\n| what | median | range |\n|---|---|---|")
    for key, name in (("persist", "Muster, durable, GB/s"), *((word, f"raw O_DIRECT + fsync, {word[3:]} threads, GB/s") for word in RAW), ("torch", "torch.save + fsync, GB/s")):
        if times[key]:
            print(line(name, [gb / seconds for seconds in times[key]]))
    print(line("stall of save(), ms", times["stall"], 1e3, 1))
    print(line("warm copy, one thread, ms", times["copy"], 1e3, 1))
    print(line("16 x 8 MB, one commit each, ms", times["alone"], 1e3, 1))
    print(line("16 x 8 MB, one commit each, 16 threads, ms", times["together"], 1e3, 1))
    print(line("16 x 8 MB as one group, ms", times["group"], 1e3, 1))
    print("\n| bar | measured |\n|---|---|")
    raw = min(median[word] for word in RAW)
    print(f"| durable rate >= 90 % of the best raw | {100 * raw / median['persist']:.0f} % |")
    if torch:
        print(f"| durable rate >= 2x torch.save | {median['torch'] / median['persist']:.1f}x |")
    print(f"| stall <= 1.2x a warm copy | {median['stall'] / median['copy']:.2f}x |")
    print(f"| group under half the time of 16 | {median['group'] / median['alone']:.2f} |")


if __name__ == "__main__":
    main()
