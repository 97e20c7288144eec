"""Live painting: a picture follows its settings while they change, beside the queue of jobs.

Nothing of it is kept: no job, no row and no file, until somebody queues the same request. Jobs come
first, then owners take turns; of one owner the newest wish counts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import Busy, NotFound, Stopped, UserError
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.messages import Message
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import with_seed
from pipelines.diffusion.seeds import MAX_SEED, RANDOM
from studio.core.jobs.slots import FairSlots

if TYPE_CHECKING:
    from PIL import Image

    from studio.core.accounts.accounts import Owner
    from studio.core.jobs.queue import Jobs
    from studio.core.jobs.submission import Submissions
    from studio.core.lazy_device import CacheOnDemand

LIMIT_SECONDS = 2.0  # a picture that takes longer does not follow a hand
WAIT_SECONDS = 2.0  # for a turn, before the answer is to ask again
AT_ONCE = 1  # of all owners: they share the device with the jobs
MAX_WAITING = 16  # wishes of all owners; each has a thread
REMEMBERED = 500  # kinds of pictures that have been painted once
LEFT_OUT = ("batch_count", "batch_size", "hires", "detail_fix", "pictures")
"""Fields that are at their defaults in every live picture, of requests that have them."""


class Waits(Busy):
    """Other pictures or jobs come first; the page asks again with its newest settings."""


class TooSlow(UserError):
    """A picture takes so long that none is painted live with these settings."""


@dataclass(frozen=True, slots=True)
class LivePicture:
    """A picture of live painting, which is kept nowhere.

    Attributes:
        image: RGB.
        request: the checked request, with its seed, JSON; as a job it paints the same picture.
        seconds: that it took, without loading and preparing.
        left_out: fields that were asked for and are not painted live.
        notes: what of the settings had no effect.
    """

    image: Image.Image
    request: dict[str, Any]
    seconds: float
    left_out: tuple[str, ...]
    notes: tuple[Message, ...]


class LivePainting:
    """Paints what owners wish, one picture at a time, while no job needs the device.

    Args:
        submissions: the checks.
        jobs: the queue, which comes first.
        cache: the models.

    Attributes:
        limit: seconds that a picture may take.
    """

    def __init__(self, submissions: Submissions, jobs: Jobs, cache: CacheOnDemand) -> None:
        self._submissions, self._jobs, self._cache = submissions, jobs, cache
        self.limit = LIMIT_SECONDS
        self._turns = FairSlots(
            AT_ONCE, asked=None, busy="Others are painting. Ask again in a moment."
        )
        self._waiting: dict[str, threading.Event] = {}  # owner → stop flag of the newest wish
        self._lock = threading.Lock()
        self._seen: dict[tuple, None] = {}  # what has been painted, the oldest first
        self._closing = False

    def close(self) -> None:
        """Stops all that waits; the queue has stopped what is being painted."""
        self._closing = True
        with self._lock:
            for stop in self._waiting.values():
                stop.set()

    def paint(
        self,
        owner: Owner,
        kind: str,
        fields: Mapping[str, Any],
        stop: threading.Event,
        tell: Callable[[Message], None] = lambda note: None,
    ) -> LivePicture:
        """The picture of a request, which is checked as one that is queued.

        Args:
            kind: of the engine.
            fields: of its request; those that Live leaves out do not matter.
            stop: set when nobody waits for the picture any more.
            tell: told what is being done before the painting, such as loading.

        Raises:
            Waits: there are jobs, or it was not the owner's turn for too long.
            Stopped: a newer wish of the owner's has taken its place, or ``stop`` was set.
            TooSlow: a picture takes longer than :attr:`limit`.
            UserError: the request cannot be painted.
        """
        request = self._check(owner, kind, fields)
        with contextlib.ExitStack() as held:
            self._wait(owner.id, stop, held)
            try:
                image, seconds, notes = self._paint(kind, request, owner.id, stop, tell)
            except Stopped:  # by a job that has come, unless nobody waits
                raise _waits_for_jobs() from None
        left_out = tuple(
            name
            for name, default in self._defaults(kind).items()
            if fields.get(name) not in (None, [], default)
        )
        return LivePicture(image, request.model_dump(mode="json"), seconds, left_out, notes)

    def _check(self, owner: Owner, kind: str, fields: Mapping[str, Any]) -> TextToImageRequest:
        """The request as it is painted: one picture, whose seeds are chosen."""
        if not issubclass(self._submissions.engine(kind).request_class, TextToImageRequest):
            raise NotFound("Jobs of the kind {kind} cannot be painted live.", kind=kind)
        request = self._submissions.check(owner, kind, {**fields, **self._defaults(kind)})
        seed = with_seed(request).seed
        changes: dict[str, Any] = {"seed": seed}
        if request.variation is not None and request.variation.seed == RANDOM:
            # Drawn anew for each wish, it would be another picture each time.
            further = {"seed": (seed + 1) % (MAX_SEED + 1)}
            changes["variation"] = request.variation.model_copy(update=further)
        return request.model_copy(update=changes)

    def _defaults(self, kind: str) -> dict[str, Any]:
        """Of what is left out, the values with which it is."""
        known = self._submissions.engine(kind).request_class.model_fields
        return {name: known[name].default for name in LEFT_OUT if name in known}

    def _wait(self, owner: str, stop: threading.Event, held: contextlib.ExitStack) -> None:
        """Waits for a turn and for the device, which are the caller's as long as ``held``.

        Raises:
            Waits, Stopped: as :meth:`paint` does.
        """
        with self._newest(owner, stop):
            try:
                held.enter_context(self._turns.take(owner, WAIT_SECONDS, stop))
            except Busy:
                raise Waits("Live waits for its turn: others paint live too.") from None
            is_lent = held.enter_context(self._jobs.lend_device(stop, WAIT_SECONDS))
            with self._lock:
                is_newest = self._waiting.get(owner) is stop
            if self._closing or not is_newest:
                raise Stopped
            if not is_lent:
                raise _waits_for_jobs()

    @contextlib.contextmanager
    def _newest(self, owner: str, stop: threading.Event) -> Iterator[None]:
        """The wish is the owner's newest inside; an older one that waits still is given up."""
        with self._lock:
            if (older := self._waiting.pop(owner, None)) is not None:
                older.set()
            if len(self._waiting) >= MAX_WAITING:
                raise Waits("Live waits for its turn: others paint live too.")
            self._waiting[owner] = stop
        try:
            yield
        finally:
            with self._lock:
                if self._waiting.get(owner) is stop:
                    del self._waiting[owner]

    def _paint(
        self,
        kind: str,
        request: TextToImageRequest,
        owner: str,
        stop: threading.Event,
        tell: Callable[[Message], None],
    ) -> tuple[Image.Image, float, tuple[Message, ...]]:
        """The picture, the seconds that it took, and what had no effect."""
        engine = self._submissions.engine(kind)
        engine.load()
        kind_of_picture = (kind, request.model, request.width, request.height,
                           *(use.name for use in request.loras),
                           *(unit.model for unit in getattr(request, "units", ())))  # fmt: skip
        pace = Pace(is_first=kind_of_picture not in self._seen)
        image, notes = None, ()
        with contextlib.closing(engine.run(request, self._cache, stop, owner)) as events:
            for event in events:
                pace.see(event)
                if pace.seconds > self.limit and (expected := pace.estimate()) > self.limit:
                    raise self._too_slow(expected)
                match event:
                    case Progress(note=Message() as note):
                        tell(note)
                    case Picture():
                        image = event.image
                    case Result():
                        notes = tuple(map(Message.from_json, event.data.get("notes", ())))
        self._seen[kind_of_picture] = None
        if len(self._seen) > REMEMBERED:
            self._seen.pop(next(iter(self._seen)))
        return image, pace.seconds, notes

    def _too_slow(self, seconds: float) -> TooSlow:
        return TooSlow(
            "Live is off: a picture takes about {seconds} s with these settings, and only what "
            "takes less than {limit} s follows your hand. Take fewer steps, a smaller size or a "
            "faster model, then switch it on again.",
            seconds=f"{seconds:.1f}",
            limit=f"{self.limit:g}",
        )


class Pace:
    """How long a picture takes, without what is done only once: loading, preparing, warming up.

    Args:
        is_first: the first picture of its kind, whose first step makes ready for all others.

    Attributes:
        seconds: seen so far, without those of which a note has told.
    """

    def __init__(self, is_first: bool, now: Callable[[], float] = time.perf_counter) -> None:
        self._is_first, self._now = is_first, now
        self.seconds = 0.0
        self._since, self._is_noted = now(), False
        self._steps: list[tuple[int, float]] = []  # the first and the newest: number, seconds
        self._total = 0

    def see(self, event: Progress | Picture | Result) -> None:
        """Takes note of an event of the engine; to be called as soon as it comes."""
        now = self._now()
        if not self._is_noted:
            self.seconds += now - self._since
        self._since = now
        self._is_noted = isinstance(event, Progress) and event.note is not None
        if isinstance(event, Progress) and not self._is_noted and event.step:
            self._steps[1:] = [(event.step, self.seconds)]
            self._total = event.total

    def estimate(self) -> float:
        """Seconds that one picture takes; of a first one 0 until two steps were seen."""
        expected = 0.0 if self._is_first else self.seconds
        if len(self._steps) == 2:
            (first, began), (newest, at) = self._steps
            expected = max(expected, (at - began) / max(newest - first, 1) * self._total)
        return expected


def _waits_for_jobs() -> Waits:
    return Waits("Live waits until the jobs in the queue are done.")
