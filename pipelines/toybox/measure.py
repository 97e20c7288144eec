"""Scores: how often a picture shows what its words said; how true to a map it is, how sharp."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.toybox.judge import Seen, Verdict
from pipelines.toybox.scenes import Scene, held_out_scene


@dataclass
class Share:
    """A count of hits out of trials."""

    hits: int = 0
    trials: int = 0

    def add(self, hit: bool) -> None:
        self.hits += hit
        self.trials += 1

    @property
    def percent(self) -> float:
        return 100 * self.hits / self.trials if self.trials else float("nan")


def measuring_scenes(
    count: int, things: int, kinds: Sequence[str], alike: bool = False
) -> list[Scene]:
    """``count`` held-out scenes; with two toys they are side by side, of different kinds or, with
    ``alike``, of one look."""
    scenes: list[Scene] = []
    seed = 0
    while len(scenes) < count:
        scene = held_out_scene(seed, kinds, things, alike)
        seed += 1
        if (
            things == 2
            and not alike
            and (
                scene.things[0].kind == scene.things[1].kind
                or scene.relation not in ("left of", "right of")
            )
        ):
            continue
        scenes.append(scene)
    return scenes


def score(scenes: Iterable[Scene], verdicts: Iterable[Verdict]) -> dict[str, Share]:
    """Shares by name.

    With one toy: ``object`` and ``colour`` of the toy that the judge is surest of. With two:
    ``both objects`` (the two surest are of the two kinds asked for), ``both colours`` (and each
    has its own colour) and ``left/right`` (of the pictures that show both). With several of one
    look: ``count`` (so many of the kind, and nothing else) and ``their colour`` (of all that the
    judge sees). Always: ``place``.
    """
    shares: dict[str, Share] = {}

    def add(name: str, hit: bool) -> None:
        shares.setdefault(name, Share()).add(hit)

    for scene, verdict in zip(scenes, verdicts, strict=True):
        add("place", verdict.place == scene.place)
        surest = sorted(verdict.toys, key=lambda toy: -toy.score)
        if len(scene.things) == 1:
            wanted = scene.things[0]
            seen = surest[0] if surest else None
            add("object", seen is not None and seen.kind == wanted.kind)
            add("colour", seen is not None and seen.colour == wanted.colour)
            continue
        if len({thing.look for thing in scene.things}) == 1:
            wanted = scene.things[0]
            kinds = [toy.kind for toy in verdict.toys]
            add("count", kinds == [wanted.kind] * len(scene.things))
            add("their colour", {toy.colour for toy in verdict.toys} == {wanted.colour})
            continue
        found = {toy.kind: toy for toy in reversed(surest[:2])}
        pairs: list[tuple[Seen | None, str]] = [
            (found.get(thing.kind), thing.colour) for thing in scene.things
        ]
        both = all(seen is not None for seen, _ in pairs)
        add("both objects", both)
        add("both colours", both and all(seen.colour == colour for seen, colour in pairs))
        if both:
            first, second = (seen.x for seen, _ in pairs)
            add("left/right", (first < second) == (scene.relation == "left of"))
    return shares


def edge_f1(found: np.ndarray, wanted: np.ndarray) -> float:
    """How well edges agree: the harmonic mean of precision and recall, 0 … 1.

    An edge pixel counts as met when the other picture has one within two pixels.

    Args:
        found, wanted: (H, W), above 127 where an edge is.
    """
    found, wanted = (edges > 127 for edges in (found, wanted))
    if not found.any() or not wanted.any():
        return float(not found.any() and not wanted.any())
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    near_found, near_wanted = (
        cv2.dilate(edges.astype(np.uint8), brush) > 0 for edges in (found, wanted)
    )
    precision, recall = near_wanted[found].mean(), near_found[wanted].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two maps, −1 … 1; 0 where one of them is flat."""
    a, b = (each.astype(np.float64).ravel() - each.mean() for each in (a, b))
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length else 0.0


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures (H, W, 3) uint8; infinite where they agree."""
    error = np.mean((picture.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def sharpness(picture: np.ndarray, truth: np.ndarray, reach: int = 2) -> tuple[float, float]:
    """How steep a picture is along the true edges and away from them, as multiples of the truth.

    Steepness is the length of Sobel's gradient of the luminance. An edge may lie ``reach`` pixels
    from where it should: the steepest pixel within reach counts, in both pictures.

    Args:
        picture, truth: (H, W, 3) uint8.
        reach: pixels.

    Returns:
        Along edges: below 1 is blurred. Away from them: above 1 is noise, ringing or borders of
        patches, and far below 1 texture that was wiped away.
    """
    brush = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    steep, steep_truth = (_gradient(each) for each in (picture, truth))
    edges = steep_truth > 100
    along = cv2.dilate(steep, brush)[edges].mean() / cv2.dilate(steep_truth, brush)[edges].mean()
    flat = cv2.dilate(edges.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    return float(along), float(steep[flat].mean() / max(steep_truth[flat].mean(), 1e-6))


def _gradient(picture: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dx, dy = cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)
    return np.hypot(dx, dy)
