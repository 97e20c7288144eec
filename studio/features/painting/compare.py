"""Compare samplers: one prompt and seed, several samplers and step counts, one sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.diffusion.samplers import samplers_in
from studio.core.exchange import SETTINGS, Exchange, Taker, Target
from studio.core.feature import Tab
from studio.page.components.details import Details
from studio.page.components.lora_rows import LoraRows
from studio.page.components.paint_form import first_of, named, offered
from studio.page.components.picture_board import PictureBoard
from studio.page.components.sheet_views import COMPARE
from studio.page.widgets import DRAFT, QUIET, Visitor, from_field, label, restore_drafts

if TYPE_CHECKING:
    from pipelines.models.catalog import ModelEntry
    from studio.page.opening import Opening

KIND = COMPARE
STEP_COUNTS = (4, 8, 10, 15, 20, 25, 30, 40, 50)
FIRST_STEPS = (8, 15, 25)
FIRST_SAMPLERS = ("Euler", "DPM++ 2M", "UniPC")
OWN_SCHEDULE = ""
_SETTINGS = (
    "prompt",
    "negative_prompt",
    "model",
    "schedule",
    "guidance",
    "width",
    "height",
    "seed",
)


class CompareTab(Tab):
    """Draws the tab.

    Attributes:
        inputs: the controls of the settings.
        outputs: the controls, as :meth:`fill` updates them.
        details: of the chosen cell.
    """

    id, label, group = "compare", "Compare samplers", "Text to image"
    takes = (Target(SETTINGS, "compare", "Compare samplers"),)

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self.samplers = samplers_in(self.studio.home)
        entries = offered(self.studio)
        entry = first_of(entries)
        with gr.Row(elem_classes="bench"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    prompt = self._field(
                        "prompt", lines=3, max_lines=12, info=None, elem_classes=DRAFT,
                        value="a red mug on a wooden floor",
                    )  # fmt: skip
                    self._samplers = from_field(
                        CompareSamplersRequest, "samplers", kind=gr.Dropdown, multiselect=True,
                        choices=self._fitting(entry),
                        value=list(FIRST_SAMPLERS), max_choices=12, elem_id="compare-samplers",
                    )  # fmt: skip
                    self._steps = from_field(
                        CompareSamplersRequest, "steps", kind=gr.CheckboxGroup,
                        choices=list(STEP_COUNTS), value=list(FIRST_STEPS),
                        elem_id="compare-steps",
                    )  # fmt: skip
                    with gr.Row():
                        self._start = gr.Button(
                            label("Compare"), variant="primary", elem_id="compare"
                        )
                        self._cancel = gr.Button(
                            label("Cancel"), visible=False, elem_id="compare-cancel"
                        )
                with gr.Column(elem_classes="rest"):
                    model = self._field("model", kind=gr.Dropdown, choices=_choices(entries),
                                        value=entry.name, info=None)  # fmt: skip
                    schedules = [(label("Each sampler's own choice"), OWN_SCHEDULE)]
                    schedules += [(name, name) for name in self.samplers.schedules]
                    schedule = self._field("schedule", kind=gr.Dropdown, choices=schedules,
                                           value=OWN_SCHEDULE)  # fmt: skip
                    with gr.Row():
                        guidance = self._field("guidance", value=entry.defaults.guidance)
                        seed = self._field("seed", kind=gr.Number, value=1)
                    self._loras = LoraRows(self.studio, "compare-")
                    self._loras.draw()
                    with gr.Accordion(label("Advanced"), open=False):
                        negative = self._field("negative_prompt", lines=2, elem_classes=DRAFT)
                        with gr.Row():
                            width = self._field("width", value=entry.native_size)
                            height = self._field("height", value=entry.native_size)
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._board = gr.HTML(elem_id="compare-board", js_on_load=PictureBoard.CLICKED)
                self.details = Details(self.studio, "compare")
        settings = (prompt, negative, model, schedule, guidance, width, height, seed)
        self._settings = dict(zip(_SETTINGS, settings, strict=True))
        self.inputs = list(self._settings.values())
        self._own = [*self.inputs, self._samplers]
        self.outputs = [*self._own, *self._loras.outputs]

    @staticmethod
    def _field(name: str, **options: Any) -> gr.components.Component:
        elem_id = f"compare-{name.replace('_', '-')}"
        return from_field(TextToImageRequest, name, **{"elem_id": elem_id, **options})

    def listen(self, opening: Opening, exchange: Exchange) -> None:
        """Connect the controls with the jobs."""
        watch = PictureBoard(
            self.studio,
            kind=KIND,
            board=self._board,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "No comparison yet",
                "Choose samplers and step counts, then press Compare. "
                "Each cell is also a picture of its own in the gallery.",
            ),
        )
        inputs = [*self._own, self._steps, *self._loras.inputs]
        watch.connect(opening, self._start, self._request, inputs)
        chosen = [self._settings["model"], self._samplers]
        quiet = {**QUIET, "preprocess": False}  # what was chosen may be gone from the home folder
        chosen[0].input(self._model_chosen, chosen, self._own, **quiet)
        opened = opening.load(self._opened, chosen, self._own, **quiet)
        restore_drafts(opened, [self._settings[name] for name in ("prompt", "negative_prompt")])
        self._loras.listen()
        self.details.listen(exchange)
        take = Taker(self.id, self.outputs, lambda given, who, values: self.fill(given.fields, who))
        exchange.take(SETTINGS, take, "compare")

    def fill(self, fields: Mapping[str, Any], visitor: Visitor) -> list[Any]:
        """Updates of :attr:`outputs` that show ``fields``; those not given keep their values.

        A model that is not here keeps the one that is chosen.
        """
        entries = offered(self.studio, visitor)
        entry = named(fields.get("model"), entries)
        updates = self._of_model(entry, entries) if entry is not None else {}
        given = {**fields, "schedule": OWN_SCHEDULE}  # that of one sampler seldom fits the others
        given["model"] = entry.name if entry is not None else None
        for name, value in given.items():
            if value is not None:
                updates[name] = {**updates.get(name, {}), "value": value}
        prompt = str(fields.get("prompt", ""))
        loras = self._loras.fill(fields.get("loras", ()), prompt, visitor)
        return [*self._updates(updates), *loras]

    # --- events -----------------------------------------------------------------------------

    def _opened(self, model: Any, samplers: Any, request: gr.Request) -> list[Any]:
        """Models and samplers may have come and gone since the studio started."""
        entries = offered(self.studio, Visitor.of(request))
        entry = named(model, entries)
        if entry is None:
            return self._model_chosen(model, samplers, request)
        updates = self._of_model(entry, entries, samplers)
        for name in ("guidance", "width", "height"):  # a picture's, where one has opened the tab
            del updates[name]
        return self._updates(updates)

    def _model_chosen(self, model: Any, samplers: Any, request: gr.Request) -> list[Any]:
        entries = offered(self.studio, Visitor.of(request))
        entry = named(model, entries)
        updates = self._of_model(entry or first_of(entries), entries, samplers)
        if entry is None:  # gone from the home folder since the tab was opened
            updates["model"]["value"] = first_of(entries).name
        return self._updates(updates)

    # --- what the controls show -------------------------------------------------------------

    def _of_model(
        self, entry: ModelEntry, entries: list[ModelEntry], samplers: Any = None
    ) -> dict[str, dict[str, Any]]:
        """What the controls show beside a model; of the chosen samplers, those that fit it stay."""
        fitting = self._fitting(entry)
        updates: dict[str, dict[str, Any]] = {
            "model": {"choices": _choices(entries)},
            "guidance": {"value": entry.defaults.guidance},
            "width": {"value": entry.native_size},
            "height": {"value": entry.native_size},
            "negative_prompt": {"interactive": entry.negative_prompt_used},
            "samplers": {"choices": fitting},
        }
        if isinstance(samplers, list) and not all(name in fitting for name in samplers):
            kept = [name for name in samplers if name in fitting]
            updates["samplers"]["value"] = kept or fitting[:1]
        return updates

    def _updates(self, updates: Mapping[str, Mapping[str, Any]]) -> list[Any]:
        names = [*self._settings, "samplers"]
        return [gr.update(**updates[name]) if name in updates else gr.skip() for name in names]

    def _fitting(self, entry: ModelEntry) -> list[str]:
        """The samplers that fit a model; where none does, all: the refusal will say why."""
        fitting = self.samplers.fitting(entry.family, entry.defaults.sampler)
        return [sampler.name for sampler in fitting or self.samplers]

    def _request(self, values: list[Any]) -> dict[str, Any]:
        count = len(self._settings)
        settings, (samplers, steps), loras = (
            values[:count],
            values[count : count + 2],
            values[count + 2 :],
        )
        base = dict(zip(self._settings, settings, strict=True))
        base["loras"] = self._loras.data(loras)
        base["schedule"] = base["schedule"] or None
        if base["seed"] is None:
            base["seed"] = -1
        return {"base": base, "samplers": samplers or [], "steps": steps or []}


def _choices(entries: list[ModelEntry]) -> list[tuple[str, str]]:
    return [(entry.title, entry.name) for entry in entries]
