"""Clustering data, and watching how algorithms do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from pipelines.clustering.data.tables import MAX_BYTES
from pipelines.clustering.requests import ClusterRequest, CompareRequest, CurveRequest, OnData
from pipelines.core.engine import Engine
from pipelines.core.paths import ASSETS
from studio.core.feature import Feature
from studio.features.clustering.data import api as data_api
from studio.features.clustering.data.own_data_sets import ClusterData
from studio.features.clustering.plot.cache import PlotCache
from studio.features.clustering.request_limits import RequestLimits
from studio.features.clustering.results import api as results_api
from studio.features.clustering.results.animation_runs import Animations
from studio.features.clustering.results.results import Clusterings
from studio.features.clustering.tab import ClusteringTab

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio

_MODULE = "pipelines.clustering.engine"


def check_data(studio: Studio, owner: Owner, request: OnData) -> OnData:
    """Raises NotFound where the owner has no such data set."""
    studio.cluster_data.get(owner.id, request.data)
    return request


router = APIRouter()
router.include_router(data_api.router)
router.include_router(results_api.router)

FEATURE = Feature(
    name="clustering",
    engines=(
        Engine("cluster", ClusterRequest, _MODULE, light=True, by_owner=True),
        Engine("compare_clusters", CompareRequest, _MODULE, light=True, by_owner=True),
        Engine("cluster_curve", CurveRequest, _MODULE, light=True, by_owner=True),
    ),
    services={
        "cluster_data": lambda studio: ClusterData(
            studio.store,
            studio.home,
            studio.gallery,
            studio.inputs,
            studio.cache,
            studio.quota,
        ),
        "clusterings": lambda studio: Clusterings(
            studio.home, studio.jobs, studio.cluster_data, studio.inputs
        ),
        "cluster_animations": lambda studio: Animations(studio.cluster_data),
        "cluster_plots": lambda studio: PlotCache(),
        "cluster_limits": lambda studio: RequestLimits(),
    },
    checks={OnData: check_data},
    routes=router,
    uploads={"cluster-tables": MAX_BYTES},
    # Its scripts import the chat's page.js, whether the chat is there or not.
    scripts={"/scripts": ASSETS / "chat", "/scripts/clustering": ASSETS / "clustering"},
    keepers=("cluster_data", "clusterings"),
    tabs=(ClusteringTab,),
)
