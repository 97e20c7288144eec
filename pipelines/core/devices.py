"""Which device computes, in which precision, and what its memory is doing.

torch loads on first use.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.errors import OutOfMemory, UserError
from pipelines.core.limits import MemoryLimit, available_cores, memory_limit, memory_limits
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    import torch

DEVICES = ("cuda", "mps", "cpu")
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def pick_device(name: str | None = None) -> str:
    """``name`` if this machine has it, or the fastest one there is when ``name`` is None.

    ``"cuda:1"`` picks the second GPU.

    Raises:
        UserError: there is no such device here.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name is None:
        return "cuda" if gpus else "mps" if mps else "cpu"
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and not (kind == "cuda" and index.isdigit())):
        raise UserError(
            "There is no device called {device}. Give one of {devices}.",
            device=name,
            devices=", ".join(DEVICES),
        )
    if kind == "cuda" and int(index or 0) >= gpus:
        raise UserError(
            "{device} was asked for, but {count} NVIDIA GPUs are seen here. Check the driver and "
            "that torch is a CUDA build, or choose cpu.",
            device=name,
            count=gpus,
        )
    if kind == "mps" and not mps:
        raise UserError("{device} needs a Mac with Apple silicon. Choose cpu.", device=name)
    return name


def dtype_for(device: str) -> torch.dtype:
    """The precision of weights on ``device``: half on CUDA, float32 where half goes wrong.

    bfloat16 is preferred: it has float32's range, so that no picture turns black. On MPS half
    precision overflows in some attention kernels, and on CPUs without bf16 units it is slower.
    """
    import torch

    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16


def total_memory(device: str) -> int:
    """Bytes that ``device`` has; for the CPU what this process may use of the machine's."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory
    if device == "mps":
        return torch.mps.recommended_max_memory()
    return min([_physical_memory().total, *(limit.bytes for limit in _memory_limits())])


def free_memory(device: str) -> int:
    """Bytes that could be allocated on ``device`` now, what torch keeps in reserve included."""
    import torch

    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device == "mps":
        return max(0, total_memory(device) - torch.mps.driver_allocated_memory())
    return min([_physical_memory().available, *(limit.free for limit in _memory_limits())])


def peak_memory(device: str) -> int:
    """The most bytes that this process has had: on the GPU, or in RAM where it computes there."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe(device: str) -> str:
    """For the page's header, e.g. ``"NVIDIA H200 · 141 GB"`` or ``"CPU · 8 cores · 32 GB"``."""
    import torch

    size = format_bytes(total_memory(device))
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)} · {size}"
    if device == "mps":
        return f"Apple GPU · {size}"
    return f"CPU · {min(torch.get_num_threads(), available_cores())} cores · {size}"


def empty_cache(device: str) -> None:
    """Give memory that torch keeps in reserve back to the device."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


_ASKED = re.compile(
    r"(?:tried to allocate|unable to allocate) ([\d.]+) ?(bytes|[KMG]i?B)",
    re.I,
)
_FREE = re.compile(r"of which ([\d.]+) ?(bytes|[KMG]i?B) is free", re.I)
_FACTORS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is torch's or Python's way to say that memory did not suffice."""
    import torch

    if isinstance(error, (OutOfMemory, MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def out_of_memory(error: BaseException, device: str, what: str) -> OutOfMemory:
    """The sentence for ``error``: what was asked, what was free, what to lower.

    Args:
        what: what was being done, e.g. ``"1024×1024, batch size 4"`` or a model's name.
    """
    if isinstance(error, OutOfMemory):
        return error
    text = str(error)
    asked, free = _amount(_ASKED.search(text)), _amount(_FREE.search(text))
    values = {
        "device": device,
        "what": what,
        "free": format_bytes(free_memory(device) if free is None else free),
    }
    if asked is None:
        return OutOfMemory(
            "{device} ran out of memory at {what}; {free} was free. Lower the size or the batch "
            "size, or choose a smaller model.",
            **values,
        )
    return OutOfMemory(
        "{device} ran out of memory at {what}: {asked} more was asked for, {free} was free. Lower "
        "the size or the batch size, or choose a smaller model.",
        asked=format_bytes(asked),
        **values,
    )


def _amount(match: re.Match[str] | None) -> int | None:
    return None if match is None else round(float(match[1]) * _FACTORS[match[2][0].lower()])


def _physical_memory():
    import psutil

    return psutil.virtual_memory()


def _memory_limits() -> list[MemoryLimit]:
    """Of the service or container that this process runs in; see :mod:`pipelines.core.limits`."""
    roots = (memory_limit(Path(path)) for path in _CGROUP_LIMITS)
    return [*memory_limits(), *(limit for limit in roots if limit is not None)]
