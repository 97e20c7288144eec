"""What watching a work of hours has in common: a training, or a model that is being shortened.

The page only watches. A work goes on when the page is closed, and a page that is opened later finds
it by its owner.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import gradio as gr

from pipelines.core.errors import UserError
from studio.core.jobs.record import DONE, Job
from studio.page import views
from studio.page.components.deletion import Deletion
from studio.page.components.latest_watch import Turns, ending_silently
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio
    from studio.page.opening import Opening

W = TypeVar("W", bound="Work")
_NEWEST = ""  # instead of an id: the unfinished work, else the last one


class Work(Protocol):
    """What its job makes; it has the id that its works know it by."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def job(self) -> Job | None: ...

    @property
    def ended(self) -> bool: ...


class Works(Protocol[W]):
    """Where an owner's works are found."""

    def list(self, owner: str) -> list[W]: ...

    def get(self, owner: str, id: str) -> W: ...

    def delete(self, owner: str, id: str) -> None: ...


class WorkWatch(ABC, Generic[W]):
    """The list of earlier works, and what starts, resumes, stops and deletes the one on the board.

    Args:
        studio: whose jobs run them.
        works: where they are found.
        kind: of their jobs.
        name: the beginning of the elements' ids.
        earlier: label of the list.
        states: what the list calls each state of a job.

    Attributes:
        id: state with the id of the work on the board, or None.
    """

    def __init__(
        self,
        studio: Studio,
        works: Works[W],
        *,
        kind: str,
        name: str,
        earlier: str,
        states: Mapping[str, str],
    ) -> None:
        self.studio, self.works = studio, works
        self._kind, self._name, self._states = kind, name, states
        # The server keeps the id, so that no page can name another work than it shows.
        self.id = gr.State(None)
        self._turns = gr.State(Turns())
        self._earlier = gr.Dropdown(
            [], label=label(earlier), visible=False, elem_id=f"{name}-earlier"
        )

    def _button(self, text: str, does: str) -> gr.Button:
        return gr.Button(label(text), size="sm", visible=False, elem_id=f"{self._name}-{does}")

    def _listen(
        self,
        opening: Opening,
        button: gr.Button,
        request_of: Callable[[list[Any], Visitor], Mapping[str, Any]],
        inputs: list[gr.components.Component],
        *,
        stop: gr.Button,
        resume: gr.Button,
        deletion: Deletion,
        outputs: list[Any],
    ) -> list[gr.events.Dependency]:
        """Connect the buttons with what they do, and :meth:`_follow` with ``outputs``.

        Returns:
            the ends of the watches after which other works may be there than before.
        """

        def submitted(request: gr.Request, *values: Any) -> str:
            visitor = Visitor.of(request)

            def act() -> object:
                fields = dict(request_of(list(values), visitor))
                return self.studio.submissions.submit(visitor.owner, self._kind, fields)

            return views.refusal(act, visitor)

        def resumed(id: str | None, request: gr.Request) -> str:
            visitor = Visitor.of(request)
            return views.refusal(lambda: self._resume(visitor.owner, str(id)), visitor)

        def deleted(id: str | None, request: gr.Request) -> str:
            visitor = Visitor.of(request)
            return views.refusal(lambda: self.works.delete(visitor.owner.id, str(id)), visitor)

        refusal, newest = gr.State(""), gr.State(_NEWEST)
        begun = button.click(submitted, inputs, refusal, preprocess=False, **QUIET)
        gone_on = resume.click(resumed, self.id, refusal, **QUIET)
        gone = deletion.really.click(deleted, self.id, refusal, **QUIET)
        watch = {**QUIET, "preprocess": False, "trigger_mode": "multiple"}
        follow = ending_silently(self._follow, len(outputs))
        watches = [
            begin(follow, [*what, self._turns], outputs, **watch)
            for begin, what in (
                (begun.then, [refusal, newest]),
                (gone_on.then, [refusal, self.id]),
                (gone.then, [refusal, self.id]),
                (opening.load, [gr.State(""), newest]),
                (self._earlier.input, [gr.State(""), self._earlier]),
            )
        ]
        stop.click(self._stopped, self.id, stop, **QUIET)
        deletion.ask(self.id, self._question)
        return watches[:3]

    @abstractmethod
    def _follow(
        self, refusal: str, id: str | None, turns: Turns, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Show a work until it has ended, or the page watches anew.

        Args:
            refusal: why a newer one was not taken.
            turns: of the watches that the page has begun.
        """

    @abstractmethod
    def _resume(self, owner: Owner, id: str) -> object:
        """Go on with it."""

    @abstractmethod
    def _question(self, id: str | None, visitor: Visitor) -> str | None:
        """Whether the one on the board is meant, and what goes with it; None where it is gone."""

    def _stopped(self, id: str | None, request: gr.Request) -> Any:
        owner = Visitor.of(request).owner.id
        known = self.works.get(owner, str(id))
        if known.job is not None:
            self.studio.jobs.cancel(owner, known.job.id)
        return gr.update(interactive=False)

    def _find(self, visitor: Visitor, id: str | None) -> W | None:
        """The one with that id, the one that is at work or next, or else the last one."""
        known = self.works.list(visitor.owner.id)
        named = [work for work in known if work.id == id]
        unfinished = [work for work in known if not work.ended]
        return next(iter([*named, *unfinished[::-1], *known]), None)

    def _named(self, visitor: Visitor, id: str | None) -> W | None:
        """The one with that id; None when it has been deleted in another window."""
        try:
            return self.works.get(visitor.owner.id, str(id))
        except UserError:
            return None

    def _choices(self, visitor: Visitor, shown: W) -> Any:
        """The list of earlier works as it is now."""
        known = self.works.list(visitor.owner.id)
        choices = [(f"{work.name} · {visitor.say(self._states[self._state(work)])}", work.id)
                   for work in known]  # fmt: skip
        return gr.update(choices=choices, value=shown.id, visible=len(known) > 1)

    @staticmethod
    def _state(work: W) -> str:
        return work.job.state if work.job is not None else DONE
