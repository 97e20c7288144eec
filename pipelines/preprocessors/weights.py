"""Which weights preprocessors need, where they come from, and how they are loaded.

No torch here: the page asks what is on this machine before any heavy library is loaded.

Most are ``.pth`` files of fixed repositories, of which nothing but tensors is read
(``torch.load(weights_only=True)``), and each is held against the SHA-256 that is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError

from pipelines.core.cache import Loaded, Notes
from pipelines.core.errors import Unavailable
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS, HUB_FOLDER

CACHE_PREFIX = "preprocessor:"
"""In the model cache, weights have this before their name."""

_AUX = "pipelines.preprocessors.from_controlnet_aux"
_TRANSFORMERS = "pipelines.preprocessors.from_transformers"
_HUB_REPO = "lllyasviel/Annotators"


@dataclass(frozen=True, slots=True)
class Weights:
    """One entry: a folder that ships with Atelier, or files of a repository on the hub.

    Attributes:
        title: what it is called in sentences.
        module: has ``load(name, folder, files, device) -> Loaded``.
        nbytes: what the hub sends, and about what it takes in memory.
        repo: on the hub.
        files: path in the repository → its SHA-256; None for small text files.
        asset: the folder under ``assets/``.
    """

    title: str
    module: str
    nbytes: int
    repo: str = ""
    files: Mapping[str, str | None] = field(default_factory=dict)
    asset: str = ""


WEIGHTS: dict[str, Weights] = {
    "toybox_depth": Weights(
        "the starter's depth estimator",
        "pipelines.preprocessors.toybox_depth",
        8_000_000,
        asset="starter/depth",
    ),
    "toybox_judge": Weights(
        "the starter's judge",
        "pipelines.clustering.data.embedding",
        6_000_000,
        asset="starter/judge",
    ),
    "hed": Weights(
        "HED",
        _AUX,
        29_444_406,
        _HUB_REPO,
        {"ControlNetHED.pth": "5ca93762ffd68a29fee1af9d495bf6aab80ae86f08905fb35472a083a4c7a8fa"},
    ),
    "pidinet": Weights(
        "PiDiNet",
        _AUX,
        2_870_000,
        _HUB_REPO,
        {"table5_pidinet.pth": "80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c"},
    ),
    "lineart": Weights(
        "LineArt",
        _AUX,
        34_400_000,
        _HUB_REPO,
        {
            "sk_model.pth": "c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6",
            "sk_model2.pth": "30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0",
        },
    ),
    "lineart_anime": Weights(
        "LineArt Anime",
        _AUX,
        218_000_000,
        _HUB_REPO,
        {"netG.pth": "ccabdcc3f5cf3c07cf65d58776acb21df7dfda825cdc70c9766a93fd62bfc488"},
    ),
    "depth_anything": Weights(
        "Depth Anything V2",
        _TRANSFORMERS,
        99_200_000,
        "depth-anything/Depth-Anything-V2-Small-hf",
        {
            "config.json": None,
            "model.safetensors": "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70",
        },
    ),
    "midas": Weights(
        "MiDaS",
        _AUX,
        492_757_791,
        _HUB_REPO,
        {
            "dpt_hybrid-midas-501f0c75.pt": (
                "501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853"
            )
        },
    ),
    # Not by way of controlnet-aux: with timm 1 that leaves out weights that do not fit, unsaid.
    "zoe": Weights(
        "ZoeDepth",
        _TRANSFORMERS,
        1_380_000_000,
        "Intel/zoedepth-nyu",
        {
            "config.json": None,
            "model.safetensors": "b616e347efc30e64822be28d2464c2fcd0b665b5fdbc9a135d53d168c31c77ab",
        },
    ),
    "leres": Weights(
        "LeReS",
        _AUX,
        531_000_000,
        _HUB_REPO,
        {"res101.pth": "1d696b2ef3e8336b057d0c15bc82d2fecef821bfebe5ef9d7671a5ec5dde520b"},
    ),
    "normal_bae": Weights(
        "NormalBae",
        _AUX,
        291_000_000,
        _HUB_REPO,
        {"scannet.pt": "03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209"},
    ),
    "openpose": Weights(
        "OpenPose",
        _AUX,
        510_000_000,
        _HUB_REPO,
        {
            "body_pose_model.pth": (
                "25a948c16078b0f08e236bda51a385d855ef4c153598947c28c0d47ed94bb746"
            ),
            "hand_pose_model.pth": (
                "b76b00d1750901abd07b9f9d8c98cc3385b8fe834a26d4b4f0aad439e75fc600"
            ),
            "facenet.pth": "8beb52e548624ffcc4aed12af7aee7dcbfaeea420c75609fee999fe7add79d43",
        },
    ),
    "dwpose": Weights(
        "DWPose",
        "pipelines.preprocessors.dwpose",
        351_145_849,
        "yzd-v/DWPose",
        {
            "yolox_l.onnx": "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
            "dw-ll_ucoco_384.onnx": (
                "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843"
            ),
        },
    ),
    "upernet": Weights(
        "UperNet",
        _TRANSFORMERS,
        328_000_000,
        "openmmlab/upernet-convnext-small",
        {
            "config.json": None,
            "pytorch_model.bin": "76c163aa531ab7edfb3a77bbcc039e340645aa0ffe2b0ffcfc68755f550c76ea",
        },
    ),
    "sam": Weights(
        "Segment Anything (MobileSAM)",
        _AUX,
        40_728_226,
        "dhkim2810/MobileSAM",
        {"mobile_sam.pt": "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"},
    ),
}


def load(name: str, device: str, notes: Notes, offline: bool, home: Path) -> Loaded:
    """Bring the weights ``name`` to ``device``, downloading them first if need be.

    Args:
        notes: told what is going on, with the share done where that is known.
        offline: never ask the hub.
        home: the home folder; downloads lie in ``<home>/models/.hub``.

    Raises:
        Unavailable: they cannot be had, or a package is missing.
        OutOfMemory: the device's memory does not suffice.
    """
    from pipelines.core.devices import is_out_of_memory, out_of_memory
    from pipelines.core.engine import IMPORTING

    entry = WEIGHTS[name]
    folder = _shipped_folder(entry) if entry.asset else _download(entry, notes, offline, home)
    notes(Message("Loading {model}", model=entry.title), None)
    try:
        with IMPORTING:
            module = import_module(entry.module)
        return module.load(name, folder, tuple(entry.files), device)
    except ImportError as error:
        raise missing_package(entry.title, error) from error
    except UnpicklingError as error:
        raise Unavailable(
            "The file of {model} holds something else than weights and was not opened. Delete it "
            "from {folder}; it is downloaded again then.",
            model=entry.title,
            folder=str(folder.relative_to(home)) if folder.is_relative_to(home) else folder.name,
        ) from error
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, device, entry.title) from error
        raise


def expected_bytes(name: str) -> int:
    """About what the weights ``name`` will take."""
    return WEIGHTS[name].nbytes


def is_here(name: str, home: Path) -> bool:
    """Whether the weights ``name`` can be loaded without the network."""
    from pipelines.models.downloads import find_files

    entry = WEIGHTS[name]
    if entry.asset:
        return (ASSETS / entry.asset / "config.json").is_file()
    return find_files(entry.repo, entry.files, home / HUB_FOLDER) is not None


def missing_package(title: str, error: ImportError) -> Unavailable:
    """The sentence for a preprocessor whose libraries are not all there."""
    return Unavailable(
        "{preprocessor} cannot run here ({reason}). Install what is missing by pip install -r "
        "requirements.txt, or choose another preprocessor; the others work without it.",
        preprocessor=title,
        reason=str(error),
    )


def _shipped_folder(entry: Weights) -> Path:
    folder = ASSETS / entry.asset
    if not (folder / "config.json").is_file():
        raise Unavailable(
            "The files of {model} are not in {folder}. Choose another preprocessor.",
            model=entry.title,
            folder=f"assets/{entry.asset}",
        )
    return folder


def _download(entry: Weights, notes: Notes, offline: bool, home: Path) -> Path:
    from pipelines.models.downloads import fetch_files

    folder = home / HUB_FOLDER
    return fetch_files(entry.repo, entry.files, entry.title, entry.nbytes, folder, notes, offline)
