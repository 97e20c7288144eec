"""What numba compiles is compiled by one worker: the others find what it has kept on the disk."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.prepared import cache_folder

try:
    import fcntl
except ImportError:  # Windows: there each worker may compile for itself
    fcntl = None


def compile_once(name: str, call: Callable[[], object]) -> None:
    """Calls what is to be compiled while no other worker does; its own files are numba's cache."""
    if fcntl is None:
        call()
        return
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        lock = (cache_folder() / f"{name}.lock").open("w")
    except OSError:  # nothing can be kept here
        call()
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call()


@pytest.fixture(scope="session")
def renderer() -> None:
    """The toybox' renderer, compiled."""
    from pipelines.toybox.render.renderer import render
    from pipelines.toybox.scenes import sample_scene

    compile_once("renderer", lambda: render(sample_scene(7), 16, 16))


@pytest.fixture(scope="session")
def density() -> None:
    """Both clusterings by density, compiled."""
    import numpy as np

    from pipelines.clustering.dbscan.dbscan import dbscan
    from pipelines.clustering.dbscan.hdbscan import hdbscan

    points = np.random.default_rng(0).uniform(size=(300, 2))
    compile_once("dbscan", lambda: (dbscan(points, 0.1, 5), hdbscan(points, 5, 5)))
