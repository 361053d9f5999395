#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One peer tuning the network of configs/digits_mlp.ini over the space of space.ini: random search, tensors resident, one thread a trial.

peers.py DIGITS.h5 optuna JOBS TRIALS     Optuna in this process, JOBS threads
peers.py DIGITS.h5 process JOBS TRIALS    a process per trial, JOBS at once
peers.py DIGITS.h5 ray JOBS TRIALS        Ray Tune, JOBS at once, a core each
peers.py DIGITS.h5 trial LR MOMENTUM HIDDEN BATCH   one trial, for `process`

Prints the seconds from the first trial's start to the last one's end (imports and the start of Ray are not counted) and the best accuracy.
"""
import concurrent.futures, os, random, subprocess, sys, time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
EPOCHS = 5


def load(path):
    import h5py, torch
    torch.set_num_threads(1)
    with h5py.File(path) as file:
        x = torch.tensor(file["features"][:], dtype=torch.float32).reshape(len(file["features"]), -1) / 16
        y = torch.tensor(file["labels"][:], dtype=torch.long)
    held = len(x) // 5
    return x[held:], y[held:], x[:held], y[:held]


def train(data, lr, momentum, hidden, batch):
    import torch
    x, y, vx, vy = data
    model = torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(vx).argmax(1) == vy).float().mean().item()
    return accuracy


def draw():
    return (10 ** random.uniform(-3, 0), random.uniform(0, 0.95), round(2 ** random.uniform(3, 8)), random.choice([16, 32, 64, 128]))


def by_optuna(path, jobs, trials):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data = load(path)

    def objective(trial):
        return train(data, trial.suggest_float("lr", 1e-3, 1, log=True), trial.suggest_float("momentum", 0, 0.95),
                     trial.suggest_int("hidden", 8, 256, log=True), trial.suggest_categorical("batch", [16, 32, 64, 128]))
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    begin = time.time()
    study.optimize(objective, n_trials=trials, n_jobs=jobs)
    return time.time() - begin, study.best_value


def by_process(path, jobs, trials):
    def one(_):
        words = [sys.executable, __file__, path, "trial", *map(str, draw())]
        return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    begin = time.time()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        best = max(pool.map(one, range(trials)))
    return time.time() - begin, best


def by_ray(path, jobs, trials):
    import ray
    from ray import tune
    ray.init(num_cpus=jobs, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    data = ray.put(load(path))

    def objective(config):
        import torch
        torch.set_num_threads(1)
        return {"accuracy": train(ray.get(data), config["lr"], config["momentum"], int(config["hidden"]), config["batch"])}
    space = {"lr": tune.loguniform(1e-3, 1), "momentum": tune.uniform(0, 0.95), "hidden": tune.lograndint(8, 257),
             "batch": tune.choice([16, 32, 64, 128])}
    tuner = tune.Tuner(objective, param_space=space,
                       tune_config=tune.TuneConfig(metric="accuracy", mode="max", num_samples=trials, max_concurrent_trials=jobs),
                       run_config=tune.RunConfig(verbose=0))
    begin = time.time()
    results = tuner.fit()
    return time.time() - begin, results.get_best_result().metrics["accuracy"]


if __name__ == "__main__":
    path, how = sys.argv[1], sys.argv[2]
    if how == "trial":
        print(train(load(path), float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])))
    else:
        seconds, best = {"optuna": by_optuna, "process": by_process, "ray": by_ray}[how](path, int(sys.argv[3]), int(sys.argv[4]))
        print(f"{seconds:.3f} {best:.4f}")
