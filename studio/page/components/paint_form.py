"""The controls of a :class:`TextToImageRequest`, filled with the chosen model's own defaults."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.i18n import I18nData

from pipelines.core.errors import UserError
from pipelines.diffusion.from_picture.sizes import size_step
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import Sampler, samplers_in
from pipelines.diffusion.styles import styles
from pipelines.diffusion.wording.grammar import words_in
from pipelines.models.catalog import ModelEntry
from studio.page import views
from studio.page.components.lora_rows import LoraRows, with_split_weights_in_prompt
from studio.page.components.part_fields import DetailFields, HiresFields, VariationFields
from studio.page.widgets import (
    DRAFT,
    QUIET,
    Visitor,
    follow_newest,
    from_field,
    keep_here,
    label,
    restore_drafts,
)

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

NO_STYLE = ""
_SIDES = ("width", "height")
DECODERS = (("Auto", "auto"), ("The model's own", "full"), ("Fast", "fast"))
RANDOM = -1
EXAMPLES = (
    "a red mug on a wooden floor",
    "a shiny metal robot in the snow",
    "a yellow duck left of a blue boat on the beach",
    "a small green cactus at sunset",
    "a striped purple donut on tiles",
)


class PaintForm:
    """Draws the controls in two parts and keeps those that depend on others in step.

    Args:
        studio: whose models and samplers.
        prefix: of the controls' ``elem_id``, where several forms stand on one page.
        offers: which base models can be chosen; when None, all that paint from words alone.
        keeps_picture: whether what it is filled with may have a picture to begin from, which its
            user keeps; then models that only change pictures can be chosen too.

    Attributes:
        controls: field of the request → its control, in the request's order.
        inputs: the controls and the LoRAs' rows, as event listeners take them.
        outputs: what :meth:`fill` updates; begins with the controls.
        model_chosen, opened: events that may have given other values to the controls. Those of them
            that are folded away do not tell of it themselves.
    """

    model_chosen: gr.events.Dependency
    opened: gr.events.Dependency

    def __init__(
        self,
        studio: Studio,
        prefix: str = "",
        offers: Callable[[ModelEntry], bool] | None = None,
        keeps_picture: bool = False,
    ) -> None:
        self.studio, self.prefix, self._offers = studio, prefix, offers
        self._keeps_picture = keeps_picture
        self.samplers = samplers_in(studio.home)
        self._drawn: dict[str, gr.components.Component] = {}
        self._loras = LoraRows(studio, prefix)
        self._parts = {
            "variation": VariationFields(prefix),
            "hires": HiresFields(studio, prefix, self._models),
            "detail_fix": DetailFields(prefix),
        }

    @property
    def controls(self) -> dict[str, gr.components.Component]:
        return {
            name: self._drawn[name]
            for name in TextToImageRequest.model_fields
            if name in self._drawn
        }

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [*self.controls.values(), *self._part_inputs, *self._loras.inputs]

    @property
    def _part_inputs(self) -> list[gr.components.Component]:
        return [each for part in self._parts.values() for each in part.inputs]

    @property
    def outputs(self) -> list[Any]:
        parts = [*self._part_inputs, *self._loras.outputs]
        return [*self.controls.values(), *parts, self._about]

    @property
    def words(self) -> list[Any]:
        """The controls of what is to be seen and what is not."""
        return [self._drawn["prompt"], self._drawn["negative_prompt"]]

    def draw_prompt(self) -> None:
        """The prompt, examples to start from, and the line about words never seen."""
        self._draw("prompt", lines=3, max_lines=12, info=None, elem_classes=DRAFT,
                   placeholder=label("a red mug on a wooden floor"))  # fmt: skip
        self._examples = gr.HTML(
            views.example_buttons(EXAMPLES, label("Surprise me")),
            elem_id=f"{self.prefix}examples",
            js_on_load=_EXAMPLE_CLICKED,
        )
        self._hint = gr.HTML(elem_id=f"{self.prefix}unknown-words", visible=False)

    def draw_rest(self) -> None:
        """Model, style, sampler and all that is folded away."""
        entry = self._first_entry()
        with gr.Row(elem_classes="stacked"):
            self._draw("model", kind=gr.Dropdown, choices=self._models(), value=entry.name,
                       info=None)  # fmt: skip
            self._draw("style", kind=gr.Dropdown, choices=_style_choices(), value=NO_STYLE,
                       info=None)  # fmt: skip
        self._about = gr.HTML(elem_id=f"{self.prefix}about-model")
        with gr.Row():
            self._draw("sampler", kind=gr.Dropdown, **self._sampler_picker(entry))
            sampler = self._own_sampler(entry)
            self._draw("schedule", kind=gr.Dropdown, **self._schedule_picker(entry, sampler))
        with gr.Row():
            self._draw("steps", value=entry.defaults.steps)
            self._draw("guidance", value=entry.defaults.guidance)
        with gr.Row(elem_classes="seed-row"):
            self._draw("seed", kind=gr.Number, info=None)
            self._random = gr.Button(label("Random"), elem_id=f"{self.prefix}random-seed")
            self.reuse_seed = gr.Button(label("Reuse last"), elem_id=f"{self.prefix}reuse-seed")
        self._loras.draw()
        with gr.Accordion(label("Advanced"), open=False, elem_id=f"{self.prefix}advanced"):
            self._draw("negative_prompt", lines=2, max_lines=8, elem_classes=DRAFT)
            with gr.Row():
                for side in _SIDES:
                    self._draw(side, value=entry.native_size, step=size_step(entry))
            with gr.Row():
                self._draw("batch_count")
                self._draw("batch_size")
            self._draw("combinations")
            with gr.Row():
                self._draw("guidance_rescale")
                self._draw("clip_skip")
            with gr.Row():
                self._draw("guidance_start")
                self._draw("guidance_end")
            eta = sampler.eta if sampler else None
            self._draw("eta", value=eta or 0.0, visible=eta is not None)
            self._draw("decoder", choices=[(label(title), name) for title, name in DECODERS])
            for part in self._parts.values():
                part.draw()

    def listen(
        self, events: TabEvents, last_request: Callable[[Visitor], Mapping[str, Any] | None]
    ) -> None:
        """Connect the controls with one another.

        Args:
            events: at the first sight ``last_request(visitor)`` is shown: a refresh loses nothing.
            last_request: the fields of the visitor's last request, or None.
        """
        prompt, model = self._drawn["prompt"], self._drawn["model"]
        self._examples.pick(self._insert_example, None, prompt, **QUIET)
        follow_newest(
            [prompt.change, model.change],
            self._unknown,
            [prompt, model],
            self._hint,
        )
        self.model_chosen = model.input(
            self._model_chosen, model, [*self._of_model(), self._about], **QUIET
        )
        self._drawn["sampler"].input(
            self._sampler_chosen,
            [model, self._drawn["sampler"], self._drawn["schedule"]],
            [self._drawn[name] for name in ("sampler", "schedule", "eta")],
            **QUIET,
        )
        self._drawn["schedule"].input(
            lambda name: gr.update(info=self._schedule_line(name)),
            self._drawn["schedule"],
            self._drawn["schedule"],
            **QUIET,
        )
        self._random.click(lambda: RANDOM, None, self._drawn["seed"], **QUIET)
        self._loras.listen()

        self.opened = events.fill(
            lambda visitor: self._open(last_request(visitor) or {}, visitor),
            self.outputs,
            words=self.words,
        )
        restore_drafts(self.opened, self.words)
        keep_here(self.opened, self._drawn["seed"])

    def data(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of :attr:`inputs` as the fields of a request, not yet checked."""
        rest = iter(values)
        data = {name: next(rest) for name in self.controls}
        for name, part in self._parts.items():
            data[name] = part.data([next(rest) for _ in part.inputs])
        data["loras"] = self._loras.data(list(rest))
        data["style"] = data["style"] or None
        if data["seed"] is None:
            data["seed"] = RANDOM
        if not self._takes_eta(data["sampler"]):
            data["eta"] = None
        return data

    def fill(self, fields: Mapping[str, Any], visitor: Visitor) -> list[Any]:
        """Updates of :attr:`outputs` that show ``fields``; those not given keep their values.

        A model that is not here keeps the one that is chosen. LoRAs, a variation and a hires
        pass that are not given are taken out where a prompt is given, which may name LoRAs itself.
        """
        fields = with_split_weights_in_prompt(fields)
        loras = self._fill_loras(fields, visitor)
        parts: list[Any] = []
        for name, part in self._parts.items():
            given = name in fields or "prompt" in fields
            skipped = [gr.skip()] * len(part.inputs)
            parts += part.fill(fields.get(name), visitor) if given else skipped
        entry, has_picture = self._find_entry(fields, visitor), self._has_picture(fields)
        fields = {name: value for name, value in fields.items() if name in self.controls}
        updates: dict[str, Any] = {name: gr.update(value=value) for name, value in fields.items()}
        if "style" in fields:
            updates["style"] = gr.update(value=fields["style"] or NO_STYLE)
        if entry is None:
            updates.pop("model", None)
        else:
            models = self._models(visitor, has_picture)
            updates["model"] = gr.update(choices=models, value=entry.name)
            values = self._defaults(entry) | {k: v for k, v in fields.items() if v is not None}
            updates |= self._pickers(entry, values["sampler"], values["schedule"], values["eta"])
            updates |= _numbers(entry, values)
        about = gr.skip() if entry is None else views.about_model(entry, visitor)
        return [*(updates.get(name, gr.skip()) for name in self.controls), *parts, *loras, about]

    def entry_of(self, fields: Mapping[str, Any], visitor: Visitor) -> ModelEntry:
        """The base model that ``fields`` name, or the first one where it is not offered."""
        return self._find_entry(fields, visitor) or self._first_entry()

    # --- what the controls show -------------------------------------------------------------

    def _draw(self, name: str, **options: Any) -> None:
        elem_id = self.prefix + name.replace("_", "-")
        self._drawn[name] = from_field(TextToImageRequest, name, elem_id=elem_id, **options)

    def _fill_loras(self, fields: Mapping[str, Any], visitor: Visitor) -> list[Any]:
        if "loras" not in fields and "prompt" not in fields:
            return [gr.skip()] * len(self._loras.outputs)
        return self._loras.fill(fields.get("loras", ()), str(fields.get("prompt", "")), visitor)

    def _has_picture(self, fields: Mapping[str, Any]) -> bool:
        return self._keeps_picture and bool(fields.get("from_picture"))

    def _offer(self, visitor: Visitor | None = None, has_picture: bool = False) -> list[ModelEntry]:
        entries = offered_models(self.studio, visitor)
        offers = self._offers or (lambda entry: has_picture or not entry.edits_only)
        return [entry for entry in entries if offers(entry)]

    def _models(
        self, visitor: Visitor | None = None, has_picture: bool = False
    ) -> list[tuple[str, str]]:
        return [(entry.title, entry.name) for entry in self._offer(visitor, has_picture)]

    def _find_entry(self, fields: Mapping[str, Any], visitor: Visitor) -> ModelEntry | None:
        return find_entry(fields.get("model"), self._offer(visitor, self._has_picture(fields)))

    def _first_entry(self) -> ModelEntry:
        return first_of(self._offer())

    def _own_sampler(self, entry: ModelEntry) -> Sampler | None:
        fitting = self.samplers.list_fitting(entry.family, entry.defaults.sampler)
        own = [sampler for sampler in fitting if sampler.name == entry.defaults.sampler]
        return next(iter([*own, *fitting]), None)

    def _sampler_picker(self, entry: ModelEntry, chosen: str | None = None) -> dict[str, Any]:
        fitting = self.samplers.list_fitting(entry.family, entry.defaults.sampler)
        names = [sampler.name for sampler in fitting]
        own = self._own_sampler(entry)
        value = chosen if chosen in names else own.name if own else None
        return {
            "choices": names,
            "value": value,
            "info": describe(self.samplers.get(value).description) if value else None,
            "visible": bool(names),
        }

    def _schedule_picker(
        self, entry: ModelEntry, sampler: Sampler | None, chosen: str | None = None
    ) -> dict[str, Any]:
        """The schedules that fit, with the chosen one, else the model's own, else the first."""
        names = self.samplers.schedules_of(sampler, entry.family) if sampler else []
        wanted = [name for name in (chosen, entry.defaults.schedule) if name in names]
        value = next(iter([*wanted, *names]), None)
        return {
            "choices": names,
            "value": value,
            "info": self._schedule_line(value),
            "visible": bool(names),
        }

    def _schedule_line(self, name: str | None) -> I18nData | str | None:
        return describe(self.samplers.schedule(name).description) if name else None

    def _pickers(
        self, entry: ModelEntry, sampler_name: str | None, schedule: str | None, eta: float | None
    ) -> dict[str, Any]:
        """Updates of sampler, schedule and eta for a model; what does not fit gives way."""
        picker = self._sampler_picker(entry, sampler_name)
        sampler = self.samplers.get(picker["value"]) if picker["value"] else None
        own_eta = sampler.eta if sampler else None
        return {
            "sampler": gr.update(**picker),
            "schedule": gr.update(**self._schedule_picker(entry, sampler, schedule)),
            "eta": gr.update(
                value=own_eta or 0.0 if eta is None else eta, visible=own_eta is not None
            ),
        }

    def _takes_eta(self, sampler_name: Any) -> bool:
        return any(s.name == sampler_name and s.eta is not None for s in self.samplers)

    def _of_model(self) -> list[gr.components.Component]:
        names = ("sampler", "schedule", "eta", "steps", "guidance", "width", "height")
        return [self._drawn[name] for name in (*names, "negative_prompt")]

    @staticmethod
    def _defaults(entry: ModelEntry) -> dict[str, Any]:
        return {
            "sampler": entry.defaults.sampler,
            "schedule": entry.defaults.schedule,
            "eta": None,
            "steps": entry.defaults.steps,
            "guidance": entry.defaults.guidance,
            "width": entry.native_size,
            "height": entry.native_size,
        }

    # --- events -----------------------------------------------------------------------------

    def _open(self, fields: Mapping[str, Any], visitor: Visitor) -> list[Any]:
        """The models in the home folder may have changed since the studio started."""
        entry = self.entry_of(fields, visitor)
        # A request has the seed that was drawn for it: with that, Paint would paint it once more.
        fields = {name: value for name, value in fields.items() if name != "seed"}
        return self.fill({**fields, "model": entry.name}, visitor)

    def _model_chosen(self, name: str, request: gr.Request) -> list[Any]:
        entry = self._entry(name) or self._first_entry()
        defaults = self._defaults(entry)
        pickers = self._pickers(entry, None, None, None)
        numbers = _numbers(entry, defaults)
        negative = gr.update(interactive=entry.negative_prompt_used)
        about = views.about_model(entry, Visitor.of(request))
        return [*pickers.values(), *numbers.values(), negative, about]

    def _sampler_chosen(self, model: str, name: str, schedule: str | None) -> list[Any]:
        entry = self._entry(model) or self._first_entry()
        return list(self._pickers(entry, name, schedule, None).values())

    def _insert_example(self, event: gr.EventData) -> str:
        text = event._data.get("text")
        return text if isinstance(text, str) and text else surprise()

    def _unknown(self, prompt: str, model: str, request: gr.Request) -> Any:
        from pipelines.toybox.words import unknown_words

        entry = self._entry(model)
        knows_few = entry is not None and entry.words is not None
        words = unknown_words(words_in(prompt)) if knows_few else []
        shown = views.unknown_words(words, Visitor.of(request)) if words else ""
        return gr.update(value=shown, visible=bool(words))

    def _entry(self, name: Any) -> ModelEntry | None:
        try:
            return self.studio.catalog.get(name) if isinstance(name, str) else None
        except UserError:  # gone from the home folder since the page was opened
            return None


def offered_models(studio: Studio, visitor: Visitor | None = None) -> list[ModelEntry]:
    """Everybody's models, and those that the visitor has trained or merged."""
    entries = [entry for entry in studio.catalog.models() if entry.refused is None]
    return entries + (studio.loras.models(visitor.owner.id) if visitor is not None else [])


def find_entry(name: Any, entries: Sequence[ModelEntry]) -> ModelEntry | None:
    """The one of ``entries`` called so; pictures name one's own models by their titles."""
    called = [entry for entry in entries if entry.name == name]
    return next(iter([*called, *(entry for entry in entries if entry.title == name)]), None)


def first_of(entries: Sequence[ModelEntry]) -> ModelEntry:
    """What a form shows before anybody has chosen: a model that ships with Atelier, if offered."""
    return next((entry for entry in entries if entry.source.asset is not None), entries[0])


def _numbers(entry: ModelEntry, values: Mapping[str, Any]) -> dict[str, Any]:
    """Updates of steps, guidance and sides; the sliders of sides stop at what the model paints."""
    updates = {name: gr.update(value=values[name]) for name in ("steps", "guidance")}
    step = size_step(entry)
    return updates | {side: gr.update(value=values[side], step=step) for side in _SIDES}


def surprise() -> str:
    """A prompt that the starter model understands."""
    from pipelines.toybox.captions import caption
    from pipelines.toybox.scenes import sample_scene
    from pipelines.toybox.vocabulary import FIRST_RELEASE
    from pipelines.toybox.words import unknown_words

    while True:
        seed = secrets.randbits(32)
        prompt = caption(sample_scene(seed, FIRST_RELEASE, max_things=2), seed)
        if not unknown_words(prompt):
            return prompt


def describe(description: Mapping[str, str]) -> I18nData | str:
    """One line about a sampler or schedule; those of the owner's own are in one language only."""
    return label(description["en"]) if "zh" in description else description.get("en", "")


def _style_choices() -> list[tuple[Any, str]]:
    return [(label("None"), NO_STYLE), *((label(s.title["en"]), s.name) for s in styles().values())]


# A button's words travel in data-text; "Surprise me" has none.
_EXAMPLE_CLICKED = """
element.addEventListener('click', event => {
  const button = event.target.closest('button');
  if (button) trigger('pick', {text: button.dataset.text || ''});
});
"""
