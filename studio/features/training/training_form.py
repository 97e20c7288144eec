"""The settings of a :class:`TrainingRequest`: a preset fills them in, each can be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.dreambooth.data import identifiers
from pipelines.dreambooth.preflight import FAMILIES
from pipelines.dreambooth.presets import presets, settings_for
from pipelines.dreambooth.requests import Method, TrainingRequest, is_used
from pipelines.models.catalog import ModelEntry
from studio.features.training import train_views
from studio.i18n import text_in
from studio.page import views
from studio.page.components.paint_form import first_of
from studio.page.widgets import DRAFT, QUIET, Visitor, as_text, follow_newest, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.features.training.photos import PhotosForm

_OF_PHOTOS = ("subject", "identifier", "class_word")
_OF_SERVER = ("training", "owner")
_METHOD: Method = TrainingRequest.model_fields["method"].default
# Choices that need a name for people; fp16 and bf16 are names already.
_TITLES = {
    "lora": "LoRA",
    "full": "Full",
    "textual_inversion": "Textual inversion",
    "attention": "Attention",
    "transformer": "Transformer",
    "decoder": "Decoder",
    "all": "All",
    "adamw": "AdamW",
    "adamw_8bit": "8-bit AdamW",
    "prodigy": "Prodigy",
    "constant": "Constant",
    "linear": "Linear",
    "cosine": "Cosine",
    "cosine_with_restarts": "Cosine with restarts",
    "polynomial": "Polynomial",
    "auto": "Auto",
    "no": "No (float32)",
}
_GROUPS = (
    (
        "What learns",
        ("rank", "alpha", "dropout", "target_modules", "train_text_encoder", "vectors"),
    ),
    (
        "How long and how fast",
        (
            *("steps", "batch_size", "gradient_accumulation", "learning_rate"),
            *("text_encoder_learning_rate", "schedule", "warmup_steps", "optimizer"),
            *("weight_decay", "max_grad_norm"),
        ),
    ),
    (
        "Photos and class",
        (
            *("resolution", "buckets", "mirror", "caption_dropout", "prior_preservation"),
            *("prior_weight", "class_pictures", "class_prompts"),
        ),
    ),
    (
        "Loss and machine",
        (
            *("snr_gamma", "noise_offset", "ema", "ema_decay", "mixed_precision"),
            *("gradient_checkpointing", "processes", "seed", "save_every"),
        ),
    ),
)
_SAMPLES = ("a [trigger] on the sand", "a [trigger] in the snow")
_LINES = ("sample_prompts", "class_prompts")  # written one a line
_NUMBERS = ("resolution", "alpha", "text_encoder_learning_rate")  # may be left empty
EXPLAINED = (*_NUMBERS, "class_prompts")  # with what it means to leave them empty


class TrainingForm:
    """Draws the settings and keeps them in step with preset, base model and method.

    Attributes:
        controls: field of the request → its control.
        inputs: the controls alone, as event listeners take them.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.controls: dict[str, gr.components.Component] = {}

    @property
    def inputs(self) -> list[gr.components.Component]:
        return list(self.controls.values())

    @property
    def lines(self) -> list[gr.Textbox]:
        """The prompts that a person writes, one a line."""
        return [self.controls[name] for name in _LINES]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What :meth:`fill` updates."""
        return [*self.inputs, self._batch]

    @property
    def all_outputs(self) -> list[gr.components.Component]:
        """What :meth:`begin` updates."""
        return [*self.outputs, self._about]

    def draw_choice(self) -> None:
        """Preset, base model, the result's name, and what it would take."""
        known = presets()
        self._preset = gr.Radio(
            [(label(each.title["en"]), each.name) for each in known],
            value=known[0].name,
            label=label("Preset"),
            elem_id="train-preset",
        )
        self._about = gr.HTML(elem_id="train-about-preset")
        # As the preset or a person would have it; what is shown is never more than the photos.
        self._batch = gr.State(1)
        with gr.Row(elem_classes="stacked"):
            self._draw("model", kind=gr.Dropdown, choices=self._models(), value=self._first().name)
            self._draw("name", label=label("Name of the result"), max_lines=1)
        self._expected = gr.HTML(elem_id="train-expected")
        # Counts the times that other photos may be there.
        self._photos_changed = gr.State(0)

    def draw_rest(self) -> None:
        """The method, and all that is folded away."""
        self._draw("method")
        with gr.Accordion(label("Samples while it learns"), open=False):
            self._draw("sample_prompts", kind=gr.Textbox, lines=3, value="\n".join(_SAMPLES))
            self._draw("sample_every")
        for title, names in _GROUPS:
            with gr.Accordion(label(title), open=False, elem_classes="settings-group"):
                for name in names:
                    self._draw(name)

    def listen(self, photos: PhotosForm, changed: Sequence[gr.events.Dependency]) -> None:
        """Connect the controls with one another.

        Args:
            photos: the form of the subject, whose number of photos presets depend on.
            changed: events after which other photos may be there.
        """
        model, method = self.controls["model"], self.controls["method"]
        batch = self.controls["batch_size"]
        gr.on(
            [self._preset.input, model.input, method.input],
            self._fill,
            [self._preset, model, method, photos.subject],
            self.all_outputs,
            preprocess=False,
            **QUIET,
        )
        batch.input(lambda value: value, batch, self._batch, preprocess=False, **QUIET)
        for event in changed:
            event.then(
                self._fit,
                [self._batch, photos.subject, self._photos_changed],
                [batch, self._photos_changed],
                preprocess=False,
                **QUIET,
            )
        # One listener for all, so that no late answer to older settings replaces a newer one's.
        causes = (*self.inputs, photos.class_word, photos.subject, self._photos_changed)
        follow_newest(
            [each.change for each in causes],
            self._take,
            [*self.inputs, *self._words(photos)],
            self._expected,
            preprocess=False,
        )

    @staticmethod
    def _words(photos: PhotosForm) -> list[gr.components.Component]:
        return [photos.subject, photos.identifier, photos.class_word, photos.name]

    def all_inputs(self, photos: PhotosForm) -> list[gr.components.Component]:
        """The inputs of :meth:`data`."""
        return [*self.inputs, *self._words(photos)]

    def entry_name(self) -> str:
        """The base model that is chosen at first."""
        return self._first().name

    def data(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of :meth:`all_inputs` as the fields of a request, not yet checked."""
        *settings, subject, identifier, class_word, called = values
        fields = dict(zip(self.controls, settings, strict=True))
        for name in _LINES:
            lines = str(fields[name] or "").splitlines()
            fields[name] = [line.strip() for line in lines if line.strip()]
        fields["name"] = str(fields["name"] or "").strip() or str(called or "").strip()
        # An emptied number that must be one gets its default.
        kept = {
            name: value for name, value in fields.items() if value is not None or name in _NUMBERS
        }
        photos = {"subject": subject or "", "class_word": class_word or ""}
        word = self._identifier(kept, as_text(identifier), as_text(class_word))
        return {**kept, **photos, **({"identifier": word} if word else {})}

    def _identifier(self, fields: Mapping[str, Any], word: str, class_word: str) -> str:
        """The subject's word, or for textual inversion a new one made of it.

        The subject keeps its own, which is best for the other methods. What becomes of it is said
        below the word and beside what the training would take.
        """
        if fields.get("method") != "textual_inversion":
            return word
        try:
            entry = self.studio.catalog.get(fields["model"])
        except UserError:  # the model has gone; the request says so
            return word
        usual = TrainingRequest.model_fields["identifier"].default
        return identifiers.new_word(word.strip() or usual, entry, class_word)

    def begin(self, subject: str, visitor: Visitor) -> list[Any]:
        """Updates of :attr:`all_outputs`: the first preset's settings for a subject."""
        return self._settings(presets()[0].name, self.entry_name(), _METHOD, subject, visitor)

    def fill(
        self, fields: Mapping[str, Any], method: Method, subject: str, visitor: Visitor
    ) -> list[Any]:
        """Updates of :attr:`outputs` that show ``fields``; those not given keep their values.

        What the method has no use for is hidden, and the batch is shown no larger than the photos
        of ``subject`` are many.
        """
        shown = dict(fields)
        if "batch_size" in shown:
            shown["batch_size"] = self._limit_batch(shown["batch_size"], subject, visitor)
        for name in shown.keys() & set(_LINES):
            shown[name] = "\n".join(shown[name])
        known = {entry.name for entry in self._offer()}
        if shown.get("model") not in known:
            shown.pop("model", None)
        updates = []
        for name in self.controls:
            value = {"value": shown[name]} if name in shown else {}
            updates.append(gr.update(visible=is_used(name, method), **value))
        return [*updates, fields.get("batch_size", gr.skip())]

    # --- what the controls show -------------------------------------------------------------

    def _draw(self, name: str, **options: Any) -> None:
        assert name not in (*_OF_PHOTOS, *_OF_SERVER)
        field = TrainingRequest.model_fields[name]
        choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
        if choices and "kind" not in options:
            options |= {
                "kind": gr.Dropdown,
                "choices": [(label(_TITLES[c]), c) if c in _TITLES else (c, c) for c in choices],
            }
        if name in _NUMBERS:
            options |= {"kind": gr.Number}
        if name == "class_prompts":
            options |= {"kind": gr.Textbox, "lines": 2, "value": ""}
        if name in EXPLAINED:
            options |= {"info": label(field.description or "")}
        if name in _LINES:
            options |= {"elem_classes": DRAFT}
        elem_id = f"train-{name.replace('_', '-')}"
        options |= {"elem_id": elem_id, "visible": is_used(name, _METHOD)}
        self.controls[name] = from_field(TrainingRequest, name, **options)

    def _offer(self) -> list[ModelEntry]:
        return [
            entry
            for entry in self.studio.catalog.models()
            if entry.refused is None and entry.family in FAMILIES
        ]

    def _models(self) -> list[tuple[str, str]]:
        return [(entry.title, entry.name) for entry in self._offer()]

    def _first(self) -> ModelEntry:
        return first_of(self._offer())

    # --- events -----------------------------------------------------------------------------

    def _fill(
        self, preset: str, model: str, method: Method, subject: str, request: gr.Request
    ) -> list[Any]:
        return self._settings(preset, model, method, subject, Visitor.of(request))

    def _settings(
        self, preset: str, model: str, method: Method, subject: str, visitor: Visitor
    ) -> list[Any]:
        """Updates of :attr:`all_outputs`: a preset for this base, method and number of photos."""
        entries = {entry.name: entry for entry in self._offer()}
        entry = entries.get(as_text(model)) or self._first()
        try:
            settings = settings_for(as_text(preset), entry, method, self.studio.trainings.memory)
        except UserError as error:
            return [*[gr.skip()] * len(self.outputs), views.error(error.message, visitor)]
        described = {each.name: each.description for each in presets()}[preset]
        about = views.summary([text_in(described, visitor.language)], visitor)
        # Sample prompts are the person's own.
        settings = {k: v for k, v in settings.items() if k != "sample_prompts" or v}
        return [*self.fill(settings, method, subject, visitor), about]

    def _fit(
        self, batch: int | None, subject: str, changes: int, request: gr.Request
    ) -> tuple[int, int]:
        """The batch that was asked for, as far as the photos that are there now suffice."""
        return self._limit_batch(batch or 1, subject, Visitor.of(request)), changes + 1

    def _limit_batch(self, batch: int, subject: str, visitor: Visitor) -> int:
        count = self._count(subject, visitor)
        return min(batch, count) if count else batch

    def _count(self, subject: str, visitor: Visitor) -> int:
        try:
            return len(self.studio.subjects.get(visitor.owner.id, as_text(subject)).photos)
        except UserError:
            return 0

    def _take(self, request: gr.Request, *values: Any) -> str:
        """What the training would take, or why it cannot work."""
        visitor = Visitor.of(request)
        data = self.data(list(values))
        if not data["subject"]:
            return ""
        try:
            found = self.studio.trainings.preflight(visitor.owner.id, data)
        except UserError as error:
            return views.notice(error.message, visitor)
        return train_views.preflight_summary(found, visitor)
