"""Regular expressions that meet texts of strangers' pictures and data sets take linear time."""

from __future__ import annotations

import importlib
import itertools
import re
import time

import pytest

pytestmark = pytest.mark.deep

MODULES = (
    "pipelines.uploads",
    "pipelines.picture_files",
    "pipelines.colour_profiles",
    "pipelines.dreambooth.captions",
    "pipelines.dreambooth.identifiers",
    "pipelines.dreambooth.photos",
    "pipelines.dreambooth.subjects",
    "pipelines.dreambooth.dataset",
    "studio.comfyui_graph",
    "studio.foreign_settings",
    "studio.infotext_units",
    "studio.inputs",
    "studio.metadata",
    "studio.reuse",
    "studio.subjects",
)
PIECES = [" ", "a", "0", "a ", "0 ", ",", ": ", '"', "\\", '\\"', "[", "[0", "[0] ", "(", "{", "x",
          "-", "_", ".", "\n", "Aa: ", 'Aa: "', "hash", "hash ", "ControlNet 0", "Control ",
          "Steps: 1, ", "1_", "杯"]  # fmt: skip
SMALL = 5_000  # characters
FLOOR = 0.005  # seconds of the processor: what is quicker is not measured
GROWTH = 3.2  # that a text twice as long may take; the square would take 4


def patterns() -> list[tuple[str, re.Pattern[str]]]:
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        for label, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                found.append((f"{name}.{label}", value))
    return found


def seconds(pattern: re.Pattern[str], text: str) -> float:
    start = time.thread_time()
    pattern.fullmatch(text)
    pattern.findall(text)
    pattern.sub("", text)
    return time.thread_time() - start


def check(label: str, pattern: re.Pattern[str]) -> None:
    """Asserts that twice the text takes about twice the time."""
    for piece, end in itertools.product(PIECES, ("", "!", "\0")):
        short = piece * (SMALL // len(piece)) + end
        if seconds(pattern, short) < FLOOR:
            continue
        long = piece * (2 * SMALL // len(piece)) + end
        ratios = (seconds(pattern, long) / seconds(pattern, short) for _ in range(5))
        assert min(ratios) < GROWTH, (label, piece)


@pytest.mark.parametrize(("label", "pattern"), patterns(), ids=lambda value: str(value)[:60])
def test_a_pattern_takes_time_in_proportion_to_the_text(label, pattern):
    check(label, pattern)


def test_the_patterns_are_found():
    assert {"studio.metadata._PARAMETER", "studio.metadata._LATER"} <= {
        name for name, _ in patterns()
    }


def test_a_pattern_that_takes_the_square_is_seen():
    with pytest.raises(AssertionError):  # it took 106 s for 160,000 blanks
        check("square", re.compile(r"\s*\[[0-9a-f]+\]$"))
