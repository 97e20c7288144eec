"""Data sets to play with: made by formula, or measured long ago.

What is made lies in about [−1, 1] on each axis, so that a distance means the same in all of them;
``noise`` is the standard deviation of the normal noise in these units. All of it is vectorised: a
million points take well under a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from pipelines.clustering.wire import Labels, Matrix, UnreadableAnswer
from pipelines.core.engine import StrictModel

MAX_POINTS = 1_000_000
MAX_CLUSTERS = 50
MAX_SEED = 2**32 - 1

Name = Literal[
    "blobs",
    "anisotropic",
    "varied",
    "moons",
    "circles",
    "spirals",
    "uniform",
    "smiley",
    "s_curve",
    "iris",
    "wine",
    "digits",
]


class DatasetRequest(StrictModel):
    """Which data set; what one of them has no use for is ignored (see :attr:`Source.uses`)."""

    name: Annotated[
        Name, Field(title="Data set", description="Made by formula, or a classic of statistics.")
    ] = "blobs"
    points: Annotated[
        int,
        Field(ge=1, le=MAX_POINTS, title="Points", description="How many points are made."),
    ] = 600
    noise: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Noise",
            description="How far points stray: the standard deviation, where the data is 2 wide.",
        ),
    ] = 0.06
    clusters: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_CLUSTERS,
            title="True clusters",
            description="How many groups are made (blobs), or arms (spirals).",
        ),
    ] = 3
    seed: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SEED,
            title="Data seed",
            description="The same seed gives the same points.",
        ),
    ] = 0


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Points, and what is known of them.

    Attributes:
        X: (n, d) float64, C-contiguous, finite.
        truth: (n,) int32 true groups 0 …, −1 where it is not known; None where none is.
        columns: d names.
        title: what it is, in English.
        classes: names of the true groups, by number; None where they have none.
    """

    X: Matrix
    truth: Labels | None
    columns: tuple[str, ...]
    title: str
    classes: tuple[str, ...] | None = None

    def check(self) -> None:
        """Whether the parts go together.

        Raises:
            UnreadableAnswer: a value is not finite, or there are other columns or true labels than
                points have.
        """
        n, d = self.X.shape
        if len(self.columns) != d or not np.isfinite(self.X).all():
            raise UnreadableAnswer("these are no points")
        if self.truth is not None:
            most = n if self.classes is None else len(self.classes)
            inside = n == 0 or -1 <= self.truth.min() <= self.truth.max() < most
            if self.truth.shape != (n,) or not inside:
                raise UnreadableAnswer("these are no true labels of the points")


@dataclass(frozen=True, slots=True)
class Source:
    """A data set's entry.

    Attributes:
        title: English, translated late.
        description: what it shows, one sentence.
        uses: those of points, noise, clusters, seed that change it.
        make: (request, generator of random numbers) → X, truth, columns.
        classes: names of the true groups, or None.
    """

    title: str
    description: str
    uses: tuple[str, ...]
    make: Callable[[DatasetRequest, np.random.Generator], tuple]
    classes: tuple[str, ...] | None = None


def make(request: DatasetRequest) -> Dataset:
    """The data set that ``request`` describes; the same for the same request. O(points)."""
    source = SOURCES[request.name]
    X, truth, columns = source.make(request, np.random.default_rng(request.seed))
    X = np.ascontiguousarray(X, dtype=np.float64)
    truth = None if truth is None else truth.astype(np.int32)
    return Dataset(X, truth, tuple(columns), source.title, source.classes)


def _groups(points: int, shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(points,) int32: groups in these shares, to one point exactly, in random order."""
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * points).astype(int)
    truth = np.repeat(np.arange(len(shares), dtype=np.int32), np.diff(ends, prepend=0))
    random.shuffle(truth)
    return truth


def _stray(X: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    return X + noise * random.standard_normal(X.shape)


def _centres(count: int, random: np.random.Generator) -> np.ndarray:
    """(count, 2) in [−1, 1]², apart: each the best of 30 candidates (Mitchell 1991)."""
    centres = random.uniform(-1, 1, (1, 2))
    while len(centres) < count:
        candidates = random.uniform(-1, 1, (30, 2))
        nearest = np.linalg.norm(candidates[:, None] - centres, axis=2).min(axis=1)
        centres = np.vstack([centres, candidates[nearest.argmax()]])
    return centres


_XY = ("x", "y")


def _blobs(request: DatasetRequest, random: np.random.Generator):
    centres = _centres(request.clusters, random)
    truth = _groups(request.points, np.ones(request.clusters), random)
    return _stray(centres[truth], request.noise, random), truth, _XY


# A shear that makes discs into long slanted ellipses (as in scikit-learn's examples).
_SHEAR = np.array([[0.6, -0.6], [-0.4, 0.8]])


def _anisotropic(request: DatasetRequest, random: np.random.Generator):
    X, truth, columns = _blobs(request, random)
    return X @ _SHEAR, truth, columns


# Standard deviations in units of ``noise``, and shares of the points, in turn.
_SPREADS = np.array([1.0, 2.5, 0.5])


def _vary(request: DatasetRequest, random: np.random.Generator):
    centres = _centres(request.clusters, random)
    truth = _groups(request.points, np.ones(request.clusters), random)
    spread = request.noise * np.resize(_SPREADS, request.clusters)[truth]
    return centres[truth] + spread[:, None] * random.standard_normal((len(truth), 2)), truth, _XY


def _moons(request: DatasetRequest, random: np.random.Generator):
    truth = _groups(request.points, np.ones(2), random)
    angle = random.uniform(0, np.pi, request.points)
    lower = truth == 1
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle)) - 0.5
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle)) - 0.25
    return _stray(np.column_stack([x, y]) / 1.5, request.noise, random), truth, _XY


def _ring(radius: np.ndarray | float, angle: np.ndarray) -> np.ndarray:
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _circles(request: DatasetRequest, random: np.random.Generator):
    truth = _groups(request.points, np.ones(2), random)
    angle = random.uniform(0, 2 * np.pi, request.points)
    X = _ring(np.where(truth == 0, 1.0, 0.5), angle)
    return _stray(X, request.noise, random), truth, _XY


_TURNS = 1.25


def _spirals(request: DatasetRequest, random: np.random.Generator):
    truth = _groups(request.points, np.ones(request.clusters), random)
    # The root makes points about equally dense along an arm, which is longer outside.
    along = np.sqrt(random.uniform(0.04, 1, request.points))
    angle = 2 * np.pi * (_TURNS * along + truth / request.clusters)
    # Arms come the closer the more there are; noise is in units of the gap of two.
    noise = request.noise * 2 / max(2, request.clusters)
    return _stray(_ring(along, angle), noise, random), truth, _XY


def _uniform(request: DatasetRequest, random: np.random.Generator):
    return random.uniform(-1, 1, (request.points, 2)), None, _XY


_SMILEY = np.array([0.46, 0.14, 0.14, 0.26])  # shares of face, left eye, right eye, mouth


def _smiley(request: DatasetRequest, random: np.random.Generator):
    truth = _groups(request.points, _SMILEY, random)
    turn = random.uniform(0, 1, request.points)
    face = _ring(1.0, 2 * np.pi * turn)
    eye = _ring(0.13 * np.sqrt(random.uniform(0, 1, request.points)), 2 * np.pi * turn)
    mouth = _ring(0.6, np.pi * (1.2 + 0.6 * turn))
    part = truth[:, None]
    eyes = eye + np.where(part == 1, [-0.35, 0.35], [0.35, 0.35])
    X = np.select([part == 0, part == 3], [face, mouth], eyes)
    return _stray(X, request.noise, random), truth, _XY


def _s_curve(request: DatasetRequest, random: np.random.Generator):
    turn = 3 * np.pi * random.uniform(-0.5, 0.5, request.points)
    X = np.column_stack(
        [
            np.sin(turn),
            random.uniform(-1, 1, request.points),
            np.sign(turn) * (np.cos(turn) - 1) / 2,
        ]
    )
    return _stray(X, request.noise, random), None, ("x", "y", "z")


def _classic(loader: str):
    def load(request: DatasetRequest, random: np.random.Generator):
        from sklearn import datasets  # with scipy, half a second that the page need not wait for

        bunch = getattr(datasets, loader)()
        return bunch.data, bunch.target, bunch.feature_names

    return load


_ALL = ("points", "noise", "clusters", "seed")
_SHAPE = ("points", "noise", "seed")

SOURCES: dict[str, Source] = {
    "blobs": Source("Blobs", "Round groups of equal size: what K-Means is made for.", _ALL, _blobs),
    "anisotropic": Source(
        "Slanted ellipses",
        "Long, slanted groups: a Gaussian mixture sees them, K-Means cuts them.",
        _ALL,
        _anisotropic,
    ),
    "varied": Source(
        "Varied density",
        "Tight and loose groups at once: one eps for all is too small or too large.",
        _ALL,
        _vary,
    ),
    "moons": Source(
        "Moons", "Two half circles that reach into each other: not convex.", _SHAPE, _moons
    ),
    "circles": Source(
        "Circles", "A ring within a ring: both have the same centre.", _SHAPE, _circles
    ),
    "spirals": Source("Spirals", "Arms that wind around one another.", _ALL, _spirals),
    "uniform": Source(
        "Uniform noise",
        "No groups at all: what an algorithm finds here is its own invention.",
        ("points", "seed"),
        _uniform,
    ),
    "smiley": Source("Smiley", "A ring, two discs and an arc, close together.", _SHAPE, _smiley),
    "s_curve": Source("S-curve in 3-D", "A bent sheet in three dimensions.", _SHAPE, _s_curve),
    "iris": Source(
        "Iris",
        "150 flowers of three species, four lengths in cm.",
        (),
        _classic("load_iris"),
        ("setosa", "versicolor", "virginica"),
    ),
    "wine": Source(
        "Wine",
        "178 wines of three growers, 13 measurements on very different scales.",
        (),
        _classic("load_wine"),
    ),
    "digits": Source(
        "Digits",
        "1,797 handwritten digits of 8 × 8 pixels, ten kinds.",
        (),
        _classic("load_digits"),
    ),
}

assert set(SOURCES) == set(get_args(Name))
