"""The colours of clusters, the same in the plot, the charts and the pictures.

Okabe and Ito, "Color Universal Design" (2008): eight colours that people tell apart whatever their
eyes. Beyond eight they come again; a number, a shape or a place tells those apart. The plot
(``assets/clustering``) and the charts' style (``assets/clustering_charts.css``) have the same list.
"""

from __future__ import annotations

COLOURS = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#56B4E9",  # sky blue
    "#D55E00",  # vermillion
    "#F0E442",  # yellow
    "#000000",  # black; on dark ground the ink of the theme
)
DARK = (*COLOURS[:-1], "#D8D4CC")
"""The same on dark ground."""
NOISE = "#8A857C"


def kind_of(label: int) -> str:
    """The class that gives an element its cluster's colour as ``--k``; of −1 that of noise."""
    if label < 0:
        return "noise"
    return f"k{label % len(COLOURS)}" + (" again" if label // len(COLOURS) % 2 else "")
