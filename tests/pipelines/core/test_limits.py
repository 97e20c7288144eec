"""What a service or container may take of its machine is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.core import devices, limits


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """``groups(lines, {file: text})``: this process is in these control groups."""
    monkeypatch.setattr(limits, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(devices, "_CGROUP_LIMITS", ())

    def write(lines: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(lines)
        (tmp_path / "cgroup").mkdir()
        for name, text in files.items():
            path: Path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    return write


def test_limit_and_use_of_a_service_count_with_what_the_kernel_gives_back(groups):
    service = "system.slice/atelier.service"
    groups(
        f"0::/{service}\n",
        {
            f"{service}/memory.max": "2000000",
            f"{service}/memory.current": "1500000",
            f"{service}/memory.stat": "anon 800000\ninactive_file 300000\nactive_file 200000",
            f"{service}/memory.high": "max",
            "system.slice/memory.max": "max",
        },
    )
    assert devices.total_memory("cpu") == 2_000_000
    assert devices.free_memory("cpu") == 1_000_000


def test_tightest_group_on_the_way_up_counts(groups):
    groups(
        "0::/a/b\n",
        {
            "a/b/memory.max": "3000000",
            "a/b/memory.current": "100",
            "a/memory.high": "2500000",
            "a/memory.current": "2400000",
            "memory.max": "max",
        },
    )
    assert devices.total_memory("cpu") == 2_500_000
    assert devices.free_memory("cpu") == 100_000


def test_container_that_is_named_as_outside_is_found_at_the_root(groups):
    groups("0::/docker/0123\n", {"memory.max": "5000", "memory.current": "9000"})
    assert devices.total_memory("cpu") == 5000
    assert devices.free_memory("cpu") == 0


def test_groups_of_the_first_version_count(groups):
    groups(
        "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/x\nnonsense\n",
        {
            "memory/docker/1/memory.limit_in_bytes": "4000000",
            "memory/docker/1/memory.usage_in_bytes": "3000000",
            "memory/docker/1/memory.stat": "total_inactive_file 500000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "250000",
            "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000",
        },
    )
    assert devices.total_memory("cpu") == 4_000_000
    assert devices.free_memory("cpu") == 1_500_000
    assert limits.available_cores() == 3


@pytest.mark.parametrize(
    ("own", "above", "cores"),
    [
        ("200000 100000", "max 100000", 2),
        ("max 100000", "50000 100000", 1),
        ("150000 100000", "400000 100000", 2),
        ("max 100000", "max 100000", 16),
        ("broken", "", 16),
    ],
)
def test_quota_of_time_limits_the_cores(groups, own: str, above: str, cores: int):
    groups("0::/s/u\n", {"s/u/cpu.max": own, "s/cpu.max": above})
    assert limits.available_cores() == cores


def test_system_without_control_groups_has_no_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "OWN_GROUPS", tmp_path / "nowhere")
    assert limits.memory_limits() == []
    assert limits.available_cores() >= 1
