"""Devices are told apart, described, and their out-of-memory errors put into one sentence."""

from __future__ import annotations

import pytest
import torch

from pipelines.core import devices
from pipelines.core.errors import OutOfMemory, UserError
from pipelines.core.sizes import format_bytes, in_bytes


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch):
    """What torch answers on a machine with two GPUs, 8 GB free of 24, 1 GB in torch's reserve."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 10**9, 24 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * 10**9)


def test_the_fastest_device_is_picked(two_gpus):
    assert devices.pick_device() == "cuda"
    assert devices.pick_device("cuda:1") == "cuda:1"
    assert devices.pick_device("cpu") == "cpu"


def test_without_a_gpu_it_is_the_cpu(no_gpu):
    assert devices.pick_device() == "cpu"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cuda", "0 NVIDIA GPUs are seen here"),
        ("mps", "needs a Mac"),
        ("tpu", "no device called tpu. Give one of cuda, mps, cpu"),
        ("cpu:3", "no device called cpu:3"),
        ("cuda:x", "no device called cuda:x"),
        ("", "no device called"),
    ],
)
def test_a_device_that_is_not_there_is_said_so(no_gpu, name, reason):
    with pytest.raises(UserError, match=reason):
        devices.pick_device(name)


def test_a_gpu_number_that_is_not_there_is_said_so(two_gpus):
    with pytest.raises(UserError, match="cuda:2 was asked for, but 2 NVIDIA GPUs"):
        devices.pick_device("cuda:2")


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_cuda_computes_in_half_precision(monkeypatch, bf16, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulation: bf16)
    assert devices.dtype_for("cuda:0") == dtype


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_elsewhere_it_is_float32(device):
    assert devices.dtype_for(device) == torch.float32


def test_free_memory_of_a_gpu_counts_what_torch_keeps_in_reserve(two_gpus):
    assert devices.free_memory("cuda") == 9 * 10**9


def test_the_cpu_has_memory_and_some_of_it_is_free():
    assert 0 < devices.free_memory("cpu") <= devices.total_memory("cpu")
    assert devices.describe("cpu").startswith("CPU · ")


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("1000000\n")
    monkeypatch.setattr(devices, "_CGROUP_LIMITS", (str(limit),))
    assert devices.total_memory("cpu") == 1_000_000
    assert devices.free_memory("cpu") <= 1_000_000
    limit.write_text("max\n")
    assert devices.total_memory("cpu") > 1_000_000


CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 23.99 GiB of "
    "which 1.50 GiB is free. Including non-PyTorch memory, this process has 22.00 GiB in use."
)
MPS = (
    "MPS backend out of memory (MPS allocated: 18.00 GB, other allocations: 384.00 KB, max "
    "allowed: 18.13 GB). Tried to allocate 256 bytes on private pool."
)
CPU = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 64000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "device", "sentence"),
    [
        (torch.OutOfMemoryError(CUDA), "cuda", r"cuda .* 21 GB more was asked for, 1\.6 GB was"),
        (RuntimeError(MPS), "mps", r"mps .* 256 B more was asked for, 5\.0 GB was free"),
        (RuntimeError(CPU), "cpu", r"cpu .* 64 GB more was asked for, 5\.0 GB was free"),
        (MemoryError(), "cpu", r"cpu ran out of memory at 1024×1024; 5\.0 GB was free"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"),
            "cpu",
            r"cpu ran out of memory at 1024×1024; 5\.0 GB was free",
        ),
    ],
)
def test_out_of_memory_says_what_was_asked_what_was_free_and_what_to_lower(
    monkeypatch, error, device, sentence
):
    monkeypatch.setattr(devices, "free_memory", lambda device: 5 * 10**9)
    assert devices.is_out_of_memory(error)
    told = devices.out_of_memory(error, device, "1024×1024")
    assert isinstance(told, OutOfMemory)
    with pytest.raises(OutOfMemory, match=sentence + r".*Lower the size or the batch size"):
        raise told


def test_a_real_allocation_that_fails_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert devices.is_out_of_memory(caught.value)
    assert "1126 TB more was asked for" in str(devices.out_of_memory(caught.value, "cpu", "a test"))


def test_a_sentence_that_is_there_already_is_kept():
    error = OutOfMemory("{model} needs more.", model="sdxl")
    assert devices.out_of_memory(error, "cpu", "x") is error


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("out of memory"), KeyError("x")]
)
def test_other_errors_are_not_mistaken_for_it(error):
    assert not devices.is_out_of_memory(error)


@pytest.mark.parametrize(
    ("nbytes", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_960, "10 kB"),
        (999_700, "1.0 MB"),
        (1_720_000_000, "1.7 GB"),
        (12e9, "12 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes_are_written_for_people(nbytes, words):
    assert format_bytes(nbytes) == words


@pytest.mark.parametrize(
    ("nbytes", "limit", "words"),
    [
        (600_000, 100_000, "600 kB"),
        (20_400_000, 20_000_000, "20.4 MB"),
        (20_000_001, 20_000_000, "20.000001 MB"),
        (1_000_000_001, 1_000_000_000, "1.000000001 GB"),
    ],
)
def test_what_is_above_a_limit_reads_so(nbytes, limit, words):
    assert format_bytes(nbytes, above=limit) == words


@pytest.mark.parametrize(
    ("text", "nbytes"), [("12 GB", 12 * 10**9), ("1.5gb", 1_500_000_000), (" 3 B ", 3)]
)
def test_sizes_are_read_from_what_people_write(text, nbytes):
    assert in_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "GB", "-3 GB", "12", "12 XB", "1e9 B"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        in_bytes(text)
