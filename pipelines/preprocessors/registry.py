"""Which annotators there are, and how a picture becomes a map.

No torch and no OpenCV here: the page lists annotators before heavy libraries are loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import NotFound, Stopped, validated
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
class Annotator:
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

ANNOTATORS: dict[str, Annotator] = {
    annotator.name: annotator
    for annotator in (
        Annotator(
            "none",
            "It is a map already",
            "Takes the picture as it is: a drawing, or a map made elsewhere.",
            "any",
            ask.NoParameters,
            _CLASSICAL,
        ),
        Annotator(
            "canny",
            "Canny edges",
            "Thin white lines where brightness jumps; keeps shapes exactly.",
            "canny",
            ask.Canny,
            _CLASSICAL,
        ),
        Annotator(
            "scribble",
            "Scribble",
            "Thick white strokes, your drawing's or a photo's outlines; leaves much freedom.",
            "scribble",
            ask.Scribble,
            _CLASSICAL,
        ),
        Annotator(
            "lineart",
            "Line art",
            "Fine lines in soft tones, like a pencil drawing.",
            "lineart",
            ask.LineArt,
            _CLASSICAL,
        ),
        Annotator(
            "softedge_hed",
            "Soft edges (HED)",
            "Edges as a person would draw them, strong and faint ones; good for recolouring.",
            "softedge",
            ask.SoftEdge,
            _AUX,
            "hed",
        ),
        Annotator(
            "softedge_pidinet",
            "Soft edges (PiDiNet)",
            "Cleaner and quicker than HED, with less detail.",
            "softedge",
            ask.SoftEdge,
            _AUX,
            "pidinet",
        ),
        Annotator(
            "scribble_hed",
            "Scribble (HED)",
            "Thick strokes along what HED sees; simplifies a photo well.",
            "scribble",
            ask.ScribbleNetwork,
            _AUX,
            "hed",
        ),
        Annotator(
            "sketch_pidinet",
            "Sketch (PiDiNet)",
            "Plain white lines without any grey; what the sketch adapters learnt with.",
            "sketch",
            ask.SketchNetwork,
            _AUX,
            "pidinet",
        ),
        Annotator(
            "lineart_hub",
            "Line art (network)",
            "Drawn lines of people and things, as an illustrator would set them.",
            "lineart",
            ask.LineArtNetwork,
            _AUX,
            "lineart",
        ),
        Annotator(
            "lineart_anime",
            "Line art (anime)",
            "Clean lines as in Japanese animation.",
            "lineart",
            ask.LineArtAnime,
            _AUX,
            "lineart_anime",
        ),
        Annotator(
            "depth",
            "Depth (starter)",
            "Near is bright, far is dark; ships with Atelier and knows its toys best.",
            "depth",
            ask.ToyboxDepth,
            "pipelines.preprocessors.toybox_depth",
            "toybox_depth",
        ),
        Annotator(
            "depth_anything",
            "Depth Anything V2",
            "Near is bright; sharp outlines on photos of any kind. The first choice for depth.",
            "depth",
            ask.DepthAnything,
            _TRANSFORMERS,
            "depth_anything",
        ),
        Annotator(
            "depth_midas",
            "Depth (MiDaS)",
            "Near is bright; what the depth models of Stable Diffusion 1.5 learnt with.",
            "depth",
            ask.Midas,
            _AUX,
            "midas",
        ),
        Annotator(
            "depth_zoe",
            "Depth (Zoe)",
            "Near is bright, measured in metres; good indoors.",
            "depth",
            ask.Zoe,
            _TRANSFORMERS,
            "zoe",
        ),
        Annotator(
            "depth_leres",
            "Depth (LeReS)",
            "Near is bright; much detail in the background, which can be cut off.",
            "depth",
            ask.Leres,
            _AUX,
            "leres",
        ),
        Annotator(
            "normal_bae",
            "Normals (BAE)",
            "Which way each surface faces, as a colour; keeps form and light.",
            "normal",
            ask.NormalBae,
            _AUX,
            "normal_bae",
            FACING,
        ),
        Annotator(
            "openpose",
            "Pose (OpenPose)",
            "Skeletons of people on black. Its licence allows no commercial use.",
            "pose",
            ask.Openpose,
            _AUX,
            "openpose",
        ),
        Annotator(
            "dwpose",
            "Pose (DWPose)",
            "Skeletons with hands and faces, better than OpenPose's; runs on the CPU.",
            "pose",
            ask.Dwpose,
            "pipelines.preprocessors.dwpose",
            "dwpose",
        ),
        Annotator(
            "seg_upernet",
            "Segments (UperNet)",
            "What is where, one colour for each of 150 kinds of thing.",
            "seg",
            ask.Upernet,
            _TRANSFORMERS,
            "upernet",
        ),
        Annotator(
            "seg_sam",
            "Segments (Segment Anything)",
            "Everything that has an outline in a colour of its own, without saying what it is.",
            "seg",
            ask.SegmentAnything,
            _AUX,
            "sam",
        ),
        Annotator(
            "shuffle",
            "Shuffle",
            "Mixes the picture up: its colours and textures stay, its shapes go.",
            "shuffle",
            ask.Shuffle,
            _CLASSICAL,
            neutral=GREY,
        ),
        Annotator(
            "grid_grey",
            "Grid of greys",
            "Coarse squares of brightness: where it is light and dark.",
            "grid",
            ask.GridGrey,
            _CLASSICAL,
            neutral=GREY,
        ),
        Annotator(
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


def get(name: str) -> Annotator:
    """The annotator called ``name``.

    Raises:
        NotFound: there is none; the sentence offers the closest names.
    """
    known = find_name(name, ANNOTATORS)
    if known is None:
        raise NotFound(
            "There is no annotator called {name}. Did you mean one of: {close}?",
            name=name,
            close=closest(name, ANNOTATORS),
        )
    return ANNOTATORS[known]


def annotate(
    name: str,
    picture: Image.Image,
    parameters: dict[str, Any],
    cache: ModelCache,
    stop: threading.Event,
) -> Iterator[Progress | Image.Image]:
    """How it goes and, last, the map: RGB, of the size of ``picture`` (RGB).

    Raises:
        NotFound: there is no such annotator.
        BadRequest: a parameter is out of its bounds.
        Unavailable: its weights or a package cannot be had.
        OutOfMemory: the picture is too large for the device.
        Stopped: ``stop`` was set; a map that is begun is made to its end.
    """
    annotator = get(name)
    asked = validated(annotator.parameters, parameters)
    if annotator.weights is None:
        yield from _make(annotator, picture, asked, None, stop)
        return
    key = CACHE_PREFIX + annotator.weights
    yield from cache.warm(key, stop)
    with cache.lease(key) as weights:
        yield from _make(annotator, picture, asked, weights, stop)


def _make(
    annotator: Annotator,
    picture: Image.Image,
    asked: ask.Parameters,
    weights: Any,
    stop: threading.Event,
) -> Iterator[Progress | Image.Image]:
    if stop.is_set():
        raise Stopped
    yield Progress(
        0, 1, note=Message("Reading the picture: {annotator}", annotator=annotator.title)
    )
    module = _import_all(annotator)
    try:
        made = module.annotate(picture, asked, weights)
    except (RuntimeError, MemoryError) as error:
        if weights is None:
            raise
        from pipelines.core.devices import is_out_of_memory, out_of_memory

        if not is_out_of_memory(error):
            raise
        size = f"{picture.width}×{picture.height}, {annotator.title}"
        raise out_of_memory(error, weights.device, size) from error
    if stop.is_set():
        raise Stopped
    yield made


def _import_all(annotator: Annotator) -> Any:
    from pipelines.core.engines import IMPORTING

    try:
        with IMPORTING:
            return import_module(annotator.module)
    except ImportError as error:
        raise missing_package(annotator.title, error) from error
