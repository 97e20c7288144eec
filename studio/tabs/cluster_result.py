"""What the clustering tab shows of a finished job: figures, dendrogram, palette, what to take home."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from studio import views
from studio.clustering.charts_tree import dendrogram
from studio.clustering.data_views import palette
from studio.clustering.thumbnails import thumbnail
from studio.clustering.views import comparison, scores
from studio.widgets import Visitor

if TYPE_CHECKING:
    from studio.job import Job
    from studio.server import Studio

FILES = {
    "labels.csv": "Labels (CSV)",
    "centres.csv": "Centres (CSV)",
    "model.json": "Parameters (JSON)",
    "cluster.py": "Python code",
    "picture.png": "Recoloured picture",
}


def drawn_result(studio: Studio, job: Job, visitor: Visitor) -> str:
    """Scores, what belongs to the algorithm or the data, and the files."""
    owner = visitor.owner.id
    try:
        found = studio.clusterings.of(owner, job.id)
    except UserError as error:  # cleaned away since
        return views.error(error.message, visitor)
    parts = []
    if found.picture:
        image = f'<img class="recoloured" src="api/v1/clusterings/{job.id}/picture.png" alt="">'
        parts.append(image + palette(found.palette, visitor))
    parts.append(_files(job.id, found.files, visitor))
    parts.append(scores(job.result, visitor))
    if "merges" in found.extra:
        merges, heights = found.extra["merges"], found.extra["heights"]
        parts.append(dendrogram(merges, heights, found.clusters, visitor))
    return "".join(parts)


def drawn_comparison(studio: Studio, job: Job, visitor: Visitor) -> str:
    """The grid of a comparison."""
    try:
        found = studio.clusterings.compared(visitor.owner.id, job.id)
    except UserError as error:
        return views.error(error.message, visitor)
    pictures = {name: thumbnail(found.points, labels) for name, labels in found.labels.items()}
    return comparison(job.result["rows"], pictures, visitor)


def _files(job_id: str, files: tuple[str, ...], visitor: Visitor) -> str:
    links = "".join(
        f'<a href="api/v1/clusterings/{job_id}/{name}" download>{escape(visitor.say(FILES[name]))}'
        "</a>"
        for name in files
    )
    return f'<div class="files">{links}</div>'
