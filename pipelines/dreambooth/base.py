"""The base model as the trainer needs it: its parts, its texts, and pictures painted meanwhile."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import Tensor

from pipelines.core.cache import Notes
from pipelines.core.devices import empty_cache
from pipelines.core.errors import BadRequest
from pipelines.core.events import Picture
from pipelines.diffusion.loading import DiffusionModel, open_pipeline
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import UNET_FAMILIES, samplers_in
from pipelines.diffusion.text_to_image import paint
from pipelines.dreambooth.loss import Noising
from pipelines.models.catalog import ModelEntry

TEXT_PARTS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))
_DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def precision_for(asked: str, device: str) -> str:
    """``"no"``, ``"fp16"`` or ``"bf16"`` for what was asked on ``device``.

    ``auto``: bf16 where the device computes in it, on GPUs without it fp16, else float32.
    """
    if asked != "auto":
        return asked
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(False) else "fp16"
    if device == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return "bf16"
    return "no"


class Base:
    """A Stable Diffusion model in float32, all of it frozen.

    Attributes:
        entry: the catalog's entry.
        pipe: its pipeline, whose parts these are.
        device: where computing happens.
        precision: ``"no"``, ``"fp16"`` or ``"bf16"``.
    """

    def __init__(self, entry: ModelEntry, pipe: Any, device: str, precision: str) -> None:
        if entry.family not in UNET_FAMILIES or entry.inpaints:
            raise BadRequest(
                "{model} cannot be taught yet; choose a Stable Diffusion model.", model=entry.title
            )
        self.entry, self.pipe, self.device, self.precision = entry, pipe, device, precision
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False).eval().to(device)
        if device == "cpu":  # where the fused attention's backward pass is slow
            self.unet.set_attn_processor(AttnProcessor())
        scheduler = pipe.scheduler.config
        self.noising = Noising(
            pipe.scheduler.alphas_cumprod, getattr(scheduler, "prediction_type", "epsilon")
        )

    @classmethod
    def load(
        cls,
        entry: ModelEntry,
        device: str,
        precision: str,
        home: Path,
        offline: bool,
        notes: Notes,
    ) -> Base:
        """The model of a catalog entry; see :func:`pipelines.diffusion.loading.open_pipeline`."""
        pipe = open_pipeline(entry, torch.float32, notes, offline, home)
        return cls(entry, pipe, device, precision)

    @property
    def unet(self) -> Any:
        return self.pipe.unet

    @property
    def dtype(self) -> torch.dtype:
        """Of frozen weights while training."""
        return _DTYPES[self.precision]

    @property
    def text_encoders(self) -> list[Any]:
        return [encoder for _, encoder in self.text_parts]

    @property
    def text_parts(self) -> list[tuple[Any, Any]]:
        """Each tokenizer with its text encoder."""
        pairs = [tuple(getattr(self.pipe, name, None) for name in names) for names in TEXT_PARTS]
        return [pair for pair in pairs if pair[1] is not None]

    def autocast(self) -> contextlib.AbstractContextManager:
        """Computing in the chosen precision, outside of the training loop."""
        if self.precision == "no":
            return contextlib.nullcontext()
        return torch.autocast(self.device.partition(":")[0], self.dtype)

    def lower_frozen_weights(self) -> None:
        """Keep the UNet's weights in the precision that is computed in, but those that learn."""
        for parameter in self.unet.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(self.dtype)

    def put_away(self, keep: bool, *names: str) -> None:
        """Free the device of parts that training does not need.

        Args:
            keep: they are needed again later; otherwise they are let go for good.
            names: of the pipeline's parts.
        """
        for name in names:
            part = getattr(self.pipe, name, None)
            if part is not None and keep:
                part.to("cpu")
            elif part is not None:
                setattr(self.pipe, name, None)
        gc.collect()
        empty_cache(self.device)

    @contextlib.contextmanager
    def at_hand(self) -> Iterator[None]:
        """All parts on the device, and back where they were afterwards."""
        parts = [p for p in self.pipe.components.values() if isinstance(p, torch.nn.Module)]
        away = [part for part in parts if next(part.parameters()).device.type == "cpu"]
        if self.device == "cpu":
            away = []
        for part in away:
            part.to(self.device)
        try:
            yield
        finally:
            for part in away:
                part.to("cpu")
            empty_cache(self.device)

    @contextlib.contextmanager
    def _without_dropout(self) -> Iterator[None]:
        """All as it is when what was learnt is used; then every module in its own mode again.

        A text encoder as a whole is not in training while the dropout of the LoRA in it is.
        """
        parts = (self.unet, *self.text_encoders)
        learning = [module for part in parts for module in part.modules() if module.training]
        for part in parts:
            part.eval()
        try:
            yield
        finally:
            for module in learning:
                module.training = True

    def paint(
        self, prompt: str, seed: int, count: int, stop: Any, home: Path, **settings: Any
    ) -> list[Image.Image]:
        """``count`` pictures of a prompt, by the model as it is now, in one batch.

        Args:
            stop: has ``is_set()``, read at every step.
            **settings: of :class:`TextToImageRequest`; others are the model's own.

        Raises:
            Stopped: ``stop`` was set.
        """
        asked = TextToImageRequest(
            prompt=prompt, model=self.entry.name, seed=seed, batch_size=count, **settings
        )
        with self.at_hand(), self._without_dropout(), torch.no_grad():
            model = _Painting(self, home)
            resolved = resolve(asked, self.entry, samplers_in(home))
            events = list(paint(model, resolved, stop))
        return [event.image for event in events if isinstance(event, Picture)]


class _Painting(DiffusionModel):
    """The base with what it has learnt so far, as the image engines know a model."""

    def __init__(self, base: Base, home: Path) -> None:
        self._base = base
        super().__init__(base.entry, base.pipe, base.device, home=home)

    @property
    def unet(self) -> Any:
        return _InPrecision(self._base)


class _InPrecision:
    """The UNet, given and giving float32, computing in the training's precision."""

    dtype = torch.float32

    def __init__(self, base: Base) -> None:
        self._base = base

    def __call__(self, sample: Tensor, timestep: Tensor, **arguments: Any) -> tuple[Tensor, ...]:
        with self._base.autocast():
            return self._base.unet(sample, timestep, **arguments)


class Texts:
    """Captions to what the UNet attends to.

    A caption is read as the image engines read an unweighted prompt of one chunk; what is longer
    is cut off.
    """

    def __init__(self, base: Base) -> None:
        self.parts = base.text_parts
        self.device = base.device
        self.two = len(self.parts) > 1
        self._convert: Callable[[str, Any], str] = base.pipe.maybe_convert_prompt

    def ids(self, captions: list[str]) -> list[Tensor]:
        """(B, length) int64 for each text encoder."""
        return [
            tokenizer(
                [self._convert(caption, tokenizer) for caption in captions],
                padding="max_length",
                max_length=min(tokenizer.model_max_length, encoder.config.max_position_embeddings),
                truncation=True,
                return_tensors="pt",
            ).input_ids.to(self.device)
            for tokenizer, encoder in self.parts
        ]

    def too_long(self, captions: list[str]) -> list[str]:
        """Those of which the end is not read."""
        tokenizer, encoder = self.parts[0]
        room = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        return [c for c in captions if len(tokenizer(c, verbose=False).input_ids) > room]

    def encode(self, ids: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """(B, length, width) and, for SDXL, the pooled embedding (B, width of it)."""
        embeds, pooled = [], None
        for (tokenizer, encoder), each in zip(self.parts, ids, strict=True):
            mask = None
            if getattr(encoder.config, "use_attention_mask", False):
                mask = (each != tokenizer.pad_token_id).long()
            output = encoder(each, attention_mask=mask, output_hidden_states=self.two)
            embeds.append(output.hidden_states[-2] if self.two else output[0])
            pooled = output[0] if self.two else None
        return torch.cat(embeds, dim=-1), pooled

    @torch.no_grad()
    def encode_captions(self, captions: list[str]) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Each caption's embedding (length, width) and pooled one, encoded once."""
        found = {}
        for caption in captions:
            embeds, pooled = self.encode(self.ids([caption]))
            found[caption] = (embeds[0], None if pooled is None else pooled[0])
        return found
