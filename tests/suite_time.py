"""What the test suite costs: CPU minutes by file, and its dearest tests and fixtures.

    python -m pytest -p tests.suite_time [--cpu-total] [-n 3 --dist loadfile] [tests/…]

A plugin of pytest. Counted is the CPU time of the process that runs a test and of all that descend
from it, live or ended: Chromium, trainers, servers. So the numbers are nearly the same on a busy
machine. What a fixture costs is counted with the test that needs it first, and by itself as well
(with the fixtures that it needs). What goes on between two tests falls to the later one.
``--cpu-total`` prints the sum alone, as ``.ci/run`` does. It needs Linux's ``/proc``.
"""

from __future__ import annotations

import contextlib
import glob
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

DEAREST = 40
SELDOM = 0.25  # seconds between two looks for the sum alone: a look takes a millisecond, or two
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """CPU time of this process, of its ended children and of all live processes below it."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    below = _children("self")
    while below:
        process = below.pop()
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        total += sum(map(int, fields[11:15])) / _TICKS
        below += _children(process)
    return total


def _children(process: str) -> list[str]:
    """The ids of a process' live children."""
    found: list[str] = []
    for each in glob.iglob(f"/proc/{process}/task/*/children"):
        with contextlib.suppress(OSError), open(each) as file:
            found += file.read().split()
    return found


class Costs:
    """Counts in each process that runs tests; the one that reports adds up."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seldom = SELDOM if config.getoption("cpu_total") else 0.0
        self.last = self.total = self.looked = 0.0
        self.fixtures: list[tuple[str, float]] = []
        self.by_test: dict[str, float] = defaultdict(float)
        self.by_fixture: dict[str, list[float]] = defaultdict(list)
        self.collected = 0.0
        self.workers: list[tuple[float, float]] = []  # of each: when it had collected, at its end

    def since_last(self) -> float:
        """CPU seconds since this was asked last.

        A browser that is killed takes what its own processes have counted with it, so the sum of
        these is right where the last number would not be.
        """
        self.looked, now = time.monotonic(), cpu_seconds()
        taken, self.last = max(0.0, now - self.last), now
        self.total += taken
        return taken

    def pytest_collection_finish(self) -> None:
        self.collected = self.since_last()

    def pytest_sessionfinish(self) -> None:
        """A worker tells what it has taken; without workers this process is the only one."""
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            self.since_last()
            output["cpu"] = (self.collected, self.total)
        elif not self.config.getoption("numprocesses", None):
            self.since_last()
            self.workers.append((self.collected, self.total))
        else:
            self.workers.append((0.0, time.process_time()))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef) -> Iterator[None]:
        counts = fixturedef.scope != "function" and not self.config.getoption("cpu_total")
        before = cpu_seconds() if counts else 0.0
        result = yield
        if before:
            name = f"{fixturedef.baseid}::{fixturedef.argname}"
            self.fixtures.append((name, cpu_seconds() - before))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call) -> Iterator[None]:
        report = yield
        if call.when != "teardown" or time.monotonic() - self.looked < self.seldom:
            return report
        report.cpu_seconds = self.since_last()
        report.cpu_fixtures, self.fixtures = self.fixtures, []
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(report, "cpu_seconds"):  # the test is not over, or its worker has crashed
            return
        self.by_test[report.nodeid] += report.cpu_seconds
        for name, seconds in report.cpu_fixtures:
            self.by_fixture[name].append(seconds)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        self.workers.append(getattr(node, "workeroutput", {}).get("cpu", (0.0, 0.0)))

    def pytest_terminal_summary(self, terminalreporter) -> None:
        write = terminalreporter.write_line
        collecting, total = (sum(each) for each in zip(*self.workers, strict=True))
        write(f"{total / 60:.1f} minutes of CPU time, {collecting:.0f} s of them to collect")
        if self.config.getoption("cpu_total"):
            return
        by_file: dict[str, float] = defaultdict(float)
        tests: dict[str, int] = defaultdict(int)
        for name, seconds in self.by_test.items():
            by_file[name.split("::")[0]] += seconds
            tests[name.split("::")[0]] += 1
        for name in sorted(by_file, key=by_file.get, reverse=True):
            write(f"{by_file[name]:8.1f} s  {tests[name]:5}  {name}")
        write("The dearest tests, with the fixtures that they are the first to need:")
        for name in sorted(self.by_test, key=self.by_test.get, reverse=True)[:DEAREST]:
            write(f"{self.by_test[name]:8.1f} s  {name}")
        write("The dearest fixtures of more than one test:")
        sums = {name: sum(seconds) for name, seconds in self.by_fixture.items()}
        for name in sorted(sums, key=sums.get, reverse=True)[:DEAREST]:
            write(f"{sums[name]:8.1f} s  {len(self.by_fixture[name]):5}  {name}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu-total", action="store_true", help="the sum of CPU time alone")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config))
