"""Merging: which LoRAs, how much of each, into one LoRA or a model; and the job that does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.diffusion.lora.families import title_of
from pipelines.diffusion.lora.requests import MergeRequest
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.samplers import UNET_FAMILIES
from pipelines.models.catalog import OWN
from studio.core.jobs.record import CANCELLED, DONE
from studio.features.library.loras_api import MERGE
from studio.page import views
from studio.page.components.job_view import JobView, OneAfterAnother
from studio.page.widgets import QUIET, Visitor, as_text, from_field, label

if TYPE_CHECKING:
    from pipelines.diffusion.lora.record import LoraRecord
    from studio.core.jobs.queue import Job
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

ROWS = 4  # the HTTP API takes more
FIRST_ROWS = 2
RANKS = (4, 8, 16, 32, 64, 128)
NONE = ""
_NO_LORA = (label("None"), NONE)
_NO_MODEL = (label("None: one LoRA"), NONE)


class MergeForm(OneAfterAnother):
    """Draws the form and shows what it has sent.

    Attributes:
        choices: the controls that offer the library: inputs and outputs of :meth:`update_choices`.
        ended: state that changes whenever a merging that was watched has ended.
    """

    kind = MERGE

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._pickers: list[gr.Dropdown] = []
        self._weights: list[gr.Number] = []
        self._rows: list[gr.Row] = []
        self.ended = gr.State(None)

    def draw(self) -> None:
        gr.Markdown(label("Merge"), elem_classes="section")
        for number in range(1, ROWS + 1):
            with gr.Row(elem_classes="merge-row", visible=number <= FIRST_ROWS) as row:
                self._draw_row(number)
            self._rows.append(row)
        self._name = from_field(
            MergeRequest, "name", label=label("Name of the result"), max_lines=1,
            elem_id="library-merged-name",
        )  # fmt: skip
        with gr.Row(elem_classes="stacked"):
            self._model = from_field(
                MergeRequest, "model", kind=gr.Dropdown, choices=[_NO_MODEL], value=NONE,
                elem_id="library-merged-model",
            )  # fmt: skip
            self._rank = from_field(
                MergeRequest, "rank", kind=gr.Dropdown, value=NONE, elem_id="library-merged-rank",
                choices=[(label("All (exact)"), NONE), *((str(rank), rank) for rank in RANKS)],
            )  # fmt: skip
        with gr.Row():
            self._merge = gr.Button(label("Merge"), variant="primary", elem_id="library-merge")
            self._cancel = gr.Button(label("Cancel"), visible=False, elem_id="library-merge-cancel")
        self._panel = gr.HTML(
            elem_id="library-merging", js_on_load=views.ANNOUNCED + views.AGAIN_CLICKED
        )

    def _draw_row(self, number: int) -> None:
        picker = from_field(
            LoraUse, "name", kind=gr.Dropdown, choices=[_NO_LORA], value=NONE,
            info=None, elem_id=f"library-merge-{number}", scale=4, min_width=160,
        )  # fmt: skip
        weight = from_field(
            LoraUse, "weight", kind=gr.Number, label=label("Weight"), info=None, step=0.1,
            elem_id=f"library-merge-weight-{number}", scale=1, min_width=96,
        )  # fmt: skip
        self._pickers.append(picker)
        self._weights.append(weight)

    @property
    def choices(self) -> list[gr.Dropdown]:
        return [*self._pickers, self._model]

    def listen(self, events: TabEvents) -> None:
        """Connect the controls with one another and with the jobs."""
        gr.on(
            [picker.input for picker in self._pickers],
            lambda *names: [gr.update(visible=shown) for shown in _visible_rows(names)],
            self._pickers,
            self._rows,
            **QUIET,
        )
        self._model.input(
            lambda model: gr.update(visible=not model), self._model, self._rank, **QUIET
        )
        inputs = [*self._pickers, *self._weights, self._name, self._model, self._rank]
        self.outputs = [self._panel, self._cancel, self.ended]
        view = JobView(self.studio, MERGE, self)
        view.submit(self._merge.click, lambda values, visitor: _data(values), inputs)
        view.retry(self._panel.again)
        view.open(events)
        view.stop(self._cancel)

    def update_choices(
        self, records: Sequence[LoraRecord], chosen: Sequence[str | None]
    ) -> list[Any]:
        """Updates of :attr:`choices` to what is in the library; what has left it is not chosen."""
        names = {each.name: each for each in reversed(records) if each.kind == "lora"}
        loras = [(f"{name} · {title_of(each.family)}", name) for name, each in names.items()]
        models = [
            (entry.title, entry.name)
            for entry in self.studio.catalog.models()
            if entry.refused is None and entry.family in UNET_FAMILIES
        ]
        models += [(each.name, f"{OWN}{each.id}") for each in records if each.kind == "model"]
        offers = [[_NO_LORA, *reversed(loras)]] * ROWS + [[_NO_MODEL, *models]]
        return [
            gr.update(
                choices=choices, value=name if name in [value for _, value in choices] else NONE
            )
            for choices, name in zip(offers, chosen, strict=True)
        ]

    # --- what is shown ----------------------------------------------------------------------

    def show_running(self, visitor: Visitor, job: Job, before: str) -> list[Any]:
        progress = views.Progressing.of(self.studio.jobs, job)
        panel = views.result_panel(visitor, progress=progress, failure=before)
        return [panel, gr.update(visible=True), gr.skip()]

    def show_ended(
        self, visitor: Visitor, job: Job | None, before: str, is_news: bool
    ) -> list[Any]:
        panel = before
        # Most are merged before anyone could look; what went wrong is said after a reload too.
        if job is not None and (is_news or (job.state != DONE and not before)):
            panel += _outcome(job, visitor)
            panel += views.again(visitor) if job.state != DONE else ""
        ended = job.id if job is not None and is_news else gr.skip()
        return [panel, gr.update(visible=False, interactive=True), ended]

    def show_ended_before(self, visitor: Visitor, job: Job) -> str:
        return _outcome(job, visitor)


def _data(values: Sequence[Any]) -> dict[str, Any]:
    """The form's values as the fields of a request, not yet checked."""
    pickers, weights, (name, model, rank) = values[:ROWS], values[ROWS:-3], values[-3:]
    loras = [
        {"name": picked, "weight": 1.0 if weight is None else weight}
        for picked, weight in zip(pickers, weights, strict=True)
        if picked
    ]
    if not loras:
        raise BadRequest("Choose the LoRAs to merge first.")
    name = as_text(name).strip()
    if not name:
        raise BadRequest("Give the result a name first.")
    fields = {"loras": loras, "name": name, "model": model or None}
    # A model has no rank; the control is hidden then.
    return {**fields, "rank": None if model else rank or None}


def _outcome(job: Job, visitor: Visitor) -> str:
    """What there is to say of a job that is over."""
    if job.error is not None:
        return views.error(job.error, visitor)
    if job.state == CANCELLED:
        return views.notice("Cancelled. Nothing was merged.", visitor)
    name = (job.result or {}).get("name", "?")
    return views.notice(Message("{name} is in the library.", name=name), visitor)


def _visible_rows(names: Sequence[str | None]) -> list[bool]:
    """A row more than are in use, and as many as a merging usually needs."""
    last = max((at for at, name in enumerate(names) if name), default=-1)
    return [at < max(FIRST_ROWS, last + 2) for at in range(len(names))]
