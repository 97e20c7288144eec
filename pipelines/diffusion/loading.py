"""From a catalog entry to a pipeline on a device, for every family by the same few lines.

Weights are safetensors only, no repository's own code ever runs, and nothing is fetched that
``pipelines.models.downloads`` was not told to fetch.
"""

from __future__ import annotations

import gc
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline, UNet2DConditionModel
from safetensors import SafetensorError

from pipelines.core.cache import Notes
from pipelines.core.devices import dtype_for, empty_cache, is_out_of_memory, out_of_memory
from pipelines.core.errors import Busy, Unavailable
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS, HUB_FOLDER
from pipelines.diffusion.hashes import model_hash
from pipelines.diffusion.openvino.large import (
    MappedUNet,
    convert_later,
    is_large,
    network_path,
)
from pipelines.diffusion.openvino.latent_decoder import OpenVINODecoder, can_decode
from pipelines.diffusion.openvino.unet import LARGEST_BYTES, OpenVINOUNet, worth_it
from pipelines.diffusion.single_file import CONFIGS, from_file
from pipelines.models.catalog import ModelEntry
from pipelines.models.downloads import fetch, variant_of

_log = logging.getLogger(__name__)
# What diffusers, transformers and safetensors raise where names, shapes or settings do not fit.
_UNREADABLE = (
    RuntimeError,  # NotImplementedError among them: weights that are missing
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
    ImportError,
    SafetensorError,
)
_UNTILED_PIXELS = 1024 * 1024


class DiffusionModel:
    """One base model with all its components; what :class:`pipelines.core.cache.ModelCache` keeps.

    Attributes:
        entry: the catalog's entry.
        pipe: a diffusers text-to-image pipeline. ``to`` moves it, so never keep its parts.
        device: where computing happens.
        dtype: of the weights.
        offloaded: components wait in RAM and visit the device one at a time.
        home: the home folder, where the owner's samplers are; None if there is none.
        hash: by which pictures name it; see :func:`pipelines.diffusion.hashes.model_hash`.
        learned: words that a running request has taught the text encoders → their tokens.
    """

    def __init__(
        self,
        entry: ModelEntry,
        pipe: DiffusionPipeline,
        device: str,
        offload: bool = False,
        home: Path | None = None,
    ) -> None:
        self.entry = entry
        self.home = home
        self.pipe = pipe
        self.device = device
        self.offloaded = offload
        self.hash: str | None = None
        self.learned: dict[str, str] = {}
        self._fast_unet: OpenVINOUNet | MappedUNet | None = None
        self._better_network: Path | None = None
        self._networks: Path | None = None
        self._decoders: WeakKeyDictionary[Any, OpenVINODecoder] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._painting, self._changing = 0, False
        self.dtype = self.unet.dtype
        if offload:
            pipe.enable_model_cpu_offload(device=device)
        elif device != "cpu":  # where all has been loaded to, but weights that are left in a file
            pipe.to(device)

    @property
    def family(self) -> str:
        return self.entry.family

    @property
    def unet(self) -> Any:
        """What the denoising loop calls: the U-Net, its fast stand-in, or the transformer."""
        return self._fast_unet or getattr(self.pipe, "unet", None) or self.pipe.transformer

    def accelerate(self, folder: Path, notes: Notes) -> None:
        """Let U-Net and decoder run through OpenVINO where that pays.

        Args:
            folder: keeps what it makes.
        """
        self._networks = folder
        unet = getattr(self.pipe, "unet", None)
        if unet is not None and worth_it(unet, self.device):
            preparing = Message("Preparing {model} for this processor", model=self.entry.title)
            self._fast_unet = OpenVINOUNet(
                unet, folder, on_converting=lambda: notes(preparing, None)
            )

    def map_large_unet(self, large: _LargeUNet, networks: Path) -> None:
        """Lets a large U-Net run through its network in the home folder.

        Where that is not there yet, it is made in the background, for the next time the model is
        loaded.
        """
        self._networks, self._fast_unet = networks, large.mapped
        if large.mapped is None and convert_later(
            self.pipe.unet, large.folder, large.variant, large.network
        ):
            self._better_network = large.network

    @property
    def is_outdated(self) -> bool:
        """Whether, loaded anew, it would paint faster: its network has been converted since."""
        return self._better_network is not None and self._better_network.is_file()

    def decoder_of(self, vae: Any) -> OpenVINODecoder | None:
        """What decodes in an autoencoder's place, made the first time; None: it does so itself."""
        if self._networks is None or not can_decode(vae, self.device):
            return None
        if vae not in self._decoders:
            self._decoders[vae] = OpenVINODecoder(vae, self._networks)
        return self._decoders[vae]

    def prepares_decoding(self, vae: Any) -> bool:
        """Whether :meth:`decoder_of` would make something first, which takes seconds."""
        is_missing = self._networks is not None and vae not in self._decoders
        return is_missing and can_decode(vae, self.device)

    @contextmanager
    def in_torch(self) -> Iterator[None]:
        """Without the U-Net's stand-in, which was made of the weights as they are in the files."""
        fast, self._fast_unet = self._fast_unet, None
        try:
            if isinstance(fast, MappedUNet):
                fast.bring_weights()  # it gives them back when it paints again
            yield
        finally:
            self._fast_unet = fast

    @contextmanager
    def hold(self, alone: bool = False) -> Iterator[None]:
        """Nobody changes the weights meanwhile; ``alone``: nobody else paints, so they may be.

        Raises:
            Busy: another request has changed them, or is painting.
        """
        with self._lock:
            if self._changing or (alone and self._painting):
                raise Busy(
                    "{model} is painting for another request, and one of the two uses LoRAs. "
                    "Send it again in a moment.",
                    model=self.entry.title,
                )
            self._painting += 1
            self._changing = alone
        try:
            yield
        finally:
            with self._lock:
                self._painting -= 1
                self._changing = False

    @property
    def factor(self) -> int:
        """Pixels of the picture's side for one of the latents'."""
        return self.pipe.vae_scale_factor

    @property
    def nbytes(self) -> int:
        """Bytes that it takes on its device; of an offloaded model, its largest component."""
        sizes = [
            sum(t.nbytes for t in {*part.parameters(), *part.buffers()} if not t.is_meta)
            for part in self.pipe.components.values()
            if isinstance(part, torch.nn.Module)
        ]
        if self.offloaded and self.device != "cpu":
            return max(sizes)
        networks = [*([self._fast_unet] if self._fast_unet else []), *self._decoders.values()]
        return sum(sizes) + sum(network.nbytes for network in networks)

    def to(self, device: str) -> None:
        """Move all weights, ``"cpu"`` meaning that it waits in RAM."""
        if self.offloaded:
            self.pipe.maybe_free_model_hooks()
        else:
            self.pipe.to(device)
        left, self.device = self.device, device
        empty_cache(left)

    def close(self) -> None:
        """Let go of every component."""
        if self.offloaded:
            self.pipe.remove_all_hooks()
        self.pipe = self._fast_unet = None
        self._decoders.clear()
        gc.collect()
        empty_cache(self.device)


def tile_for_size(vae: Any, width: int, height: int) -> None:
    """Have an autoencoder work tile by tile where a picture is large for the memory.

    Up to 1024 × 1024 pixels it codes the picture whole. Above, on every device, it codes
    overlapping tiles, blended into each other, and takes the memory of one. As its norms and its
    attention see a tile at a time, a picture is no longer bit for bit what it is whole: brightness
    and colour can differ a little from tile to tile.
    """
    if hasattr(vae, "use_tiling"):
        large = width * height > _UNTILED_PIXELS
        vae.enable_tiling() if large else vae.disable_tiling()


def load(
    entry: ModelEntry,
    device: str,
    notes: Notes,
    offline: bool,
    home: Path,
    budget_bytes: int | None = None,
    configs: Path = CONFIGS,
) -> DiffusionModel:
    """Bring ``entry`` to ``device``, downloading it first if need be.

    Args:
        notes: told what is going on, with the share done where that is known.
        offline: never ask the hub.
        home: the home folder; downloads lie in ``<home>/models/.hub``.
        budget_bytes: on CUDA a model that takes more than this is offloaded to RAM.
        configs: per family a folder with the configs that single files lack.

    Raises:
        Unavailable: its files are not here and cannot be had.
        OutOfMemory: the device's memory does not suffice.
    """
    try:
        networks = home / "models" / ".openvino"
        place = _place(entry, notes, offline, home)
        large = _large_unet(place, device, home, networks)
        known = {} if large is None or large.mapped is None else {"unet": large.unet}
        pipe = open_pipeline(entry, dtype_for(device), notes, offline, home, configs, known)
        offload = device.startswith("cuda") and (budget_bytes or 0) > 0
        offload = offload and _weight_bytes(pipe) > budget_bytes
        model = DiffusionModel(entry, pipe, device, offload, home)
        if large is None:
            model.accelerate(networks, notes)
        else:
            model.map_large_unet(large, networks)
        model.hash = model_hash(place, home / "models", _lora_of(entry))
        return model
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, device, entry.title) from error
        raise


def open_pipeline(
    entry: ModelEntry,
    dtype: torch.dtype,
    notes: Notes,
    offline: bool,
    home: Path,
    configs: Path = CONFIGS,
    parts: Mapping[str, Any] | None = None,
) -> DiffusionPipeline:
    """The pipeline of ``entry`` on the CPU, downloaded first if need be; see :func:`load`.

    Args:
        parts: what of a folder's pipeline is there already, by name.

    Raises:
        Unavailable: its files are not here and cannot be had, or cannot be read.
    """
    place = _place(entry, notes, offline, home)
    notes(Message("Loading {model}", model=entry.title), None)
    with unreadable_files_named(entry.title):
        if entry.source.file is not None:
            pipe = from_file(place, configs / entry.family, dtype)
        else:
            pipe = _from_folder(entry, place, dtype, parts or {})
        if (lora := _lora_of(entry)) is not None:
            # Of the U-Net alone: the pipeline's own way warns of each encoder without one.
            pipe.unet.load_lora_adapter(
                lora, prefix="unet", use_safetensors=True, local_files_only=True
            )
            pipe.unet.fuse_lora()
            pipe.unet.unload_lora()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def unreadable_files_named(title: str) -> Iterator[None]:
    """What libraries raise when a model's files do not fit together, as a sentence.

    Raises:
        Unavailable: instead of theirs, which goes to the log.
    """
    try:
        yield
    except _UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        _log.warning("%s cannot be loaded", title, exc_info=error)
        reason = error.strerror if isinstance(error, OSError) else None
        if reason:  # of the disk, not of a library
            raise Unavailable(
                "The files of {model} cannot be read: {reason}.", model=title, reason=reason
            ) from error
        raise Unavailable(
            "{model} cannot be loaded: its files do not fit together. They are damaged or cut "
            "down, or meant for a program that reads them in another way. Get the model anew.",
            model=title,
        ) from error


def _place(entry: ModelEntry, notes: Notes, offline: bool, home: Path) -> Path:
    """The single file, or the folder, downloaded first if need be."""
    source = entry.source
    if source.hub is not None:
        return fetch(entry, home / HUB_FOLDER, notes, offline)
    return source.file or source.folder or ASSETS / source.asset


def _lora_of(entry: ModelEntry) -> Path | None:
    """The folder of the LoRA that is always in a model's weights; None where there is none."""
    return None if entry.lora is None else ASSETS / entry.lora


def expected_bytes(entry: ModelEntry, device: str, budget_bytes: int) -> int:
    """What :func:`load` will take on ``device``: float32 doubles it, offloading bounds it."""
    if device.startswith("cuda"):
        return min(entry.memory_bytes, budget_bytes)
    return 2 * entry.memory_bytes


def _weight_bytes(pipe: DiffusionPipeline) -> int:
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return sum(t.nbytes for part in parts for t in {*part.parameters(), *part.buffers()})


class _LargeUNet(NamedTuple):
    """A large U-Net in a folder, and the network that is or will be made of it.

    Attributes:
        unet: without weights.
        folder, variant: of its files.
        network: where the network is kept.
        mapped: the network at work; None: it is not there yet.
    """

    unet: UNet2DConditionModel
    folder: Path
    variant: str | None
    network: Path
    mapped: MappedUNet | None


def _large_unet(place: Path, device: str, home: Path, networks: Path) -> _LargeUNet | None:
    """The large U-Net of a model in a folder; None where it has none, or not for a CPU."""
    folder = place / "unet"
    if device != "cpu" or not (folder / "config.json").is_file():
        return None
    if sum(file.stat().st_size for file in folder.glob("*.safetensors")) < LARGEST_BYTES // 2:
        return None
    config = UNet2DConditionModel.load_config(folder)
    if config.get("_class_name") != UNet2DConditionModel.__name__:
        return None
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
    if not is_large(unet, device) or (known := model_hash(place, home / "models")) is None:
        return None
    variant = variant_of(place)

    def read() -> UNet2DConditionModel:
        return UNet2DConditionModel.from_pretrained(
            folder, variant=variant, dtype=dtype_for(device), use_safetensors=True,
            local_files_only=True,
        )  # fmt: skip

    network, mapped = network_path(unet.config, known, networks), None
    if network.is_file():
        try:
            mapped = MappedUNet(unet, network, read)
        except RuntimeError as error:  # such as after a disk that was full
            _log.warning("the network %s is damaged and made again: %s", network.name, error)
            network.unlink(missing_ok=True)
    return _LargeUNet(unet, folder, variant, network, mapped)


def _from_folder(
    entry: ModelEntry, folder: Path, dtype: torch.dtype, known_parts: Mapping[str, Any]
) -> DiffusionPipeline:
    index = folder / "model_index.json"
    if not index.is_file():
        raise Unavailable(
            "The files of {model} are not here: {folder} has no model_index.json.",
            model=entry.title,
            folder=folder.name,
        )
    parts = dict(known_parts)
    if "safety_checker" in json.loads(index.read_text(encoding="utf-8")):
        parts |= {"safety_checker": None, "requires_safety_checker": False}
    vae = ASSETS / entry.autoencoder if entry.autoencoder else folder / "vae"
    config = vae / "config.json"
    if config.is_file() and json.loads(config.read_text())["_class_name"] == "PatchAutoencoder":
        from pipelines.diffusion.autoencoder import PatchAutoencoder

        parts["vae"] = PatchAutoencoder.from_pretrained(vae, dtype=dtype)
    known = AutoPipelineForText2Image
    if entry.edits_only:
        known = DiffusionPipeline
    return known.from_pretrained(
        folder,
        dtype=dtype,
        variant=variant_of(folder),
        use_safetensors=True,
        local_files_only=True,
        **parts,
    )
