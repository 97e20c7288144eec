"""What can be asked of the trainer: bounds, defaults and help texts live here only.

No torch here: the page reads these models before any heavy library is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from pipelines.core.engine import Request, Use
from pipelines.core.errors import BadRequest
from pipelines.diffusion.lora.use import MAX_WEIGHT, LoraUse, library_uses
from pipelines.diffusion.picture_sides import side
from pipelines.diffusion.requests import MAX_SEED, TextToImageRequest

MAX_SAMPLE_PROMPTS = 8
MAX_VECTORS = 8

Method = Literal["lora", "full", "textual_inversion"]
Targets = Literal["attention", "transformer", "decoder", "all"]
Schedule = Literal["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"]
Optimizer = Literal["adamw", "adamw_8bit", "prodigy"]
Precision = Literal["auto", "no", "fp16", "bf16"]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
CLASS = "[class]"
"""Stands for the class word in class prompts."""
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]

# Settings that only some methods have a use for.
_USED_BY: dict[str, tuple[Method, ...]] = {
    **dict.fromkeys(("rank", "alpha", "dropout", "target_modules"), ("lora",)),
    **dict.fromkeys(("train_text_encoder", "text_encoder_learning_rate"), ("lora", "full")),
    **dict.fromkeys(("prior_preservation", "prior_weight"), ("lora", "full")),
    **dict.fromkeys(("class_pictures", "class_prompts"), ("lora", "full")),
    "vectors": ("textual_inversion",),
}


class TrainingRequest(Request):
    """One training. Field titles and descriptions are the page's labels and help texts."""

    subject: Annotated[Id, Field(title="Subject", description="Whose photos are learnt.")]
    training: Annotated[
        Id,
        Field(
            title="Training",
            description="Where the training is kept. The same one again goes on from its last "
            "checkpoint.",
        ),
    ]
    owner: Annotated[
        str,
        Field(max_length=200, title="Owner", description="Whose library the result is put in."),
    ] = "local"
    method: Annotated[
        Method,
        Field(
            title="Method",
            description="LoRA: small and strong, the usual choice. Full: every weight of the "
            "model, a large file. Textual inversion: only a new word, a tiny file.",
        ),
    ] = "lora"
    model: Annotated[
        str, Field(max_length=200, title="Model", description="The base model that learns.")
    ] = "starter"
    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
        Field(title="Name", description="What the result is called in the library."),
    ]
    identifier: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=40),
        Field(
            title="Identifier",
            description="A rare word that means nothing yet and will stand for the subject.",
        ),
    ] = "sks"
    class_word: Annotated[
        str,
        StringConstraints(strip_whitespace=True, max_length=40),
        Field(title="Class", description="What the subject is one of: cat, mug, toy."),
    ] = ""

    # What learns
    rank: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            title="Rank",
            description="How much a LoRA can hold; its file grows with it.",
        ),
    ] = 16
    alpha: Annotated[
        float | None,
        Field(
            gt=0,
            le=512,
            title="Alpha",
            description="A LoRA counts alpha ÷ rank times. Empty: the rank, so once.",
        ),
    ] = None
    dropout: Annotated[
        float,
        Field(
            ge=0,
            le=0.9,
            title="Dropout",
            description="Share of a LoRA's inputs left out at random, against learning by heart.",
        ),
    ] = 0.0
    target_modules: Annotated[
        Targets,
        Field(
            title="Layers",
            description="Attention: where the picture follows the words. Transformer: those blocks "
            "as a whole. All: convolutions too, which learn a new shape soonest. Decoder: all, but "
            "only from the middle of the U-Net on, a quarter faster.",
        ),
    ] = "attention"
    train_text_encoder: Annotated[
        bool,
        Field(
            title="Text encoder too",
            description="Also learns what the words mean. More like the subject, more memory.",
        ),
    ] = False
    vectors: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_VECTORS,
            title="Vectors",
            description="Textual inversion: how many embeddings the new word stands for.",
        ),
    ] = 1

    # How long and how much at a time
    steps: Annotated[
        int,
        Field(ge=1, le=100_000, title="Steps", description="How often the weights take a step."),
    ] = 800
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            title="Batch size",
            description="Photos a step looks at together. More is steadier and takes more memory.",
        ),
    ] = 1
    gradient_accumulation: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            title="Gradient accumulation",
            description="Batches whose gradients are added up for one step: a larger batch in "
            "the memory of a small one, in proportionally more time.",
        ),
    ] = 1
    gradient_checkpointing: Annotated[
        bool,
        Field(
            title="Gradient checkpointing",
            description="Computes parts twice instead of keeping them: a third slower, far less "
            "memory.",
        ),
    ] = False
    processes: Annotated[
        int,
        Field(
            ge=1, le=16, title="GPUs", description="How many GPUs share the work; each has a batch."
        ),
    ] = 1

    # The photos
    resolution: Annotated[
        int | None,
        side(
            "Resolution", "Side of the photos in pixels. Empty: the size the model was trained at."
        ),
    ] = None
    buckets: Annotated[
        bool,
        Field(
            title="Aspect buckets",
            description="Photos keep about their proportions instead of being cropped square.",
        ),
    ] = False
    mirror: Annotated[
        bool,
        Field(
            title="Mirror",
            description="Half of the time a photo is seen mirrored. Not for what has writing on "
            "it or a left and a right.",
        ),
    ] = False
    caption_dropout: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            title="Caption dropout",
            description="Share of photos shown without their caption, so that guidance keeps "
            "working.",
        ),
    ] = 0.0

    # How fast
    learning_rate: Annotated[
        float,
        Field(
            gt=0,
            le=10,
            title="Learning rate",
            description="How far a step goes. Too high falls apart, too low learns nothing. "
            "Prodigy finds its own: leave it at 1 there.",
        ),
    ] = 1e-4
    text_encoder_learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            le=10,
            title="Learning rate of the text encoder",
            description="Usually lower than the other. Empty: the same.",
        ),
    ] = None
    schedule: Annotated[
        Schedule,
        Field(
            title="Schedule",
            description="How the learning rate goes on after the warm-up.",
        ),
    ] = "constant"
    warmup_steps: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            title="Warm-up",
            description="Steps in which the learning rate rises from nothing.",
        ),
    ] = 0
    optimizer: Annotated[
        Optimizer,
        Field(
            title="Optimiser",
            description="AdamW: the usual one. 8-bit AdamW: the same in a quarter of the memory, "
            "on CUDA only. Prodigy: finds the learning rate itself.",
        ),
    ] = "adamw"
    weight_decay: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Weight decay",
            description="Pulls learnt weights back towards zero.",
        ),
    ] = 0.01
    max_grad_norm: Annotated[
        float,
        Field(
            ge=0,
            le=1000,
            title="Gradient clipping",
            description="Longer gradients are shortened to this. 0: never.",
        ),
    ] = 1.0

    # What is kept of the class
    prior_preservation: Annotated[
        bool,
        Field(
            title="Prior preservation",
            description="Also shows pictures of the class that the untouched model painted, so "
            "that it does not forget what others of the class look like.",
        ),
    ] = False
    prior_weight: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            title="Prior weight",
            description="How much the class pictures count against the photos.",
        ),
    ] = 1.0
    class_pictures: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            title="Class pictures",
            description="How many of them; they are painted once and kept for next time.",
        ),
    ] = 100
    class_prompts: Annotated[
        tuple[Words, ...],
        Field(
            max_length=50,
            title="Class prompts",
            description="What the class pictures are painted from, one prompt a line, with [class] "
            "for the class. Other things named here keep their look too. Empty: “a” and the class.",
        ),
    ] = ()

    # The loss
    snr_gamma: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="SNR-γ",
            description="Lets steps with little noise count less (min-SNR; 5 is usual). 0: off.",
        ),
    ] = 0.0
    noise_offset: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Noise offset",
            description="Lets very dark and very bright pictures be learnt (0.05 is usual).",
        ),
    ] = 0.0
    ema: Annotated[
        bool,
        Field(
            title="EMA",
            description="The result is a running average of the weights: calmer, in more memory.",
        ),
    ] = False
    ema_decay: Annotated[
        float,
        Field(
            ge=0.5,
            lt=1,
            title="EMA decay",
            description="How slowly the average follows.",
        ),
    ] = 0.995

    # The machine
    mixed_precision: Annotated[
        Precision,
        Field(
            title="Mixed precision",
            description="In which numbers is computed. auto: bf16 where the device has it.",
        ),
    ] = "auto"
    seed: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SEED,
            title="Seed",
            description="The same seed and settings learn the same on a CPU.",
        ),
    ] = 0

    # While it runs
    save_every: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            title="Save every",
            description="Steps from one checkpoint to the next. 0: only at the end.",
        ),
    ] = 100
    sample_every: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            title="Sample every",
            description="Steps from one set of sample pictures to the next. 0: none.",
        ),
    ] = 0
    sample_prompts: Annotated[
        tuple[Words, ...],
        Field(
            max_length=MAX_SAMPLE_PROMPTS,
            title="Sample prompts",
            description="What is painted meanwhile, one a line; [trigger] stands for the subject.",
        ),
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _earlier(cls, data: Any) -> Any:
        """Trainings of earlier versions had one class prompt, or None."""
        if not isinstance(data, dict) or "class_prompt" not in data:
            return data
        one = data["class_prompt"]
        rest = {name: value for name, value in data.items() if name != "class_prompt"}
        return {"class_prompts": () if one is None else (one,)} | rest

    def uses(self) -> Iterator[Use]:
        yield from library_uses(self.model)
        yield Use("subject", self.subject)
        yield Use("training", self.training)

    @property
    def has_prior(self) -> bool:
        """Whether class pictures are learnt too. They would teach a new word nothing."""
        return self.prior_preservation and is_used("prior_preservation", self.method)

    @property
    def trigger(self) -> str:
        """What stands for the subject in a prompt.

        Textual inversion's new word has the whole meaning; the other methods learn a word before
        the class's.
        """
        if self.method == "textual_inversion":
            return self.identifier
        return f"{self.identifier} {self.class_word}".strip()

    def class_prompt(self, number: int) -> str:
        """What class picture ``number`` is painted from and called; they take turns by pairs."""
        if not self.class_prompts:
            return _with_article(self.class_word)
        prompt = self.class_prompts[number // 2 % len(self.class_prompts)]
        return prompt.replace(CLASS, self.class_word)


def is_used(setting: str, method: Method) -> bool:
    """Whether a setting changes anything of a training by ``method``."""
    return method in _USED_BY.get(setting, (method,))


def _with_article(word: str) -> str:
    return f"{'an' if word[:1].lower() in tuple('aeiou') else 'a'} {word}"


MAX_PROMPTS, MAX_WEIGHTS = 8, 8
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)

Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]


class BeforeAfterRequest(Request):
    """The same prompts and seeds without and with what was learnt."""

    base: Annotated[
        TextToImageRequest,
        Field(
            title="Settings",
            description="What all pictures are painted with, on the base model. Prompt, batch and "
            "LoRAs are left out.",
        ),
    ]
    prompts: Annotated[
        tuple[Prompt, ...],
        Field(
            min_length=1,
            max_length=MAX_PROMPTS,
            title="Prompts",
            description="What is painted, one a line: a row of the sheet each.",
        ),
    ]
    lora: Annotated[
        LoraUse | None, Field(title="LoRA", description="What was learnt; its weight is left out.")
    ] = None
    model: Annotated[
        str | None,
        Field(
            max_length=200,
            title="Model",
            description="The model that was trained as a whole. Empty: a LoRA was learnt.",
        ),
    ] = None
    weights: Annotated[
        tuple[Weight, ...],
        Field(
            min_length=1,
            max_length=MAX_WEIGHTS,
            title="Weights",
            description="Of the LoRA: a column of the sheet each; 0 is without it.",
        ),
    ] = WEIGHTS

    @model_validator(mode="after")
    def _one_of_both(self) -> BeforeAfterRequest:
        if (self.lora is None) == (self.model is None):
            raise BadRequest("Name either a LoRA or a model that was trained.")
        return self

    def uses(self) -> Iterator[Use]:
        yield from self.base.uses()
        yield from library_uses(self.model, (self.lora,))

    def rows(self) -> list[list[TextToImageRequest]]:
        """The request of each cell: a row for each prompt, a column for each weight."""
        return [
            [
                self.base.model_copy(
                    update={"prompt": prompt, "batch_count": 1, "batch_size": 1, **changes}
                )
                for changes in self._columns()
            ]
            for prompt in self.prompts
        ]

    def _columns(self) -> list[dict]:
        if self.model is not None:
            return [{"loras": ()}, {"loras": (), "model": self.model}]
        uses = (
            self.lora.model_copy(update={"weight": weight, "text_weight": None})
            for weight in self.weights
        )
        return [{"loras": (use,) if use.weight else ()} for use in uses]
