"""What some tests need of the machine, and how they are left out, with a word, where it is missing.

A test says by a mark what it needs, as in ``@pytest.mark.nginx``. Where the machine has not got it,
the test is skipped, and the last lines of the run say which tests were left out and why. No test is
skipped in another way (``tests/structure/test_skips.py``).
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
NGINX = "/usr/sbin/nginx"
NAMED = 20  # tests of one need that are named each; of more, their files are


@dataclass(frozen=True)
class Need:
    """Something that a test needs of the machine.

    Attributes:
        words: what it is, as it stands after "without".
        is_met: whether the machine has it; asked at most once, and only for a test with the mark.
    """

    words: str
    is_met: Callable[[], bool]


def _has_nginx() -> bool:
    return os.access(NGINX, os.X_OK) and shutil.which("openssl") is not None


def _has_landlock() -> bool:
    from pipelines.core import sandbox

    libc = ctypes.CDLL(None)
    asked = (sandbox._CREATE_RULESET, None, 0, sandbox._ASK_VERSION)
    return sys.platform == "linux" and libc.syscall(*asked) >= 6


def _takes_any_file_name() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.mkdir(os.path.join(os.fsencode(folder), b"caf\xe9"))
        except OSError:
            return False
    return True


def _runs_openvino() -> bool:
    from pipelines.core.quiet_openvino import computes_here

    return computes_here()


# By the names of their marks.
NEEDS = {
    "browser": Need("Chromium, which drives the page", lambda: CHROMIUM is not None),
    "nginx": Need("nginx, and openssl for its certificate", _has_nginx),
    "landlock": Need("a kernel with Landlock's sixth version (Linux 6.12)", _has_landlock),
    "any_file_name": Need("a file system whose names need not be UTF-8", _takes_any_file_name),
    "memory_peak": Need(
        "a system that sets back a process' peak of memory (/proc/self/clear_refs)",
        lambda: os.access("/proc/self/clear_refs", os.W_OK),
    ),
    "openvino": Need("a processor on which OpenVINO computes", _runs_openvino),
    "linux": Need(
        "Linux, whose /proc tells the memory of processes", lambda: "linux" in sys.platform
    ),
}


@functools.cache
def _is_met(name: str) -> bool:
    return NEEDS[name].is_met()


def pytest_configure(config: pytest.Config) -> None:
    for name, need in NEEDS.items():
        config.addinivalue_line("markers", f"{name}: needs {need.words}; left out without it")


@pytest.hookimpl(trylast=True)  # the tests of the page get their mark before
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        missing = [name for name in NEEDS if name in marks and not _is_met(name)]
        if missing:
            words = "; ".join(NEEDS[name].words for name in missing)
            item.add_marker(pytest.mark.skip(reason=words))


def summary_lines(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """The lines of the summary.

    Args:
        skipped: of each test that was left out its id, and the words for what it needs.
    """
    tests: dict[str, list[str]] = defaultdict(list)
    for test, words in skipped:
        tests[words].append(test)
    lines = []
    for words, ids in sorted(tests.items()):
        lines.append(f"Left out ({len(ids)}) without {words}:")
        if len(ids) <= NAMED:
            lines += [f"    {test}" for test in sorted(ids)]
        else:
            files = [test.partition("::")[0] for test in ids]
            lines += [f"    {file}: {files.count(file)}" for file in sorted({*files})]
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    skipped = [(each.nodeid, each.longrepr[2].removeprefix("Skipped: ")) for each in reports]
    for line in summary_lines(skipped):
        terminalreporter.write_line(line)
