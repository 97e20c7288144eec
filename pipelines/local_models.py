"""What a person has put into ``<home>/models/``: read by headers and JSON, never by unpickling.

A diffusers folder is read by its ``model_index.json``; a single file by the names of its tensors.
Weights are safetensors or nothing: a pickle can run any code when it is opened.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.messages import Message

PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"}
_MAX_HEADER = 100 * 2**20  # the limit of the safetensors format itself
_LIBRARIES = {"diffusers", "transformers"}

# diffusers pipeline class → family, of those that AutoPipelineForText2Image knows and the tests
# have a twin of.
FAMILIES = {
    "StableDiffusionPipeline": "sd1",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "Flux2KleinPipeline": "flux2",
    "PixArtSigmaPipeline": "pixart",
    "SanaPipeline": "sana",
    "HunyuanDiTPipeline": "hunyuan",
    "AuraFlowPipeline": "auraflow",
    "Lumina2Pipeline": "lumina2",
    "ChromaPipeline": "chroma",
    "CogView4Pipeline": "cogview4",
    "QwenImagePipeline": "qwenimage",
    "ZImagePipeline": "zimage",
    "OvisImagePipeline": "ovis",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a folder or file turned out to be.

    Attributes:
        family: "" when it is refused before that is known.
        nbytes: size of its weight files.
        native_size: pixels, of the side of the pictures it was trained on.
        refused: why it cannot be used, or None.
    """

    family: str
    nbytes: int
    native_size: int
    refused: Message | None = None


def _refuse(reason: Message) -> Finding:
    return Finding("", 0, 512, reason)


def inspect_folder(folder: Path, models: Path) -> Finding:
    """Read a diffusers folder inside ``models`` without opening any weights."""
    if (outside := _leaves(folder, models)) is not None:
        return outside
    index = _json(folder / "model_index.json")
    if index is None:
        if any(path.suffix in PICKLES for path in folder.rglob("*")):
            return _pickled(folder)
        return _refuse(
            Message(
                "{model} has no model_index.json that can be read; it is not a diffusers folder.",
                model=folder.name,
            )
        )
    family = FAMILIES.get(str(index.get("_class_name")))
    if family is None:
        return _refuse(
            Message(
                "{model} is a {kind}, which Atelier cannot use to paint from words.",
                model=folder.name,
                kind=str(index.get("_class_name"))[:80],
            )
        )
    components = {
        name: value
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[0] is not None
    }
    for name, (library, kind) in components.items():
        own = kind == "PatchAutoencoder" and name == "vae"
        if library not in _LIBRARIES and not own and name != "safety_checker":
            return _refuse(
                Message(
                    "{model} wants code of its own for {part} ({kind}); Atelier never runs it.",
                    model=folder.name,
                    part=name,
                    kind=f"{library}.{kind}"[:80],
                )
            )
    for config in folder.glob("*/config.json"):
        if "auto_map" in (_json(config) or {}):
            return _refuse(
                Message(
                    "{model} wants code of its own for {part}; Atelier never runs it.",
                    model=folder.name,
                    part=config.parent.name,
                )
            )
    for name in components.keys() - {"safety_checker"}:
        files = list((folder / name).glob("*"))
        if any(path.suffix in PICKLES for path in files) and not any(
            path.suffix == ".safetensors" for path in files
        ):
            return _pickled(folder)
    weights = [path for path in folder.rglob("*.safetensors") if path.parent.name in components]
    if not weights:
        return _refuse(Message("{model} has no .safetensors weights in it.", model=folder.name))
    nbytes = sum(path.stat().st_size for path in weights)
    return Finding(_narrow(family, folder), nbytes, _native_size(folder))


def inspect_file(path: Path, models: Path) -> Finding:
    """Read a single checkpoint's header: which model, and whether it is a whole one."""
    if (outside := _leaves(path, models)) is not None:
        return outside
    if path.suffix.lower() != ".safetensors":
        return _pickled(path)
    header = read_header(path)
    if header is None:
        return _refuse(Message("{model} is not a whole .safetensors file.", model=path.name))
    keys = header.keys() - {"__metadata__"}
    if not any(key.startswith("model.diffusion_model.input_blocks.") for key in keys):
        if any("lora" in key.lower() for key in keys):
            return _refuse(
                Message("{model} is a LoRA, not a model; put it into loras/.", model=path.name)
            )
        return _refuse(
            Message(
                "{model} is not a single-file checkpoint of Stable Diffusion 1.x or SDXL. Other "
                "families are used as diffusers folders.",
                model=path.name,
            )
        )
    size = path.stat().st_size
    channels = header["model.diffusion_model.input_blocks.0.0.weight"]["shape"][1]
    if channels != 4:
        return _refuse(
            Message(
                "{model} takes {channels} input channels; it is made for inpainting, not for "
                "painting from words alone.",
                model=path.name,
                channels=channels,
            )
        )
    if any(key.startswith("conditioner.embedders.1.") for key in keys):
        return Finding("sdxl", size, 1024)
    if any(key.startswith("cond_stage_model.transformer.") for key in keys):
        return Finding("sd1", size, 512)
    return _refuse(
        Message(
            "{model} has no text encoder of Stable Diffusion 1.x or SDXL in it. Other families are "
            "used as diffusers folders.",
            model=path.name,
        )
    )


def read_header(path: Path) -> dict[str, Any] | None:
    """The JSON header of a safetensors file, or None if the file is broken or cut short."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            return None
        (length,) = struct.unpack("<Q", prefix)
        if length > min(_MAX_HEADER, size - 8):
            return None
        try:
            header = json.loads(file.read(length))
            ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
    return header if size == 8 + length + max(ends, default=0) else None


def _leaves(path: Path, models: Path) -> Finding | None:
    """Refuse what leads out of ``models`` through a symbolic link."""
    root = models.resolve()
    inside = [path, *path.rglob("*")] if path.is_dir() else [path]
    for each in inside:
        if each.is_symlink() and not each.resolve().is_relative_to(root):
            return _refuse(
                Message(
                    "{model} leads out of the models folder by a symbolic link. Put the files "
                    "themselves there.",
                    model=path.name,
                )
            )
    return None


def _pickled(path: Path) -> Finding:
    return _refuse(
        Message(
            "{model} has its weights as pickle files (.bin, .ckpt, .pt), which can run any code "
            "when opened. Get it as .safetensors.",
            model=path.name,
        )
    )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _narrow(family: str, folder: Path) -> str:
    """SD 2.x has SD 1.x's pipeline class; its text encoder is 1024 wide instead of 768."""
    if family != "sd1":
        return family
    width = (_json(folder / "text_encoder" / "config.json") or {}).get("hidden_size")
    return "sd2" if width == 1024 else "sd1"


def _native_size(folder: Path) -> int:
    """Latent size of the denoiser times the autoencoder's factor; 1024 where it is not written."""
    denoiser = _json(folder / "unet" / "config.json") or _json(
        folder / "transformer" / "config.json"
    )
    latent = (denoiser or {}).get("sample_size")
    vae = _json(folder / "vae" / "config.json") or {}
    blocks = vae.get("block_out_channels", vae.get("encoder_block_out_channels"))
    if not isinstance(latent, int):
        return 1024
    return latent * (2 ** (len(blocks) - 1) if isinstance(blocks, list) else 8)
