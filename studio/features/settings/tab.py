"""Settings: what the host decides for all, cleaning up, and what each visitor keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import Refused, UserError
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.samplers import samplers_in
from studio.core.cleaning import KIND as CLEANING
from studio.core.exchange import Exchange
from studio.core.feature import Tab
from studio.core.home import readable_path
from studio.core.jobs.record import DONE
from studio.core.settings import Settings
from studio.features.settings.api_keys import ApiKeys
from studio.features.settings.chores import ChoreView
from studio.features.settings.own_things import OwnThings
from studio.page import views
from studio.page.components.job_view import OPENED, JobView
from studio.page.widgets import QUIET, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents


class SettingsTab(Tab):
    """Draws the tab; what is the host's only the host sees, and the server checks that again at
    every event."""

    id, label = "settings", "Settings"

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        current = self.studio.settings.current
        with gr.Row(elem_classes="workspace"):
            with gr.Column(
                scale=4, min_width=320, elem_classes="controls", visible=False
            ) as self._settings:
                self._fields = {
                    name: from_field(
                        Settings, name, value=getattr(current, name), **_as_number(name)
                    )
                    for name in Settings.model_fields
                }
                self._save = gr.Button(label("Save"), variant="primary", elem_id="save-settings")
                self._said = gr.HTML(elem_id="settings-said")
            with gr.Column(scale=6, min_width=320, elem_classes="results page-words"):
                with gr.Column(visible=False) as self._cleaning:
                    gr.Markdown(label("### Clean up"))
                    self._disk = gr.HTML(elem_id="disk")
                    with gr.Row(elem_classes="actions"):
                        self._clean = gr.Button(label("Clean up"), size="sm", elem_id="clean-up")
                        self._cancel = gr.Button(
                            label("Cancel"), size="sm", visible=False, elem_id="cancel-cleaning"
                        )
                    self._cleaned = gr.HTML(elem_id="cleaned")
                    self._left_out = gr.HTML(elem_id="left-out")
                    self._keys = ApiKeys(self.studio)
                    self._keys.draw()
                self._own = OwnThings(self.studio)
                self._own.draw()
                gr.Markdown(label("### Language"))
                gr.Markdown(
                    label("The page is in English or Chinese, as your browser asks for it.")
                )

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls; what is the host's is shown to the host alone."""
        inputs = list(self._fields.values())
        events.load(self._open_to_host, None, [self._settings, self._cleaning], **QUIET)
        self._own.listen(events)
        self._keys.listen(events)
        shown_too = [self._disk, self._left_out, self._said]
        events.tab.select(self._current, None, [*inputs, *shown_too], **QUIET)
        self._save.click(self._save_all, inputs, self._said, preprocess=False, **QUIET)
        outputs = [self._cleaned, self._clean, self._cancel, self._disk]
        cleaning = Cleaning(self.studio, self._disk_use, outputs)
        view = JobView(self.studio, CLEANING, cleaning)
        view.act(self._clean.click, lambda visitor: self.studio.cleanings.begin(visitor.owner), [])
        view.watch(events.tab.select, gr.State(OPENED))
        view.stop(self._cancel)

    @staticmethod
    def _open_to_host(request: gr.Request) -> list[Any]:
        return [gr.update(visible=Visitor.of(request).owner.is_host)] * 2

    def _current(self, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        if not visitor.owner.is_host:
            return [gr.skip()] * len(self._fields) + [_refusal(visitor), "", ""]
        values = self.studio.settings.current
        shown_values = [getattr(values, name) for name in self._fields]
        return [*shown_values, self._disk_use(visitor), self._what_is_left_out(visitor), ""]

    def _what_is_left_out(self, visitor: Visitor) -> str:
        """What cannot be used of the host's own: models, samplers and features, with reasons."""
        reasons = [m.refused for m in self.studio.catalog.models() if m.refused is not None]
        reasons += self.studio.control.list_refusals()
        reasons += [
            Message("The sampler file {file} is left out: {reason}.", file=b.file, reason=b.reason)
            for b in samplers_in(self.studio.home).broken
        ]
        reasons += self.studio.features.failures.values()
        return "".join(views.error(reason, visitor) for reason in reasons)

    def _save_all(self, request: gr.Request, *values: Any) -> str:
        visitor = Visitor.of(request)
        if not visitor.owner.is_host:
            return _refusal(visitor)
        try:
            self.studio.settings.change(**dict(zip(self._fields, values, strict=True)))
        except UserError as error:
            return views.error(error.message, visitor)
        return views.notice("Saved.", visitor)

    def _disk_use(self, visitor: Visitor) -> str:
        used = Message(
            "Your studio lives in {home}. Cleaning up would free {size}: thumbnails, condition "
            "maps, copies of uploads, brought-in pictures that no job has used for a week, class "
            "pictures that no training uses, and checkpoints of trainings that are done. Pictures "
            "and models stay.",
            home=readable_path(self.studio.home),
            size=format_bytes(sum(self.studio.cleaner.clean_up(dry_run=True))),
        )
        return views.notice(used, visitor)


class Cleaning(ChoreView):
    """How far cleaning up is, then what it has freed.

    Args:
        studio: whose jobs.
        disk_use: what is said of the disk, as HTML.
        outputs: the panel, the buttons that begin and cancel, and where the disk's use stands.
    """

    def __init__(
        self, studio: Studio, disk_use: Callable[[Visitor], str], outputs: list[Any]
    ) -> None:
        super().__init__(studio, outputs)
        self.describe = disk_use

    def find(self, visitor: Visitor, which: str | None) -> Job | None:
        return self.studio.cleanings.newest(visitor.owner)

    def outcome(self, job: Job) -> Message:
        words = "{size} freed." if job.state == DONE else "Cancelled. {size} freed before."
        return Message(words, size=format_bytes(job.step))


def _refusal(visitor: Visitor) -> str:
    return views.error(Refused("Only the host may change the settings.").message, visitor)


def _as_number(name: str) -> dict[str, Any]:
    """Limits reach from one to a million: a slider would be of no use."""
    return {} if Settings.model_fields[name].annotation is bool else {"kind": gr.Number}
