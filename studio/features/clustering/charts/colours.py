"""The colours of clusters in charts and pictures: :data:`studio.core.palette.CLUSTERS`.

Beyond eight they come again; a number, a shape or a place tells those apart.
"""

from __future__ import annotations

from studio.core.palette import CHARTS_AT_NIGHT as DARK
from studio.core.palette import CLUSTERS as COLOURS
from studio.core.palette import NOISE

__all__ = ["COLOURS", "DARK", "NOISE", "kind_of"]


def kind_of(label: int) -> str:
    """The class that gives an element its cluster's colour as ``--k``; of −1 that of noise."""
    if label < 0:
        return "noise"
    return f"k{label % len(COLOURS)}" + (" again" if label // len(COLOURS) % 2 else "")
