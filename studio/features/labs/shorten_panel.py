"""The panel of a model that is being shortened, then of its figures beside the original's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pipelines.core.messages import Message
from studio.core.exchange import Route
from studio.core.jobs.record import CANCELLED, DONE
from studio.features.labs import shorten_views
from studio.features.labs.pruned_models import SHORTEN, Shortening
from studio.page import views
from studio.page.components.work_panel import WorkPanel
from studio.page.widgets import QUIET, Visitor

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner


class ShortenPanel(WorkPanel["Shortening"]):
    """Draws a panel of one shortened model and connects it with its job."""

    kind, name, script = SHORTEN, "shorten", shorten_views.BOTH_CLICKED
    earlier, stop = "Shortened models", "Stop"
    delete = ("Delete this model", "shorten-delete")
    empty = (
        "Nothing shortened yet",
        "Score the blocks to see which ones matter, choose how many may go, then press Shorten. "
        "The result is measured beside the original.",
    )

    def send_to(self, route: Route) -> None:
        """Let “Chat with both” show the tab of conversations; its scripts begin the new one."""
        self.panel.both(lambda: route.send((), None), None, route.outputs, **QUIET)

    def resume(self, owner: Owner, id: str) -> object:
        return self.studio.prunings.resume(owner, id)

    def question(self, work: Shortening, visitor: Visitor) -> str:
        words = Message("Delete {name} and all that its making has kept, for good?",
                        name=work.name)  # fmt: skip
        return views.summary([words], visitor)

    def begin_drawing(self, visitor: Visitor) -> Callable[[Shortening, str], str]:
        return partial(self._draw_panel, visitor)

    def _draw_panel(self, visitor: Visitor, known: Shortening, refusal: str) -> str:
        job, progress, failure = known.job, None, refusal
        if job is not None and not job.ended:
            progress = views.Progressing.of(self.studio.jobs, job)
        if job is not None and job.error is not None:
            failure += views.error(job.error, visitor)
        drawn, words = "", []
        if (facts := known.facts) is not None and known.ended:
            both = (known.made.made_from, known.made.model) if known.made is not None else None
            drawn = shorten_views.table(facts, visitor)
            drawn += shorten_views.chat_with(both, visitor) if both else ""
        if job is not None and job.state == CANCELLED:
            words = [Message("Stopped. What was done is kept; it can be resumed.")]
        elif job is not None and job.state == DONE:
            seconds = views.duration((job.result or {}).get("seconds", 0))
            words = [Message("{name} is ready, after {time}. It is in the list of models.",
                             name=known.name, time=seconds)]  # fmt: skip
        summary = views.summary(words, visitor)
        return views.result_panel(
            visitor, progress=progress, beside=drawn, summary=summary, failure=failure
        )
