"""What the tabs of a page send to one another: settings, a picture, a prompt …

A tab offers things of a kind, others take them, and neither knows the other. What a tab takes it
says by its class, so that whoever offers can draw a button for it before any tab has listened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Kinds of things.
SETTINGS = "settings"  # Settings of a picture
PICTURE = "picture"  # id of a picture of the gallery
PICTURES = "pictures"  # ids of several
DRAWING = "drawing"  # fields of a request that follows pictures brought in, the first of them drawn
PROMPT = "prompt"  # fields of a request to paint: a prompt, and what it needs
CHANGE = "change"  # of the settings that are there: a function of their fields to new ones
CHAT_MODELS = "chat models"  # a conversation that is there already


@dataclass(frozen=True, slots=True)
class Target:
    """What a tab takes.

    Attributes:
        kind: of things.
        name: tells apart what one kind can be sent to; several tabs with one name are one target,
            and the thing goes to the first of them that has a use for it.
        button: what is said on a button that sends it there; "": there is no such button.
    """

    kind: str
    name: str = ""
    button: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a picture was made.

    Attributes:
        fields: of a request, as far as the parameters tell.
        parameters: as :func:`studio.core.gallery.metadata.parse_parameters` gives them.
        picture: id of the gallery's; None for a file that was dropped.
    """

    fields: Mapping[str, Any]
    parameters: dict[str, Any]
    picture: str | None


@dataclass(frozen=True, slots=True)
class Taker:
    """One tab's way to take things that other tabs send.

    Attributes:
        tab: its id.
        outputs: the components that change.
        take: ``take(thing, visitor, values)`` gives their updates, or None where it has no use for
            the thing; raises a UserError where it cannot be taken.
        inputs: the components whose values it looks at.
        after: is given the event that has changed the outputs, to go on.
    """

    tab: str
    outputs: Sequence[Any]
    take: Callable[[Any, Any, list[Any]], list[Any] | None]
    inputs: Sequence[Any] = ()
    after: Callable[[Any], None] = lambda event: None


@dataclass(slots=True)
class Route:
    """Where the things of one offer go: the takers, and the bars that show who took one.

    Attributes:
        takers: those that are asked, in this order.
        select: ``select(id)`` gives the updates of the bars that show a tab.
        skip: the update that changes nothing.
        bars: the components that tabs are chosen on, which are the last outputs.
    """

    takers: list[Taker]
    select: Callable[[str], list[Any]]
    skip: Any
    bars: Sequence[Any]

    @property
    def inputs(self) -> list[Any]:
        return [each for taker in self.takers for each in taker.inputs]

    @property
    def outputs(self) -> list[Any]:
        return [*(each for taker in self.takers for each in taker.outputs), *self.bars]

    def send(self, thing: Any, visitor: Any, values: Sequence[Any] = ()) -> list[Any]:
        """The updates of the outputs, given the values of the inputs.

        Args:
            thing: None where there is nothing to be sent any more.
        """
        updates, shown, rest = [], None, list(values)
        for taker in self.takers:
            own, rest = rest[: len(taker.inputs)], rest[len(taker.inputs) :]
            taken = None
            if thing is not None and shown is None:
                taken = taker.take(thing, visitor, own)
            if taken is not None:
                shown = taker.tab
            updates += [self.skip] * len(taker.outputs) if taken is None else taken
        return [*updates, *([self.skip] * len(self.bars) if shown is None else self.select(shown))]

    def follow(self, event: Any) -> None:
        """Hands the event that changes the outputs to each taker, to bind what follows."""
        for taker in self.takers:
            taker.after(event)


@dataclass(slots=True)
class Exchange:
    """The offers and takers of one page."""

    _takers: dict[tuple[str, str], list[Taker]] = field(default_factory=lambda: defaultdict(list))
    _offers: list[tuple[str, str, Callable[[Route], None]]] = field(default_factory=list)

    def take(self, kind: str, taker: Taker, name: str = "") -> None:
        """Notes who takes things of a kind, and of a target's name if one is given.

        The features stand from the general to the special ones: the last one is asked first.
        """
        self._takers[kind, name].insert(0, taker)

    def offer(self, kind: str, connect: Callable[[Route], None], name: str = "") -> None:
        """Notes an offer; ``connect`` is called with its route once all takers are known."""
        self._offers.append((kind, name, connect))

    def connect(self, bars: Sequence[Any], select: Callable[[str], list[Any]], skip: Any) -> None:
        """Calls each offer with its route; offers that nobody takes are left out."""
        for kind, name, connect in self._offers:
            if takers := self._takers.get((kind, name)):
                connect(Route(takers, select, skip, bars))


def buttons(tabs: Iterable[Any], kinds: Iterable[str]) -> list[Target]:
    """The targets with buttons for things of some kinds, each once, in the order of the tabs."""
    targets = (target for tab in tabs for target in getattr(tab, "takes", ()))
    return list(dict.fromkeys(each for each in targets if each.button and each.kind in kinds))
