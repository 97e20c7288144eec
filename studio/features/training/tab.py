"""Teach: photos, settings, training, and trying what was learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest, UserError
from pipelines.dreambooth.requests import MAX_PROMPTS
from pipelines.models.catalog import OWN
from studio.core.exchange import PROMPT, Exchange, Route
from studio.core.feature import Tab
from studio.features.training.photos import NEW, PhotosForm
from studio.features.training.training_form import TrainingForm
from studio.features.training.training_panel import TrainingPanel
from studio.page.components.details import Details
from studio.page.components.picture_panel import PicturePanel
from studio.page.components.sheet_views import BEFORE_AFTER
from studio.page.widgets import DRAFT, QUIET, Visitor, label, restore_drafts, restore_drafts_once

if TYPE_CHECKING:
    from studio.features.training.training_jobs import Training
    from studio.page.tab_events import TabEvents

TRY_KIND = BEFORE_AFTER
_SCENES = ("on the sand", "in the snow", "at night")


class TrainTab(Tab):
    """Draws the tab.

    Attributes:
        photos: the subject and its photos.
        form: the settings.
        panel: of a training.
        details: of the chosen picture of the sheet.
    """

    id, label = "teach", "Teach"

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self.photos, self.form = PhotosForm(self.studio), TrainingForm(self.studio)
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self.photos.draw()
                    self.form.draw_choice()
                    self._train = gr.Button(label("Train"), variant="primary", elem_id="train")
                with gr.Column(elem_classes="rest"):
                    self.form.draw_rest()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self.panel = TrainingPanel(self.studio, self.studio.trainings)
                self._draw_trying()

    def _draw_trying(self) -> None:
        # What was learnt, as the server found it: the browser names nothing.
        self._learnt = gr.State(None)
        with gr.Column(visible=False, elem_id="try") as self._trying:
            gr.Markdown(label("Try it"), elem_classes="section")
            self._prompts = gr.Textbox(
                label=label("Prompts, one a line"),
                lines=3,
                max_lines=8,
                elem_id="try-prompts",
                elem_classes=DRAFT,
            )
            with gr.Row():
                self._compare = gr.Button(
                    label("Before and after"), variant="primary", elem_id="try-compare"
                )
                self._cancel = gr.Button(label("Cancel"), visible=False, elem_id="try-cancel")
                self._paint = gr.Button(label("Paint with it"), elem_id="try-paint")
            self._trial_panel = gr.HTML(elem_id="try-panel", js_on_load=PicturePanel.CLICKED)
            self.details = Details(self.studio, "tried")

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with one another and with the jobs."""
        model, method = self.form.controls["model"], self.form.controls["method"]

        def open_tab(request: gr.Request) -> list[Any]:
            visitor = Visitor.of(request)
            known = self.studio.trainings.list(visitor.owner.id)
            subjects = [subject.id for subject in self.studio.subjects.list(visitor.owner.id)]
            learnt = [training.request.subject for training in known]
            shown = next((id for id in [*learnt, *subjects] if id in subjects), NEW)
            base = known[0].request.model if known else self.form.entry_name()
            return [*self.photos.show(shown, base, visitor), *self.form.begin(shown, visitor)]

        outputs = [*self.photos.outputs, *self.form.all_outputs]
        filled = events.load(open_tab, None, outputs, **QUIET)
        restore_drafts(filled, self.form.lines)
        restore_drafts(filled, self.photos.words, unless=self.photos.subject)
        self.form.listen(self.photos, self.photos.listen(model, method))
        self.panel.begin_work(
            events,
            self._train,
            self._request,
            self.form.all_inputs(self.photos),
            self._after,
            [self._learnt, self._trying, self._prompts],
        )
        self.panel.duplicate.click(
            self._duplicate,
            self.panel.view.id,
            [*self.form.outputs, *self.photos.outputs],
            **QUIET,
        )
        trying = PicturePanel(
            self.studio,
            kind=TRY_KIND,
            panel=self._trial_panel,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "Nothing tried yet",
                "Each prompt is painted without what was learnt and with more and more of it.",
            ),
        )
        trying.connect(events, self._compare, self._comparison, [self._learnt, self._prompts])
        # They are filled in once a training has ended.
        restore_drafts_once(self._learnt, [self._prompts])
        self.details.listen(exchange)
        exchange.offer(PROMPT, self._send_to)

    def _send_to(self, route: Route) -> None:
        """Let “Paint with it” fill another tab, and show it."""

        def send(
            learnt: dict[str, Any] | None, prompts: str, request: gr.Request, *values: Any
        ) -> list[Any]:
            fields = None
            if learnt is not None:
                first = next(iter(_lines(prompts)), f"a {learnt['trigger']}")
                model = learnt["trained"] or learnt["model"]
                used = [] if learnt["trained"] else [{"name": learnt["name"], "weight": 1.0}]
                fields = {"prompt": first, "model": model, "loras": used}
            return route.send(fields, Visitor.of(request), values)

        inputs = [self._learnt, self._prompts, *route.inputs]
        self._paint.click(send, inputs, route.outputs, **QUIET)

    # --- events -----------------------------------------------------------------------------

    def _request(self, values: list[Any]) -> Mapping[str, Any]:
        data = self.form.data(values)
        if not data["subject"]:
            raise BadRequest("There are no photos to learn from yet. Add some first.")
        return data

    def _after(self, training: Training | None, visitor: Visitor) -> list[Any]:
        """What was learnt, for trying it; hidden while there is nothing."""
        learnt = self._find_lora(training, visitor)
        if learnt is None:
            return [None, gr.update(visible=False), gr.skip()]
        prompts = "\n".join(f"a {learnt['trigger']} {scene}" for scene in _SCENES)
        return [learnt, gr.update(visible=True), prompts]

    def _find_lora(self, training: Training | None, visitor: Visitor) -> dict[str, Any] | None:
        if training is None or not training.job.ended:
            return None
        try:
            id = self.studio.trainings.lora(visitor.owner.id, training.id)
            record = self.studio.library.by_id(id) if id else None
        except UserError:  # taken out of the library
            return None
        if record is None or record.owner != visitor.owner.id:
            return None
        return {
            "name": record.name,
            "kind": record.kind,
            "model": training.request.model,
            "trained": f"{OWN}{record.id}" if record.kind == "model" else None,
            "trigger": training.request.trigger,
        }

    def _comparison(self, values: list[Any]) -> dict[str, Any]:
        learnt, prompts = values
        if learnt is None:
            raise BadRequest("There is nothing to try yet. Train first.")
        lines = _lines(prompts) or [f"a {learnt['trigger']}"]
        if len(lines) > MAX_PROMPTS:
            raise BadRequest(
                "There are {count} prompts; at most {limit} fit on a sheet.",
                count=len(lines),
                limit=MAX_PROMPTS,
            )
        base = {"prompt": lines[0], "model": learnt["model"]}
        fields: dict[str, Any] = {"base": base, "prompts": lines}
        if learnt["trained"]:
            return {**fields, "model": learnt["trained"]}
        fields["lora"] = {"name": learnt["name"]}
        if learnt["kind"] == "embedding":  # a word is either there or not
            fields["weights"] = [0.0, 1.0]
        return fields

    def _duplicate(self, id: str | None, request: gr.Request) -> list[Any]:
        """The settings of the training in the panel, in the form, to be changed."""
        visitor = Visitor.of(request)
        count = len(self.form.outputs) + len(self.photos.outputs)
        try:
            asked = self.studio.trainings.get(visitor.owner.id, str(id)).request
        except UserError:  # deleted meanwhile
            return [gr.skip()] * count
        fields = asked.model_dump(mode="json")
        shown = self.photos.show(asked.subject, asked.model, visitor)
        return [*self.form.fill(fields, asked.method, asked.subject, visitor), *shown]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]
