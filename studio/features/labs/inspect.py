"""Looking into language models from the page: who may open which, and what was read is kept.

Not jobs: an answer takes about a second. One text is read at a time; what has been read once
answers another position, head or slider at once, mostly without the model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pipelines.chat import inspect
from pipelines.chat.architecture import Architecture, architecture
from pipelines.chat.catalog import ChatCatalog
from pipelines.chat.entries import INSPECT_PREFIX, OWN, ChatEntry
from pipelines.chat.inspect import InspectRequest, Lens, NextToken, Text
from pipelines.core.errors import NotFound, Refused
from pipelines.core.events import Progress
from studio.core.jobs.slots import FairSlots

if TYPE_CHECKING:
    import torch

    from studio.core.accounts.accounts import Owner

_Key = tuple[ChatEntry, str, bool]  # model, text, whether special tokens in it are read
View = Literal["odds", "attention", "layers", "build"]

COLUMNS = 24  # positions of the lens at a time: as many as a screen shows
EACH_ASKED = 8  # looks of one owner at work or waiting
KEPT_TEXTS, KEPT_BYTES = 6, 2**29
KEPT_PLACES = 8  # of a text: logits of a position, a block's attention, columns of the lens


@dataclass(frozen=True, eq=False)
class Seen:
    """What one look shows.

    Attributes:
        entry: of the model.
        text: its tokens.
        position: the token after which one looks, counted from 1.
        build: how the model is built.
        odds, weights, lens: of the view that was asked for; ``weights`` (heads, T, T).
    """

    entry: ChatEntry
    text: Text
    position: int
    build: Architecture
    odds: NextToken | None = None
    weights: torch.Tensor | None = None
    lens: Lens | None = None


@dataclass(eq=False)
class _Kept:
    """A text that was read, and what was asked about it; holds no weights of the model."""

    text: Text
    tokenizer: Any
    build: Architecture
    found: OrderedDict[tuple[str, int], Any] = field(default_factory=OrderedDict)

    @property
    def nbytes(self) -> int:
        return self.text.nbytes + sum(getattr(each, "nbytes", 0) for each in self.found.values())


class Inspector:
    """Opens models of the catalog that are here, for one owner at a time.

    Args:
        catalog: of language models.
        cache: the model cache.
        own: ``own(owner id)``: the models that an owner has made here.
    """

    def __init__(
        self,
        catalog: ChatCatalog,
        cache: Any,
        own: Callable[[str], Sequence[ChatEntry]] = lambda owner: (),
    ) -> None:
        self._catalog, self._cache, self._own = catalog, cache, own
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._guard = threading.Lock()  # of what is kept
        self._slots = FairSlots(
            1, asked=EACH_ASKED, busy="Others are looking into a model. Try again in a moment."
        )

    def models(self, owner: Owner) -> list[ChatEntry]:
        """Those that ``owner`` can look into: they run here and need no download."""
        shared = [
            entry
            for entry in self._catalog.models()
            if entry.can_inspect and self._catalog.is_here(entry)
        ]
        return [*shared, *self._own(owner.id)]

    def entry(self, owner: Owner, name: str) -> ChatEntry:
        """The model called ``name``.

        Raises:
            NotFound: there is none, or it is somebody else's.
            Refused: it cannot be looked into; the sentence says why.
        """
        if name.startswith(OWN):
            own = {entry.name: entry for entry in self._own(owner.id)}
            if name not in own:
                raise NotFound(
                    "There is no model called {model}. See the list of models.", model=name[:100]
                )
            return own[name]
        entry = self._catalog.get(name)
        if not entry.can_inspect:
            raise Refused(
                "{model} runs on another server, so nobody here can look inside. Choose a model "
                "that runs here.",
                model=entry.title,
            )
        if not self._catalog.is_here(entry):
            raise Refused(
                "{model} has not been downloaded yet. Chat with it first, or choose another one.",
                model=entry.title,
            )
        return entry

    def look(
        self,
        owner: Owner,
        request: InspectRequest,
        view: View,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> Seen:
        """What ``view`` shows of the text at its position.

        Args:
            tell: told the progress of loading the model.

        Raises:
            BadRequest, NotFound, Refused, Unavailable: it cannot be shown; says why.
            Busy: others' texts took all turns for a minute.
        """
        entry = self.entry(owner, request.model)
        key = (entry, request.text, request.read_specials)
        kept, made = self._recall(key, request, view)
        if kept is None or (made is None and view != "build"):
            kept, made = self._compute(owner, key, request, view, tell)
        count = len(kept.text.tokens)
        seen = Seen(entry, kept.text, min(request.position or count, count), kept.build)
        if view == "odds":
            said = [token.id for token in kept.text.tokens[: seen.position]]
            return replace(seen, odds=inspect.odds(kept.tokenizer, made, request, said))
        if view == "attention":
            inspect.one_head(made, request.head)  # refuses one that is not there
            return replace(seen, weights=made)
        return replace(seen, lens=made) if view == "layers" else seen

    def _compute(
        self,
        owner: Owner,
        key: _Key,
        request: InspectRequest,
        view: View,
        tell: Callable[[Progress], None],
    ) -> tuple[_Kept, Any]:
        """What is not there yet, in the model."""
        entry, text, read_specials = key
        with self._slots.take(owner.id):
            name = INSPECT_PREFIX + entry.name
            for progress in self._cache.warm(name, threading.Event()):
                tell(progress)
            with self._cache.lease(name) as held:
                # Somebody may have asked for the same meanwhile.
                kept, made = self._recall(key, request, view)
                if kept is None:
                    inspect.check(held.model, entry.title)
                    read = inspect.read(held.model, held.tokenizer, text, read_specials)
                    kept = _Kept(read, held.tokenizer, architecture(held.model))
                if made is None and view != "build":
                    made = _compute_view(held, kept.text, request, view)
            self._keep(key, kept, _place(request, view, kept), made)
            return kept, made

    def _recall(self, key: _Key, request: InspectRequest, view: View) -> tuple[_Kept | None, Any]:
        """What was read, and of it what ``view`` needs; None for what is not there."""
        with self._guard:
            kept = self._kept.get(key)
            if kept is None:
                return None, None
            self._kept.move_to_end(key)
            return kept, kept.found.get(_place(request, view, kept))

    def _keep(self, key: _Key, kept: _Kept, place: tuple[str, int], made: Any) -> None:
        with self._guard:
            if made is not None:
                kept.found[place] = made
            while len(kept.found) > KEPT_PLACES:
                kept.found.popitem(last=False)
            self._kept[key] = kept
            while len(self._kept) > 1 and (
                len(self._kept) > KEPT_TEXTS
                or sum(each.nbytes for each in self._kept.values()) > KEPT_BYTES
            ):
                self._kept.popitem(last=False)


def _place(request: InspectRequest, view: View, kept: _Kept) -> tuple[str, int]:
    """Under what a view's result is kept."""
    if view == "attention":
        return view, request.layer
    return view, request.position or len(kept.text.tokens)


def _compute_view(held: Any, text: Text, request: InspectRequest, view: View) -> Any:
    if view == "odds":
        return inspect.next_token(held.model, text, request.position)
    if view == "attention":
        return inspect.attention(held.model, text, request.layer)
    last = min(request.position or len(text.tokens), len(text.tokens))
    return inspect.logit_lens(held.model, held.tokenizer, text, max(0, last - COLUMNS), last)
