#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From the command to the end of the first step of two ranks: muster train against torchrun with the same model.

start.py MUSTER DATA.h5 TORCHRUN [ROUNDS]   MUSTER: build/release/bin/muster; TORCHRUN: of the peers' environment
Interleaved; prints medians, their ratio, the versions and the load. Times are of the wall, taken by the ranks themselves for
torchrun (after the first optimizer step) and from status.json for Muster (its supervisor has seen the first step).
"""
import datetime, json, os, statistics, subprocess, sys, tempfile, time

PEER = """
import time, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
dist.init_process_group('gloo')
torch.set_num_threads(1)
model = DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss = torch.nn.functional.cross_entropy(model(torch.rand(32, 64)), torch.randint(0, 10, (32,)))
loss.backward()
optimizer.step()
if dist.get_rank() == 0:
    print('FIRST', time.time(), flush=True)
dist.destroy_process_group()
"""


def seconds_of_muster(muster, data, folder, number):
    name = f"start{number}"
    begin = time.time()
    subprocess.run([muster, "train", os.path.join(folder, "job.ini"), f"--name={name}", f"--runs={folder}/runs", f"--data.path={data}"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = json.load(open(f"{folder}/runs/{name}/status.json"))
    first = next(one["start"] for one in status["transitions"] if one["status"] == "Training")
    return datetime.datetime.fromisoformat(first.replace("Z", "+00:00")).timestamp() - begin


def seconds_of_torchrun(torchrun, folder):
    begin = time.time()
    answer = subprocess.run([torchrun, "--standalone", "--nproc_per_node=2", os.path.join(folder, "peer.py")], check=True,
                            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return float(next(line for line in answer.stdout.splitlines() if "FIRST" in line).split()[-1]) - begin


def main():
    muster, data, torchrun = (os.path.abspath(path) for path in sys.argv[1:4])
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 7
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/peer.py", "w") as file:
            file.write(PEER)
        with open(f"{folder}/job.ini", "w") as file:  # long enough that the first step is seen as such
            file.write("ranks = 2\n[model]\nhidden = 128\n[train]\nbatch_size = 64\nsteps = 2000\nepochs = 200\nprogress = false\n")
        load = os.getloadavg()[0]
        ours, theirs = [], []
        for number in range(rounds):
            ours.append(seconds_of_muster(muster, data, folder, number))
            theirs.append(seconds_of_torchrun(torchrun, folder))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"muster {a:.2f} s ({min(ours):.2f} to {max(ours):.2f}), torchrun {b:.2f} s ({min(theirs):.2f} to {max(theirs):.2f}), "
          f"ratio {b / a:.1f}, {rounds} rounds, load {load:.1f} at the start")


main()
