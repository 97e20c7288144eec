"""What a training will take, said before it starts, and what cannot work, refused.

No torch here: the page asks while settings are being changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pipelines.core.errors import BadRequest, OutOfMemory, Unavailable
from pipelines.core.files import write_whole
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.lora.tags import tags_of
from pipelines.dreambooth.data import class_pictures, identifiers
from pipelines.dreambooth.data.subjects import Subject, meaning_in_prompts
from pipelines.dreambooth.requests import TrainingRequest, is_used
from pipelines.models.catalog import ModelEntry

LEAST_PHOTOS = 2
FEW_PHOTOS = 5  # fewer are remarked upon
FAMILIES = ("sd1", "sd2", "sdxl")
# Above these nobody's recipe is; people learn with a tenth to a thousandth of them.
HIGH_RATES = {"lora": 0.02, "full": 1e-3, "textual_inversion": 0.1}
PRODIGY_RATES = (0.2, 5.0)  # what it may well be told; others are remarked upon

# Of a UNet's weights that a LoRA of rank 1 adds, by layers: about, for Stable Diffusion's shapes.
_LORA_SHARE = {"attention": 0.00023, "transformer": 0.0006, "decoder": 0.0011, "all": 0.0016}
_CPU_FLOPS = 2.5e10  # of one core, seen in training
_GPU_FLOPS = 4e13
_PROCESS_BYTES = 1_200_000_000  # Python with torch and diffusers
_START_SECONDS = {"cpu": 20, "cuda": 25}
# Seen on Stable Diffusion 1.5 at 512²: 860 M parameters, 0.8 TFLOP a picture.
_FLOPS_PER_PARAMETER_AND_LATENT = 0.8e12 / (860e6 * 64 * 64)
# Activations kept for one latent and channel of the first level, bytes in half precision.
_ACTIVATION_BYTES = {False: 3800, True: 900}  # by gradient checkpointing


@dataclass(frozen=True)
class Preflight:
    """What is expected.

    Attributes:
        steps: of the optimiser.
        samples: pictures looked at, class pictures included.
        class_pictures: still to be painted.
        seconds: in all, about.
        bytes: of the device's memory, about.
        disk_bytes: checkpoint and result.
        measured: whether seconds come from an earlier training like this one.
        notes: what to be aware of.
    """

    steps: int
    samples: int
    class_pictures: int
    seconds: float
    bytes: int
    disk_bytes: int
    measured: bool
    notes: list[Message] = field(default_factory=list)


def preflight(
    request: TrainingRequest,
    entry: ModelEntry,
    photos: int | Subject,
    home: Path,
    device: str,
    cores: int = 1,
) -> Preflight:
    """What a training will take.

    Args:
        photos: the subject, or how many photos it has where nothing else is known of them.
        device: ``"cpu"``, ``"cuda"`` …
        cores: of the CPU, used where it trains.

    Raises:
        BadRequest: it cannot work; the sentence says why and what to change.
    """
    check(request, entry, photos, device)
    resolution = request.resolution or entry.native_size
    parameters = _parameters(entry)
    learnt = _learning_parameters(request, parameters)
    at_once = request.batch_size * (2 if request.has_prior else 1)
    samples = request.steps * request.gradient_accumulation * at_once * request.processes
    latents = (resolution // 8) ** 2
    missing = 0
    if request.has_prior:
        folder = class_pictures.folder_of(request, entry, home)
        missing = len(class_pictures.list_missing(folder, request.class_pictures))
    flops = _GPU_FLOPS if device.startswith("cuda") else _CPU_FLOPS * cores
    forward = _FLOPS_PER_PARAMETER_AND_LATENT * parameters * latents / flops  # seconds
    passes = 3 if request.method == "full" else 2.2  # no gradients of frozen weights
    if request.gradient_checkpointing:
        passes += 1
    a_step = passes * forward * at_once * request.gradient_accumulation
    known = _Speeds(home).get(request, resolution, device)
    seconds = _START_SECONDS.get(device.partition(":")[0], 20)
    seconds += request.steps * (known or a_step)
    seconds += 2 * forward * missing * class_pictures.steps_for(entry)
    return Preflight(
        steps=request.steps,
        samples=samples,
        class_pictures=missing,
        seconds=seconds,
        bytes=_bytes(request, parameters, learnt, latents, at_once, device),
        disk_bytes=_disk(request, parameters, learnt),
        measured=known is not None,
        notes=_notes(request, entry, photos),
    )


def check(request: TrainingRequest, entry: ModelEntry, photos: int | Subject, device: str) -> None:
    """Refuses what cannot work; ``photos`` as in :func:`preflight`.

    Raises:
        BadRequest: the sentence says why and what to change.
        Unavailable: the device lacks what was asked for.
    """
    if entry.family not in FAMILIES or entry.inpaints:
        raise BadRequest(
            "{model} cannot be taught yet; choose a Stable Diffusion model.", model=entry.title
        )
    for word in (request.identifier, request.class_word):
        if (meaning := meaning_in_prompts(word)) is not None:
            raise BadRequest(meaning.template, **meaning.values)
    count, different = _counts(photos)
    if count < LEAST_PHOTOS:
        raise BadRequest(
            "The subject has {count} photos; at least {least} are needed, and {few} to 30 are "
            "best. Add some.",
            count=count,
            least=LEAST_PHOTOS,
            few=FEW_PHOTOS,
        )
    if different < LEAST_PHOTOS:
        raise BadRequest(
            "All {count} photos show one and the same picture; at least {least} different ones "
            "are needed, and {few} to 30 are best. Add some.",
            count=count,
            least=LEAST_PHOTOS,
            few=FEW_PHOTOS,
        )
    if request.batch_size > count:
        raise BadRequest(
            "The batch size is {batch}, but the subject has {count} photos. Lower it to {count} "
            "or less.",
            batch=request.batch_size,
            count=count,
        )
    if request.warmup_steps >= request.steps:
        raise BadRequest(
            "The warm-up takes {warmup} of {steps} steps, so the full learning rate is never "
            "reached. Shorten it.",
            warmup=request.warmup_steps,
            steps=request.steps,
        )
    if request.has_prior and not (request.class_word or request.class_prompts):
        raise BadRequest(
            "Prior preservation needs to know what the subject is one of. Write a class, such as "
            "cat or mug, or switch it off."
        )
    if request.method == "textual_inversion" and identifiers.is_token(request.identifier, entry):
        raise identifiers.no_new_word(request.identifier, entry, request.class_word)
    if (
        request.optimizer == "prodigy"
        and request.train_text_encoder
        and is_used("train_text_encoder", request.method)
        and request.text_encoder_learning_rate not in (None, request.learning_rate)
    ):
        raise BadRequest(
            "Prodigy finds one learning rate for everything; leave that of the text encoder empty."
        )
    if device == "cpu" and request.mixed_precision == "fp16":
        raise BadRequest("fp16 cannot be computed with on a CPU. Choose auto, bf16 or no.")
    if request.processes > 1 and not device.startswith("cuda"):
        raise BadRequest(
            "{count} GPUs were asked for, but this training runs on {device}. Set GPUs to 1.",
            count=request.processes,
            device=device,
        )
    if request.optimizer == "adamw_8bit":
        check_8bit(device)


def check_8bit(device: str) -> None:
    """Raises Unavailable where 8-bit AdamW cannot work."""
    if not device.startswith("cuda"):
        raise Unavailable(
            "8-bit AdamW needs an NVIDIA GPU; this training would run on {device}. Choose AdamW.",
            device=device,
        )
    if find_spec("bitsandbytes") is None:
        raise Unavailable(
            "8-bit AdamW needs the package bitsandbytes, which is not installed. "
            "Install it with pip install bitsandbytes, or choose AdamW."
        )


def check_room(expected: Preflight, home: Path, device: str, free_bytes: int) -> None:
    """Refuses what memory or disk do not suffice for.

    Raises:
        OutOfMemory: says what is needed, what is free and what to lower.
        Unavailable: the disk is too full.
    """
    import shutil

    if expected.bytes > free_bytes:
        raise OutOfMemory(
            "The training needs about {need} on {device}, {free} are free. Lower the batch size or "
            "the resolution, switch gradient checkpointing on, or train a LoRA.",
            need=format_bytes(expected.bytes),
            device=device,
            free=format_bytes(free_bytes),
        )
    free = shutil.disk_usage(home).free
    if expected.disk_bytes > free:
        raise Unavailable(
            "The training needs about {need} on the disk, {free} are free. Make room first.",
            need=format_bytes(expected.disk_bytes),
            free=format_bytes(free),
        )


def remember_speed(
    request: TrainingRequest, resolution: int, home: Path, device: str, seconds: float
) -> None:
    """Keeps how long a step took, for the next preflight."""
    _Speeds(home).put(request, resolution, device, seconds)


class _Speeds:
    """Seconds a step of earlier trainings, in ``<home>/trainings/speeds.json``."""

    def __init__(self, home: Path) -> None:
        self.path = home / "trainings" / "speeds.json"

    def get(self, request: TrainingRequest, resolution: int, device: str) -> float | None:
        return self._read().get(_kind(request, resolution, device))

    def put(self, request: TrainingRequest, resolution: int, device: str, seconds: float) -> None:
        known = self._read() | {_kind(request, resolution, device): round(seconds, 5)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(known, indent=1).encode())

    def _read(self) -> dict[str, float]:
        try:
            return json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return {}


def _kind(request: TrainingRequest, resolution: int, device: str) -> str:
    """All that decides how long a step takes."""
    names = (
        *("model", "method", "batch_size", "gradient_accumulation", "gradient_checkpointing"),
        *("train_text_encoder", "target_modules", "rank", "prior_preservation"),
        *("mixed_precision", "optimizer", "processes"),
    )
    values = [str(getattr(request, name)) for name in names]
    return " ".join([*values, str(resolution), device])


def _parameters(entry: ModelEntry) -> float:
    """Of the UNet, about: from the size of its file, or from what the catalog says of memory."""
    source = entry.source
    if source.asset or source.folder:
        folder = (source.folder or ASSETS / source.asset) / "unet"
        if files := list(folder.glob("*.safetensors")):
            return sum(file.stat().st_size for file in files) / _bytes_a_weight(files[0])
    return {"sdxl": 2.57e9}.get(entry.family, 0.86e9)


def _bytes_a_weight(file: Path) -> int:
    """2 or 4: the precision that a safetensors file says its weights have."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        head = opened.read(min(length, 4096))
    return 4 if b'"F32"' in head else 2


def _learning_parameters(request: TrainingRequest, parameters: float) -> float:
    if request.method == "full":
        return parameters
    if request.method == "textual_inversion":
        return 1024 * request.vectors
    # A small network's layers are narrow, so the same rank is more of them.
    narrow = (0.86e9 / parameters) ** 0.5
    share = _LORA_SHARE[request.target_modules] * request.rank * max(1.0, narrow * 0.8)
    return parameters * min(1.0, share)


def _bytes(
    request: TrainingRequest,
    parameters: float,
    learnt: float,
    latents: int,
    at_once: int,
    device: str,
) -> int:
    half = request.mixed_precision != "no" and device != "mps"
    weights = parameters * (2 if half and request.method != "full" else 4)
    text = parameters * 0.15 * 4  # text encoders and autoencoder, about
    moments = 2 if request.optimizer == "adamw_8bit" else 8
    training = learnt * (4 + moments + (4 if request.ema else 0))
    training += learnt * 4 if request.method != "full" else 0
    channels = 320 * min(1.0, (parameters / 0.86e9) ** 0.5 * 2)
    activations = latents * channels * at_once * _ACTIVATION_BYTES[request.gradient_checkpointing]
    activations *= 1 if half else 2
    process = _PROCESS_BYTES if device == "cpu" else 600_000_000
    return round(weights + text + training + activations + process)


def _disk(request: TrainingRequest, parameters: float, learnt: float) -> int:
    moments = 2 if request.optimizer == "adamw_8bit" else 8
    state = learnt * (4 + moments + (4 if request.ema else 0))
    result = 2.4 * parameters if request.method == "full" else 4 * learnt
    # While a checkpoint is written the one before it is still there.
    return round(2 * state + 2 * result + 50e6)


def _counts(photos: int | Subject) -> tuple[int, int]:
    """How many photos there are, and how many different ones."""
    if isinstance(photos, int):
        return photos, photos
    return len(photos.photos), len(photos.different)


def _notes(request: TrainingRequest, entry: ModelEntry, photos: int | Subject) -> list[Message]:
    """All that the page says beside the settings, the word and the photos."""
    notes = []
    _, different = _counts(photos)
    if different < FEW_PHOTOS:
        notes.append(
            Message(
                "{count} photos are few; with {few} or more the subject is learnt from more sides.",
                count=different,
                few=FEW_PHOTOS,
            )
        )
    if isinstance(photos, Subject):
        notes += photos.remarks_on_all()
    word = identifiers.check(request.identifier, entry, request.method, request.class_word)
    if not word.good:
        notes.append(word.message)
    if request.method == "textual_inversion":
        notes.append(
            Message(
                "“{word}” is the new word: in prompts it stands for the subject.",
                word=request.identifier,
            )
        )
    high = HIGH_RATES[request.method]
    rates = [request.learning_rate]
    if request.train_text_encoder and is_used("train_text_encoder", request.method):
        rates.append(request.text_encoder_learning_rate or request.learning_rate)
    if request.optimizer != "prodigy" and max(rates) > high:
        notes.append(
            Message(
                "The learning rate {rate} is so high that such trainings mostly fall apart; more "
                "than {limit} is not usual.",
                rate=f"{max(rates):g}",
                limit=f"{high:g}",
            )
        )
    least, most = PRODIGY_RATES
    if request.optimizer == "prodigy" and not least <= request.learning_rate <= most:
        notes.append(
            Message(
                "Prodigy finds the learning rate itself and counts from 1; it is {rate}. Set it "
                "to 1.",
                rate=f"{request.learning_rate:g}",
            )
        )
    if request.sample_every and not request.sample_prompts:
        notes.append(Message("No sample prompts are given, so no sample pictures are painted."))
    if tags := tags_of((*request.sample_prompts, *request.class_prompts)):
        notes.append(
            Message(
                "{tags} in sample or class prompts is left out: they are painted by the model that "
                "learns alone.",
                tags=", ".join(tags)[:200],
            )
        )
    if request.save_every == 0:
        notes.append(Message("Without checkpoints a crash loses the whole training."))
    return notes
