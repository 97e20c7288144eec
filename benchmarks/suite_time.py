"""What the test suite costs: CPU minutes by file, and its dearest tests and fixtures.

    python -m pytest -p benchmarks.suite_time [-n 3 --dist loadfile] [tests/…]

A plugin of pytest. Counted is the CPU time of the process that runs a test and of all that descend
from it, live or ended: Chromium, trainers, servers. So the numbers are nearly the same on a busy
machine. What a fixture costs is counted with the test that needs it first, and by itself as well
(with the fixtures that it needs). What two processes do between two tests falls to the later one.
"""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

DEAREST = 40
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """CPU time of this process, of its ended children and of all live processes below it."""
    children: dict[int, list[int]] = defaultdict(list)
    seconds: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        children[int(fields[1])].append(int(folder.name))
        seconds[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    below = list(children[os.getpid()])
    while below:
        process = below.pop()
        total += seconds[process]
        below += children[process]
    return total


class Costs:
    """Counts in each process that runs tests; the one that reports adds up."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.last = 0.0
        self.fixtures: list[tuple[str, float]] = []
        self.by_test: dict[str, float] = defaultdict(float)
        self.by_fixture: dict[str, list[float]] = defaultdict(list)
        self.collecting: list[float] = []

    def pytest_collection_finish(self) -> None:
        self.last = cpu_seconds()
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["collecting"] = self.last
        elif not self.config.getoption("numprocesses", None):
            self.collecting.append(self.last)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef) -> Iterator[None]:
        before = cpu_seconds() if fixturedef.scope != "function" else 0.0
        result = yield
        if before:
            name = f"{fixturedef.baseid}::{fixturedef.argname}"
            self.fixtures.append((name, cpu_seconds() - before))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        now = cpu_seconds()
        report.cpu_seconds, self.last = now - self.last, now
        report.cpu_fixtures, self.fixtures = self.fixtures, []
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.by_test[report.nodeid] += report.cpu_seconds
        for name, seconds in report.cpu_fixtures:
            self.by_fixture[name].append(seconds)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        self.collecting.append(getattr(node, "workeroutput", {}).get("collecting", 0.0))

    def pytest_terminal_summary(self, terminalreporter) -> None:
        by_file: dict[str, float] = defaultdict(float)
        tests: dict[str, int] = defaultdict(int)
        for name, seconds in self.by_test.items():
            by_file[name.split("::")[0]] += seconds
            tests[name.split("::")[0]] += 1
        total = sum(by_file.values()) + sum(self.collecting)
        write = terminalreporter.write_line
        write(f"{total / 60:.1f} minutes of CPU time, {sum(self.collecting):.0f} s to collect")
        for name in sorted(by_file, key=by_file.get, reverse=True):
            write(f"{by_file[name]:8.1f} s  {tests[name]:5}  {name}")
        write("The dearest tests, with the fixtures that they are the first to need:")
        for name in sorted(self.by_test, key=self.by_test.get, reverse=True)[:DEAREST]:
            write(f"{self.by_test[name]:8.1f} s  {name}")
        write("The dearest fixtures of more than one test:")
        sums = {name: sum(seconds) for name, seconds in self.by_fixture.items()}
        for name in sorted(sums, key=sums.get, reverse=True)[:DEAREST]:
            write(f"{sums[name]:8.1f} s  {len(self.by_fixture[name]):5}  {name}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config))
