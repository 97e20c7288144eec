"""Compare samplers: one prompt and seed, several samplers and step counts, one sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.diffusion.samplers import samplers_in
from studio.tabs.details import Details
from studio.tabs.form import STARTER
from studio.tabs.watching import Watch
from studio.widgets import from_field, label

if TYPE_CHECKING:
    from studio.opening import Opening
    from studio.server import Studio

KIND = "compare_samplers"
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


class Tab:
    """Draws the tab.

    Attributes:
        inputs: the controls, as :meth:`fill` updates them.
        details: of the chosen cell.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.samplers = samplers_in(studio.home)
        entries = [entry for entry in studio.catalog.models() if entry.refused is None]
        entry = next((entry for entry in entries if entry.name == STARTER), entries[0])
        with gr.Row(elem_classes="bench"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    prompt = self._field("prompt", lines=3, max_lines=12, info=None,
                                         value="a red mug on a wooden floor")  # fmt: skip
                    self._samplers = from_field(
                        CompareSamplersRequest, "samplers", kind=gr.Dropdown, multiselect=True,
                        choices=[sampler.name for sampler in self.samplers],
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
                    models = [(entry.title, entry.name) for entry in entries]
                    model = self._field("model", kind=gr.Dropdown, choices=models,
                                        value=entry.name, info=None)  # fmt: skip
                    schedules = [(label("Each sampler's own choice"), OWN_SCHEDULE)]
                    schedules += [(name, name) for name in self.samplers.schedules]
                    schedule = self._field("schedule", kind=gr.Dropdown, choices=schedules,
                                           value=OWN_SCHEDULE)  # fmt: skip
                    with gr.Row():
                        guidance = self._field("guidance", value=entry.defaults.guidance)
                        seed = self._field("seed", kind=gr.Number, value=1)
                    with gr.Accordion(label("Advanced"), open=False):
                        negative = self._field("negative_prompt", lines=2)
                        with gr.Row():
                            width = self._field("width", value=entry.native_size)
                            height = self._field("height", value=entry.native_size)
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._board = gr.HTML(elem_id="compare-board", js_on_load=Watch.CLICKED)
                self.details = Details(studio, "compare")
        settings = (prompt, negative, model, schedule, guidance, width, height, seed)
        self._settings = dict(zip(_SETTINGS, settings, strict=True))
        self.inputs = list(self._settings.values())

    @staticmethod
    def _field(name: str, **options: Any) -> gr.components.Component:
        elem_id = f"compare-{name.replace('_', '-')}"
        return from_field(TextToImageRequest, name, **{"elem_id": elem_id, **options})

    def listen(self, opening: Opening) -> None:
        """Connect the controls with the jobs."""
        watch = Watch(
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
        inputs = [*self.inputs, self._samplers, self._steps]
        watch.connect(opening, self._start, self._request, inputs)

    def fill(self, fields: Mapping[str, Any]) -> list[Any]:
        """Updates of :attr:`inputs` that show ``fields``; those not given keep their values."""
        known = {m.name for m in self.studio.catalog.models() if m.refused is None}
        fields = dict(fields)
        if fields.get("model") not in known:
            fields.pop("model", None)
        fields["schedule"] = OWN_SCHEDULE  # that of one sampler seldom fits the others
        return [
            gr.update(value=fields[name]) if fields.get(name) is not None else gr.skip()
            for name in self._settings
        ]

    def _request(self, values: list[Any]) -> dict[str, Any]:
        *settings, samplers, steps = values
        base = dict(zip(self._settings, settings, strict=True))
        base["schedule"] = base["schedule"] or None
        if base["seed"] is None:
            base["seed"] = -1
        return {"base": base, "samplers": samplers or [], "steps": steps or []}
