"""What charts and views of clusterings are drawn of in tests, and all of them drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.core.messages import Message
from studio.core.accounts.accounts import Owner
from studio.features.clustering.charts.curves import CHARTS, chart
from studio.features.clustering.charts.dendrogram import dendrogram
from studio.features.clustering.charts.thumbnails import thumbnail
from studio.features.clustering.data import views as data_views
from studio.features.clustering.results import scores
from studio.page.widgets import Visitor

VISITOR = Visitor(Owner("local", "you", is_host=True), "en")
CHINESE = Visitor(Owner("local", "you", is_host=True), "zh")
EVIL = "<img src=x onerror=alert(1)>\"'&"

KS = [1, 2, 3, 4]
DATA = {
    "elbow": {"ks": KS, "inertia": [100.0, 40.0, 20.0, 15.0], "knee": 2},
    "silhouette": {"ks": KS, "means": [None, 0.4, 0.7, 0.5], "best": 3, "sampled": 10_000},
    "gap": {"ks": KS, "gap": [0.1, 0.2, 0.6, 0.55], "s": [0.01] * 4, "log_w": [1.0] * 4,
            "log_w_reference": [1.1] * 4, "best": 3},
    "k_distance": {"distances": [0.1, 0.2, 0.3, 0.4, 2.0], "min_samples": 3, "eps": 0.4,
                   "sampled": None},
    "information": {"ks": KS, "covariances": ["full", "tied", "diag", "spherical"],
                    "bic": [[4.0, 3.0, 1.0, 2.0]] * 4, "aic": [[3.0, 2.0, 1.5, 1.0]] * 4,
                    "best_bic": [3, "full"], "best_aic": [4, "full"]},
    "reachability": {"ordering": [0, 1, 2, 3], "reachability": [None, 0.5, 0.4, 2.0],
                     "labels": [0, 0, 1, -1], "of": 5000},
    "stability": {"seeds": [0, 1], "pairwise": [[1.0, 0.8], [0.8, 1.0]], "mean": 0.8,
                  "clusters": [3, 3]},
    "silhouettes": {"values": [0.5, -0.2, 0.8, 0.6], "labels": [0, 0, 1, 1], "mean": 0.425,
                    "sampled": None},
}  # fmt: skip
RESULT = {
    "scores": {"clusters": 2, "sizes": [30, 10], "noise": 10, "noise_share": 0.2,
               "silhouette": 0.5, "davies_bouldin": 0.7, "calinski_harabasz": 1234.0,
               "sampled": 10_000},
    "fit_seconds": 0.25, "peak_bytes": None,
    "notes": [Message("There is no data set called {name}.", name="x").to_json()],
    "agreement": {"ari": -0.1, "nmi": 0.2, "homogeneity": 0.3, "completeness": 0.4,
                  "matched": 0.5, "confusion": [[20, 5, 5], [10, 5, 5]], "classes": ["a", "b"],
                  "columns": [0, 1, -1]},
}  # fmt: skip
ROWS = [
    {"algorithm": "kmeans", "title": "K-Means", "seconds": 0.1, "peak_bytes": 1000, "clusters": 2,
     "sizes": [3, 3], "noise": 0, "noise_share": 0.0, "silhouette": 0.6, "davies_bouldin": 0.5,
     "calinski_harabasz": 10.0, "sampled": None},
    {"algorithm": "dbscan", "title": "DBSCAN", "seconds": 0.2, "peak_bytes": None, "clusters": 1,
     "sizes": [5], "noise": 1, "noise_share": 0.17, "silhouette": 0.4, "davies_bouldin": 0.9,
     "calinski_harabasz": None, "sampled": None},
    {"algorithm": "spectral", "title": "Spectral clustering",
     "error": Message("Lower {what}.", what=EVIL).to_json()},
]  # fmt: skip
SWATCHES = [{"label": 0, "hex": "#112233", "pixels": 75, "share": 0.75},
            {"label": -1, "hex": "#445566", "pixels": 25, "share": 0.25}]  # fmt: skip


def column(name: str, kind: str, **more: object) -> dict:
    return {"name": name, "kind": kind, "missing": 0, "infinite": 0, "unreadable": 0,
            "levels": None, "least": None, "most": None} | more  # fmt: skip


TABLE = {
    "rows": 3,
    "columns": [column(EVIL, "number", least=1.0, most=2.0, missing=1, unreadable=1),
                column("colour", "category", levels=2)],
    "suggested": [EVIL],
    "preview": [["1", EVIL], ["2", "red"], ["", "blue"]],
    "layout": {"encoding": "utf-8-sig", "delimiter": ";", "decimal": ",", "header": False},
    "notes": [],
}  # fmt: skip


def every_view(visitor: Visitor) -> Iterator[str]:
    yield from (chart(name, DATA[name], visitor) for name in CHARTS)
    yield dendrogram([[0, 1], [2, 3]], [1.0, 3.0], 2, visitor)
    yield scores.scores(RESULT, visitor)
    yield scores.comparison(ROWS, {"kmeans": thumbnail(np.eye(2), np.array([0, -1]))}, visitor)
    yield data_views.palette(SWATCHES, visitor)
    yield data_views.table_preview(TABLE, visitor)
    yield from (data_views.about(name, visitor) for name in ALGORITHMS)
