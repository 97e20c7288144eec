"""What a service or a container may take of its machine: Linux's control groups and limits.

systemd (``MemoryMax=``, ``CPUQuota=``), Docker, Kubernetes and Slurm write these. A limit holds for
a group and all below it, so the tightest one on the way up counts. No torch here.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
# By the file that has the limit: the one with what is used, and the names in memory.stat of what
# the kernel gives back where it is needed.
_MEMORY = {
    "memory.max": ("memory.current", ("inactive_file", "active_file", "slab_reclaimable")),
    "memory.high": ("memory.current", ("inactive_file", "active_file", "slab_reclaimable")),
    "memory.limit_in_bytes": (
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
}


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A limit on the memory of a group of processes, of which this one is a member.

    Attributes:
        bytes: at most.
        used: bytes that the group takes now, without what the kernel would give back.
    """

    bytes: int
    used: int

    @property
    def free(self) -> int:
        return max(0, self.bytes - self.used)


def memory_limits() -> list[MemoryLimit]:
    """All limits on this process's memory; empty where there are none."""
    found = [
        limit
        for folder in _own_folders("memory")
        for name in _MEMORY
        if (limit := memory_limit(folder / name)) is not None
    ]
    if (own := _address_space()) is not None:
        found.append(own)
    return found


def memory_limit(file: Path) -> MemoryLimit | None:
    """The limit in one file of a control group; None where there is none."""
    limit = _number(file)
    if limit is None:
        return None
    used_file, given_back = _MEMORY.get(file.name, ("memory.current", ()))
    used = _number(file.parent / used_file) or 0
    used -= sum(_facts(file.parent / "memory.stat").get(name, 0) for name in given_back)
    return MemoryLimit(limit, max(0, used))


def available_cores() -> int:
    """How many processors this process may keep busy, by its affinity and its quota of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([cores or 1, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Processors' worth of time that the groups of this process may take."""
    for folder in _own_folders("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()  # "max 100000": no limit
            yield int(quota) / int(period)
        quota, period = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota is not None and period:  # −1: no limit
            yield quota / period


def _own_folders(controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, up to the root of what is seen here.

    In a container the names may be those outside: then only the root is found.
    """
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:  # no Linux
        return
    seen = set()
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:  # version 2: one tree for all
            roots = [CGROUPS, CGROUPS / "unified"]
        elif controller in controllers.split(","):
            roots = [CGROUPS / controllers, CGROUPS / controller]
        else:
            continue
        for root in roots:
            folder = root / path.strip("/")
            for each in (folder, *folder.parents):
                if each not in seen and each.is_dir():
                    seen.add(each)
                    yield each
                if each == root:
                    break


def _address_space() -> MemoryLimit | None:
    """What ``ulimit -v`` allows."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    import psutil

    return MemoryLimit(limit, psutil.Process().memory_info().vms)


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max" and −1: no limit


def _facts(file: Path) -> dict[str, int]:
    facts = {}
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            facts[name] = int(value)
    return facts
