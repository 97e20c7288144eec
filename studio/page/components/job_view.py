"""One view for any job: submitted, watched until it ends, stopped, and found again after a reload.

The page only watches. A job goes on when the page is closed, and a page that is opened later finds
it by its owner. What is shown of a job is its feature's to say, by a :class:`Renderer`.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio.to_thread
import gradio as gr

from studio.core.broadcast import Broadcast
from studio.core.jobs.record import QUEUED
from studio.page import views
from studio.page.widgets import QUIET, Visitor

if TYPE_CHECKING:
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

LOOK_SECONDS_WAITING = 0.6  # between two looks at a job in the queue
NEWEST, OPENED = "", "opened"
"""Instead of an id: what has just been submitted, and what is found when the tab is opened."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is to be seen of a job at a moment.

    Attributes:
        id: of the job, or of the work that jobs do; None where there is none.
        updates: of the renderer's outputs.
        ended: nothing more comes.
        seconds: until the next look; None: as the renderer usually has it.
    """

    id: str | None
    updates: list[Any]
    ended: bool
    seconds: float | None = None


Look = Callable[[], Frame]


class Ending(Protocol):
    """What is watched until it has ended."""

    @property
    def ended(self) -> bool: ...


class Renderer(ABC):
    """What a feature shows of its jobs.

    Attributes:
        outputs: what its frames update.
        look_seconds: between two looks at a job that has not ended.
        repeated: how many of the first outputs are sent once more when a job has ended, for a busy
            browser may take an older watch's last word after the newer one's.
    """

    outputs: list[Any]
    look_seconds = 0.5
    repeated = 0

    @abstractmethod
    def begin(self, visitor: Visitor, refusal: str, which: str | None, values: list[Any]) -> Look:
        """A watch begins; what it returns is called in threads, one call after another.

        Args:
            refusal: why a newer job was not taken, as HTML, or empty.
            which: an id, :data:`NEWEST` or :data:`OPENED`.
            values: of what else the view is drawn from.
        """

    @abstractmethod
    def find(self, visitor: Visitor, which: str | None) -> Ending | None:
        """The job, or what else has an end, that a watch begins with."""

    def job_of(self, visitor: Visitor, id: str) -> str | None:
        """The job that is stopped when the one in the panel is."""
        return id


class JobView:
    """Connects a renderer with the jobs of one kind.

    Args:
        studio: whose jobs.
        kind: of the jobs.
        renderer: what is shown of them.
        values: components that it is drawn from too; what is drawn is shared by all pages that an
            owner has open only where there are none.

    Attributes:
        id: state with the id of what is shown, or None. The server keeps it, so that no page can
            name another than the one it shows.
        refusal: state with the reason why the newest request was not taken, as HTML, or empty.
    """

    def __init__(
        self,
        studio: Studio,
        kind: str,
        renderer: Renderer,
        values: Sequence[gr.components.Component] = (),
    ) -> None:
        self.studio, self.kind, self.renderer = studio, kind, renderer
        self.values = list(values)
        self.id, self.refusal = gr.State(None), gr.State("")
        self._latest = gr.State(LatestWatch())
        self._watched = Broadcast(self._frames)

    def submit(
        self,
        moment: Callable[..., gr.events.Dependency],
        request_of: Callable[[list[Any], Visitor], Mapping[str, Any]],
        inputs: list[gr.components.Component],
        js: str | None = None,
    ) -> gr.events.Dependency:
        """Lets an event submit ``request_of(values of inputs, visitor)`` and watch the job.

        ``js`` may put the newest values in place of those that the browser has.
        """

        def act(visitor: Visitor, *values: Any) -> object:
            fields = dict(request_of(list(values), visitor))
            return self.studio.submissions.submit(visitor.owner, self.kind, fields)

        return self.act(moment, act, inputs, js=js)

    def retry(self, moment: Callable[..., gr.events.Dependency]) -> gr.events.Dependency:
        """Lets an event queue the request of the job that is shown again."""
        return self.act(moment, self._try_again, [self.id])

    def act(
        self,
        moment: Callable[..., gr.events.Dependency],
        act: Callable[..., object],
        inputs: list[gr.components.Component],
        which: gr.State | None = None,
        js: str | None = None,
    ) -> gr.events.Dependency:
        """Lets an event do something and watch what comes of it.

        Args:
            act: ``act(visitor, *values of inputs)``, which may raise UserError.
            which: state with the id of what is watched then; None: the newest.
        """

        def act_and_report(request: gr.Request, *values: Any) -> str:
            visitor = Visitor.of(request)
            return views.refusal(lambda: act(visitor, *values), visitor)

        # Gradio's own checks know less than the request's and say it worse.
        begun = moment(act_and_report, inputs, self.refusal, preprocess=False, js=js, **QUIET)
        return self.watch(begun.then, which or gr.State(NEWEST), self.refusal)

    def watch(
        self,
        moment: Callable[..., gr.events.Dependency],
        which: gr.components.Component,
        refusal: gr.State | None = None,
    ) -> gr.events.Dependency:
        """Lets an event watch the job that the value of ``which`` says."""
        outputs = [self.id, *self.renderer.outputs]
        return moment(
            _ending_silently(self._follow, len(outputs)),
            [refusal or gr.State(""), which, self._latest, *self.values],
            outputs,
            preprocess=False,
            trigger_mode="multiple",
            **QUIET,
        )

    def open(self, events: TabEvents) -> gr.events.Dependency:
        """Watches what is found when the tab is opened."""
        return self.watch(events.load, gr.State(OPENED))

    def stop(self, button: gr.Button) -> None:
        """Lets ``button`` stop the job that is shown."""

        def stop_shown(id: str | None, request: gr.Request) -> Any:
            visitor = Visitor.of(request)
            job_id = self.renderer.job_of(visitor, id) if id is not None else None
            if job_id is not None:
                self.studio.jobs.cancel(visitor.owner.id, job_id)
            return gr.update(interactive=False)

        button.click(stop_shown, self.id, button, **QUIET)

    def _try_again(self, visitor: Visitor, id: str | None) -> object:
        return self.studio.submissions.retry(visitor.owner, str(id))

    # --- watching ---------------------------------------------------------------------------

    async def _follow(
        self,
        refusal: str,
        which: str | None,
        latest: LatestWatch,
        request: gr.Request,
        *values: Any,
    ) -> AsyncIterator[list[Any]]:
        """Shows a job until it has ended, or the page watches anew; each time what has changed."""
        own, visitor = latest.begin(), Visitor.of(request)
        which = which if isinstance(which, str) else None  # a stranger's page can send anything
        begin = functools.partial(self.renderer.begin, visitor, refusal, which, list(values))
        is_shared = not refusal and not self.values
        shown: list[Any] | None = None
        is_over = False
        while not is_over:
            frames = self._watched.listen((visitor, which)) if is_shared else self._looks(begin())
            async with aclosing(frames):
                async for frame in frames:
                    new = [frame.id, *frame.updates]
                    async with latest.of(own) as may_show:
                        if not may_show:
                            return
                        if (changed := _changes(shown, new)) is not None:
                            yield changed
                    shown = new
            # What others watch may have been looked at last before the newest job was there.
            again = self.renderer.find if is_shared else lambda *_: None
            found = await anyio.to_thread.run_sync(again, visitor, which)
            is_over = found is None or found.ended
        if self.renderer.repeated:
            await asyncio.sleep(2 * self.renderer.look_seconds)
            async with latest.of(own) as may_show:
                if may_show:
                    kept = 1 + self.renderer.repeated
                    yield deepcopy(shown[:kept]) + [gr.skip() for _ in shown[kept:]]

    def _frames(self, key: tuple[Visitor, str | None]) -> AsyncIterator[Frame]:
        visitor, which = key
        return self._looks(self.renderer.begin(visitor, "", which, []))

    async def _looks(self, look: Look) -> AsyncIterator[Frame]:
        while True:
            frame = await anyio.to_thread.run_sync(look)
            yield frame
            if frame.ended:
                return
            await asyncio.sleep(frame.seconds or self.renderer.look_seconds)


def _changes(shown: list[Any] | None, new: list[Any]) -> list[Any] | None:
    """What differs, the rest as updates that change nothing; None where nothing does.

    Copies, for Gradio takes values apart that other pages are shown too.
    """
    if shown is None:
        return deepcopy(new)
    if shown == new:
        return None
    return [
        gr.skip() if before == after else deepcopy(after)
        for before, after in zip(shown, new, strict=True)
    ]


def unfinished_or_newest(jobs: Sequence[Job]) -> Job | None:
    """The job that runs or is next, else the newest one.

    Args:
        jobs: newest first.
    """
    unfinished = [job for job in jobs if not job.ended]
    return next(iter([*unfinished[::-1], *jobs]), None)


class OneAfterAnother(Renderer):
    """Shows the owner's unfinished jobs, oldest first, and how each one before has ended."""

    studio: Studio
    kind: str
    look_seconds = 0.2

    def begin(self, visitor: Visitor, refusal: str, which: str | None, values: list[Any]) -> Look:
        before, job, is_news = refusal, None, which == NEWEST and not refusal

        def look() -> Frame:
            nonlocal before, job, is_news
            if job is None:
                job = self.find(visitor, which)
            else:
                seen, job = job, self._next(visitor, job)
                if job.id != seen.id:  # how it went stays in sight while the next one runs
                    ended = self.studio.jobs.get(visitor.owner.id, seen.id)
                    before += self.show_ended_before(visitor, ended)
            if job is None or job.ended:
                updates = self.show_ended(visitor, job, before, is_news)
                return Frame(job and job.id, updates, True)
            is_news = True
            seconds = LOOK_SECONDS_WAITING if job.state == QUEUED else None
            return Frame(job.id, self.show_running(visitor, job, before), False, seconds)

        return look

    @abstractmethod
    def show_running(self, visitor: Visitor, job: Job, before: str) -> list[Any]:
        """Updates of the outputs; ``before``: HTML of what was refused or has ended before."""

    @abstractmethod
    def show_ended(
        self, visitor: Visitor, job: Job | None, before: str, is_news: bool
    ) -> list[Any]:
        """As :meth:`show_running` of a job that has ended, or of none.

        Args:
            is_news: it has ended since it was submitted here, or while it was watched.
        """

    @abstractmethod
    def show_ended_before(self, visitor: Visitor, job: Job) -> str:
        """HTML of how a job has ended, above the next one."""

    def find(self, visitor: Visitor, which: str | None) -> Job | None:
        return unfinished_or_newest(self._jobs(visitor))

    def _jobs(self, visitor: Visitor) -> list[Job]:
        """Newest first."""
        return self.studio.jobs.list(visitor.owner.id, kind=self.kind)

    def _next(self, visitor: Visitor, job: Job) -> Job:
        """The same job as it is now, or where it has ended the owner's next one or else newest."""
        now = self.studio.jobs.get(visitor.owner.id, job.id)
        return (self.find(visitor, NEWEST) or now) if now.ended else now


# --- the newest watch of a page -------------------------------------------------------------------


class LatestWatch:
    """Of the watches that a page has begun only the newest may show anything, and one at a time.

    An older one would put back what it watches as soon as there is something new of it. And what a
    watch yields is on its way to the page while others go on: without waiting for one another, the
    older one's last could arrive after the newer one's only one, and stay.
    """

    def __init__(self) -> None:
        self._newest = 0
        self._showing = asyncio.Lock()

    def begin(self) -> int:
        """The number of a watch that begins, and is the newest one now."""
        self._newest += 1
        return self._newest

    @asynccontextmanager
    async def of(self, watch: int) -> AsyncIterator[bool]:
        """Whether ``watch`` may show something; around its yield, so that the next one waits."""
        async with self._showing:
            yield watch == self._newest


def _ending_silently(
    follow: Callable[..., AsyncIterator[list[Any]]], outputs: int
) -> Callable[..., AsyncIterator[list[Any]]]:
    """``follow``, whose last word changes none of its ``outputs``.

    Gradio sends a generator's last values once more when it has ended. From a watch that ends
    because a newer one has begun, that would be what the newer one has just replaced.
    """

    @functools.wraps(follow)
    async def follow_closing(*given: Any, **named: Any) -> AsyncIterator[list[Any]]:
        async with aclosing(follow(*given, **named)) as shown:
            async for values in shown:
                yield values
        yield [gr.skip()] * outputs

    return follow_closing
