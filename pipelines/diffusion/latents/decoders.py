"""Fast decoders: tiny autoencoders of the TAESD kind, from ``presets/decoders.yaml``.

A few-step model on a processor spends more time in its own autoencoder than in all of its steps.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from pipelines.core.engine import StrictModel
from pipelines.core.errors import Stopped
from pipelines.core.events import Progress
from pipelines.core.messages import Message
from pipelines.core.paths import HUB_FOLDER, PRESETS
from pipelines.models.catalog import Bytes, read_entries

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

    from pipelines.core.cache import ModelCache
    from pipelines.diffusion.loading import DiffusionModel
    from pipelines.diffusion.requests import TextToImageRequest

RequestT = TypeVar("RequestT", bound="TextToImageRequest")
FEW_STEPS = 4
"""Up to so many steps a processor decodes by the fast decoder, unless it is told otherwise."""
_loaded: WeakKeyDictionary[DiffusionModel, AutoencoderTiny] = WeakKeyDictionary()


class DecoderEntry(StrictModel):
    """One tiny autoencoder.

    Attributes:
        families: whose latents it reads.
        source: its repository on the hub.
        files: those of the repository that are needed.
        download_bytes: what the hub sends.
    """

    name: str
    title: str
    families: tuple[str, ...]
    source: str
    files: tuple[str, ...]
    licence: str
    licence_url: str
    download_bytes: Bytes


@functools.cache
def _entries(presets: Path) -> tuple[DecoderEntry, ...]:
    return read_entries(presets / "decoders.yaml", DecoderEntry)


def decoder_of(family: str) -> DecoderEntry | None:
    """The tiny autoencoder for a family's latents; None where there is none."""
    return next((entry for entry in _entries(PRESETS) if family in entry.families), None)


def find_decoder(entry: DecoderEntry, home: Path) -> Path | None:
    """The folder of its files, where they are here."""
    from pipelines.models.downloads import find_files

    return find_files(entry.source, entry.files, home / HUB_FOLDER)


def with_decoder(
    model: DiffusionModel, settings: RequestT, cache: ModelCache, stop: threading.Event
) -> Generator[Progress, None, RequestT]:
    """A resolved request with what decodes its pictures; a fast decoder is downloaded if asked for.

    Raises:
        Stopped: ``stop`` was set meanwhile.
        Unavailable: it cannot be had.
    """
    entry = _entry_for(model)
    asked = settings.decoder == "fast" and entry is not None and model.home is not None
    if asked and find_decoder(entry, model.home) is None:
        yield Progress(0, 0, note=Message("Loading {model}", model=entry.title))

        def note(message: Message, share: float | None) -> None:
            if stop.is_set():
                raise Stopped

        download_decoder(entry, model.home, note, cache.offline)
    return settings.model_copy(update={"decoder": choose_decoder(model, settings)})


def download_decoder(entry: DecoderEntry, home: Path, notes: Any, offline: bool) -> Path:
    """Its folder; see :func:`pipelines.models.downloads.fetch_files`."""
    from pipelines.models.downloads import fetch_files

    files = dict.fromkeys(entry.files)
    nbytes, folder = entry.download_bytes, home / HUB_FOLDER
    return fetch_files(entry.source, files, entry.title, nbytes, folder, notes, offline)


def choose_decoder(
    model: DiffusionModel, settings: TextToImageRequest
) -> Literal["auto", "full", "fast"]:
    """What decodes the pictures of a resolved request.

    ``"auto"`` becomes ``"fast"`` on a processor for up to :data:`FEW_STEPS` steps, where the tiny
    autoencoder is here; it stays what it is where the model's own decodes. ``"fast"`` becomes
    ``"auto"`` where there is none for the model.
    """
    if settings.decoder == "full":
        return "full"
    few = min(settings.steps, model.entry.defaults.steps) <= FEW_STEPS
    wanted = settings.decoder == "fast" or (few and model.device == "cpu")
    return "fast" if wanted and fast_decoder(model) is not None else "auto"


def missing_decoder(model: DiffusionModel, settings: TextToImageRequest) -> DecoderEntry | None:
    """What a resolved request to a few-step model would be decoded by, if it were here."""
    few = model.entry.defaults.steps <= FEW_STEPS
    if settings.decoder != "auto" or model.device != "cpu" or not few:
        return None
    return _entry_for(model)


def fast_decoder(model: DiffusionModel) -> AutoencoderTiny | None:
    """The tiny autoencoder on the model's device; None where its files are not here."""
    if model.home is None or (entry := _entry_for(model)) is None:
        return None
    vae = _loaded.get(model)
    if vae is None and (folder := find_decoder(entry, model.home)) is not None:
        from diffusers import AutoencoderTiny

        from pipelines.diffusion.loading import unreadable_files_named

        with unreadable_files_named(entry.title):
            vae = AutoencoderTiny.from_pretrained(
                folder, dtype=model.pipe.vae.dtype, use_safetensors=True, local_files_only=True
            )
        if vae.config.latent_channels != _channels(model):
            return None
        _loaded[model] = vae.eval().requires_grad_(False)
    return None if vae is None else vae.to(model.device)


def _entry_for(model: DiffusionModel) -> DecoderEntry | None:
    """The entry for a model whose latents are those of its family."""
    from diffusers import AutoencoderKL

    is_usual = isinstance(getattr(model.pipe, "vae", None), AutoencoderKL)
    return decoder_of(model.family) if is_usual else None


def _channels(model: DiffusionModel) -> int:
    return model.pipe.vae.config.latent_channels
