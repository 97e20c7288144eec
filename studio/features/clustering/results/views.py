"""What the clustering tab shows of a finished job: figures, tree, palette, what to take home."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from pipelines.clustering.data.scaling import Scaling, scale
from pipelines.clustering.projecting import choose_rows, project
from pipelines.clustering.wire import Matrix
from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from studio.features.clustering.charts.dendrogram import dendrogram
from studio.features.clustering.charts.thumbnails import POINTS, thumbnail
from studio.features.clustering.computing import compute
from studio.features.clustering.data.views import palette
from studio.features.clustering.plot.plot_scene import UNKNOWN
from studio.features.clustering.results.scores import comparison, scores
from studio.page import views
from studio.page.widgets import Visitor

if TYPE_CHECKING:
    from studio.core.jobs.record import Job
    from studio.core.services import Studio
    from studio.features.clustering.results.results import Clustering

FILES = {
    "labels.csv": "Labels (CSV)",
    "centres.csv": "Centres (CSV)",
    "model.json": "Parameters (JSON)",
    "extra.npz": "Arrays (NPZ)",
    "cluster.py": "Python code",
    "data.csv": "Data for the code (CSV)",
}


def drawn_result(studio: Studio, job: Job, visitor: Visitor) -> str:
    """The picture in its new colours, the files, the scores, and the tree where there is one."""
    try:
        found = studio.clusterings.of(visitor.owner.id, job.id)
    except UserError as error:  # cleaned away since
        return views.error(error.message, visitor)
    painted, parts = None, []
    try:
        painted = studio.clusterings.paint(found)
    except UserError as error:  # the picture is gone, or all of it is noise: there are labels still
        parts.append(views.error(error.message, visitor))
    if painted is not None:
        alt = escape(visitor.say("The picture in the colours of its clusters"))
        source = f"api/v1/clusterings/{job.id}/picture.png"
        parts.append(
            f'<a class="recoloured" href="{source}?download=true" download>'
            f'<img src="{source}" alt="{alt}" title="{alt}"></a>'
        )
        parts.append(palette(painted[1], visitor))
    parts += [_files(found, visitor), scores(job.result, visitor, found.request.algorithm)]
    if "merges" in found.extra and len(found.extra["merges"]):
        k = int((found.sizes() > 0).sum())
        parts.append(dendrogram(found.extra["merges"], found.extra["heights"], k, visitor))
    return "".join(parts)


def drawn_comparison(studio: Studio, job: Job, visitor: Visitor) -> str:
    """A small picture for each algorithm, with time and scores."""
    try:
        found = studio.clusterings.of(visitor.owner.id, job.id)
        X = studio.clusterings.dataset(found).X
    except UserError as error:
        return views.error(error.message, visitor)
    rows = choose_rows(len(X), POINTS)
    scaling = {"scaling": found.request.scaling}
    try:
        points = compute(visitor.owner.id, _seen_flat, np.ascontiguousarray(X[rows]), scaling)
    except UserError as error:  # these few cannot be scaled so
        return views.error(error.message, visitor)
    pictures = {name: thumbnail(points, found.labels(name)[rows]) for name in found.algorithms}
    return comparison(job.result["rows"], pictures, visitor)


def _seen_flat(X: Matrix, scaling: Scaling) -> Matrix:
    return project(scale(X, scaling).X).points


def beside_its_data(
    studio: Studio, job: Job, visitor: Visitor, shown: str | None, drawn: str
) -> str:
    """``drawn``; where it is of other data than the plot shows, that is said and it is dimmed.

    Args:
        shown: id of the data set in the plot, None if there is none, or :data:`UNKNOWN`.
    """
    data = job.request["data"]
    if shown in (data, UNKNOWN):
        return drawn
    try:
        known = studio.cluster_data.get(visitor.owner.id, data)
    except UserError:  # deleted since
        words = Message("What is below is of data that are no longer there.")
    else:
        words = Message(
            "What is below is of other data: {title}, {points} points.",
            title=visitor.say(known.title), points=f"{known.points:,}",
        )  # fmt: skip
    said = escape(visitor.say(words))
    return f'<div class="hint of-others">{said}</div><div class="former">{drawn}</div>'


def _files(found: Clustering, visitor: Visitor) -> str:
    names = dict(FILES)
    if found.centres is None:
        del names["centres.csv"]
    if not found.extra:
        del names["extra.npz"]
    links = "".join(
        f'<a href="api/v1/clusterings/{found.job.id}/{name}" download>'
        f"{escape(visitor.say(title))}</a>"
        for name, title in names.items()
    )
    return f'<div class="files">{links}</div>'
