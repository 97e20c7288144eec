"""What the plot of the clustering tab shows, as the server knows it and the browser draws it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Mode = Literal["view", "draw", "centres"]
UNKNOWN = ""  # the data of a page that is only being opened


@dataclass(frozen=True, slots=True)
class Scene:
    """One state of the plot; the browser fetches the points and labels that it names.

    Attributes:
        data: id of a data set, None while there is none, or :data:`UNKNOWN`.
        dims, projection, scaling: how the points are laid out, as the route ``points`` takes them.
        mode: whether the pointer looks, draws points, or places centres.
        labels: id of a job whose clusters are shown, or None.
        algorithm: which of a comparison's, or None.
        animation: what to play, as the route ``cluster-animations`` takes it, or None.
        play: whether it begins to play by itself.
        centres: own centres, (k, 2).
        points: drawn ones, (n, 2).
        thumbs: whether points are pictures.
        sketch: whether the points are drawn ones, which can be gone on with.
        own: whether the algorithm starts at own centres, which can be placed.
        described: id of the data set that the controls describe; ``data`` is another one after a
            comparison of former data was looked at.
        revision: rises, so that the same scene can be shown anew.
    """

    data: str | None = None
    dims: int = 2
    projection: str = "pca"
    scaling: str = "none"
    mode: Mode = "view"
    labels: str | None = None
    algorithm: str | None = None
    animation: dict[str, Any] | None = None
    play: bool = True
    centres: tuple[tuple[float, float], ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    thumbs: bool = False
    sketch: bool = False
    own: bool = False
    described: str | None = None
    revision: int = 0

    def __hash__(self) -> int:
        """Of the data alone: Gradio takes a state for changed when its hash is another."""
        return hash(self.data)

    def but(self, **changes: Any) -> Scene:
        """The next scene, which differs in this."""
        return replace(self, revision=self.revision + 1, **changes)

    def to_json(self) -> str:
        """As the value of the plot."""
        return json.dumps(asdict(self), separators=(",", ":"))
