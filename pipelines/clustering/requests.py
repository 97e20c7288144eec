"""What can be asked of the clustering engine; the parameters are the registry's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from pipelines.clustering.algorithms import ALGORITHMS, find
from pipelines.clustering.fields import Clusters, Parameters
from pipelines.clustering.scaling import Scaling
from pipelines.errors import BadRequest, NotFound, validated
from pipelines.matching import closest

MAX_SEED = 2**32 - 1

DataName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class OnData(BaseModel):
    """What every request of a data set has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class ClusterRequest(OnData):
    """Cluster one data set by one algorithm. Titles and descriptions are the page's labels."""

    algorithm: Annotated[
        str, Field(max_length=40, title="Algorithm", description="How clusters are found.")
    ] = "kmeans"
    parameters: Annotated[
        dict[str, Any],
        Field(
            max_length=20,
            title="Parameters",
            description="The algorithm's own settings; what is left out has its default.",
        ),
    ] = {}

    @model_validator(mode="after")
    def _of_the_registry(self) -> ClusterRequest:
        try:
            _ = self.params
        except BadRequest as error:
            raise error.at("parameters", *error.path) from None
        return self

    @property
    def params(self) -> Parameters:
        """The parameters as the algorithm's own model.

        Raises:
            NotFound: there is no such algorithm.
            BadRequest: a value is out of bounds or unknown; says which and the limit.
        """
        return validated(find(self.algorithm).parameters, self.parameters)


class CompareRequest(OnData):
    """Cluster one data set by several algorithms, each with settings that suit it."""

    algorithms: Annotated[
        tuple[str, ...],
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
            if name not in ALGORITHMS:
                raise NotFound(
                    "There is no clustering algorithm called {name}. Did you mean {near}?",
                    name=name,
                    near=closest(name, ALGORITHMS),
                )
        return self
