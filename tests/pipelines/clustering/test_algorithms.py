from __future__ import annotations

import json
import subprocess
import sys
from threading import Event

import numpy as np
import pytest
import sklearn.datasets
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from pipelines.clustering.algorithms.base import check_points
from pipelines.clustering.algorithms.fields import COVARIANCES
from pipelines.clustering.algorithms.mixture import MixtureParameters
from pipelines.clustering.algorithms.registry import ALGORITHMS, find
from pipelines.clustering.comparing import suggest
from pipelines.clustering.data.exporting import numbers_csv
from pipelines.clustering.data.sample_data import SOURCES, Dataset, DatasetRequest, make
from pipelines.clustering.data.scaling import SCALERS, SCALINGS, scale
from pipelines.clustering.labels import count_clusters, renumber
from pipelines.core.errors import BadRequest, NotFound, Stopped

pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")  # a fit's notes say it

SETTINGS: list[tuple[str, dict]] = [
    ("kmeans", {}),
    ("kmeans", {"start": "random"}),
    ("kmeans", {"start": "own", "centres": [[1, 1], [9, 1], [4, 8]], "clusters": 9}),
    ("minibatch", {"batch": 50}),
    ("bisecting", {}),
    ("bisecting", {"split": "largest_cluster", "start": "random"}),
    ("dbscan", {"eps": 1.2}),
    ("hdbscan", {}),
    ("hdbscan", {"min_samples": 3, "min_cluster_size": 10, "selection": "leaf"}),
    ("optics", {"method": "dbscan", "eps": 1.5, "max_eps": 5}),
    ("optics", {"min_samples": 10, "xi": 0.2, "min_cluster_size": 20}),
    *(("agglomerative", {"linkage": each}) for each in ("ward", "complete", "average", "single")),
    ("agglomerative", {"linkage": "average", "height": 5.0}),
    *(("mixture", {"covariance": each}) for each in COVARIANCES),
    ("mean_shift", {"bandwidth": 3.0}),
    ("mean_shift", {"binned": False, "quantile": 0.3}),
    ("mean_shift", {"everyone": False, "bandwidth": 2.0}),
    ("spectral", {}),
    ("spectral", {"affinity": "rbf", "gamma": 0.3, "assign": "cluster_qr"}),
    ("birch", {}),
    ("birch", {"clusters": None, "threshold": 4.0}),
    ("affinity", {"preference": -300.0, "damping": 0.7}),
]
FINDS_K = ("kmeans", "minibatch", "bisecting", "agglomerative", "mixture", "spectral", "birch")


def params(name: str, **values):
    return find(name).parameters.model_validate(values)


@pytest.mark.parametrize(("name", "values"), SETTINGS)
def test_well_parted_blobs_are_found_and_the_points_are_left_alone(name, values, blobs, stop):
    points, truth = blobs
    algorithm, before = find(name), points.copy()
    fitted = find(name).fit(points, params(name, **values), 0, stop)
    core = fitted.labels >= 0
    assert (points == before).all()
    assert fitted.labels.dtype == np.int32
    assert fitted.noise == (~core).sum() <= 20
    assert algorithm.makes_noise or fitted.noise == 0
    assert adjusted_rand_score(truth[core], fitted.labels[core]) == 1
    assert (fitted.labels == renumber(fitted.labels)).all()
    assert (fitted.centres is not None) == algorithm.makes_centres
    assert (fitted.soft is not None) == algorithm.makes_soft
    if fitted.centres is not None:  # in the order of the labels, near the mean of their points
        means = [points[fitted.labels == c].mean(axis=0) for c in range(len(fitted.centres))]
        assert np.abs(fitted.centres - means).max() < 1
    if fitted.soft is not None:
        assert (fitted.soft.argmax(axis=1) == fitted.labels).all()
        assert np.allclose(fitted.soft.sum(axis=1), 1)


@pytest.mark.parametrize(("name", "values"), SETTINGS)
@pytest.mark.parametrize("scaling", ["none", "robust"])
def test_the_code_gives_the_same_labels(name, values, scaling, blobs, stop):
    points, _ = blobs
    chosen = params(name, **values)
    scaler = scale(points, scaling)
    used = chosen
    if values.get("start") == "own":
        centres = scaler.there(np.array(chosen.centres))
        used = chosen.model_copy(update={"centres": tuple(map(tuple, centres.tolist()))})
    fitted = find(name).fit(scaler.there(points), used, 5, stop)
    names = {"X": points.copy()}
    exec(find(name).python_code(chosen, 5, scaling), names)
    assert names["labels"].dtype == np.int32
    assert (names["labels"] == fitted.labels).all()


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("selection", ["eom", "leaf"])
@pytest.mark.parametrize("distance", [0.1, 1.2, 90.0])
def test_the_code_merges_clusters_below_a_distance(distance, selection, single, stop):
    """Two pairs of clusters: about 1 apart within a pair, 50 between the pairs; some strays."""
    random = np.random.default_rng(3)
    strays = random.uniform(-10, 60, (12, 1))
    points = [c + random.uniform(0, 0.1, (30, 1)) for c in (0.0, 1.0, 50.0, 51.0)]
    points = np.concatenate([*points, strays])
    settings = {"min_cluster_size": 15, "min_samples": 3, "selection": selection, "single": single}
    chosen = params("hdbscan", merge_below=distance, **settings)
    fitted, parted = (
        find("hdbscan").fit(points, each, 0, stop)
        for each in (chosen, params("hdbscan", **settings))
    )
    names = {"X": points.copy()}
    exec(find("hdbscan").python_code(chosen, 0), names)
    assert (names["labels"] == fitted.labels).all()
    same = np.array_equal(fitted.labels, parted.labels)
    assert same == (distance == 0.1)


@pytest.mark.parametrize(
    ("name", "values"),
    [("dbscan", {"eps": 0.3}), ("hdbscan", {"min_cluster_size": 12, "selection": "leaf"})],
)
def test_the_code_names_what_has_run_instead_of_scikit_learn(name, values, stop, density):
    random, chosen = np.random.default_rng(2), params(name, **values)
    centres, noise = random.normal(size=(4, 2)) * 9, random.normal(size=(2100, 2))
    X = centres[random.integers(4, size=2100)] + noise
    fitted = find(name).fit(X, chosen, 0, stop)
    code = find(name).python_code(chosen, 0, points=len(X))
    lines = [line.removeprefix("# ") for line in code.splitlines()]
    run = [line for line in lines if line.startswith(("from pipelines", f"labels = {name}("))]
    names = {"points": X}
    exec("\n".join(run), names)
    assert (renumber(names["labels"]) == fitted.labels).all()
    names = {"X": X}
    exec(code, names)
    assert (names["labels"] == fitted.labels).all()
    assert "Atelier" not in find(name).python_code(chosen, 0, points=2000)


def test_the_code_reads_a_csv_file(tmp_path, blobs, stop):
    points, _ = blobs
    file = tmp_path / "data.csv"
    np.savetxt(file, points, delimiter=",", header="x,y", comments="", fmt="%.17g")
    names: dict = {}
    exec(find("kmeans").python_code(params("kmeans"), 0, file=str(file)), names)
    assert (names["labels"] == find("kmeans").fit(points, params("kmeans"), 0, stop).labels).all()


def test_the_code_reads_names_in_any_letters_whatever_the_system_takes_for_text(tmp_path, blobs):
    data = Dataset(blobs[0], None, ("größe", "重さ"), "Blobs")
    numbers_csv(tmp_path / "data.csv", data)
    code = find("kmeans").python_code(params("kmeans"), 0)
    (tmp_path / "cluster.py").write_text(code + "print(len(labels))\n", encoding="utf-8")
    # As Windows has its own encoding: here, one of 7 bits.
    system = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "cluster.py"], cwd=tmp_path, env=system, capture_output=True
    )
    assert done.stdout == b"120\n", done.stderr.decode()


def test_a_mixture_in_many_columns_is_told_in_few_megabytes(stop):
    X = np.random.default_rng(0).normal(size=(60, 400))
    chosen = params("mixture", clusters=3, covariance="full")
    fitted = find("mixture").fit(X, chosen, 0, stop)
    assert "covariances" not in fitted.model
    (left_out,) = fitted.model["left_out"]
    assert (left_out["name"], left_out["shape"]) == ("covariances", [3, 400, 400])
    assert left_out["file"] == "extra.npz"
    assert fitted.extra["covariances"].shape == (3, 400, 400)
    assert np.shape(fitted.model["centres"]) == (3, 400)
    assert len(json.dumps(fitted.model)) < 100_000


@pytest.mark.parametrize("name", ALGORITHMS)
def test_same_seed_same_labels(name, stop):
    points = np.random.default_rng(1).uniform(size=(150, 3))  # no clusters: chance decides
    one, other = (find(name).fit(points, params(name), 3, stop) for _ in range(2))
    assert (one.labels == other.labels).all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_points_that_are_all_equal(name, stop):
    fitted = find(name).fit(np.full((25, 2), 3.0), params(name), 0, stop)
    assert fitted.labels.shape == (25,)
    if name in FINDS_K and name not in ("agglomerative", "spectral"):  # these must make k
        assert set(fitted.labels) == {0}
        assert "1 clusters have points, of 3" in " ".join(map(str, fitted.notes))
    if name in ("dbscan", "optics", "mean_shift", "affinity"):
        assert set(fitted.labels) == {0}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_duplicates_go_together(name, stop):
    points = np.repeat(np.array([[0.0, 0], [9, 0], [0, 9], [9, 9]]), 8, axis=0)
    values = {"clusters": 4} if name in FINDS_K else {}
    if name == "spectral":
        values |= {"affinity": "rbf"}
    if name == "mean_shift":
        values |= {"bandwidth": 2.0}
    fitted = find(name).fit(points, params(name, **values), 0, stop)
    assert fitted.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_point_is_a_cluster_or_noise_or_is_refused_in_a_sentence(name, stop):
    algorithm = find(name)
    values = {"clusters": 1} if name in FINDS_K else {}
    point = np.array([[1.0, 2.0]])
    if algorithm.least(params(name, **values)) > 1:
        with pytest.raises(BadRequest, match=r"needs at least \d+ points .* there are 1\."):
            find(name).fit(point, params(name, **values), 0, stop)
    else:
        labels = find(name).fit(point, params(name, **values), 0, stop).labels
        assert labels.tolist() == [-1 if name == "dbscan" else 0]


@pytest.mark.parametrize("name", FINDS_K)
def test_fewer_points_than_clusters_are_refused_with_both_numbers(name, stop):
    points = np.random.default_rng(0).normal(size=(4, 2))
    with pytest.raises(BadRequest, match="6 clusters cannot be made of 4 points"):
        find(name).fit(points, params(name, clusters=6), 0, stop)


@pytest.mark.parametrize("name", ["kmeans", "bisecting", "agglomerative", "mixture"])
def test_as_many_clusters_as_points(name, stop):
    points = np.random.default_rng(0).normal(size=(5, 2)) * 10
    labels = find(name).fit(points, params(name, clusters=5), 0, stop).labels
    assert labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", [n for n, a in ALGORITHMS.items() if a.most < 60_000])
def test_more_points_than_the_square_allows_are_refused(name, stop):
    most = find(name).most
    points = np.zeros((most + 1, 1))
    with pytest.raises(BadRequest, match=f"at most {most} points.*there are {most + 1}"):
        find(name).fit(points, params(name), 0, stop)


def test_missing_values_and_empty_data_are_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(BadRequest, match="1 of the values"):
            check_points(np.array([[1.0, bad]]))
    check_points(np.full((3, 1), 1e308))  # finite, though their sum is not
    for shape in ((0, 2), (2, 0)):
        with pytest.raises(BadRequest, match="at least one of each"):
            check_points(np.empty(shape))


def test_own_centres_are_checked(stop):
    points = np.zeros((5, 3))
    for values, sentence in (
        ({}, "Own centres are missing"),
        ({"centres": [[1, 2], [1, 2, 3]]}, "2 to 3 values"),
    ):
        with pytest.raises(BadRequest, match=sentence):
            params("kmeans", start="own", **values)
    with pytest.raises(BadRequest, match="have 2 values; the points have 3"):
        find("kmeans").fit(points, params("kmeans", start="own", centres=[[1, 2]]), 0, stop)


def test_an_unknown_name_is_refused_with_a_near_one():
    with pytest.raises(NotFound, match=r"called kmean.*kmeans"):
        find("kmean")


def test_nothing_is_begun_once_stopped(blobs):
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        find("kmeans").fit(blobs[0], params("kmeans"), 0, stop)


def test_what_did_not_settle_is_said(blobs, stop):
    points = np.random.default_rng(1).uniform(size=(100, 2))
    for name, values in (("kmeans", {"starts": 1}), ("mixture", {}), ("affinity", {})):
        fitted = find(name).fit(points, params(name, iterations=1, **values), 0, stop)
        assert "settled after 1 iterations" in str(fitted.notes[0]), name


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.uses])
def test_affinity_propagation_settles_on_all_made_data(name, stop):
    points = make(DatasetRequest(name=name)).X
    assert not find("affinity").fit(points, params("affinity"), 0, stop).notes


def test_affinity_propagation_says_that_its_clusters_are_of_no_use(stop):
    points = make(DatasetRequest(name="blobs")).X
    fitted = find("affinity").fit(points, params("affinity", damping=0.5), 0, stop)
    assert count_clusters(fitted.labels) > 20
    assert [str(note) for note in fitted.notes] == [
        "The messages had not settled after 200 iterations: these clusters may mean nothing. Raise "
        "the damping or the iterations."
    ]


@pytest.mark.parametrize(("min_samples", "cores"), [(2, [1, 2, 3]), (3, [2]), (4, [])])
def test_core_points_of_the_toy(min_samples, cores, stop):
    points = np.array([[0.0], [2], [3], [4], [6], [8], [10]])
    fitted = find("dbscan").fit(points, params("dbscan", eps=1, min_samples=min_samples), 0, stop)
    assert fitted.extra["core"].tolist() == cores
    joined = [0 if 1 <= index <= 3 and cores else -1 for index in range(7)]
    assert fitted.labels.tolist() == joined


def test_the_dendrogram_is_whole(blobs, stop):
    fitted = find("agglomerative").fit(blobs[0], params("agglomerative"), 0, stop)
    merges, heights = fitted.extra["merges"], fitted.extra["heights"]
    assert merges.shape == (119, 2)
    assert sorted(merges.ravel()) == list(range(238))  # each but the last is merged once
    assert (np.diff(heights) >= 0).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_covariances_of_every_kind_are_whole_matrices(covariance, blobs, stop):
    fitted = find("mixture").fit(blobs[0], MixtureParameters(covariance=covariance), 0, stop)
    own = np.array([np.cov(blobs[0][blobs[1] == c].T, bias=True) for c in range(3)])
    variances = np.diagonal(own, axis1=1, axis2=2)
    expected = {
        "full": own,
        "tied": np.repeat(own.mean(axis=0)[None], 3, axis=0),
        "diag": [np.diag(each) for each in variances],
        "spherical": [np.eye(2) * each.mean() for each in variances],
    }
    assert np.allclose(fitted.extra["covariances"], expected[covariance], atol=1e-3)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaled_points_come_back(scaling, blobs):
    points = blobs[0] * [1, 1000] + [5, 0]
    scaler = scale(points, scaling)
    there = scaler.there(points)
    assert np.allclose(scaler.back(there), points)
    if scaling in SCALERS:
        assert np.ptp(there, axis=0).max() < 10
    constant = np.ones((4, 2))
    assert np.isfinite(scale(constant, scaling).there(constant)).all()


def test_estimates_grow_with_the_points_and_name_no_nonsense():
    for algorithm in ALGORITHMS.values():
        chosen = algorithm.parameters()
        small, large = (algorithm.estimate(n, 2, chosen) for n in (1000, 100_000))
        assert 0 < small.seconds < large.seconds, algorithm.name
        assert 0 < small.bytes < large.bytes, algorithm.name
        assert small.seconds < 30


@pytest.mark.parametrize(
    ("load", "name", "values", "plain", "standardised"),
    [
        # K-Means on iris 0.73 and 0.62, on wine 0.37 and 0.90, on digits about 0.67.
        ("load_iris", "kmeans", {"clusters": 3}, 0.73, 0.62),
        ("load_iris", "agglomerative", {"clusters": 3}, 0.73, 0.615),
        ("load_iris", "mixture", {"clusters": 3}, 0.904, 0.904),
        ("load_wine", "kmeans", {"clusters": 3}, 0.371, 0.897),
        ("load_digits", "kmeans", {"clusters": 10}, 0.667, None),
        ("load_digits", "agglomerative", {"clusters": 10}, 0.794, None),
    ],
)
def test_agreement_with_the_classes_is_as_published(load, name, values, plain, standardised, stop):
    points, truth = getattr(sklearn.datasets, load)(return_X_y=True)
    found = find(name).fit(points, params(name, **values), 0, stop)
    assert adjusted_rand_score(truth, found.labels) == pytest.approx(plain, abs=0.01)
    if standardised is not None:
        scaled = StandardScaler().fit_transform(points)
        found = find(name).fit(scaled, params(name, **values), 0, stop)
        assert adjusted_rand_score(truth, found.labels) == pytest.approx(standardised, abs=0.01)


@pytest.mark.parametrize("assign", ["kmeans", "discretize", "cluster_qr"])
def test_spectral_clustering_says_that_it_needs_more_points_than_clusters(assign, stop):
    points = np.random.default_rng(0).normal(size=(6, 2))
    settings = params("spectral", clusters=6, neighbours=3, assign=assign)
    with pytest.raises(BadRequest, match="needs at least 7 points"):
        find("spectral").fit(points, settings, 0, stop)
    assert find("spectral").fit(points, settings.model_copy(update={"clusters": 5}), 0, stop)


@pytest.mark.parametrize(
    ("name", "values", "points"),
    [
        ("birch", {"clusters": 1}, np.ones((5, 2))),
        ("mixture", {"regularisation": 0.0}, np.ones((5, 2)) * 1e5),
    ],
)
def test_what_scikit_learn_refuses_is_said_in_a_sentence(name, values, points, stop):
    with pytest.raises(BadRequest, match="cannot cluster these points"):
        find(name).fit(points, params(name, **values), 0, stop)


def test_a_comparison_has_settings_for_values_of_any_size(stop):
    X = np.random.default_rng(0).normal(size=(50, 2)) * 1e19  # such as times in nanoseconds
    chosen = dict(suggest(X, 3, 0, stop))
    assert chosen["dbscan"].eps > 1e17
    assert count_clusters(find("dbscan").fit(X, chosen["dbscan"], 0, stop).labels) >= 1
