"""What each preprocessor can be asked: bounds, defaults, titles and help texts live here only."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.core.engine import StrictModel

MAX_SEED = 2**32 - 1


class Parameters(StrictModel):
    """Field titles and descriptions are the page's labels and help texts."""


class NoParameters(Parameters):
    """Nothing to set."""


class Canny(Parameters):
    low: Annotated[
        int,
        Field(
            ge=0,
            le=255,
            title="Low threshold",
            description="Contrast from which an edge goes on. Lower: longer, busier lines.",
        ),
    ] = 100
    high: Annotated[
        int,
        Field(
            ge=0,
            le=255,
            title="High threshold",
            description="Contrast that begins an edge. Lower: more edges.",
        ),
    ] = 200


class Scribble(Parameters):
    threshold: Annotated[
        int,
        Field(
            ge=1,
            le=255,
            title="Line threshold",
            description="How much darker than its surroundings a line is. Lower: more lines.",
        ),
    ] = 32
    thickness: Annotated[
        int,
        Field(
            ge=1,
            le=32,
            title="Line thickness",
            description="In pixels of a picture 512 pixels wide. A drawing keeps its own.",
        ),
    ] = 4


class LineArt(Parameters):
    width: Annotated[
        float,
        Field(
            ge=1,
            le=32,
            title="Line width",
            description="How far around a line is compared, in pixels of a picture 512 wide.",
        ),
    ] = 6.0
    threshold: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            title="Line threshold",
            description="Contrast below which there is no line. A drawing is taken as it is.",
        ),
    ] = 8


class Shuffle(Parameters):
    seed: Annotated[
        int,
        Field(ge=0, le=MAX_SEED, title="Seed", description="The same seed moves everything alike."),
    ] = 0


class Grid(Parameters):
    cells: Annotated[
        int,
        Field(
            ge=1,
            le=128,
            title="Cells",
            description="Along the shorter side. The adapters of Stable Diffusion know 8.",
        ),
    ] = 8


class GridGrey(Grid):
    """Brightness only."""


class GridColour(Grid):
    """Red, green and blue."""


class Resolution(Parameters):
    """For networks, which see other things at other sizes."""

    resolution: Annotated[
        int,
        Field(
            ge=0,
            le=2048,
            title="Resolution",
            description="Shorter side in pixels at which the picture is read. 0: its own.",
        ),
    ] = 512


class SoftEdge(Resolution):
    safe: Annotated[
        bool,
        Field(
            title="Fewer tones",
            description="Rounds the edges to three tones, so that nothing else shines through.",
        ),
    ] = False


class ScribbleNetwork(Resolution):
    """Thick strokes from soft edges."""


class SketchNetwork(Resolution):
    """Lines without any grey."""


class LineArtNetwork(Resolution):
    coarse: Annotated[
        bool, Field(title="Coarse", description="Fewer, rougher lines, as of a quick drawing.")
    ] = False


class LineArtAnime(Resolution):
    """Lines as in Japanese animation."""


class Midas(Resolution):
    """Relative depth."""


class Leres(Resolution):
    near: Annotated[
        int,
        Field(
            ge=0, le=100, title="Cut off near", description="Percent of the depth to lay in front."
        ),
    ] = 0
    far: Annotated[
        int,
        Field(ge=0, le=100, title="Cut off far", description="Percent of the depth to make black."),
    ] = 0


class NormalBae(Resolution):
    """Which way surfaces face."""


class Openpose(Resolution):
    hands: Annotated[bool, Field(title="Hands", description="Draws the fingers as well.")] = False
    face: Annotated[bool, Field(title="Face", description="Draws points of the face as well.")] = (
        False
    )


class Dwpose(Parameters):
    """The networks work at a size of their own."""

    hands: Annotated[bool, Field(title="Hands", description="Draws the fingers as well.")] = True
    face: Annotated[bool, Field(title="Face", description="Draws points of the face as well.")] = (
        True
    )


class DepthAnything(Resolution):
    """Relative depth, sharp at edges."""


class Zoe(Resolution):
    """Depth in metres, turned into brightness."""


class Upernet(Resolution):
    """What is where: 150 classes."""


class SegmentAnything(Resolution):
    points: Annotated[
        int,
        Field(
            ge=2,
            le=64,
            title="Points per side",
            description="Where it looks for things: more find smaller ones and take longer.",
        ),
    ] = 16


class ToyboxDepth(Parameters):
    """The starter's estimator works at a size of its own."""
