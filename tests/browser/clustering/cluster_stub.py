"""A page with one plot of clusters; the routes that it asks answer from pipelines.clustering."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

import gradio as gr
import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sklearn.cluster import KMeans

from pipelines.clustering.data.sample_data import Dataset, DatasetRequest, make
from pipelines.clustering.projecting import Projection, project
from pipelines.clustering.steps import agglomerative, dbscan, gmm, kmeans
from pipelines.clustering.steps.frames import make_frames
from pipelines.core.paths import ASSETS
from studio.features.clustering.plot.plot_component import plot
from studio.page.theme import theme

SHOWN = 20_000
ALWAYS = {"queue": False, "trigger_mode": "always_last"}
SETS = {
    "moons": DatasetRequest(name="moons", points=300, noise=0.05),
    "blobs": DatasetRequest(name="blobs", points=400, clusters=4, noise=0.11, seed=3),
    "many": DatasetRequest(name="blobs", points=25, clusters=20, noise=0.05),
    "wine": DatasetRequest(name="wine"),
    "curve": DatasetRequest(name="s_curve", points=1500, noise=0.02),
    "large": DatasetRequest(name="varied", points=200_000),
    "few": DatasetRequest(name="blobs", points=40, clusters=3, noise=0.1, seed=1),
    "colours": DatasetRequest(name="uniform", points=40),
}
STEPS = {
    "kmeans": (lambda X, clusters=4, seed=0: kmeans.steps(X, clusters, "random", seed), "start"),
    "dbscan": (lambda X, eps=0.15, min_samples=5: dbscan.steps(X, eps, min_samples), "everywhere"),
    "mixture": (lambda X, clusters=4: gmm.steps(X, clusters), "start"),
    "agglomerative": (lambda X, clusters=4: agglomerative.steps(X), "end"),
}


def blocks(header: dict[str, Any], *arrays: np.ndarray) -> Response:
    """A header and plain arrays, as the studio sends points and labels."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    parts = [len(text).to_bytes(4, "little"), text, *(array.tobytes() for array in arrays)]
    return Response(b"".join(parts), media_type="application/octet-stream")


def shown_rows(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, SHOWN)).astype(np.int64)


@functools.cache
def make_dataset(name: str) -> Dataset:
    return make(SETS[name])


@functools.cache
def project_dataset(name: str, dims: int, projection: str) -> Projection:
    return project(make_dataset(name).X, dims, projection)


@functools.cache
def fit_kmeans(name: str, clusters: int) -> KMeans:
    return KMeans(clusters, n_init=1, random_state=0).fit(make_dataset(name).X)


def app() -> FastAPI:
    """The page, and what its plot asks for."""
    served = FastAPI()

    @served.get("/api/v1/cluster-data/{name}/points")
    def points(name: str, dims: int = 2, projection: str = "pca", scaling: str = "none"):
        if name not in SETS:
            return JSONResponse({"error": {"message": "This data is no longer here."}}, 404)
        data, seen = make_dataset(name), project_dataset(name, dims, projection)
        rows = shown_rows(len(data.X))
        # As data far from 0 are sent.
        offset, unit = np.array([100, -50, 0])[:dims], np.array([2, 0.5, 1])[:dims]
        density = None
        if len(rows) < len(data.X):
            counts, xs, ys = np.histogram2d(*seen.points.T, bins=(256, 192))
            density = {
                "width": 256,
                "height": 192,
                "counts": base64.b64encode(counts.T.astype("<u2").tobytes()).decode(),
                "extent": [xs[0], xs[-1], ys[0], ys[-1]],
            }
        header = {
            "points": len(data.X),
            "shown": len(rows),
            "dims": dims,
            "method": seen.method,
            "columns": data.columns,
            "axes": data.columns[:dims] if seen.method == "none" else ["PC1", "PC2", "PC3"],
            "offset": offset.tolist(),
            "unit": unit.tolist(),
            "note": seen.note and seen.note.template.format(**seen.note.values),
            "truth": None if data.truth is None else data.truth[rows].tolist(),
            "density": density,
        }
        positions = ((seen.points[rows] - offset) / unit).astype("<f4")
        return blocks(header, positions, rows.astype("<u4"))

    @served.get("/api/v1/clusterings/{job}/labels")
    def labels(job: str, algorithm: str = "kmeans"):
        name, clusters = job.split("-")
        data, fit = make_dataset(name), fit_kmeans(name, int(clusters))
        found = fit.labels_.astype("<i2")
        found[:: len(found) // 12] = -1
        header = {
            "clusters": int(clusters),
            "noise": int((found < 0).sum()),
            "sizes": np.bincount(found[found >= 0]).tolist(),
            "algorithm": algorithm,
        }
        header["centres"] = fit.cluster_centers_.tolist() if data.X.shape[1] == 2 else None
        # As where the points are a picture's colours.
        header["inks"] = ["#336699", "#cc3311", "#225522"] if name == "colours" else None
        return blocks({**header, "ellipses": None}, found[shown_rows(len(found))])

    @served.post("/api/v1/cluster-animations")
    async def animations(request: Request):
        asked_for = await request.json()
        X = make_dataset(asked_for["data"]).X
        steps, dense = STEPS[asked_for["algorithm"]]
        parameters = asked_for.get("parameters", {})
        eps = parameters.get("eps", 0.15)
        return {
            **make_frames(X, steps(X, **parameters), dense),
            "algorithm": asked_for["algorithm"],
            "points": X.round(6).tolist(),
            "rows": list(range(len(X))),
            "radius": [eps, eps],
            "parameters": {"clusters": 4, "eps": eps, "min_samples": 5, **parameters},
            "note": None,
        }

    @served.get("/api/v1/cluster-data/{name}/thumbs")
    def thumbs(name: str):
        pictures = [f"picture{row}" for row in range(SETS[name].points)]
        return {"pictures": pictures, "thumbnail": "thumbnails/{id}.svg"}

    @served.get("/thumbnails/{name}")
    def thumbnail(name: str):
        hue = 37 * int(name.removesuffix(".svg").removeprefix("picture")) % 360
        drawing = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="72">'
            f'<rect width="96" height="72" fill="hsl({hue} 50% 62%)"/></svg>'
        )
        return Response(drawing, media_type="image/svg+xml")

    served.mount("/scripts/clustering", StaticFiles(directory=ASSETS / "clustering"))
    served.mount("/scripts", StaticFiles(directory=ASSETS / "chat"))
    with gr.Blocks(title="Plot") as page:
        shown_plot = plot("plot")
        with gr.Row():
            value = gr.Textbox(elem_id="scene", label="Scene")
            told = gr.Textbox(elem_id="told", label="Told")
        value.submit(lambda text: text, value, shown_plot, queue=False)
        shown_plot.drawn(_report_points, None, told, **ALWAYS)
        shown_plot.centres(_centres, None, told, **ALWAYS)
        shown_plot.select(_report_selection, None, told, **ALWAYS)
    styles = [ASSETS / "page.css", ASSETS / "clustering.css"]
    return gr.mount_gradio_app(served, page, path="/", theme=theme(), css_paths=styles)


def _report_points(event: gr.EventData) -> str:
    return json.dumps({"drawn": event.points})


def _centres(event: gr.EventData) -> str:
    return json.dumps({"centres": event.centres})


def _report_selection(event: gr.EventData) -> str:
    return json.dumps({"select": event.rows})
