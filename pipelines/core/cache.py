"""The one owner of weights: loads each model once, within a byte budget, and really lets go.

A model is *on the device* (it can be leased), *in RAM* (waiting, on CUDA only: elsewhere RAM is the
device's own memory) or gone. When a model needs room, the least recently used one that nobody
leases moves to RAM and, when RAM's budget is full too, is closed and forgotten. What is leased
stays where it is.

No torch here: whatever has ``nbytes``, ``to(device)`` and ``close()`` can be kept. What says that
it ``is_outdated`` is loaded anew when it is wanted next.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.errors import Busy, OutOfMemory, Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes

_log = logging.getLogger(__name__)

Notes = Callable[[Message, float | None], None]


class Loaded(Protocol):
    """A model as the cache keeps it: it knows its size, can be moved to a device, and closed."""

    @property
    def nbytes(self) -> int:
        """The bytes that the model takes on the device where it is now."""

    def to(self, device: str) -> Any:
        """Move all weights to ``device``; never called where ``movable`` is there and false."""

    def close(self) -> None:
        """Free all that the model holds; it is not used again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept model, as the page's header shows it.

    Attributes:
        where: the device, ``"ram"``, or ``"loading"``.
        leases: how many are using it now.
    """

    name: str
    bytes: int
    where: str
    leases: int


@dataclass(eq=False)
class _Slot:
    """A model's place. ``state`` is guarded by the cache's condition, as is all else."""

    name: str
    state: str = "moving"  # "moving" (loading or changing place), "device" or "ram"
    model: Loaded | None = None
    bytes: int = 0  # on the device or reserved there; in RAM when state is "ram"
    needed: int = 0  # on the device when it was there last; an offloaded model has more in RAM
    leases: int = 0
    files: dict[Path, tuple[int, int]] = field(default_factory=dict)  # as they were when read
    waiting: int = 0  # those who wait for it; nobody left means that loading may be given up
    used: int = 0
    note: tuple[Message, float | None] | None = None
    error: BaseException | None = field(default=None, repr=False)

    @property
    def given_up(self) -> bool:
        """Whether loading was stopped because nobody waited any more; the next lease loads anew."""
        return isinstance(self.error, Stopped)


class ModelCache:
    """Loads models lazily and keeps as many as the budget allows. Safe to use from many threads.

    Args:
        load: ``load(name, device, notes)`` makes a model on ``device``. It calls
            ``notes(message, fraction or None)`` as it goes on; that call raises
            :class:`Stopped` when nobody waits for the model any more.
        device: where leased models are, e.g. ``"cuda"``.
        budget_bytes: how many bytes models may take on the device.
        ram_budget_bytes: how many bytes may wait in RAM; 0 outside CUDA.
        expected_bytes: ``expected_bytes(name)``: what a model will take on the device, asked before
            it is loaded so that room is made first. Need not be exact.
        files_of: ``files_of(name)``: what a model is loaded from that may be replaced by something
            else of the same name. Where one of them has changed, the model is loaded anew.
        home: the home folder, for engines that keep files there; None if there is none.
        offline: whether engines must never ask the hub.
    """

    def __init__(
        self,
        load: Callable[[str, str, Notes], Loaded],
        device: str,
        budget_bytes: int,
        ram_budget_bytes: int = 0,
        expected_bytes: Callable[[str], int] = lambda name: 0,
        files_of: Callable[[str], Sequence[Path]] = lambda name: (),
        home: Path | None = None,
        offline: bool = False,
    ) -> None:
        self.device, self.home, self.offline = device, home, offline
        self.budget_bytes = budget_bytes
        self.ram_budget_bytes = ram_budget_bytes if device.startswith("cuda") else 0
        self._load = load
        self._expected_bytes, self._files_of = expected_bytes, files_of
        self._slots: dict[str, _Slot] = {}
        self._changed = threading.Condition()
        self._clock = count(1)

    @contextmanager
    def lease(self, name: str) -> Iterator[Any]:
        """The model ``name`` on the device, kept there until the ``with`` block ends.

        Raises:
            OutOfMemory: it does not fit beside what is leased.
            UserError: whatever loading raised.
        """
        slot = self._acquire(name)
        try:
            yield slot.model
        finally:
            with self._changed:
                slot.leases -= 1
                # Compiled networks and the like come with use.
                slot.bytes = slot.needed = slot.model.nbytes
                slot.used = next(self._clock)
                self._changed.notify_all()

    def warm(self, name: str, stop: threading.Event) -> Iterator[Progress]:
        """Bring ``name`` to the device and yield how it goes; yields nothing if it is there.

        ``Progress.total`` is 100 (percent) where the share is known, else 0.

        Raises:
            Stopped: ``stop`` was set. Loading ends with it unless somebody else waits for it.
            UserError: whatever loading raised.
        """
        shown = None
        with self._changed:
            slot = self._join(name)
        try:
            while True:
                with self._changed:
                    if slot.state == "moving" and slot.error is None and slot.note == shown:
                        self._changed.wait(timeout=0.1)
                    if slot.given_up or slot.state == "ram":  # it left again: begin anew
                        slot.waiting -= 1
                        slot = self._join(name)
                    error, state, note = slot.error, slot.state, slot.note
                if stop.is_set():
                    raise Stopped
                if error is not None:
                    raise error
                if state == "device":
                    return
                if note is not None and note != shown:
                    shown = note
                    message, share = note
                    step, total = (0, 0) if share is None else (round(100 * share), 100)
                    yield Progress(step, total, note=message)
        finally:
            with self._changed:
                slot.waiting -= 1
                self._changed.notify_all()

    def expected_bytes(self, name: str) -> int:
        """What ``name`` will take on the device, about."""
        return self._expected_bytes(name)

    def list_loaded(self) -> list[Entry]:
        """All that is kept or on its way, most recently used first."""
        with self._changed:
            slots = sorted(self._slots.values(), key=lambda slot: -slot.used)
            return [
                Entry(
                    slot.name,
                    slot.bytes,
                    {"device": self.device, "ram": "ram", "moving": "loading"}[slot.state],
                    slot.leases,
                )
                for slot in slots
            ]

    def release(self, name: str) -> bool:
        """Forget ``name`` now. False if it was not kept.

        Raises:
            Busy: it is leased or on its way.
        """
        with self._changed:
            slot = self._slots.get(name)
            if slot is None:
                return False
            if slot.leases or slot.state == "moving":
                raise Busy(
                    "The model {model} is in use. Wait until its jobs have ended.", model=name
                )
            self._forget(slot)
        gc.collect()
        return True

    def clear(self, collect: bool = True) -> None:
        """Forget every model that nobody leases.

        Args:
            collect: search for what only circles of references keep, which takes a second or more.
        """
        with self._changed:
            for slot in [s for s in self._slots.values() if s.state != "moving" and not s.leases]:
                self._forget(slot)
        if collect:
            gc.collect()

    def _acquire(self, name: str) -> _Slot:
        with self._changed:
            while True:
                slot = self._join(name)
                while slot.state == "moving" and slot.error is None:
                    self._changed.wait()
                slot.waiting -= 1
                if slot.error is not None and not slot.given_up:
                    raise slot.error
                if slot.state == "device":
                    slot.leases += 1
                    slot.used = next(self._clock)
                    return slot

    def _join(self, name: str) -> _Slot:
        """:meth:`_wanted_slot`, with one more waiting for it. Holds the condition."""
        slot = self._wanted_slot(name)
        slot.waiting += 1
        return slot

    def _wanted_slot(self, name: str) -> _Slot:
        """The slot of ``name``, on the device or now on its way there. Holds the condition."""
        slot = self._slots.get(name)
        if slot is not None and _is_outdated(slot):
            self._forget(slot)
            slot = None
        if slot is None:
            slot = self._slots[name] = _Slot(name)
        elif slot.state != "ram":
            return slot
        slot.state, slot.bytes, slot.used = "moving", 0, next(self._clock)
        slot.note = (Message("Loading {model}", model=name), None)
        # A thread of its own, so that whoever waits can stop waiting.
        threading.Thread(target=self._bring, args=(slot,), name=f"load {name}", daemon=True).start()
        return slot

    def _bring(self, slot: _Slot) -> None:
        """Load or move ``slot`` to the device; the only writer of a slot that is moving."""
        try:
            if slot.model is None:
                self._make_room(slot, self._expected_bytes(slot.name))
                slot.files = _states(self._files_of(slot.name))
                model = self._load(slot.name, self.device, lambda *note: self._note(slot, *note))
                try:
                    self._make_room(slot, model.nbytes, patient=False)
                except OutOfMemory:
                    model.close()
                    raise
                slot.model = model
            else:
                self._make_room(slot, slot.needed)
                slot.model.to(self.device)
            with self._changed:
                slot.bytes = slot.needed = slot.model.nbytes
                slot.state = "device"
                self._changed.notify_all()
        except BaseException as error:
            # BaseException: whatever ends this thread must reach those who wait for it.
            with self._changed:
                if slot.model is not None:
                    slot.model.close()
                    slot.model = None
                self._slots.pop(slot.name, None)
                slot.error = error
                self._changed.notify_all()

    def _note(self, slot: _Slot, message: Message, share: float | None) -> None:
        with self._changed:
            if not slot.waiting:
                raise Stopped
            slot.note = (message, share)
            self._changed.notify_all()

    def _make_room(self, slot: _Slot, need: int, patient: bool = True) -> None:
        """Reserve ``need`` bytes on the device for ``slot``, moving others out of the way.

        ``patient`` waits for others that are on their way and may be moved once they are there; a
        slot that holds a reservation already must not, since two of them could wait for ever.
        """
        while True:
            with self._changed:
                others = [s for s in self._slots.values() if s is not slot and s.state != "ram"]
                taken = sum(other.bytes for other in others)
                if taken + need <= self.budget_bytes:
                    slot.bytes = need
                    return
                if need > self.budget_bytes:
                    raise _too_large(slot.name, need, self.budget_bytes, self.device)
                free = [s for s in others if s.state == "device" and not s.leases]
                idle = [s for s in free if not s.waiting]
                in_motion = free or any(s.state == "moving" and s.bytes for s in others)
                if not idle and in_motion and patient:
                    self._changed.wait()
                    continue
                if not idle:
                    raise _all_in_use(slot.name, need, taken, self.budget_bytes, self.device)
                victim = min(idle, key=lambda s: s.used)
                if not (self.ram_budget_bytes and getattr(victim.model, "movable", True)):
                    self._forget(victim)
                else:
                    victim.state = "moving"
            if victim.state == "moving":
                self._to_ram(victim)
            gc.collect()

    def _to_ram(self, slot: _Slot) -> None:
        try:
            slot.model.to("cpu")  # outside the condition: seconds for a large model
        except Exception:  # RAM may be full; it is loaded anew when it is wanted again
            _log.warning("%s could not be moved to RAM", slot.name, exc_info=True)
            with self._changed:
                self._forget(slot)
            return
        with self._changed:
            slot.state, slot.bytes = "ram", slot.model.nbytes
            waiting = sorted(
                (s for s in self._slots.values() if s.state == "ram"), key=lambda s: -s.used
            )
            while sum(s.bytes for s in waiting) > self.ram_budget_bytes:
                self._forget(waiting.pop())
            self._changed.notify_all()

    def _forget(self, slot: _Slot) -> None:
        """Close and drop a slot that nobody leases. Holds the condition."""
        del self._slots[slot.name]
        slot.model.close()
        slot.model, slot.bytes, slot.state = None, 0, "ram"
        self._changed.notify_all()


def _is_outdated(slot: _Slot) -> bool:
    """Whether nobody uses it and it is better loaded anew.

    Its files are others by now, where those that are away say nothing, or it says so itself.
    """
    if slot.state == "moving" or slot.leases or slot.waiting:
        return False
    if getattr(slot.model, "is_outdated", False):
        return True
    now = _states(slot.files)
    return any(now.get(path, state) != state for path, state in slot.files.items())


def _states(files: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Bytes and time of the last change (ns) of those files that are there."""
    states = {}
    for path in files:
        with contextlib.suppress(OSError):
            found = path.stat()
            states[path] = found.st_size, found.st_mtime_ns
    return states


def _too_large(name: str, need: int, budget: int, device: str) -> OutOfMemory:
    return OutOfMemory(
        "{model} needs about {need} on {device}, but models may take {budget} there. Choose a "
        "smaller model, or start with a larger --budget.",
        model=name,
        need=format_bytes(need),
        budget=format_bytes(budget),
        device=device,
    )


def _all_in_use(name: str, need: int, taken: int, budget: int, device: str) -> OutOfMemory:
    return OutOfMemory(
        "{model} needs about {need} on {device}, but {taken} of {budget} are in use by running "
        "jobs. Wait until they have ended, or start with a larger --budget.",
        model=name,
        need=format_bytes(need),
        taken=format_bytes(taken),
        budget=format_bytes(budget),
        device=device,
    )
