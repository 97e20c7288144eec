"""Which preprocessors there are, and how a picture becomes a map.

No torch and no OpenCV here: the page lists preprocessors before heavy libraries are loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import NotFound, Stopped, validate
from pipelines.core.events import Progress
from pipelines.core.matching import closest, find_name
from pipelines.core.messages import Message
from pipelines.preprocessors import parameters as ask
from pipelines.preprocessors.weights import CACHE_PREFIX, missing_package

if TYPE_CHECKING:
    from PIL import Image

    from pipelines.core.cache import ModelCache

BLACK, GREY, FACING = (0, 0, 0), (128, 128, 128), (128, 128, 255)
LINES = {"canny", "lineart", "scribble", "sketch", "softedge"}
"""Conditions that are lines, bright on black. Models that know one kind follow the others too."""


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """One way to read a picture.

    Attributes:
        name: what requests call it.
        title: the page's label, in English.
        description: what it makes and what that is good for, in one line.
        makes: the condition that its maps are: any, canny, softedge, lineart, scribble, sketch,
            depth, seg, normal, pose, shuffle or grid.
        parameters: what can be set, as a pydantic model.
        module: has ``annotate(picture, parameters, weights) -> map``; imported on first use.
        weights: a name in :data:`pipelines.preprocessors.weights.WEIGHTS`, or None.
        neutral: the colour that means "nothing here" in its maps.
    """

    name: str
    title: str
    description: str
    makes: str
    parameters: type[ask.Parameters]
    module: str
    weights: str | None = None
    neutral: tuple[int, int, int] = BLACK


_CLASSICAL = "pipelines.preprocessors.classical"
_AUX = "pipelines.preprocessors.from_controlnet_aux"
_TRANSFORMERS = "pipelines.preprocessors.from_transformers"

PREPROCESSORS: dict[str, Preprocessor] = {
    preprocessor.name: preprocessor
    for preprocessor in (
        Preprocessor(
            "none",
            "It is a map already",
            "Takes the picture as it is: a drawing, or a map made elsewhere.",
            "any",
            ask.NoParameters,
            _CLASSICAL,
        ),
        Preprocessor(
            "canny",
            "Canny edges",
            "Thin white lines where brightness jumps; keeps shapes exactly.",
            "canny",
            ask.Canny,
            _CLASSICAL,
        ),
        Preprocessor(
            "scribble",
            "Scribble",
            "Thick white strokes, your drawing's or a photo's outlines; leaves much freedom.",
            "scribble",
            ask.Scribble,
            _CLASSICAL,
        ),
        Preprocessor(
            "lineart",
            "Line art",
            "Fine lines in soft tones, like a pencil drawing.",
            "lineart",
            ask.LineArt,
            _CLASSICAL,
        ),
        Preprocessor(
            "softedge_hed",
            "Soft edges (HED)",
            "Edges as a person would draw them, strong and faint ones; good for recolouring.",
            "softedge",
            ask.SoftEdge,
            _AUX,
            "hed",
        ),
        Preprocessor(
            "softedge_pidinet",
            "Soft edges (PiDiNet)",
            "Cleaner and quicker than HED, with less detail.",
            "softedge",
            ask.SoftEdge,
            _AUX,
            "pidinet",
        ),
        Preprocessor(
            "scribble_hed",
            "Scribble (HED)",
            "Thick strokes along what HED sees; simplifies a photo well.",
            "scribble",
            ask.ScribbleNetwork,
            _AUX,
            "hed",
        ),
        Preprocessor(
            "sketch_pidinet",
            "Sketch (PiDiNet)",
            "Plain white lines without any grey; what the sketch adapters learnt with.",
            "sketch",
            ask.SketchNetwork,
            _AUX,
            "pidinet",
        ),
        Preprocessor(
            "lineart_hub",
            "Line art (network)",
            "Drawn lines of people and things, as an illustrator would set them.",
            "lineart",
            ask.LineArtNetwork,
            _AUX,
            "lineart",
        ),
        Preprocessor(
            "lineart_anime",
            "Line art (anime)",
            "Clean lines as in Japanese animation.",
            "lineart",
            ask.LineArtAnime,
            _AUX,
            "lineart_anime",
        ),
        Preprocessor(
            "depth",
            "Depth (starter)",
            "Near is bright, far is dark; ships with Atelier and knows its toys best.",
            "depth",
            ask.ToyboxDepth,
            "pipelines.preprocessors.toybox_depth",
            "toybox_depth",
        ),
        Preprocessor(
            "depth_anything",
            "Depth Anything V2",
            "Near is bright; sharp outlines on photos of any kind. The first choice for depth.",
            "depth",
            ask.DepthAnything,
            _TRANSFORMERS,
            "depth_anything",
        ),
        Preprocessor(
            "depth_midas",
            "Depth (MiDaS)",
            "Near is bright; what the depth models of Stable Diffusion 1.5 learnt with.",
            "depth",
            ask.Midas,
            _AUX,
            "midas",
        ),
        Preprocessor(
            "depth_zoe",
            "Depth (Zoe)",
            "Near is bright, measured in metres; good indoors.",
            "depth",
            ask.Zoe,
            _TRANSFORMERS,
            "zoe",
        ),
        Preprocessor(
            "depth_leres",
            "Depth (LeReS)",
            "Near is bright; much detail in the background, which can be cut off.",
            "depth",
            ask.Leres,
            _AUX,
            "leres",
        ),
        Preprocessor(
            "normal_bae",
            "Normals (BAE)",
            "Which way each surface faces, as a colour; keeps form and light.",
            "normal",
            ask.NormalBae,
            _AUX,
            "normal_bae",
            FACING,
        ),
        Preprocessor(
            "openpose",
            "Pose (OpenPose)",
            "Skeletons of people on black. Its licence allows no commercial use.",
            "pose",
            ask.Openpose,
            _AUX,
            "openpose",
        ),
        Preprocessor(
            "dwpose",
            "Pose (DWPose)",
            "Skeletons with hands and faces, better than OpenPose's; runs on the CPU.",
            "pose",
            ask.Dwpose,
            "pipelines.preprocessors.dwpose",
            "dwpose",
        ),
        Preprocessor(
            "seg_upernet",
            "Segments (UperNet)",
            "What is where, one colour for each of 150 kinds of thing.",
            "seg",
            ask.Upernet,
            _TRANSFORMERS,
            "upernet",
        ),
        Preprocessor(
            "seg_sam",
            "Segments (Segment Anything)",
            "Everything that has an outline in a colour of its own, without saying what it is.",
            "seg",
            ask.SegmentAnything,
            _AUX,
            "sam",
        ),
        Preprocessor(
            "shuffle",
            "Shuffle",
            "Mixes the picture up: its colours and textures stay, its shapes go.",
            "shuffle",
            ask.Shuffle,
            _CLASSICAL,
            neutral=GREY,
        ),
        Preprocessor(
            "grid_grey",
            "Grid of greys",
            "Coarse squares of brightness: where it is light and dark.",
            "grid",
            ask.GridGrey,
            _CLASSICAL,
            neutral=GREY,
        ),
        Preprocessor(
            "grid_colour",
            "Grid of colours",
            "Coarse squares of colour: the picture's palette in its places.",
            "grid",
            ask.GridColour,
            _CLASSICAL,
            neutral=GREY,
        ),
    )
}


def get(name: str) -> Preprocessor:
    """The preprocessor called ``name``.

    Raises:
        NotFound: there is none; the sentence offers the closest names.
    """
    known = find_name(name, PREPROCESSORS)
    if known is None:
        raise NotFound(
            "There is no preprocessor called {name}. Did you mean one of: {close}?",
            name=name,
            close=closest(name, PREPROCESSORS),
        )
    return PREPROCESSORS[known]


def annotate(
    name: str,
    picture: Image.Image,
    parameters: dict[str, Any],
    cache: ModelCache,
    stop: threading.Event,
) -> Iterator[Progress | Image.Image]:
    """How it goes and, last, the map: RGB, of the size of ``picture`` (RGB).

    Raises:
        NotFound: there is no such preprocessor.
        BadRequest: a parameter is out of its bounds.
        Unavailable: its weights or a package cannot be had.
        OutOfMemory: the picture is too large for the device.
        Stopped: ``stop`` was set; a map that is begun is made to its end.
    """
    preprocessor = get(name)
    asked = validate(preprocessor.parameters, parameters)
    if preprocessor.weights is None:
        yield from _make(preprocessor, picture, asked, None, stop)
        return
    key = CACHE_PREFIX + preprocessor.weights
    yield from cache.warm(key, stop)
    with cache.lease(key) as weights:
        yield from _make(preprocessor, picture, asked, weights, stop)


def _make(
    preprocessor: Preprocessor,
    picture: Image.Image,
    asked: ask.Parameters,
    weights: Any,
    stop: threading.Event,
) -> Iterator[Progress | Image.Image]:
    if stop.is_set():
        raise Stopped
    yield Progress(
        0, 1, note=Message("Reading the picture: {preprocessor}", preprocessor=preprocessor.title)
    )
    module = _import_all(preprocessor)
    try:
        made = module.annotate(picture, asked, weights)
    except (RuntimeError, MemoryError) as error:
        if weights is None:
            raise
        from pipelines.core.devices import is_out_of_memory, out_of_memory

        if not is_out_of_memory(error):
            raise
        size = f"{picture.width}×{picture.height}, {preprocessor.title}"
        raise out_of_memory(error, weights.device, size) from error
    if stop.is_set():
        raise Stopped
    yield made


def _import_all(preprocessor: Preprocessor) -> Any:
    from pipelines.core.engine import IMPORTING

    try:
        with IMPORTING:
            return import_module(preprocessor.module)
    except ImportError as error:
        raise missing_package(preprocessor.title, error) from error
