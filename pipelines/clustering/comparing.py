"""Several algorithms on one data set, side by side: clusters, scores, times, memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from threading import Event
from typing import Any

import numpy as np

from pipelines.clustering.algorithms.registry import ALGORITHMS, AnyParameters, find
from pipelines.clustering.data.scaling import Scaling, scale
from pipelines.clustering.metrics import Agreement, Scores
from pipelines.clustering.model_selection import first_eps
from pipelines.clustering.running import run
from pipelines.clustering.tasks import cluster, cluster_estimate
from pipelines.clustering.wire import Matrix
from pipelines.core.errors import UserError
from pipelines.core.events import Progress
from pipelines.core.messages import Message

MOST_TOLD = 1000  # clusters whose sizes are told: the first ones
Choice = tuple[str, AnyParameters]


@dataclass(frozen=True, slots=True)
class Row:
    """One algorithm's line of the table.

    Attributes:
        algorithm: its name.
        labels: int32 (n,); like what follows None where it could not work.
        seconds, peak_bytes: of the fit; None too where the memory was not measured.
        scores: of the labels.
        agreement: with the true labels, where they are known.
        error: why it could not work, or None.
    """

    algorithm: str
    labels: np.ndarray | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    scores: Scores | None = None
    agreement: Agreement | None = None
    error: Message | None = None

    def cells(self) -> dict[str, Any]:
        """The line as JSON.

        ``algorithm`` and ``title``; where it worked ``seconds``, ``peak_bytes`` and the fields of
        :class:`Scores` (of ``sizes`` the first :data:`MOST_TOLD`), and with true labels those of
        :func:`agreement_cells`; else ``error``.
        """
        cells: dict[str, Any] = {"algorithm": self.algorithm, "title": find(self.algorithm).title}
        if self.error is not None:
            return cells | {"error": self.error.to_json()}
        cells |= {"seconds": self.seconds, "peak_bytes": self.peak_bytes}
        cells |= asdict(self.scores)
        cells["sizes"] = list(self.scores.sizes[:MOST_TOLD])
        if self.agreement is not None:
            cells |= agreement_cells(self.agreement)
        return cells


def compare(
    X: np.ndarray,
    choices: Sequence[Choice],
    seed: int,
    stop: Event,
    truth: np.ndarray | None = None,
    scaling: Scaling = "none",
    columns: tuple[str, ...] | None = None,
    owner: str = "",
) -> Iterator[Progress]:
    """Fits one after another; returns a list of :class:`Row` in the order of ``choices``.

    What cannot work (too many points, too little memory) has its reason in its row; the others go
    on. Progress counts algorithms.

    Args:
        X: float64 (n, d), finite; not changed.
        truth: true labels (n,), if known; of whole numbers, those below 0 are not.
        scaling: of the columns, before each fit.
        columns: their names.
        owner: as for :func:`pipelines.clustering.running.run`.

    Raises:
        Stopped: ``stop`` was set.
    """
    rows: list[Row] = []
    for number, (name, params) in enumerate(choices):
        algorithm = find(name)
        here = Progress(
            number, len(choices), note=Message("Fitting: {algorithm}", algorithm=algorithm.title)
        )
        yield here
        arguments = {
            "algorithm": name,
            "params": params,
            "scaling": scaling,
            "columns": columns,
            "seed": seed,
            "truth": None if truth is None else (truth, None),
        }
        try:
            algorithm.check(X, params)
            estimate = cluster_estimate(name, *X.shape, params)
            found = yield from _within(
                run(cluster, X, arguments, estimate, stop, owner=owner), here
            )
        except UserError as error:
            rows.append(Row(name, error=error.message))
            continue
        # Memberships and trees of all of them would be too much to keep.
        fitted = found.fitted
        rows.append(
            Row(
                name,
                fitted.labels,
                fitted.seconds,
                fitted.peak_bytes,
                found.scores,
                found.agreement,
            )
        )
    yield Progress(len(choices), len(choices))
    return rows


def suggest_scaled(
    X: Matrix,
    *,
    scaling: Scaling,
    columns: tuple[str, ...],
    clusters: int,
    seed: int,
    stop: Event,
) -> Generator[Progress, None, list[Choice]]:
    """:func:`suggest` for scaled points, as a task of the worker."""
    yield Progress(0, 1)
    return suggest(scale(X, scaling, columns).X, clusters, seed, stop)


def suggest(X: np.ndarray, k: int, seed: int, stop: Event) -> list[Choice]:
    """Every algorithm with settings that suit these points: k clusters, :func:`first_eps`."""
    eps = first_eps(X, seed, stop)
    return [(name, each.suggest_parameters(k, eps)) for name, each in ALGORITHMS.items()]


def agreement_cells(agreement: Agreement) -> dict[str, Any]:
    """The numbers of an agreement, by name."""
    names = ("ari", "nmi", "homogeneity", "completeness", "matched", "unlabelled")
    return {name: getattr(agreement, name) for name in names}


def _within(work: Iterator[Progress], whole: Progress) -> Iterator[Progress]:
    """One fit's progress as that of the whole; returns what the fit returns."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        yield replace(whole, note=event.note or whole.note)
