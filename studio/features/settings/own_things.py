"""What each visitor keeps here, and the button that deletes all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from studio.core.accounts.deletion import KIND, EverythingRequest
from studio.core.jobs.record import DONE
from studio.features.settings.chores import ChoreView
from studio.page import views
from studio.page.components.deletion import Deletion
from studio.page.components.job_view import OPENED, JobView
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

QUESTION = (
    "Delete all that you have here: pictures, photos, trainings, LoRAs, models, chats and data? "
    "Jobs of yours that wait or run are cancelled. It cannot be brought back."
)


class OwnThings:
    """Draws how much a visitor keeps, and lets it be deleted as ``DELETE /api/v1/everything`` does.

    Args:
        studio: that keeps it.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def draw(self) -> None:
        """The words, the button with its question, and the panel below."""
        gr.Markdown(label("### Your things"))
        self._kept = gr.HTML(elem_id="own-things")
        with gr.Row(elem_classes="actions"):
            self._deletion = Deletion("Delete everything", "delete-everything")
            self._cancel = gr.Button(
                label("Cancel"), size="sm", visible=False, elem_id="cancel-deletion"
            )
        self._deleted = gr.HTML(elem_id="everything-deleted")

    def listen(self, events: TabEvents) -> None:
        """Connect the buttons with the jobs."""
        button, _ = self._deletion.outputs
        events.tab.select(self._show, None, [self._kept, button], **QUIET)
        self._deletion.ask(gr.State(None), _question)
        view = JobView(
            self.studio,
            KIND,
            EverythingDeletion(self, [self._deleted, button, self._cancel, self._kept]),
        )
        view.act(self._deletion.really.click, self._begin, [])
        view.watch(events.tab.select, gr.State(OPENED))
        view.stop(self._cancel)

    def _begin(self, visitor: Visitor) -> object:
        return self.studio.jobs.submit(visitor.owner.id, KIND, EverythingRequest())

    def _show(self, request: gr.Request) -> list[Any]:
        return [self.describe(Visitor.of(request)), gr.update(visible=True)]

    def describe(self, visitor: Visitor) -> str:
        """How much the visitor keeps, and may, as HTML."""
        owner = visitor.owner.id
        used, room = self.studio.quota.bytes_used(owner), self.studio.quota.room(owner)
        words = "All that you keep here takes {used}."
        if room is not None:
            words = "All that you keep here takes {used}; a guest may keep {limit}."
        limit = format_bytes(used + (room or 0))
        return views.notice(Message(words, used=format_bytes(used), limit=limit), visitor)


def _question(_: None, visitor: Visitor) -> str:
    return views.summary([Message(QUESTION)], visitor)


class EverythingDeletion(ChoreView):
    """How far deleting is, then how much has gone.

    Args:
        own: says what the visitor keeps.
        outputs: the panel, the buttons that ask and cancel, and where it is said what is kept.
    """

    def __init__(self, own: OwnThings, outputs: list[Any]) -> None:
        super().__init__(own.studio, outputs)
        self.describe = own.describe

    def find(self, visitor: Visitor, which: str | None) -> Job | None:
        return next(iter(self.studio.jobs.list(visitor.owner.id, kind=KIND, limit=1)), None)

    def outcome(self, job: Job) -> Message:
        if job.state != DONE:
            return Message("Cancelled. What had not been deleted by then is still here.")
        return Message("All is deleted: {count} things.", count=job.result["deleted"])
