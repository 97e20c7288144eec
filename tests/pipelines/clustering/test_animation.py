from __future__ import annotations

import json
from threading import Event

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, KMeans
from sklearn.mixture import GaussianMixture

from pipelines.clustering.animation import AnimationRequest, animated_rows, make_animation
from pipelines.clustering.data.sample_data import Dataset, DatasetRequest, make
from pipelines.clustering.data.scaling import scale
from pipelines.clustering.projecting import choose_rows, project
from pipelines.clustering.steps.gmm import DEVIATIONS
from pipelines.core.errors import BadRequest, Stopped, Unavailable, validate


def animate(data: Dataset, **values) -> dict:
    made = make_animation(validate(AnimationRequest, {"data": "mine", **values}), data)
    made["notes"] = [str(note) for note in made["notes"]]
    return json.loads(json.dumps(made, allow_nan=False))


def after(animate: dict, name: str, start: int) -> np.ndarray:
    """What the changes of all frames lead to."""
    state = np.full(len(animate["points"]), start)
    for frame in animate["frames"]:
        state[frame[name]["at"]] = frame[name]["to"]
    return state


@pytest.fixture(scope="module")
def wine() -> Dataset:
    return make(DatasetRequest(name="wine"))


def dataset(X: np.ndarray) -> Dataset:
    return Dataset(X, None, tuple(f"x{n}" for n in range(X.shape[1])), "Some")


def test_k_means_ends_where_scikit_learn_does_seen_in_the_picture(wine):
    made = animate(wine, scaling="standard", parameters={"clusters": 3, "start": "random"}, seed=4)
    X = scale(wine.X, "standard").X
    theirs = KMeans(3, init="random", n_init=1, random_state=4).fit(X)
    labels = after(made, "labels", -1)
    assert (labels == theirs.labels_).all()
    seen = project(X, 2)
    trail = [step for frame in made["frames"] for step in frame["trail"]]
    assert np.allclose(trail[-1], seen.place(theirs.cluster_centers_), atol=1e-3)
    assert np.allclose(made["points"], seen.points, atol=1e-3)
    assert "the best of 10" in made["notes"][-1]


def test_a_mixture_of_many_columns_has_ellipses_as_the_picture_shows_them(wine):
    parameters = {"clusters": 2, "covariance": "diag"}
    made = animate(wine, algorithm="mixture", scaling="standard", parameters=parameters)
    X = scale(wine.X, "standard").X
    theirs = GaussianMixture(2, covariance_type="diag", random_state=0).fit(X)
    seen = project(X, 2)
    last = made["frames"][-1]
    assert np.allclose(last["means"], seen.place(theirs.means_), atol=1e-2)
    for ellipse, variances in zip(last["ellipses"], theirs.covariances_, strict=True):
        flat = seen.axes @ np.diag(variances) @ seen.axes.T
        _, _, width, height, angle = ellipse
        diameters = 2 * DEVIATIONS * np.sqrt(np.linalg.eigvalsh(flat))
        assert (height, width) == pytest.approx(diameters.tolist(), rel=1e-2)
        along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
        assert 2 * DEVIATIONS * np.sqrt(along @ flat @ along) == pytest.approx(width, rel=1e-2)
    assert (after(made, "labels", -1) == theirs.predict(X)).all()


def test_dbscan_has_its_radius_in_the_picture_and_scikit_learns_labels():
    moons = make(DatasetRequest(name="moons", points=200, noise=0.03))
    made = animate(moons, algorithm="dbscan", parameters={"eps": 0.15, "min_samples": 4})
    theirs = DBSCAN(eps=0.15, min_samples=4).fit(moons.X)
    assert (after(made, "labels", -1) == theirs.labels_).all()
    assert made["radius"] == [0.15, 0.15]
    assert made["steps"] == 201
    assert made["parameters"] == {"eps": 0.15, "min_samples": 4}
    one = animate(dataset(moons.X[:, :1].copy()), algorithm="dbscan")
    assert [y for _, y in one["points"]] == [0.0] * 200


def test_merges_are_those_of_all_points(wine):
    made = animate(wine, algorithm="agglomerative", parameters={"linkage": "average"})
    merges = [merge for frame in made["frames"] for merge in frame["merges"]]
    assert len(merges) == len(wine.X) - 1
    assert merges[-1][3] == len(wine.X)
    assert made["radius"] is None


def test_of_many_points_some_that_the_picture_shows_are_animated_and_that_is_said():
    rows = animated_rows(50_000)
    assert len(rows) == 2000
    assert np.isin(rows, choose_rows(50_000)).all()
    assert (np.diff(rows) > 0).all()
    blobs = make(DatasetRequest(points=5000, clusters=3))
    made = animate(blobs, parameters={"clusters": 3, "starts": 1})
    assert made["notes"] == [
        "2,000 of 5,000 points are shown step by step, and these alone are clustered."
    ]
    assert made["rows"] == animated_rows(5000).tolist()
    assert np.allclose(made["points"], blobs.X[made["rows"]], atol=1e-3)


def test_own_centres_are_in_the_datas_units(wine):
    centres = wine.X[[0, 100]].tolist()
    parameters = {"start": "own", "centres": centres}
    made = animate(wine, scaling="minmax", parameters=parameters)
    scaled = scale(wine.X, "minmax")
    first = made["frames"][0]["trail"][0]
    assert np.allclose(first, project(scaled.X, 2).points[[0, 100]], atol=1e-3)
    assert made["parameters"]["centres"] == centres


class Columns:
    """Stands for umap.UMAP: lays points out by the first columns."""

    def __init__(self, **settings) -> None:
        pass

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        return X[:, :2]


def test_after_umap_there_are_no_centres_and_no_radius(wine, monkeypatch):
    import sys
    import types

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Columns))
    made = animate(wine, projection="umap")
    assert all(frame["trail"] is None for frame in made["frames"])
    assert np.allclose(made["points"], wine.X[:, :2], atol=0.1)
    mixture = animate(wine, algorithm="mixture", projection="umap", scaling="standard")
    assert {(f["means"], f.get("ellipses")) for f in mixture["frames"]} == {(None, None)}
    assert animate(wine, algorithm="dbscan", projection="umap")["radius"] is None
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(Unavailable, match="umap-learn"):
        animate(wine, projection="umap")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"algorithm": "optics"}, "Algorithm cannot be optics"),
        ({"parameters": {"clusters": 51}}, "51 clusters are too many to be watched; at most 50"),
        ({"algorithm": "dbscan", "parameters": {"eps": 0}}, "must be more than 0"),
        ({"projection": "tsne"}, "Projection cannot be tsne"),
        ({"parameters": {"k": 3}}, "no setting called k"),
    ],
)
def test_what_cannot_be_animated_says_why(wine, values, sentence):
    with pytest.raises(BadRequest, match=sentence):
        animate(wine, **values)


def test_what_would_take_too_long_is_refused_before_it_starts():
    wide = dataset(np.random.default_rng(0).normal(size=(2000, 1000)))
    with pytest.raises(BadRequest, match="longer than 20 s"):
        animate(wide, algorithm="mixture", parameters={"clusters": 20})


def test_a_stop_ends_it_and_the_data_are_not_changed(wine):
    before = wine.X.copy()
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        make_animation(AnimationRequest(data="mine"), wine, stop)
    animate(wine, scaling="robust")
    assert (before == wine.X).all()
