"""What each clustering algorithm can be told: bounds, defaults, titles and help, by family."""

from __future__ import annotations

from pipelines.clustering.algorithms.centre_parameters import (
    BisectingParameters,
    KMeansParameters,
    MiniBatchParameters,
    MixtureParameters,
)
from pipelines.clustering.algorithms.density_parameters import (
    DBSCANParameters,
    HDBSCANParameters,
    MeanShiftParameters,
    OPTICSParameters,
)
from pipelines.clustering.algorithms.fields import (
    COVARIANCES,
    Covariance,
    Linkage,
    Parameters,
)
from pipelines.clustering.algorithms.link_parameters import (
    AffinityParameters,
    AgglomerativeParameters,
    BirchParameters,
    SpectralParameters,
)

__all__ = [
    "COVARIANCES",
    "AffinityParameters",
    "AgglomerativeParameters",
    "BirchParameters",
    "BisectingParameters",
    "Covariance",
    "DBSCANParameters",
    "HDBSCANParameters",
    "KMeansParameters",
    "Linkage",
    "MeanShiftParameters",
    "MiniBatchParameters",
    "MixtureParameters",
    "OPTICSParameters",
    "Parameters",
    "SpectralParameters",
]
