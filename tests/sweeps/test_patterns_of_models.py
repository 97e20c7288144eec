"""Prompts, names and headers of strangers are read in time that grows with their length only."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import pkgutil
import re
import time
from collections.abc import Callable

import pytest

import pipelines.diffusion
import pipelines.dreambooth
from pipelines.diffusion.lora.about import clean_name
from pipelines.diffusion.lora.formats import clean_triggers
from pipelines.diffusion.lora.names import dotted, in_original, module_of, owner_of
from pipelines.diffusion.lora.requests import left_out_of, tags_in, with_tags, without_tags, worded
from pipelines.diffusion.prompts import is_weighted
from pipelines.dreambooth.subjects import meaning_in_prompts
from pipelines.errors import UserError
from pipelines.matching import name_key
from pipelines.original_layout import current_name
from pipelines.sizes import in_bytes
from pipelines.toybox.words import unknown_words

pytestmark = pytest.mark.deep

PACKAGES = (pipelines.diffusion, pipelines.dreambooth)
OTHERS = ("pipelines.toybox.words", "pipelines.sizes", "pipelines.devices", "pipelines.inputs")
FUNCTIONS: tuple[Callable[[str], object], ...] = (
    is_weighted,
    tags_in,
    left_out_of,
    without_tags,
    lambda text: with_tags(text, [{"name": "a", "weight": 1.0}]),
    lambda text: worded(text, {"a": "t1", "a b": "t2", "<a>": "t3"}),
    module_of,
    owner_of,
    dotted,
    in_original,
    current_name,
    clean_name,
    lambda text: clean_triggers([text]),
    name_key,
    meaning_in_prompts,
    unknown_words,
    in_bytes,
)
PIECES = (" ", "a", "1", "++", "# ", "--a ", "embedding:", "[a:", "(a)", ")1", ".", "_", "a ", "1 ",
          ",", ":", ": ", ":1", "(:1", "(", "[", "\\", "<",
          "<a", "<lora:", "<lora:a:", "<lora:a:1>", "BREAK", "BREAK ", " BREAK", "é",
          "e\u0301", "\u3000",
          "lora_A.", ".lora_A", "lora_unet_", "to_q_lora.", "_blocks_1", "down_blocks_",
          "-00001-of", "\"", "/", "1.", "GB", "\n", "杯")  # fmt: skip
SMALL = 20_000  # characters
FLOOR = 0.02  # seconds of the processor: what is quicker is not measured
GROWTH = 3.2  # that a text twice as long may take; the square would take 4


def patterns() -> list[tuple[str, Callable[[str], object]]]:
    """All patterns of the modules, used as their modules use them: on whole texts, or within."""
    names = [*OTHERS]
    for package in PACKAGES:
        names += [each.name for each in pkgutil.walk_packages(package.__path__,
                                                              f"{package.__name__}.")]  # fmt: skip
    found = []
    for name in names:
        module = importlib.import_module(name)
        source = inspect.getsource(module)
        for label, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                whole = f"{label}.fullmatch(" in source and not re.search(
                    rf"{label}\.(?!fullmatch)\w+\(", source
                )
                found.append((f"{name}.{label}", value.fullmatch if whole else within(value)))
    return found


def within(pattern: re.Pattern[str]) -> Callable[[str], object]:
    return lambda text: (pattern.findall(text), pattern.sub("", text))


def seconds(read: Callable[[str], object], text: str) -> float:
    start = time.thread_time()
    with contextlib.suppress(UserError, ValueError):
        read(text)
    return time.thread_time() - start


def check(read: Callable[[str], object], characters: int = SMALL) -> None:
    """Asserts that twice the text takes about twice the time."""
    for piece, end in itertools.product(PIECES, ("", "!", ")")):
        short = piece * (characters // len(piece)) + end
        if seconds(read, short) < FLOOR:
            continue
        long = piece * (2 * characters // len(piece)) + end
        ratios = (seconds(read, long) / seconds(read, short) for _ in range(5))
        assert min(ratios) < GROWTH, piece


@pytest.mark.parametrize(("label", "read"), patterns())
def test_a_pattern_takes_time_in_proportion_to_the_text(label, read):
    check(read)


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_what_reads_prompts_and_names_takes_time_in_proportion_to_them(number):
    check(FUNCTIONS[number])


def test_the_patterns_are_found():
    names = {name for name, _ in patterns()}
    assert {"pipelines.diffusion.prompts._TOKEN", "pipelines.diffusion.lora.requests._TAG"} <= names


def test_a_pattern_that_takes_the_square_is_seen():
    with pytest.raises(AssertionError):
        check(within(re.compile(r"\s*\bBREAK\b\s*")), 3000)
