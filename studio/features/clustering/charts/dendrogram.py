"""The dendrogram: what merged with what, at which height, and where it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.messages import Message
from studio.features.clustering.charts.axes import Axis, axis, number
from studio.features.clustering.charts.colours import kind_of
from studio.features.clustering.charts.drawing import Plot, figure

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

LEAVES = 60
_HEIGHT = 300  # pixels of the tree
_CROWDED = 24  # leaves, of which a phone has no room for the counts
_BELOW, _BELOW_COUNTS = 36, 66  # pixels below it, without and with counts of points


@dataclass(frozen=True, slots=True)
class Tree:
    """The upper part of a dendrogram.

    Attributes:
        leaves: points in each leaf, from left to right.
        firsts: the smallest index of a point in each of these.
        merges: of two nodes each, lowest first: leaves come first, then merges, as in ``merges`` of
            scikit-learn; the left one has the smaller index of a point.
        heights: of the merges, ascending.
        floor: the height of the highest merge that is within a leaf; 0 where there is none.
    """

    leaves: tuple[int, ...]
    firsts: tuple[int, ...]
    merges: tuple[tuple[int, int], ...]
    heights: tuple[float, ...]
    floor: float

    def first(self, node: int) -> int:
        """The smallest index of a point below a node."""
        while node >= len(self.leaves):
            node = self.merges[node - len(self.leaves)][0]
        return self.firsts[node]

    def clusters(self, k: int) -> dict[int, int]:
        """Node → its cluster, of all nodes below the cut into ``k``; numbered as labels are."""
        cut = len(self.merges) - (k - 1)  # merges from here on are above it
        of: dict[int, int] = {}
        roots, above = [], [len(self.leaves) + len(self.merges) - 1]
        while above:
            node = above.pop()
            at = node - len(self.leaves)
            if at >= cut:
                above.extend(self.merges[at])
            else:
                roots.append(node)
        for label, root in enumerate(sorted(roots, key=self.first)):
            below = [root]
            while below:
                node = below.pop()
                of[node] = label
                if node >= len(self.leaves):
                    below.extend(self.merges[node - len(self.leaves)])
        return of


def tree(merges: Sequence[Sequence[int]], heights: Sequence[float]) -> Tree:
    """The last merges of a full tree, with at most :data:`LEAVES` leaves. O(n).

    Args:
        merges: (n − 1, 2 or more): the nodes that each joins; 0 … n − 1 are points, merge t makes
            node n + t.
        heights: (n − 1,), ascending.
    """
    pairs = np.asarray(merges, dtype=np.int64)[:, :2].tolist()
    heights = np.asarray(heights, dtype=np.float64).tolist()
    n = len(pairs) + 1
    size, first = [1] * n, list(range(n))
    for left, right in pairs:
        size.append(size[left] + size[right])
        first.append(min(first[left], first[right]))
    shown = min(LEAVES, n) - 1  # merges
    lowest = n + len(pairs) - shown  # the first node that is one of them
    order, stack = [], [2 * n - 2]
    while stack:
        node = stack.pop()
        if node >= lowest:
            stack.extend(sorted(pairs[node - n], key=first.__getitem__, reverse=True))
        else:
            order.append(node)
    place_of = {node: at for at, node in enumerate(order)}
    place_of |= {lowest + at: len(order) + at for at in range(shown)}
    upper = tuple(
        tuple(place_of[node] for node in sorted(pair, key=first.__getitem__))
        for pair in pairs[len(pairs) - shown :]
    )
    return Tree(
        tuple(size[node] for node in order),
        tuple(first[node] for node in order),
        upper,
        tuple(heights[len(pairs) - shown :]),
        heights[len(pairs) - shown - 1] if shown < len(pairs) else 0.0,
    )


def dendrogram(
    merges: Sequence[Sequence[int]], heights: Sequence[float], k: int, visitor: Visitor
) -> str:
    """The tree with a line that cuts it: event ``line``, ``{"name": "clusters", "value": k}``.

    Args:
        merges: (n − 1, 2 or more), as of :func:`tree`; n at least 2.
        heights: (n − 1,), ascending.
        k: into how many clusters it is cut.
    """
    say, shown = visitor.say, tree(merges, heights)
    most = len(shown.leaves)
    k = max(1, min(k, most))
    x = Axis(-0.5, most - 0.5, tuple(range(most)), ("",) * most, _leaves_title(shown, visitor))
    y = axis([*shown.heights, shown.heights[-1] * 1.06], say("Height of the merge"), zero=True)
    cut = cut_height(shown, k, y.high)
    title = say("Dendrogram")
    plot = Plot(x, y, height=_HEIGHT)
    line = plot.drag_line(
        "clusters",
        cut,
        words=say("k = {value}"),
        label=say("Cut: number of clusters"),
        least=1,
        most=most,
        shown=k,
        right=True,
    )
    data = {
        "leaves": shown.leaves,
        "firsts": shown.firsts,
        "merges": shown.merges,
        "heights": [float(f"{height:.6g}") for height in shown.heights],
        "floor": shown.floor,
        "high": y.high,
    }
    drawn = plot.to_svg(
        title,
        _paths(shown, plot, k, visitor),
        _counts(shown, plot, visitor) + line,
        below=_BELOW if max(shown.leaves) == 1 else _BELOW_COUNTS,
    )
    return figure(
        "dendrogram",
        title,
        drawn,
        visitor,
        finding=_jump(shown, visitor),
        caption=[say("The longer the branches that it cuts, the clearer the clusters.")],
        hint=say("Drag the line, or move it with the arrow keys, to set k."),
        data={"tree": data},
    )


def cut_height(shown: Tree, k: int, high: float) -> float:
    """Halfway between the merge that leaves ``k`` clusters and the next one."""
    merges = len(shown.heights)
    above = shown.heights[merges - k + 1] if k > 1 else high
    below = shown.heights[merges - k] if k <= merges else shown.floor
    return (above + below) / 2


def _leaves_title(shown: Tree, visitor: Visitor) -> str:
    if max(shown.leaves) == 1:
        return visitor.say("Single points")
    return visitor.say(Message("{count} groups of points",
                               count=len(shown.leaves)))  # fmt: skip


def _jump(shown: Tree, visitor: Visitor) -> str:
    """Where two merges lie farthest apart."""
    heights = (shown.floor, *shown.heights)
    jumps = [after - before for before, after in pairwise(heights)]
    at = int(np.argmax(jumps))
    k = len(shown.heights) - at + 1
    if k < 2 or jumps[at] <= 0:
        return ""
    return visitor.say(Message("The longest step in height is cut at k = {k}.", k=k))


def _paths(shown: Tree, plot: Plot, k: int, visitor: Visitor) -> str:
    """A bracket for each merge: two stems and what joins them; each stem belongs to its node."""
    leaves = len(shown.leaves)
    at: list[float] = [float(leaf) for leaf in range(leaves)]
    height = [0.0] * leaves + list(shown.heights)
    of, parts = shown.clusters(k), []
    for number_of, (left, right) in enumerate(shown.merges):
        node = leaves + number_of
        at.append((at[left] + at[right]) / 2)
        top = shown.heights[number_of]
        title = escape(visitor.say(Message("Merge at height {height}", height=number(top))))
        parts.append(
            f'<path class="{_kind(of, node)}" data-node="{node}" '
            f'd="M{plot.place(at[left], top)}L{plot.place(at[right], top)}">'
            f"<title>{title}</title></path>"
        )
        parts.extend(
            f'<path class="{_kind(of, child)}" data-node="{child}" '
            f'd="M{plot.place(at[child], height[child])}L{plot.place(at[child], top)}"/>'
            for child in (left, right)
        )
    return "".join(parts)


def _kind(of: dict[int, int], node: int) -> str:
    return f"branch {kind_of(of[node])}" if node in of else "branch cut"


def _counts(shown: Tree, plot: Plot, visitor: Visitor) -> str:
    """Below each leaf, how many points it has."""
    if max(shown.leaves) == 1:
        return ""
    parts = []
    for at, count in enumerate(shown.leaves):
        title = escape(visitor.say(Message("{count} points", count=f"{count:,}")))
        parts.append(
            f'<svg x="{plot.across(at)}" y="100%"><title>{title}</title><text class="small" '
            f'transform="rotate(-90)" x="-6" dy="4" text-anchor="end">{count}</text></svg>'
        )
    crowded = " crowded" if len(shown.leaves) > _CROWDED else ""
    return f'<g class="counts{crowded}">{"".join(parts)}</g>'
