"""A short lesson for each algorithm, and one on choosing: ``presets/lessons/<name>.yaml``.

A file has the words by language, Markdown with LaTeX between ``$`` (in a line) or ``$$`` (on its
own), and the trials that its words suggest, with what comes of them: that is tested. In the words

- ``**bold**`` is a setting, by the label that the page has for it;
- ``*italic*`` is a data set, by its title;
- a code span is what a setting can be, as requests have it.

A file is read when its lesson is first asked for. An algorithm without one is described by its own
texts.
"""

from __future__ import annotations

from functools import cache

import yaml

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.core.errors import NotFound
from pipelines.core.matching import closest, find_name
from pipelines.core.paths import PRESETS

FOLDER = PRESETS / "lessons"
CHOOSING = "choosing"
LESSONS: tuple[str, ...] = (*ALGORITHMS, CHOOSING)
ENGLISH = "en"


def lesson(name: str, language: str) -> str:
    """The Markdown of a lesson; in English where there is none in ``language``.

    Args:
        name: one of :data:`LESSONS`.

    Raises:
        NotFound: there is no such lesson.
    """
    words = _read(name)
    return words.get(language, words[ENGLISH])


@cache
def _read(name: str) -> dict[str, str]:
    """The words of a lesson by language; English at least."""
    known = find_name(name, LESSONS)
    if known is None:
        raise NotFound(
            "There is no lesson called {name}. Did you mean {near}?",
            name=name,
            near=closest(name, LESSONS),
        )
    file = FOLDER / f"{known}.yaml"
    if not file.is_file():
        about = ALGORITHMS[known]
        return {ENGLISH: "\n\n".join((about.description, about.assumes, about.cost, about.fails))}
    return yaml.safe_load(file.read_text(encoding="utf-8"))["words"]
