"""What a person has put into ``<home>/models/``: read by headers and JSON, never by unpickling.

A diffusers folder is read by its ``model_index.json``; a single file by the names of its tensors.
Weights are safetensors or nothing: a pickle can run any code when it is opened.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.core.file_kinds import START, no_weights
from pipelines.core.messages import Message
from pipelines.models.original_layout import (
    UNET,
    VAE,
    Part,
    Shape,
    current_name,
    current_names,
    expected_parts,
    plain,
)

_EDM_MARKS = frozenset({"edm_mean", "edm_std", "edm_vpred.sigma_max"})
_SCALED = (".scale_weight", ".weight_scale", "scaled_fp8")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"}
_MAX_YAML = 100_000  # bytes of a configuration of the original code
_PARAMETERIZED_BY_V = re.compile(r"""\s*+parameterization\s*+:\s*+["']?v["']?\s*+(?:#.*)?""")
_PLAIN, _INPAINTING = 4, 9  # channels that a U-Net takes: latents; then mask, and latents again
_MAX_NATIVE_SIZE = 8192  # pixels; no model of today is trained on more
_MAX_HEADER = 100 * 2**20  # the limit of the safetensors format itself
# Of components that are settings or vocabularies, by the ends of their classes' names.
_WITHOUT_WEIGHTS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "Extractor",
                    "Extractor2D", "ProcessorFast")  # fmt: skip
_LORA_MARKS = ("lora", "lycoris", "hada_w", "lokr_w")
_LIBRARIES = {"diffusers", "transformers"}

# diffusers pipeline class → family, of those that the tests have a twin of.
FAMILIES = {
    "StableDiffusionPipeline": "sd1",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionInpaintPipeline": "sd1",
    "StableDiffusionXLInpaintPipeline": "sdxl",
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
    "QwenImageEditPipeline": "qwenedit",
    "QwenImageEditPlusPipeline": "qwenedit-plus",
    "ZImagePipeline": "zimage",
    "OvisImagePipeline": "ovis",
}

REFERENCES = {"flux2": 8, "qwenedit": 1, "qwenedit-plus": 3}
"""Families that edit by words: how many pictures they are shown."""
EDIT_ONLY = frozenset({"qwenedit", "qwenedit-plus"})
"""Families that paint nothing from words alone."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a folder or file turned out to be.

    Attributes:
        family: "" when it is refused before that is known.
        nbytes: size of its weight files.
        native_size: pixels, of the side of the pictures it was trained on.
        refused: why it cannot be used, or None.
        inpaints: its U-Net takes a mask and the masked picture beside the noise.
    """

    family: str
    nbytes: int
    native_size: int
    refused: Message | None = None
    inpaints: bool = False


def cannot_be_read(path: Path, error: OSError) -> Finding:
    """A file or folder that the system does not hand out."""
    reason = error.strerror or "?"
    return _refuse(Message("{file} cannot be read: {reason}.", file=path.name, reason=reason))


def _refuse(reason: Message) -> Finding:
    return Finding("", 0, 512, reason)


def inspect_folder(folder: Path, models: Path) -> Finding:
    """Read a diffusers folder inside ``models`` without opening any weights."""
    if (outside := _leaves(folder, models)) is not None:
        return outside
    index = _json(folder / "model_index.json")
    if index is None:
        if any(path.suffix in PICKLES for path in folder.rglob("*")):
            return _refuse(pickle_reason(folder))
        if file := next(iter(sorted(folder.rglob("*.safetensors"))), None):
            return _refuse(
                Message(
                    "{model} is no diffusers folder: it has no model_index.json that can be read. "
                    "If {file} is a whole model, put it into models/ itself.",
                    model=folder.name,
                    file=file.name,
                )
            )
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
    for name, value in components.items():
        if not name.isidentifier() or len(name) > 100 or not _are_names(value):
            return _refuse(
                Message(
                    "The model_index.json of {model} makes no sense: it says that its part {part} "
                    "is {kind}. Download it again.",
                    model=folder.name,
                    part=name[:80],
                    kind=json.dumps(value)[:80],
                )
            )
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
            return _refuse(pickle_reason(folder))
    weights = [path for path in folder.rglob("*.safetensors") if path.parent.name in components]
    if not weights:
        return _refuse(Message("{model} has no .safetensors weights in it.", model=folder.name))
    for name, (_, kind) in components.items():
        if name != "safety_checker" and (reason := _lacks(folder, name, str(kind))) is not None:
            return _refuse(reason)
    nbytes = sum(path.stat().st_size for path in weights)
    channels = (_json(folder / "unet" / "config.json") or {}).get("in_channels")
    return Finding(
        _narrow(family, folder), nbytes, _native_size(folder), inpaints=channels == _INPAINTING
    )


def _are_names(value: list[Any]) -> bool:
    """Whether a component is given as it should be: a library and a class, which may be none."""
    library, kind = value
    return isinstance(library, str) and (kind is None or isinstance(kind, str))


def _lacks(folder: Path, name: str, kind: str) -> Message | None:
    """Why a component of a diffusers folder cannot be loaded, as far as names tell; or None."""
    part = folder / name
    if not part.is_dir():
        return Message(
            "{model} lacks its folder {part}, which its model_index.json names. Download it again.",
            model=folder.name,
            part=name,
        )
    if kind.endswith(_WITHOUT_WEIGHTS):
        return None
    present = {path.name for path in part.iterdir()}
    wanted = set()
    for index in part.glob("*.safetensors.index.json"):
        named = (_json(index) or {}).get("weight_map")
        shards = named.values() if isinstance(named, dict) else ()
        wanted |= {shard for shard in shards if isinstance(shard, str)}
    if missing := sorted(wanted - present):
        return Message(
            "{model} lacks {count} of the {total} files of weights of {part}, {name} among them. "
            "Download it again.",
            model=folder.name,
            count=len(missing),
            total=len(wanted),
            part=name,
            name=missing[0],
        )
    if not any(each.endswith(".safetensors") for each in present):
        return Message(
            "{model} has no .safetensors weights of {part} in it. Download it again.",
            model=folder.name,
            part=name,
        )
    return None


def inspect_file(path: Path, models: Path, configs: Path) -> Finding:
    """Read a single checkpoint's header: which model, and whether all of it is there.

    Args:
        models: the folder out of which no link may lead.
        configs: a folder for each family with its parts' configurations.
    """
    if (outside := _leaves(path, models)) is not None:
        return outside
    if path.suffix.lower() != ".safetensors":
        return _refuse(pickle_reason(path))
    status = path.stat()
    return _inspect_checkpoint(path, configs, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _inspect_checkpoint(path: Path, configs: Path, size: int, changed: int) -> Finding:
    """What a checkpoint is; read once, as long as it stays the same (``size`` and ``changed``)."""
    header = read_header(path)
    if header is None:
        with path.open("rb") as file:
            foreign = no_weights(file.read(START), path.name)
        whole = Message("{model} is not a whole .safetensors file.", model=path.name)
        return _refuse(foreign or whole)
    names = current_names([name for name in header if name != "__metadata__"])
    tensors = {current: _shape_of(header[name]) for name, current in names.items()}
    if not any(key.startswith(f"{UNET}input_blocks.") for key in tensors):
        return _no_checkpoint(path, tensors)
    if (reason := _other_kind(path, tensors)) is not None:
        return _refuse(reason)
    first = f"{UNET}input_blocks.0.0.weight"
    inpaints = tensors.get(first, ())[1:2] == (_INPAINTING,)
    if inpaints:  # all else is as in the model that it was made from
        tensors[first] = (tensors[first][0], _PLAIN, *tensors[first][2:])
    family = "sdxl" if any(key.startswith("conditioner.") for key in tensors) else "sd1"
    for part in expected_parts(configs / family, family):
        if (reason := _incomplete(path, part, tensors)) is not None:
            return _refuse(reason)
    if (dtype := _odd_dtype(header)) is not None:
        return _refuse(
            Message(
                "{model} has weights of the kind {dtype}, which need a program of their own. Get "
                "it in fp16, bf16 or fp32.",
                model=path.name,
                dtype=dtype,
            )
        )
    return Finding(family, size, 1024 if family == "sdxl" else 512, inpaints=inpaints)


def _no_checkpoint(path: Path, tensors: Mapping[str, Shape]) -> Finding:
    if any(mark in key.lower() for key in tensors for mark in _LORA_MARKS):
        return _refuse(
            Message("{model} is a LoRA, not a model; put it into loras/.", model=path.name)
        )
    if any(key.startswith(VAE) for key in tensors) or "decoder.conv_in.weight" in tensors:
        return _refuse(
            Message(
                "{model} is a VAE alone, or has no U-Net of Stable Diffusion beside it; that "
                "paints nothing by itself.",
                model=path.name,
            )
        )
    return _refuse(
        Message(
            "{model} is not a single-file checkpoint of Stable Diffusion 1.x or SDXL. Other "
            "families are used as diffusers folders.",
            model=path.name,
        )
    )


def _other_kind(path: Path, tensors: Mapping[str, Shape]) -> Message | None:
    """Why a U-Net of this kind cannot be used, or None."""
    first = tensors.get(f"{UNET}input_blocks.0.0.weight", ())
    if len(first) == 4 and first[1] not in (_PLAIN, _INPAINTING):  # 5 depth, 8 videos or editing
        return Message(
            "{model} takes {channels} input channels: beside noise it wants a picture or a depth "
            "map, so it does not paint from words alone.",
            model=path.name,
            channels=first[1],
        )
    if any(key.startswith("cond_stage_model.model.") for key in tensors):
        return Message(
            "{model} is a single-file checkpoint of Stable Diffusion 2.x. That family is used as "
            "a diffusers folder.",
            model=path.name,
        )
    if any(key.startswith("conditioner.embedders.0.model.") for key in tensors):
        return Message(
            "{model} is SDXL's refiner, which goes on with a picture that the base model has "
            "begun; it does not paint from words alone.",
            model=path.name,
        )
    if tensors.keys() & _EDM_MARKS:
        return Message(
            "{model} was trained on the noise levels of EDM, for which there is no sampler here.",
            model=path.name,
        )
    if any(key.endswith(_SCALED) for key in tensors):
        return Message(
            "{model} has fp8 weights with scales of their own, which are not read here. Get it in "
            "fp16, bf16 or plain fp8.",
            model=path.name,
        )
    return None


def _incomplete(path: Path, part: Part, tensors: Mapping[str, Shape]) -> Message | None:
    """What a checkpoint lacks of one part, or has in another shape; None if all is there."""
    missing = [name for name in part.tensors if name not in tensors]
    if len(missing) == len(part.tensors):
        return Message(
            "{model} has no {part} in it. Get the version that has all parts in one file, or use "
            "the model as a diffusers folder.",
            model=path.name,
            part=part.title,
        )
    if missing:
        return Message(
            "{model} lacks {count} of the {total} tensors of its {part}, {name} among them. It is "
            "cut down, or of another architecture; use it as a diffusers folder.",
            model=path.name,
            count=len(missing),
            total=len(part.tensors),
            part=part.title,
            name=missing[0],
        )
    for name, shape in part.tensors.items():
        if plain(tensors[name]) != plain(shape):
            return Message(
                "{model} has another {part} than Stable Diffusion 1.x or SDXL: {name} is {shape}, "
                "not {expected}. Use it as a diffusers folder.",
                model=path.name,
                part=part.title,
                name=name,
                shape="×".join(map(str, tensors[name])) or "1",
                expected="×".join(map(str, shape)),
            )
    return None


def _odd_dtype(header: Mapping[str, Any]) -> str | None:
    """The kind of a U-Net's weights that are no floating-point numbers, or None."""
    for name, info in header.items():
        dtype = str(info.get("dtype"))
        if current_name(name).startswith(UNET) and dtype not in _FLOATS:
            return dtype[:40]
    return None


def _shape_of(info: Any) -> Shape:
    shape = info.get("shape")
    plain_list = isinstance(shape, list) and all(type(side) is int for side in shape)
    return tuple(shape) if plain_list else ()


def prediction_of(path: Path) -> dict[str, Any]:
    """What a checkpoint says of what it was trained to predict, as a scheduler's options.

    The tensors ``v_pred`` and ``ztsnr`` are marks without meaning of their own (NoobAI's and
    others', as ComfyUI reads them); Stability's ModelSpec says it in the metadata; older models
    have a file ``x.yaml`` beside ``x.safetensors``, as A1111 reads it.
    """
    header = read_header(path) or {}
    marks = {current_name(name) for name in header}
    metadata = header.get("__metadata__")
    said = metadata.get("modelspec.prediction_type") if isinstance(metadata, dict) else None
    options: dict[str, Any] = {}
    if "v_pred" in marks or said in ("v", "v_prediction") or _yaml_says_v(path):
        options["prediction_type"] = "v_prediction"
    if "ztsnr" in marks:
        options |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return options


def _yaml_says_v(path: Path) -> bool:
    """Whether the configuration beside a checkpoint says that it predicts v."""
    beside = path.with_suffix(".yaml")
    try:
        if beside.stat().st_size > _MAX_YAML:
            return False
        text = beside.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(_PARAMETERIZED_BY_V.fullmatch(line) for line in text.splitlines())


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
            whole = size == 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return None
    return header if whole else None


def _leaves(path: Path, models: Path) -> Finding | None:
    """Refuse what leads out of ``models`` through a symbolic link."""
    root = models.resolve()
    inside = [path, *path.rglob("*")] if path.is_dir() else [path]
    for each in inside:
        if not each.is_symlink():
            continue
        try:
            target = each.resolve()
        except (OSError, RuntimeError):  # pathlib says RuntimeError of a loop
            return _refuse(
                Message("{model} has a symbolic link that leads to itself. Remove it.",
                        model=path.name)
            )  # fmt: skip
        if not target.is_relative_to(root):
            return _refuse(
                Message(
                    "{model} leads out of the models folder by a symbolic link. Put the files "
                    "themselves there.",
                    model=path.name,
                )
            )
    return None


def pickle_reason(path: Path) -> Message:
    """Why a folder or file cannot be used that has the name, or files with names, of pickles.

    Raises:
        OSError: the file cannot be read.
    """
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(START)
        if (foreign := no_weights(start, path.name)) is not None:
            return foreign
        if start[8:9] == b"{":
            return Message(
                "{model} is a .safetensors file under the name of another kind. Rename it so that "
                "it ends with .safetensors.",
                model=path.name,
            )
    return Message(
        "{model} has its weights as pickle files (.bin, .ckpt, .pt), which can run any code when "
        "opened. Get it as .safetensors.",
        model=path.name,
    )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
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
    factor = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and 1 <= len(blocks) <= 8 else 8
    if type(latent) is not int or not 1 <= latent * factor <= _MAX_NATIVE_SIZE:
        return 1024
    return latent * factor
