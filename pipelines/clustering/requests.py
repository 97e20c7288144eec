"""What can be asked of the clustering engine; the parameters are the registry's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from pipelines.clustering.algorithms.base import MAX_SEED
from pipelines.clustering.algorithms.fields import Clusters, MinSamples, Parameters
from pipelines.clustering.algorithms.optics import OPTICSParameters
from pipelines.clustering.algorithms.registry import ALGORITHMS, find
from pipelines.clustering.data.scaling import Scaling
from pipelines.core.engine import Request, Use
from pipelines.core.errors import BadRequest, validate
from pipelines.core.matching import find_name

# As the registry has it, whatever the spelling; what it does not know is refused elsewhere.
AlgorithmName = Annotated[str, AfterValidator(lambda name: find_name(name, ALGORITHMS) or name)]
DataName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class OnData(Request):
    """What every request of a data set has."""

    data: Annotated[
        DataName, Field(title="Data", description="The data set, by its name or number.")
    ]
    scaling: Annotated[
        Scaling,
        Field(
            title="Scaling",
            description="Brings the columns to one scale: standard to mean 0 and variance 1, "
            "minmax to 0 … 1, robust to median 0 and quartiles 1 apart.",
        ),
    ] = "none"
    seed: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SEED,
            title="Seed",
            description="The same seed gives the same clusters.",
        ),
    ] = 0

    def uses(self) -> Iterator[Use]:
        yield Use("data", self.data)


class ByAlgorithm(OnData):
    """What is asked of one algorithm."""

    algorithm: Annotated[
        AlgorithmName,
        Field(max_length=40, title="Algorithm", description="How clusters are found."),
    ] = "kmeans"
    parameters: Annotated[
        dict[str, Any],
        Field(
            max_length=20,
            title="Parameters",
            description="The algorithm's own settings; what is left out has its default.",
        ),
    ] = {}  # noqa: RUF012  # pydantic copies it

    @property
    def params(self) -> Parameters:
        """The parameters as the algorithm's own model.

        Raises:
            NotFound: there is no such algorithm.
            BadRequest: a value is out of bounds or unknown; says which and the limit.
        """
        return validate(find(self.algorithm).parameters, self.parameters)

    def check_parameters(self) -> None:
        """Raises as :attr:`params` does; a :class:`BadRequest` says where in the request."""
        try:
            _ = self.params
        except BadRequest as error:
            raise error.at("parameters", *error.path) from None


class ClusterRequest(ByAlgorithm):
    """Cluster one data set by one algorithm. Titles and descriptions are the page's labels."""

    @model_validator(mode="after")
    def _of_the_registry(self) -> ClusterRequest:
        self.check_parameters()
        return self


class CompareRequest(OnData):
    """Cluster one data set by several algorithms, each with settings that suit it."""

    algorithms: Annotated[
        tuple[AlgorithmName, ...],
        Field(
            min_length=1,
            max_length=len(ALGORITHMS),
            title="Algorithms",
            description="Which are compared.",
        ),
    ] = tuple(ALGORITHMS)
    clusters: Clusters = 3

    @model_validator(mode="after")
    def _of_the_registry(self) -> CompareRequest:
        for name in self.algorithms:
            find(name)
        return self


CurveName = Literal[
    "elbow",
    "silhouette",
    "gap",
    "k_distance",
    "information",
    "reachability",
    "stability",
    "silhouettes",
]
OF_AN_ALGORITHM: tuple[CurveName, ...] = ("stability", "silhouettes")
"""Curves of an algorithm that is named; the others have theirs."""
MAX_K = 50
MAX_SEEDS = 50

K = Annotated[int, Field(ge=1, le=MAX_K)]


class CurveRequest(ByAlgorithm):
    """A curve that helps to choose parameters; what one of them has no use for is ignored.

    - elbow, silhouette, gap: K-Means for each k from ``least`` to ``most``;
    - information: Gaussian mixtures for each of these, with each kind of covariance;
    - k_distance: with ``min_samples``;
    - reachability: of OPTICS with ``parameters``;
    - stability: of ``algorithm`` with ``parameters``, for so many ``seeds`` from ``seed`` on;
    - silhouettes: of each point, in the clusters of ``algorithm`` with ``parameters``.
    """

    curve: Annotated[
        CurveName, Field(title="Curve", description="What is drawn to choose a parameter by.")
    ]
    least: Annotated[K, Field(title="Least k", description="The curve begins here.")] = 1
    most: Annotated[K, Field(title="Largest k", description="The curve ends here.")] = 10
    min_samples: MinSamples = 5
    seeds: Annotated[
        int,
        Field(
            ge=2,
            le=MAX_SEEDS,
            title="Seeds",
            description="How often it is clustered anew, each time from another seed.",
        ),
    ] = 10

    @property
    def params(self) -> Parameters:
        if self.curve == "reachability":
            return validate(OPTICSParameters, self.parameters)
        return super().params

    @model_validator(mode="after")
    def _together(self) -> CurveRequest:
        if self.least > self.most:
            raise BadRequest(
                "The curve would begin at k = {least} and end at k = {most}: the least must not be "
                "above the largest.",
                least=self.least,
                most=self.most,
            )
        if self.curve in (*OF_AN_ALGORITHM, "reachability"):
            self.check_parameters()
        return self
