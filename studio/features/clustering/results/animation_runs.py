"""Animations of algorithms at work: computed while somebody waits, so within limits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.clustering.algorithms.base import Estimate
from pipelines.clustering.animation import (
    AnimationRequest,
    is_laid_out,
    lay_out,
    make_animation,
    too_long,
)
from pipelines.clustering.data.sample_data import Dataset
from pipelines.clustering.projecting import Projection
from pipelines.clustering.running import SCIKIT_LEARN, call
from pipelines.clustering.umap_cache import UmapCache
from pipelines.clustering.wire import Json, Matrix
from pipelines.core.errors import BadRequest, Stopped, validate
from pipelines.core.messages import Message
from studio.core.jobs.slots import FairSlots
from studio.features.clustering.computing import compute
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.features.clustering.data.own_data_sets import ClusterData

LIMIT_SECONDS = 20.0
WAIT_SECONDS = 25.0  # for a turn
AT_ONCE = 2  # animations of all owners; each owner has one at a time
EACH_WAITS = 3  # animations that an owner has asked for and not got yet
_LOOK_SECONDS = 0.1
BUSY = "Other animations are being made. Ask for this one again in a moment."


class Animations:
    """Makes animations; each call works for one owner only.

    Args:
        cluster_data: what is shown at work.
    """

    def __init__(self, cluster_data: ClusterData) -> None:
        self._data = cluster_data
        self._umaps = UmapCache()
        self._slots = FairSlots(AT_ONCE, asked=EACH_WAITS, busy=BUSY)

    def make(
        self, owner: Owner, asked: dict[str, Any], language: str, stop: threading.Event
    ) -> bytes:
        """The animation as JSON; see :func:`pipelines.clustering.animation.make_animation`.

        In the place of its notes is ``note``: what a person should know, in ``language``, or null.

        Raises:
            BadRequest: the request cannot be used, or takes longer than 20 seconds. UMAP goes on
                by itself then, and the same request finds what it has made.
            NotFound: the data set is not the owner's.
            Busy: others took all turns for 25 seconds, or the owner waits for three already.
            Stopped: ``stop`` was set.
        """
        request = validate(AnimationRequest, asked)
        self._data.get(owner.id, request.data)
        with self._slots.take(owner.id, WAIT_SECONDS, stop), _limit_time(stop) as timed:
            data = self._data.dataset(owner.id, request.data)
            seen = None
            if is_laid_out(request, data):
                key = (owner.id, request.data, request.scaling)
                arguments = {"scaling": request.scaling, "columns": data.columns}
                try:
                    work = partial(compute, owner.id, lay_out, data.X, arguments, umap=True)
                    seen = self._umaps.get(key, work, timed)
                except Stopped:
                    if stop.is_set():
                        raise
                    raise _layout_timeout() from None
            try:
                animation = animate(owner.id, request, data, seen, timed)
            except Stopped:
                if stop.is_set():
                    raise
                raise too_long(LIMIT_SECONDS) from None
            animation["note"] = (
                " ".join(translate(each, language) for each in animation.pop("notes")) or None
            )
            return json.dumps(animation, ensure_ascii=False, allow_nan=False).encode()


def animate(
    owner: str,
    request: AnimationRequest,
    data: Dataset,
    seen: Projection | None,
    stop: threading.Event,
) -> dict[str, Any]:
    """:func:`pipelines.clustering.animation.make_animation` in a process of its own, which can be
    ended amid a step."""
    arguments = {"request": request, "about": replace(data, X=data.X[:0]), "seen": seen}
    estimate = Estimate(0, 5 * data.X.nbytes)
    animation, notes = call(_animate, arguments, stop, estimate, data.X, SCIKIT_LEARN, owner=owner)
    return animation | {"notes": notes}


def _animate(
    X: Matrix, request: AnimationRequest, about: Dataset, seen: Projection | None
) -> tuple[dict[str, Json], list[Message]]:
    animation = make_animation(request, replace(about, X=X), seen=seen)
    return animation, animation.pop("notes")


def _layout_timeout() -> BadRequest:
    return BadRequest(
        "UMAP has not laid out the points within {seconds} s. It goes on: ask again in a minute, "
        "or choose PCA.",
        seconds=round(LIMIT_SECONDS),
    )


@contextmanager
def _limit_time(stop: threading.Event) -> Iterator[threading.Event]:
    """An event that is set when ``stop`` is, or after the limit."""
    timed, over = threading.Event(), threading.Event()

    def watch() -> None:
        until = time.monotonic() + LIMIT_SECONDS
        while not over.is_set() and not stop.is_set() and time.monotonic() < until:
            over.wait(_LOOK_SECONDS)
        timed.set()

    thread = threading.Thread(target=watch, name="animation limit", daemon=True)
    thread.start()
    try:
        yield timed
    finally:
        over.set()
        thread.join()
