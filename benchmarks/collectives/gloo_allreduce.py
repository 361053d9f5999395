"""gloo_allreduce.py RANKS SECONDS BYTES...: c10d's gloo between processes of this machine, a JSON line a size.
Every rank rewrites its whole buffer before each call; times are medians of the slowest rank, as in allreduce_local."""
import json
import os
import sys
import time


def worker(rank, ranks, seconds, sizes, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    for size in sizes:
        source = torch.ones(size // 4)
        buffer = torch.empty_like(source)
        times = []
        stop = time.perf_counter() + seconds
        go_on = torch.ones(1)
        while go_on.item() > 0 or len(times) < 7:
            buffer.copy_(source)
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(buffer)
            took = torch.tensor([time.perf_counter() - start, 0.0])
            dist.all_reduce(took, op=dist.ReduceOp.MAX)
            times.append(took[0].item() * 1e6)
            go_on = torch.tensor([1.0 if rank == 0 and time.perf_counter() < stop else 0.0])
            dist.all_reduce(go_on, op=dist.ReduceOp.MAX)
        if rank == 0:
            line = {"size_bytes": size, "ranks": ranks, "gloo_us": sorted(times)[len(times) // 2], "torch": torch.__version__}
            print(json.dumps(line), flush=True)
    dist.destroy_process_group()


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    import multiprocessing

    ranks, seconds, sizes = int(sys.argv[1]), float(sys.argv[2]), [int(word) for word in sys.argv[3:]]
    context = multiprocessing.get_context("spawn")
    port = free_port()
    processes = [context.Process(target=worker, args=(rank, ranks, seconds, sizes, port)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(process.exitcode for process in processes))
