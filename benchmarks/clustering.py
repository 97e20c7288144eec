"""Clustering beside scikit-learn and the fastest wheels there are: seconds and memory.

    python -m benchmarks.clustering [--rounds 3] [--only DBSCAN] [--limit 900] [--quick]

DBSCAN, K-Means and HDBSCAN on blobs: 10,000, 100,000 and 1,000,000 points with 2 columns, 100,000
with 16. Each side fits in a process of its own, in turn, with another side first in each round:
median seconds of the fit alone (libraries are imported and compiled before, on a few points), and
the most memory that the fit took beyond what the process held before it, the data among it.
``--quick`` takes few points once, to see that it works.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.clustering.labels import renumber

SIZES = ((10_000, 2), (100_000, 2), (1_000_000, 2), (100_000, 16))
QUICK = ((1_000, 2), (3_000, 2), (2_000, 16))
BLOBS, SPREAD = 50, {2: 2.0, 16: 1.0}
WARM = 3_000  # points: fewer than 2,000 Atelier's HDBSCAN leaves to scikit-learn
NEIGHBOURS = 50  # in the middle of a blob within eps: scikit-learn keeps all of them
MIN_SAMPLES, MIN_CLUSTER_SIZE = 10, 50
TARGETS = {
    "DBSCAN": "at 1,000,000: time ≤ 0.5×, memory ≤ 0.2× scikit-learn's",
    "K-Means": "time ≤ 1× scikit-learn's",
    "HDBSCAN": "at 1,000,000: time ≤ the fastest wheel's",
}
Fit = Callable[[np.ndarray], np.ndarray]


def blobs(n: int, d: int) -> np.ndarray:
    """(n, d) float64 around 50 centres, the same at every call."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-10, 10, (BLOBS, d)) * (10 if d == 2 else 1)
    return centres[rng.integers(BLOBS, size=n)] + rng.normal(scale=SPREAD[d], size=(n, d))


def eps_for(n: int, d: int) -> float:
    """In 2-D: so that a disc in the middle of a blob holds ``NEIGHBOURS`` points."""
    if d == 2:  # a blob's density in its middle is (n / BLOBS) / 2πσ²
        return (NEIGHBOURS * BLOBS * 2 * SPREAD[d] ** 2 / n) ** 0.5
    return 4.0  # of √32 between two points of a blob on average: one in twenty is nearer


def sides(algorithm: str, n: int, d: int) -> dict[str, Callable[[], Fit]]:
    """What makes each side's fit; scikit-learn first. Imports happen when it is called."""
    if algorithm == "DBSCAN":
        arguments = {"eps": eps_for(n, d), "min_samples": MIN_SAMPLES}
        return {"scikit-learn": _estimator("sklearn.cluster", "DBSCAN", **arguments),
                "Atelier": lambda: _own_dbscan(**arguments)}  # fmt: skip
    if algorithm == "K-Means":
        return {
            "scikit-learn": _estimator(
                "sklearn.cluster", "KMeans", n_clusters=BLOBS, n_init=1, random_state=0
            ),
            "Atelier": lambda: _find_and_fit("kmeans", clusters=BLOBS, starts=1),
        }
    arguments = {"min_cluster_size": MIN_CLUSTER_SIZE, "min_samples": MIN_SAMPLES}
    cores = len(os.sched_getaffinity(0))
    return {
        "scikit-learn": _estimator("sklearn.cluster", "HDBSCAN", **arguments, copy=True),
        "hdbscan": _estimator("hdbscan", "HDBSCAN", **arguments, core_dist_n_jobs=cores),
        "fast-hdbscan": _estimator("fast_hdbscan", "HDBSCAN", **arguments),
        "hdbscan-rs": _estimator("hdbscan_rs", "HDBSCAN", **arguments),
        "Atelier": lambda: _find_and_fit("hdbscan", **arguments),
    }


def _estimator(module: str, name: str, **arguments: Any) -> Callable[[], Fit]:
    def make() -> Fit:
        kind = getattr(importlib.import_module(module), name)
        return lambda X: kind(**arguments).fit_predict(X)

    return make


def _own_dbscan(**arguments: Any) -> Fit:
    from pipelines.clustering.dbscan.dbscan import dbscan

    return lambda X: dbscan(X, **arguments).labels


def _find_and_fit(name: str, **parameters: Any) -> Fit:
    algorithms = importlib.import_module("pipelines.clustering.algorithms.registry")
    algorithm = algorithms.find(name)
    params = algorithm.parameters(**parameters)
    return lambda X: algorithm.fit(X, params, 0, threading.Event()).labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=TARGETS, nargs="+", default=list(TARGETS))
    parser.add_argument("--limit", type=float, default=900, help="seconds for one process")
    parser.add_argument("--quick", action="store_true", help="few points, once")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)  # algorithm, name, n, d
    parser.add_argument("--labels", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        algorithm, name, n, d = options.side
        print(json.dumps(measure(sides(algorithm, int(n), int(d))[name], int(n), int(d), options)))
        return
    for algorithm in options.only:
        print(f"\n{algorithm}  (target {TARGETS[algorithm]})")
        for n, d in QUICK if options.quick else SIZES:
            compare(algorithm, n, d, 1 if options.quick else options.rounds, options.limit)


def measure(make: Callable[[], Fit], n: int, d: int, options: argparse.Namespace) -> dict:
    """Fits once, in this process: seconds, MB beyond what it held, and the labels in a file."""
    try:
        fit = make()
    except ModuleNotFoundError as error:
        return {"failed": f"no {error.name}"}
    X = blobs(n, d)
    fit(X[:WARM].copy())
    before = _lower_peak()
    start = time.perf_counter()
    labels = fit(X)
    seconds = time.perf_counter() - start
    megabytes = (_status("VmHWM") - before) / 1e3
    np.save(options.labels, renumber(labels))
    return {"seconds": seconds, "megabytes": megabytes}


def _lower_peak() -> float:
    """Sets the process's peak to what it holds now; kB of that (proc(5), ``clear_refs``)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(name + ":")).split()[1])


def compare(algorithm: str, n: int, d: int, rounds: int, limit: float) -> None:
    """Prints one table: all sides of an algorithm on one size."""
    names = list(sides(algorithm, n, d))
    runs: dict[str, list[dict]] = {name: [] for name in names}
    labels: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                if any("failed" in run for run in runs[name]):
                    continue
                file = Path(folder) / f"{name}.npy"
                runs[name].append(_child(algorithm, name, n, d, file, limit))
                if file.exists():
                    labels[name] = np.load(file)
    print(f"  {n:,} × {d}")
    base: tuple[float, float] | None = None
    for name in names:
        failed = [run["failed"] for run in runs[name] if "failed" in run]
        if failed:
            print(f"    {name:<16}{failed[0]}")
            continue
        seconds = statistics.median(run["seconds"] for run in runs[name])
        megabytes = max(run["megabytes"] for run in runs[name])
        line = f"    {name:<16}{seconds:>10.3f} s{megabytes:>10.1f} MB"
        if name == names[0]:
            base = seconds, megabytes
        elif base:
            line += f"{seconds / base[0]:>9.3f}×{megabytes / max(base[1], 1e-3):>9.3f}×"
            line += f"   {_likeness(labels[names[0]], labels[name])}"
        print(line, flush=True)


def _child(algorithm: str, name: str, n: int, d: int, labels: Path, limit: float) -> dict:
    command = [sys.executable, "-m", "benchmarks.clustering", "--labels", str(labels)]
    command += ["--side", algorithm, name, str(n), str(d)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {limit:.0f} s"}
    if done.returncode:
        return {"failed": f"ended with {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def _likeness(one: np.ndarray, other: np.ndarray) -> str:
    if (one == other).all():
        return "same labels"
    from sklearn.metrics import adjusted_rand_score

    return f"ARI {adjusted_rand_score(one, other):.4f}"


if __name__ == "__main__":
    main()
