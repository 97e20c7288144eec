"""No two names of modules or folders differ by a letter or a plural alone."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from pathlib import PurePath

import pytest

from tests.structure.sources import tracked_files

CODE = (".py", ".js", ".css")
SHORTEST = 4  # letters: shorter words that differ by one of them are none to mix up, as api and app
MAY_BE_NEAR = {
    ("dbscan", "hdbscan"),  # two algorithms, by the names that they have
    ("feature", "features"),  # each folder in features/ declares its feature in feature.py
}


def letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def are_near(one: str, other: str) -> bool:
    """Whether one name is the plural of the other, or a letter away from it."""
    short, long = sorted((letters(one), letters(other)), key=len)
    if long in (short, f"{short}s", f"{short}es", f"{short.removesuffix('y')}ies"):
        return True
    if len(short) < SHORTEST:
        return False
    if len(short) == len(long):
        return sum(map(str.__ne__, short, long)) == 1
    return any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def names_of(files: list[str]) -> dict[str, set[str]]:
    """The names of modules and folders, with the paths that have them."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in map(PurePath, files):
        for each in (path.with_suffix(""), *path.parents[:-2]):
            if not each.name.startswith("__"):
                found[each.name].add(str(each))
    return found


@pytest.mark.parametrize("top", [("pipelines", "studio", "assets"), ("tests",), ("benchmarks",)])
def test_names_of_files_differ_by_more_than_a_letter(top):
    files = [
        file for file in tracked_files() if file.endswith(CODE) and file.partition("/")[0] in top
    ]
    names = names_of(files)
    near = {
        (one, other): [*names[one], *names[other]]
        for one, other in combinations(sorted(names), 2)
        if are_near(one, other)
        and tuple(each.removeprefix("test_") for each in (one, other)) not in MAY_BE_NEAR
    }
    assert near == {}, "say in the names what distinguishes them"


@pytest.mark.parametrize(
    ("one", "other"),
    [("job", "jobs"), ("data_sets", "datasets"), ("dataset", "data_sets"), ("sides", "sizes"),
     ("entry", "entries"), ("box", "boxes"), ("chart", "chat")],
)  # fmt: skip
def test_near_names_are_known(one, other):
    assert are_near(one, other)
    assert are_near(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("api", "app"), ("mask", "marks"), ("engine", "engine_view")]
)
def test_other_names_are_not_near(one, other):
    assert not are_near(one, other)
