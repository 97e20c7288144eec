"""What panels of works of hours have in common: a training, or a model that is being shortened."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import gradio as gr

from pipelines.core.errors import UserError
from studio.core.jobs.record import CANCELLED, DONE, FAILED
from studio.page import views
from studio.page.components.deletion import UNASKED, Deletion
from studio.page.components.job_view import Frame, JobView, Look, Renderer, unfinished_or_newest
from studio.page.widgets import Visitor, label

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents


class Work(Protocol):
    """What jobs do and go on with; None has made what was brought along."""

    id: str
    name: str
    ended: bool
    job: Job | None


W = TypeVar("W", bound=Work)


class Works(Protocol[W]):
    """Where an owner's works are found, newest first."""

    def list(self, owner: str) -> Sequence[W]: ...

    def get(self, owner: str, id: str) -> W: ...

    def delete(self, owner: str, id: str) -> object: ...


class WorkPanel(Renderer, Generic[W]):
    """A panel with the list of earlier works, and what resumes, stops and deletes the one on it.

    Args:
        studio: whose jobs run them.
        works: where they are found.

    Attributes:
        kind: of their jobs.
        name: the beginning of the elements' ids.
        earlier: label of the list.
        states: what the list calls each state of a job.
        stop: what the button says that stops one.
        delete: likewise, and the end of its id.
        script: JavaScript for what is drawn.
        empty: title and words of a panel without any work.
        view: connects it with the jobs; has the id of the work in the panel.
        panel: what is drawn on.
    """

    kind: str
    name: str
    earlier: str
    states: Mapping[str, str] = MappingProxyType(
        {"queued": "waiting", "running": "at work", "done": "ready", "failed": "failed",
         "cancelled": "stopped"}
    )  # fmt: skip
    stop: str
    delete: tuple[str, str]
    script = ""
    empty: tuple[str, str]

    def __init__(self, studio: Studio, works: Works[W]) -> None:
        self.studio, self.works = studio, works
        self.view = JobView(studio, self.kind, self)
        self._earlier = gr.Dropdown(
            [], label=label(self.earlier), visible=False, elem_id=f"{self.name}-earlier"
        )
        self.panel = gr.HTML(elem_id=f"{self.name}-panel", js_on_load=views.ANNOUNCED + self.script)
        with gr.Row(elem_classes="actions"):
            self._stop = self._button(self.stop, "stop")
            self._resume = self._button("Resume", "resume")
            self._further = self._draw_further()
            self._deletion = Deletion(*self.delete)
        button, *question = self._deletion.outputs
        shown = [self.panel, self._stop, self._resume, *self._further, button]
        self.repeated = len(shown)
        self.outputs = [*shown, *question, self._earlier]

    def _button(self, text: str, does: str) -> gr.Button:
        return gr.Button(label(text), size="sm", visible=False, elem_id=f"{self.name}-{does}")

    def _draw_further(self) -> list[gr.Button]:
        """Draws buttons of its own, seen while the work in the panel has ended."""
        return []

    def connect(
        self,
        events: TabEvents,
        button: gr.Button,
        request_of: Callable[[list[Any], Visitor], Mapping[str, Any]],
        inputs: list[gr.components.Component],
    ) -> list[gr.events.Dependency]:
        """Let ``button`` start a work and show it.

        Returns:
            the ends of the watches after which other works may be there than before.
        """
        view = self.view

        def resume(visitor: Visitor, id: str | None) -> object:
            return self.resume(visitor.owner, str(id))

        def delete(visitor: Visitor, id: str | None) -> object:
            return self.works.delete(visitor.owner.id, str(id))

        watches = [
            view.submit(button.click, request_of, inputs),
            view.act(self._resume.click, resume, [view.id], view.id),
            view.act(self._deletion.really.click, delete, [view.id], view.id),
        ]
        view.open(events)
        view.watch(self._earlier.input, self._earlier)
        view.stop(self._stop)
        self._deletion.ask(view.id, self._question)
        return watches

    # --- what a feature says ----------------------------------------------------------------

    @abstractmethod
    def resume(self, owner: Owner, id: str) -> object:
        """Go on with it."""

    @abstractmethod
    def question(self, work: W, visitor: Visitor) -> str:
        """Whether this one is meant to be deleted, and what goes with it, as HTML."""

    @abstractmethod
    def begin_drawing(self, visitor: Visitor) -> Callable[[W, str], str]:
        """``draw(work, refusal)``, which draws the panel at each look of a watch."""

    def further(self, work: W | None, visitor: Visitor) -> list[Any]:
        """Updates of outputs that the feature has added to :attr:`outputs`."""
        return []

    # --- what is shown ----------------------------------------------------------------------

    def begin(self, visitor: Visitor, refusal: str, which: str | None, values: list[Any]) -> Look:
        draw, id = self.begin_drawing(visitor), None

        def look() -> Frame:
            nonlocal id
            try:
                work = self.find(visitor, which) if id is None else self._get(visitor, id)
            except UserError as error:  # deleted meanwhile
                gone = views.result_panel(visitor, failure=views.error(error.message, visitor))
                return self._without(visitor, gone, gr.skip())
            if work is None:
                empty = views.empty_panel(*self.empty, visitor)
                panel = views.result_panel(visitor, failure=refusal) if refusal else empty
                return self._without(visitor, panel, gr.update(visible=False))
            id = work.id
            running, unfinished = not work.ended, _is_unfinished(work)
            updates = [
                draw(work, refusal),
                gr.update(visible=running, interactive=True),
                gr.update(visible=unfinished),
                *(gr.update(visible=not running) for _ in self._further),
                gr.update(visible=not running),
                UNASKED,
                self._choices(visitor, work),
                *self.further(work, visitor),
            ]
            return Frame(work.id, updates, work.ended)

        return look

    def job_of(self, visitor: Visitor, id: str) -> str | None:
        work = self._get(visitor, id)
        return work.job.id if work.job is not None else None

    def _without(self, visitor: Visitor, panel: str, earlier: Any) -> Frame:
        hidden = [gr.update(visible=False) for _ in range(self.repeated - 1)]
        updates = [panel, *hidden, UNASKED, earlier, *self.further(None, visitor)]
        return Frame(None, updates, True)

    def find(self, visitor: Visitor, which: str | None) -> W | None:
        """The one with that id, the one that is at work or next, or else the last one."""
        known = self.works.list(visitor.owner.id)
        named = [work for work in known if work.id == which]
        return next(iter(named), None) or unfinished_or_newest(known)

    def _get(self, visitor: Visitor, id: str) -> W:
        return self.works.get(visitor.owner.id, id)

    def _question(self, id: str | None, visitor: Visitor) -> str | None:
        try:
            return self.question(self._get(visitor, str(id)), visitor)
        except UserError:  # it has been deleted in another window
            return None

    def _choices(self, visitor: Visitor, shown: W) -> Any:
        """The list of earlier works as it is now."""
        known = self.works.list(visitor.owner.id)
        choices = [(f"{work.name} · {visitor.say(self.states[_state(work)])}", work.id)
                   for work in known]  # fmt: skip
        return gr.update(choices=choices, value=shown.id, visible=len(known) > 1)


def _state(work: Work) -> str:
    return work.job.state if work.job is not None else DONE


def _is_unfinished(work: Work) -> bool:
    return work.job is not None and work.job.state in (CANCELLED, FAILED)
