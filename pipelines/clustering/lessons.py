"""A short lesson for each algorithm, and one on choosing: ``presets/lessons/<name>.yaml``.

A file has the words by language, Markdown with LaTeX between ``$`` (in a line) or ``$$`` (on its
own), and the trials that its words suggest. In the words

- ``**bold**`` is a setting, by the label that the page has for it;
- ``*italic*`` is a data set, by its title;
- a code span is what a setting can be, as requests have it.

A file is read when its lesson is first asked for. An algorithm without one is described by its own
texts.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.clustering.data.datasets import DatasetRequest
from pipelines.clustering.data.scaling import Scaling
from pipelines.core.errors import NotFound
from pipelines.core.matching import closest, find_name
from pipelines.core.paths import PRESETS

FOLDER = PRESETS / "lessons"
CHOOSING = "choosing"
LESSONS: tuple[str, ...] = (*ALGORITHMS, CHOOSING)
ENGLISH = "en"

Between = tuple[float, float]


class Outcome(BaseModel):
    """What a lesson says of a trial; each is the least and the most that it may be.

    Attributes:
        clusters: that have a point.
        noise: points of no cluster.
        ari: adjusted Rand index with the true groups.
        inertia: times K-Means' own J, with as many clusters.
        largest: points of the largest cluster.
        small_clusters: of BIRCH.
        best: k that a curve marks.
        settled: False where it must not have settled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clusters: Between | None = None
    noise: Between | None = None
    ari: Between | None = None
    inertia: Between | None = None
    largest: Between | None = None
    small_clusters: Between | None = None
    best: Between | None = None
    settled: bool | None = None


class Trial(BaseModel):
    """Something to try: a data set, an algorithm with settings, or a curve over k.

    Attributes:
        data: what is not given has its default, as on the page.
        algorithm: of the registry; empty in a file: the lesson's own.
        parameters: of the algorithm.
        curve: a curve over k from 1 (silhouette: 2) to ``most`` instead of one fit.
        outcome: what comes of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: DatasetRequest
    scaling: Scaling = "none"
    algorithm: str = ""
    parameters: dict[str, Any] = {}
    seed: int = 0
    curve: Literal["elbow", "silhouette", "gap"] | None = None
    most: int = 8
    outcome: Outcome


class Lesson(BaseModel):
    """A file of ``presets/lessons``.

    Attributes:
        words: Markdown by language; English at least.
        trials: what the words suggest to try, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: dict[str, str]
    trials: tuple[Trial, ...]


def lesson(name: str, language: str) -> str:
    """The Markdown of a lesson; in English where there is none in ``language``.

    Args:
        name: one of :data:`LESSONS`.

    Raises:
        NotFound: there is no such lesson.
    """
    words = _read(name).words
    return words.get(language, words[ENGLISH])


def trials(name: str) -> tuple[Trial, ...]:
    """What a lesson suggests to try, in the order of its words.

    Raises:
        NotFound: there is no such lesson.
    """
    return _read(name).trials


@cache
def _read(name: str) -> Lesson:
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
        words = "\n\n".join((about.description, about.assumes, about.cost, about.fails))
        return Lesson(words={ENGLISH: words}, trials=())
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    for trial in data["trials"]:
        trial.setdefault("algorithm", known if known in ALGORITHMS else "")
    return Lesson.model_validate(data)
