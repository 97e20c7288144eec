"""Which clustering algorithms there are: one registry for requests, the page and the tests.

No scikit-learn here: the page lists algorithms before it is loaded.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from pipelines.clustering.algorithms import calls, costs
from pipelines.clustering.algorithms import parameters as ask
from pipelines.clustering.algorithms.algorithm import Algorithm
from pipelines.core.errors import NotFound
from pipelines.core.matching import closest, find_name

MILLIONS = 10_000_000

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            name="kmeans",
            title="K-Means",
            description="Moves k centres until each is the mean of the points nearest to it.",
            assumes="Clusters are round, about equally wide and equally large.",
            cost="O(n·k·d) time for each iteration, O(n·d) memory.",
            fails="Long, bent or very unequal clusters are cut; a far-off point pulls a centre.",
            parameters=ask.KMeansParameters,
            call=calls.kmeans,
            seconds=costs.kmeans,
            bytes=costs.kmeans_bytes,
            most=MILLIONS,
            makes_centres=True,
            labels_new=True,
        ),
        Algorithm(
            name="minibatch",
            title="Mini-batch K-Means",
            description="K-Means that moves its centres by a few points at a time.",
            assumes="Clusters are round, about equally wide and equally large.",
            cost="O(b·k·d) time for each batch of b points, O(n·d) memory.",
            fails="As K-Means does, and it ends a little less exactly.",
            parameters=ask.MiniBatchParameters,
            call=calls.minibatch,
            seconds=costs.minibatch,
            bytes=costs.kmeans_bytes,
            most=MILLIONS,
            makes_centres=True,
            labels_new=True,
        ),
        Algorithm(
            name="bisecting",
            title="Bisecting K-Means",
            description="Splits one cluster in two by K-Means until there are k.",
            assumes="Clusters are round, and the large groups part into the small ones.",
            cost="O(n·d·log k) time for each iteration, O(n·d) memory.",
            fails="An early split through a true cluster is never mended.",
            parameters=ask.BisectingParameters,
            call=calls.bisecting,
            seconds=costs.bisecting,
            bytes=costs.kmeans_bytes,
            most=MILLIONS,
            makes_centres=True,
            labels_new=True,
        ),
        Algorithm(
            name="dbscan",
            title="DBSCAN",
            description="Joins core points within a radius; what no core point reaches is noise.",
            assumes="Clusters are dense everywhere alike, of any shape, with emptier space "
            "between.",
            cost="O(n·log n) time in few dimensions, O(n²·d) in many; O(n·d) memory, whatever eps.",
            fails="No one radius fits clusters of different density; in many dimensions all "
            "points are about equally far.",
            parameters=ask.DBSCANParameters,
            call=calls.dbscan,
            seconds=costs.dbscan,
            bytes=costs.dbscan_bytes,
            most=MILLIONS,
            makes_noise=True,
        ),
        Algorithm(
            name="hdbscan",
            title="HDBSCAN",
            description="DBSCAN at all radii at once; keeps the clusters that last longest.",
            assumes="Clusters are denser than what surrounds them, each in its own way.",
            cost="O(n·log n) time in few dimensions, O(n²·d) in many; O(n·(d + "
            "min_samples)) memory.",
            fails="Groups smaller than the smallest cluster are lost; much may become noise.",
            parameters=ask.HDBSCANParameters,
            call=calls.hdbscan,
            seconds=costs.hdbscan,
            bytes=costs.hdbscan_bytes,
            least=lambda params: max(2, params.min_samples or params.min_cluster_size),
            most=MILLIONS,
            makes_noise=True,
        ),
        Algorithm(
            name="optics",
            title="OPTICS",
            description="Orders points so that clusters are valleys of the reachability plot.",
            assumes="Clusters are denser than what surrounds them, each in its own way.",
            cost="O(n²·d) time, O(n·d) memory.",
            fails="Gentle slopes between clusters hide where one ends; slow.",
            parameters=ask.OPTICSParameters,
            call=calls.optics,
            seconds=costs.optics,
            bytes=costs.optics_bytes,
            least=lambda params: max(2, params.min_samples, params.min_cluster_size or 0),
            most=50_000,
            makes_noise=True,
        ),
        Algorithm(
            name="agglomerative",
            title="Agglomerative clustering",
            description="Merges the two nearest clusters again and again: a dendrogram.",
            assumes="What is near belongs together at every scale; the linkage says what near is.",
            cost="O(n²·d) time; O(n²) memory, with single linkage O(n·d).",
            fails="A merge is never undone; single linkage chains clusters along a bridge of "
            "points, ward and complete cut long ones.",
            parameters=ask.AgglomerativeParameters,
            call=calls.agglomerative,
            seconds=costs.agglomerative,
            bytes=costs.agglomerative_bytes,
            least=lambda params: 2,
            most=30_000,
        ),
        Algorithm(
            name="mixture",
            title="Gaussian mixture",
            description="Fits k normal distributions by expectation and maximisation.",
            assumes="Each cluster is a normal distribution: an ellipse of its own size and tilt.",
            cost="O(n·k·d²) time for each iteration (d for diag and spherical), O(n·k) memory.",
            fails="Bent clusters need several ellipses; a poor start ends in a poor optimum.",
            parameters=ask.MixtureParameters,
            call=calls.mixture,
            seconds=costs.mixture,
            bytes=costs.mixture_bytes,
            least=lambda params: 2,
            most=MILLIONS,
            makes_centres=True,
            makes_soft=True,
            labels_new=True,
        ),
        Algorithm(
            name="mean_shift",
            title="Mean shift",
            description="Moves windows uphill to the peaks of density; a peak is a cluster.",
            assumes="Clusters are hills of density about as wide as the bandwidth.",
            cost="O(s·n·d) time for each iteration of s windows, O(n·d) memory; s is up to n.",
            fails="One bandwidth does not fit hills of different width; slow in many dimensions.",
            parameters=ask.MeanShiftParameters,
            call=calls.mean_shift,
            seconds=costs.mean_shift,
            bytes=costs.mean_shift_bytes,
            most=200_000,
            makes_centres=True,
            makes_noise=True,
            labels_new=True,
        ),
        Algorithm(
            name="spectral",
            title="Spectral clustering",
            description="K-Means in the space of the first eigenvectors of a similarity graph.",
            assumes="Within a cluster points are joined by short steps, whatever its shape.",
            cost="O(n²·d) time and O(n²) memory with rbf; with neighbours about O(n·log n).",
            fails="The similarity must suit the scale; clusters of different density are cut.",
            parameters=ask.SpectralParameters,
            call=calls.spectral,
            seconds=costs.spectral,
            bytes=costs.spectral_bytes,
            # Of a sparse graph fewer eigenvectors than points are found.
            least=lambda params: (
                2 if params.affinity == "rbf" else max(2, params.neighbours, params.k + 1)
            ),
            most=20_000,
        ),
        Algorithm(
            name="birch",
            title="BIRCH",
            description="Gathers points into small clusters in one pass, then joins these.",
            assumes="Clusters are round, and the threshold is well below their width.",
            cost="O(n·d·log n) time; memory grows with the number of small clusters.",
            fails="A small threshold in many dimensions makes every point a small cluster; the "
            "order of the points matters.",
            parameters=ask.BirchParameters,
            call=calls.birch,
            seconds=costs.birch,
            bytes=costs.birch_bytes,
            least=lambda params: 2 if params.clusters else 1,
            most=2_000_000,
            labels_new=True,
        ),
        Algorithm(
            name="affinity",
            title="Affinity propagation",
            description="Points send messages until some are chosen as exemplars of the others.",
            assumes="Each cluster is well described by one of its points.",
            cost="O(n²) time for each iteration, O(n²) memory.",
            fails="Makes many clusters unless the preference is low; may swing and never settle.",
            parameters=ask.AffinityParameters,
            call=calls.affinity,
            seconds=costs.affinity,
            bytes=costs.affinity_bytes,
            most=5_000,
            makes_centres=True,
            makes_noise=True,
            labels_new=True,
        ),
    )
}


def find(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises:
        NotFound: there is none; says which was perhaps meant.
    """
    if (known := find_name(name, ALGORITHMS)) is not None:
        return ALGORITHMS[known]
    raise NotFound(
        "There is no clustering algorithm called {name}. Did you mean {near}?",
        name=name,
        near=closest(name, ALGORITHMS),
    )


def _by_name(params: ask.Parameters) -> tuple[str, dict[str, Any]]:
    """The first algorithm that has parameters of this class, and their values."""
    kind = type(params)
    name = next(each.name for each in ALGORITHMS.values() if each.parameters is kind)
    return name, params.model_dump(mode="json")


def _from_name(data: Any) -> ask.Parameters:
    if isinstance(data, ask.Parameters):
        return data
    match data:
        case [str(name), values] if name in ALGORITHMS:
            return ALGORITHMS[name].parameters.model_validate(values)
    raise ValueError("neither an algorithm's name nor its parameters")


AnyParameters = Annotated[ask.Parameters, PlainValidator(_from_name), PlainSerializer(_by_name)]
"""In a type hint: parameters of any of the algorithms, for :mod:`pipelines.clustering.wire`."""
