"""What there is to choose from, in the shapes of A1111's lists (its ``modules/api/models.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.core.errors import NotFound
from pipelines.core.matching import find_name
from pipelines.diffusion.hires.requests import LATENT_MODES
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import Samplers
from pipelines.diffusion.styles import styles
from pipelines.preprocessors import registry
from pipelines.upscaling.catalog import Upscalers
from studio.features.sdapi.bodies import LAST_LAYERS

if TYPE_CHECKING:
    from pipelines.models.catalog import ModelEntry
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio
    from studio.features.sdapi.memory import Program

NO_LISTS = ("face-restorers", "hypernetworks", "sd-vae", "sd-modules", "realesrgan-models")
"""Lists of A1111's that are empty here: a model's own autoencoder decodes what it paints."""
DEFAULT_MODEL = TextToImageRequest.model_fields["model"].default


def models(studio: Studio, owner: Owner) -> list[dict[str, Any]]:
    """The models that can paint now, and one's own."""
    return [
        {
            "title": _title(entry),
            "model_name": entry.name,
            "hash": None,
            "sha256": None,
            "filename": entry.name,
            "config": None,
        }
        for entry in _entries(studio, owner)
    ]


def find_model(studio: Studio, owner: Owner, text: str) -> ModelEntry:
    """The model that a program means: by title or name, perhaps with a hash behind it.

    Raises:
        NotFound: there is none.
    """
    entries = _entries(studio, owner)
    names = {_title(entry): entry for entry in entries} | {each.name: each for each in entries}
    for called in (text, text.rpartition(" [")[0], text.removesuffix(".safetensors")):
        if called and (found := find_name(called, names)) is not None:
            return names[found]
    return studio.loras.entry(owner.id, text)


def samplers(studio: Studio) -> list[dict[str, Any]]:
    """All samplers."""
    return [{"name": each.name, "aliases": [_key(each.name)], "options": {}}
            for each in Samplers(studio.home)]  # fmt: skip


def schedulers(studio: Studio) -> list[dict[str, Any]]:
    """All schedules, and the one that leaves it to the model."""
    names = ["Automatic", *Samplers(studio.home).schedules]
    return [
        {
            "name": _key(name),
            "label": name,
            "aliases": None,
            "default_rho": -1.0,
            "need_inner_model": False,
        }
        for name in names
    ]


def upscalers(studio: Studio) -> list[dict[str, Any]]:
    """What makes pictures larger."""
    return [
        {
            "name": entry.name,
            "model_name": None if entry.path is None else entry.name,
            "model_path": None,
            "model_url": None,
            "scale": None,
        }
        for entry in Upscalers(studio.home).list()
    ]


def latent_modes() -> list[dict[str, str]]:
    """What makes latents larger, in a hires pass."""
    return [{"name": name} for name in LATENT_MODES]


def loras(studio: Studio, owner: Owner) -> list[dict[str, Any]]:
    """The LoRAs that a prompt may name."""
    return [
        {"name": record.name, "alias": record.name, "path": "", "metadata": {}}
        for record in studio.loras.list(owner.id)
        if record.kind == "lora"
    ]


def prompt_styles() -> list[dict[str, Any]]:
    """Words that can be put around a prompt."""
    return [
        {"name": name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}
        for name, style in styles().items()
    ]


def options(studio: Studio, owner: Owner, program: Program) -> dict[str, Any]:
    """What the owner's programs have chosen, and what is fixed."""
    entry = find_model(studio, owner, program.model or DEFAULT_MODEL)
    return {
        "sd_model_checkpoint": _title(entry),
        "sd_checkpoint_hash": None,
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": program.layers or 1,
        "samples_format": "png",
        "samples_save": True,
        "inpainting_mask_weight": 1.0,
        "initial_noise_multiplier": 1.0,
        "img2img_color_correction": False,
        "img2img_fix_steps": False,
    }


def choose_options(studio: Studio, owner: Owner, program: Program, sent: dict[str, Any]) -> None:
    """Remembers the options that can be chosen; of all others there is one for everybody.

    Raises:
        NotFound: there is no such model.
    """
    if name := sent.get("sd_model_checkpoint"):
        program.model = find_model(studio, owner, str(name)).name
    layers = sent.get("CLIP_stop_at_last_layers")
    if isinstance(layers, int | float) and 1 <= layers <= LAST_LAYERS:
        program.layers = int(layers)


def control_models(studio: Studio) -> list[str]:
    """The names of the control models."""
    return [entry.name for entry in studio.control.models() if entry.is_here(studio.home)]


def modules() -> list[str]:
    """The names of the preprocessors."""
    return list(registry.PREPROCESSORS)


def _entries(studio: Studio, owner: Owner) -> list[ModelEntry]:
    everybodys = [
        entry
        for entry in studio.catalog.models()
        if entry.refused is None and studio.paintings.is_here(entry)
    ]
    return [*everybodys, *studio.loras.models(owner.id)]


def _title(entry: ModelEntry) -> str:
    """What people choose by; for what is one's own by its name, which the title may not be."""
    return entry.title or entry.name


def _key(name: str) -> str:
    return name.lower().replace(" ", "_")


def no_interrogation() -> NotFound:
    """The error of a picture that is to be described."""
    return NotFound("No model here describes pictures in words.")
