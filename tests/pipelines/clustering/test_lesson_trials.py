"""What lessons suggest to try does what they say."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from pipelines.clustering import model_selection
from pipelines.clustering.algorithms.kmeans import KMeansParameters
from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.data.sample_data import make
from pipelines.clustering.data.scaling import scale
from pipelines.clustering.labels import count_clusters
from pipelines.clustering.lessons import LESSONS
from tests.pipelines.clustering.trials import Trial, trials

ALL_TRIALS = [(name, number) for name in LESSONS for number in range(len(trials(name)))]

pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")  # a fit's notes say it


@pytest.mark.parametrize(("name", "number"), ALL_TRIALS)
def test_a_trial_does_what_the_lesson_says(name, number, stop):
    trial = trials(name)[number]
    found = look(trial, stop)
    said = {key: value for key, value in trial.outcome if value is not None}
    assert said
    for key, value in said.items():
        if key == "settled":
            assert found[key] == value
        else:
            assert value[0] <= round(found[key], 9) <= value[1], (key, found[key])


def look(trial: Trial, stop: Event) -> dict:
    """What comes of a trial, by the engine itself."""
    data = make(trial.data)
    X = scale(data.X, trial.scaling).X
    if trial.curve:
        steps = {
            "gap": model_selection.gap,
            "elbow": model_selection.elbow,
            "silhouette": model_selection.silhouette_curve,
        }[trial.curve]
        first = 2 if trial.curve == "silhouette" else 1
        curve = return_value(steps(X, ks=range(first, trial.most + 1), seed=trial.seed, stop=stop))
        return {"best": curve.knee if trial.curve == "elbow" else curve.best}
    algorithm = find(trial.algorithm)
    params = algorithm.parameters.model_validate(trial.parameters)
    fitted = find(trial.algorithm).fit(X, params, trial.seed, stop)
    clusters = count_clusters(fitted.labels)
    found = {
        "clusters": clusters,
        "noise": fitted.noise,
        "largest": int(np.bincount(fitted.labels[fitted.labels >= 0]).max(initial=0)),
        "settled": not any("settled" in note.template for note in fitted.notes),
        "small_clusters": fitted.model.get("small_clusters"),
    }
    if data.truth is not None:
        found["ari"] = adjusted_rand_score(data.truth, fitted.labels)
    if trial.outcome.inertia:
        whole = find("kmeans").fit(X, KMeansParameters(clusters=clusters), trial.seed, stop)
        found["inertia"] = fitted.model["inertia"] / whole.model["inertia"]
    return found


def return_value(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_one_more_cluster_of_bisecting_splits_one_and_leaves_the_rest(stop):
    four, five = (
        find("bisecting")
        .fit(
            make(trial.data).X,
            find("bisecting").parameters.model_validate(trial.parameters),
            trial.seed,
            stop,
        )
        .labels
        for trial in trials("bisecting")
    )
    inside = {label: set(four[five == label].tolist()) for label in range(5)}
    assert all(len(parents) == 1 for parents in inside.values())


def test_kmeans_draws_all_its_borders_anew_for_one_more_cluster(stop):
    X = make(trials("bisecting")[0].data).X
    four, five = (
        find("kmeans").fit(X, KMeansParameters(clusters=k), 0, stop).labels for k in (4, 5)
    )
    kept = {frozenset(np.flatnonzero(four == label).tolist()) for label in range(4)}
    kept &= {frozenset(np.flatnonzero(five == label).tolist()) for label in range(5)}
    assert not kept
