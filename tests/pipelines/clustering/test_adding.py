"""An algorithm is added by one file."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from pipelines.clustering import algorithms, lessons
from pipelines.clustering.algorithms import registry
from pipelines.clustering.requests import ClusterRequest
from pipelines.core.errors import BadRequest

pytestmark = pytest.mark.filterwarnings("ignore:::sklearn")  # a fit's notes say it

VARIATIONAL = """
from typing import Annotated

from pydantic import Field

from pipelines.clustering.algorithms.base import Algorithm, Call, Estimate
from pipelines.clustering.algorithms.fields import Clusters, Iterations, Parameters
from pipelines.core.messages import Message


class VariationalParameters(Parameters):
    clusters: Clusters = 5
    iterations: Iterations = 200
    prior: Annotated[
        float, Field(gt=0, le=1e6, title="Prior", description="Larger keeps more components.")
    ] = 0.01


class Variational(Algorithm[VariationalParameters]):
    name = "variational"
    place = 85
    title = "Variational mixture"
    description = "A mixture of normal distributions that leaves out what it does not need."
    assumes = "Each cluster is a normal distribution."
    cost = "O(n·k·d²) time for each iteration, O(n·k) memory."
    fails = "Bent clusters need several ellipses."
    parameters = VariationalParameters
    most = 100
    settles = True

    def call(self, params, seed):
        arguments = {
            "n_components": params.clusters,
            "weight_concentration_prior": params.prior,
            "max_iter": params.iterations,
            "random_state": seed,
        }
        return Call("sklearn.mixture", "BayesianGaussianMixture", arguments)

    def least(self, params):
        return params.clusters

    def estimate(self, n, d, params):
        return Estimate(n * d * params.clusters * 1e-6, n * params.clusters * 32.0)

    def details(self, estimator, X):
        return {"centres": estimator.means_, "model": {"bound": float(estimator.lower_bound_)}}

    def change_code(self, code, params, seed, scaled):
        code.before.append("# Variational Bayes")
"""


@pytest.fixture
def registry_with_one_more(tmp_path, monkeypatch):
    """The registry as it is with one more file in the package."""
    (tmp_path / "variational.py").write_text(VARIATIONAL, encoding="utf-8")
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])
    found = registry.load_algorithms()
    for name, each in found.items():
        monkeypatch.setitem(registry.ALGORITHMS, name, each)
    yield found
    del sys.modules[f"{algorithms.__name__}.variational"], algorithms.variational


def test_a_file_is_an_algorithm_in_its_place(registry_with_one_more):
    names = list(registry_with_one_more)
    assert len(names) == 13
    assert names[names.index("mixture") : names.index("mean_shift")] == ["mixture", "variational"]
    assert registry.find("Variational").title == "Variational mixture"


def test_it_is_asked_for_fitted_and_printed_as_any_other(registry_with_one_more, blobs, stop):
    X, truth = blobs
    request = ClusterRequest(data="blobs", algorithm="Variational", parameters={"clusters": 4})
    algorithm = registry.find(request.algorithm)
    assert algorithm.suggest_parameters(6, None).clusters == 6
    with pytest.raises(BadRequest, match="at most 100 points"):
        algorithm.check(X, request.params)
    X, truth = X[:90], truth[:90]
    fitted = algorithm.fit(X, request.params, 3, stop)
    assert adjusted_rand_score(truth, fitted.labels) > 0.9
    assert fitted.model["parameters"] == {"clusters": 4, "iterations": 200, "prior": 0.01}
    assert fitted.model["bound"] < 0
    fitted.check(X)
    hasty = algorithm.fit(X, request.params.model_copy(update={"iterations": 1}), 3, stop)
    assert "settled after 1 iterations" in str(hasty.notes[0])
    names = {"X": X}
    code = algorithm.python_code(request.params, 3)
    exec(code, names)
    assert np.array_equal(names["labels"], fitted.labels)
    assert "# Variational Bayes" in code


def test_its_bounds_are_held_by_requests(registry_with_one_more):
    with pytest.raises(BadRequest, match="1000000"):
        ClusterRequest(data="blobs", algorithm="variational", parameters={"prior": 1e9})


def test_without_a_lesson_its_texts_describe_it(registry_with_one_more, monkeypatch):
    monkeypatch.setattr(lessons, "LESSONS", (*lessons.LESSONS, "variational"))
    assert "Bent clusters need several ellipses." in lessons.lesson("variational", "zh")
