#!/usr/bin/env python3
"""Prints the tables of benchmarks/README.md, section Collectives, measured now.

Each part takes less than two minutes at the default pace, so that a machine need not be kept free for long. A part whose peer is
missing says so; with --need-peers that is also the exit code. Run it on an otherwise idle machine."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
PEERS = CACHE / "muster/peers/bin/python"
SIZES = [409600, 4194304, 47185920, 104857600]
MPIRUN = ["mpirun", "--allow-run-as-root", "--bind-to", "core", "-np", "2"]
GLOO = {"gloo2": (2, False), "gloo4": (4, False), "gloo8": (8, False), "gloobusy": (2, True)}
ALGORITHMS = {0: "default", 1: "1 basic linear", 2: "2 nonoverlapping", 3: "3 recursive doubling", 4: "4 ring",
              5: "5 segmented ring", 6: "6 Rabenseifner"}


class Missing(Exception):
    pass


def lines(command, **environment):
    command = [str(word) for word in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **environment}, check=True)
    return [json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("{")]


def program(options, name):
    path = options.build / "bin" / name
    if not path.exists():
        raise Missing(f"{path} is not built")
    return path


def megabytes(size):
    return f"{size / 1e6:.1f} MB" if size >= 1000 else f"{size} B"


def held(ratio, bar):
    return f"{bar:g}x" if ratio >= bar else f"**{bar:g}x missed**"


class Busy:
    """A loop that wants a core for itself, for as long as the block lasts."""

    def __init__(self, wanted):
        self.wanted = wanted

    def __enter__(self):
        self.loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if self.wanted else None

    def __exit__(self, *_):
        if self.loop:
            self.loop.kill()
            self.loop.wait()


def against_open_mpi(options):
    """Our time, MPI's and the bound are interleaved call by call; each of MPI's algorithms has a run of its own."""
    contest = program(options, "allreduce_versus_mpi")
    runs = {}
    for algorithm in ALGORITHMS:
        forced = {} if algorithm == 0 else {
            "OMPI_MCA_coll_tuned_use_dynamic_rules": "1", "OMPI_MCA_coll_tuned_allreduce_algorithm": str(algorithm)}
        rows = lines(MPIRUN + [contest, options.seconds, 64] + SIZES, **forced)
        runs[algorithm] = {row["size_bytes"]: row for row in rows}
    print("\n| bytes | ours, us | " + " | ".join(f"MPI {name}, us" for name in ALGORITHMS.values())
          + " | against the best | bar | share of the bound | bar |")
    print("|---" * (len(ALGORITHMS) + 6) + "|")
    for size in [64] + SIZES:
        ratio = {a: rows[size]["mpi_us"] / rows[size]["shm_us"] for a, rows in runs.items()}
        least = min(ratio.values())
        ours = statistics.median(rows[size]["shm_us"] for rows in runs.values())
        share = statistics.median(rows[size]["bound_us"] / rows[size]["shm_us"] for rows in runs.values())
        times = " | ".join(f"{rows[size]['mpi_us']:.4g}" for rows in runs.values())
        if size == 64:
            bars = ("1 us" if ours <= 1 else "**1 us missed**", "-", "")
        else:
            bars = (held(least, 3), f"{100 * share:.0f} %",
                    "" if size < 40e6 else "80 %" if share >= 0.8 else "**80 % missed**")
        print(f"| {megabytes(size)} | {ours:.3g} | {times} | {least:.1f}x | {' | '.join(bars)} |")


def against_gloo(options, name):
    ranks, busy = GLOO[name]
    muster = program(options, "muster")
    if not PEERS.exists():
        raise Missing(f"the peer is not there: ./bootstrap peers makes {PEERS}")
    ours, theirs, version = {}, {}, ""
    sizes = [409600, 47185920]
    with Busy(busy):
        for _ in range(2):
            for row in lines([muster, "bench", "allreduce", f"--ranks={ranks}", f"--seconds={options.seconds}", "--place=in",
                              "--json", "--sizes=" + ",".join(map(str, sizes))]):
                ours.setdefault(row["size_bytes"], []).append(row["time_us"])
            for row in lines([PEERS, HERE / "gloo_allreduce.py", ranks, options.seconds] + sizes):
                theirs.setdefault(row["size_bytes"], []).append(row["gloo_us"])
                version = row["torch"]
    condition = f"{ranks} ranks" + (" beside a busy loop" if busy else "")
    print(f"\nc10d's gloo of torch {version}, in turns with ours, two of each\n")
    print("| condition | bytes | ours, us | gloo, us | ratio | bar |\n|---|---|---|---|---|---|")
    for size in sizes:
        mine, peer = statistics.median(ours[size]), statistics.median(theirs[size])
        print(f"| {condition} | {megabytes(size)} | {mine:.0f} | {peer:.0f} | {peer / mine:.1f}x | {held(peer / mine, 2)} |")


def training_step(options):
    """The MLP step of muster bench step: alone, as many single processes, in the same condition."""
    muster = program(options, "muster")
    program(options, "muster-bench-step")
    print("\n| MLP step of 2 ranks | alone, us | together, us | efficiency | bar |\n|---|---|---|---|---|")
    for name, busy in [("idle", False), ("beside a busy loop", True)]:
        with Busy(busy):
            row = lines([muster, "bench", "step", "--model", "mlp", "--ranks", "2", "--json"])[0]
        bar = "" if not busy else "80 %" if row["efficiency"] >= 0.8 else "**80 % missed**"
        print(f"| {name} | {row['alone_us']:.0f} | {row['together_us']:.0f} | {100 * row['efficiency']:.0f} % | {bar} |")


def barrier(options):
    """Arithmetic and two barriers, without a training step around them."""
    step = program(options, "barrier_step")
    print("\n| arithmetic of 450 us and two barriers | alone, us | together, us | efficiency |\n|---|---|---|---|")
    for name, busy in [("idle", False), ("beside a busy loop", True)]:
        with Busy(busy):
            row = lines([step, 30 * options.seconds, 450])[0]
        print(f"| {name} | {row['alone_us']:.0f} | {row['together_us']:.0f} | {100 * row['efficiency']:.0f} % |")


def conditions():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    mpi = subprocess.run(["mpirun", "--version"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()[0]
    print(f"{os.cpu_count()} cores, {model}; {mpi}; one thread a rank, no BLAS takes part; load {os.getloadavg()[0]:.2f} at the start")


PARTS = {"mpi": against_open_mpi, **{name: lambda options, name=name: against_gloo(options, name) for name in GLOO},
         "barrier": barrier, "step": training_step}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path, help="build/release")
    parser.add_argument("parts", nargs="*", metavar="PART", help="of " + ", ".join(PARTS) + "; all when none is named")
    parser.add_argument("--seconds", type=float, default=0.3, help="for a size")
    parser.add_argument("--need-peers", action="store_true", help="exit 1 where a part could not be measured")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    conditions()
    missing = False
    for name in options.parts or PARTS:
        try:
            PARTS[name](options)
        except Missing as why:
            missing = True
            print(f"\n{name}: NOT MEASURED: {why}")
        sys.stdout.flush()
    print(f"\nload {os.getloadavg()[0]:.2f} at the end")
    return 1 if missing and options.need_peers else 0


if __name__ == "__main__":
    sys.exit(main())
