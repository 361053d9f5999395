#!/usr/bin/env python3
"""Prints the table of benchmarks/README.md, section Collectives, measured now: benchmarks/collectives/table.py BUILD_DIRECTORY [SECONDS]
Needs mpirun; the rows against gloo need the environment of `./bootstrap peers`. Run it on an otherwise idle machine."""
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PEERS = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "muster/peers/bin/python"
SIZES = [409600, 4194304, 47185920, 104857600]
MPIRUN = ["mpirun", "--allow-run-as-root", "--bind-to", "core", "-np", "2"]


def lines(command, **environment):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, env={**os.environ, **environment}, check=True)
    return [json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("{")]


def megabytes(size):
    return f"{size / 1e6:.1f} MB" if size >= 1000 else f"{size} B"


def against_open_mpi(binaries, seconds):
    """Our time, MPI's and the bound are interleaved call by call; each of MPI's algorithms has a run of its own."""
    runs = {}
    for algorithm in range(7):
        forced = {} if algorithm == 0 else {
            "OMPI_MCA_coll_tuned_use_dynamic_rules": "1", "OMPI_MCA_coll_tuned_allreduce_algorithm": str(algorithm)}
        runs[algorithm] = {row["size_bytes"]: row for row in lines(
            MPIRUN + [binaries / "allreduce_versus_mpi", seconds, 64] + SIZES, **forced)}
    print("\n| bytes | ours, us | best Open MPI, us (algorithm) | ratio | share of the bound |\n|---|---|---|---|---|")
    for size in [64] + SIZES:
        ratio = {a: rows[size]["mpi_us"] / rows[size]["shm_us"] for a, rows in runs.items()}
        best = min(ratio, key=ratio.get)
        row = runs[best][size]
        bound = statistics.median(rows[size]["bound_us"] / rows[size]["shm_us"] for rows in runs.values())
        name = "default" if best == 0 else str(best)
        share = f"{100 * bound:.0f} %" if size > 64 else "-"
        print(f"| {megabytes(size)} | {row['shm_us']:.2f} | {row['mpi_us']:.2f} ({name}) | {ratio[best]:.1f}x | {share} |")


def busy_loop():
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


def against_gloo(binaries, seconds):
    print("\n| condition | bytes | ours, us | gloo, us | ratio |\n|---|---|---|---|---|")
    for name, ranks, busy in [("4 ranks on 2 cores", 4, False), ("8 ranks on 2 cores", 8, False), ("2 ranks beside a busy loop", 2, True)]:
        loop = busy_loop() if busy else None
        try:
            ours, theirs = {}, {}
            for _ in range(2):
                for row in lines([binaries / "allreduce_local", ranks, seconds, 409600, 47185920]):
                    if row["in_place"]:
                        ours.setdefault(row["size_bytes"], []).append(row["time_us"])
                for row in lines([PEERS, HERE / "gloo_allreduce.py", ranks, seconds, 409600, 47185920]):
                    theirs.setdefault(row["size_bytes"], []).append(row["gloo_us"])
        finally:
            if loop:
                loop.kill()
        for size, times in ours.items():
            mine, peer = statistics.median(times), statistics.median(theirs[size])
            print(f"| {name} | {megabytes(size)} | {mine:.0f} | {peer:.0f} | {peer / mine:.1f}x |")


def barrier(binaries, seconds):
    print("\n| step of 450 us with two barriers | alone, us | together, us | efficiency |\n|---|---|---|---|")
    for name, busy in [("idle", False), ("beside a busy loop", True)]:
        loop = busy_loop() if busy else None
        try:
            row = lines([binaries / "barrier_step", seconds, 450])[0]
        finally:
            if loop:
                loop.kill()
        print(f"| {name} | {row['alone_us']:.0f} | {row['together_us']:.0f} | {row['efficiency']:.2f} |")


def conditions():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    mpi = subprocess.run(["mpirun", "--version"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()[0]
    print(f"{os.cpu_count()} cores, {model}; {mpi}; one thread a rank, no BLAS takes part; load {os.getloadavg()[0]:.2f} at the start")


if __name__ == "__main__":
    binaries = pathlib.Path(sys.argv[1]) / "bin"
    pace = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    parts = sys.argv[3:] or ["mpi", "gloo", "barrier"]
    conditions()
    if "mpi" in parts:
        against_open_mpi(binaries, pace)
    if "gloo" in parts and PEERS.exists():
        against_gloo(binaries, pace)
    if "barrier" in parts:
        barrier(binaries, 5 * pace)
    print(f"\nload {os.getloadavg()[0]:.2f} at the end")
