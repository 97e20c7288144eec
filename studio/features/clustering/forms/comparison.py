"""The clustering tab's comparison: several algorithms on one data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.clustering.requests import CompareRequest
from pipelines.core.errors import UserError
from studio.core.jobs.record import Job
from studio.features.clustering.charts.curves import SCRIPT
from studio.features.clustering.forms.data import GALLERY
from studio.features.clustering.plot.plot_scene import Scene
from studio.features.clustering.results.views import beside_its_data, drawn_comparison
from studio.page.components.result_panel import ResultPanel
from studio.page.widgets import QUIET, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

KIND = "compare_clusters"


class Comparing:
    """Draws the controls and the panel of a comparison."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        titles = [(label(each.title), name) for name, each in ALGORITHMS.items()]
        self._algorithms = from_field(
            CompareRequest, "algorithms", kind=gr.CheckboxGroup, choices=titles,
            value=list(ALGORITHMS), info=None, elem_id="cluster-compared",
        )  # fmt: skip
        with gr.Row():
            self._clusters = from_field(
                CompareRequest, "clusters", kind=gr.Number, elem_id="cluster-compared-k",
                info=label("For the algorithms that are told; the others find out."),
            )  # fmt: skip
            self._compare = gr.Button(
                label("Compare"), elem_id="cluster-compare", min_width=120, scale=0
            )
        self.panel = ResultPanel(
            studio, KIND, "cluster-compare", SCRIPT,
            ("No comparison yet", "Choose algorithms and press Compare."),
        )  # fmt: skip

    def listen(
        self,
        events: TabEvents,
        of_data: list[Any],
        on_data: Callable[[list[Any], Visitor], dict[str, Any]],
        shown: list[Any],
    ) -> None:
        """Connect the controls with the jobs and the plot.

        Args:
            of_data: scene, seed, and the controls of the data.
            on_data: their fields.
            shown: scene and plot.
        """

        def request_of(values: list[Any], visitor: Visitor) -> dict[str, Any]:
            *of_tab, algorithms, clusters = values
            return on_data(of_tab, visitor) | {"algorithms": algorithms, "clusters": clusters}

        inputs = [*of_data, self._algorithms, self._clusters]
        self.panel.connect(events, self._compare, request_of, inputs, self._draw_result, shown[:1])
        self.panel.panel.pick(self._pick, [self.panel.view.id, shown[0]], shown, **QUIET)

    def _draw_result(self, job: Job, visitor: Visitor, values: list[Any]) -> str:
        drawn = drawn_comparison(self.studio, job, visitor)
        return beside_its_data(self.studio, job, visitor, values[0].data, drawn)

    def _pick(
        self, job_id: str | None, scene: Scene, event: gr.EventData, request: gr.Request
    ) -> list[Any]:
        """One of the grid, large in the plot, over the data that were compared."""
        owner = Visitor.of(request).owner.id
        try:
            job = self.studio.jobs.get(owner, str(job_id))
            known = self.studio.cluster_data.get(owner, job.request["data"])
        except UserError:  # there is none, or its data are deleted
            return [gr.skip(), gr.skip()]
        after = scene.but(
            labels=job.id, algorithm=str(event._data.get("algorithm")), animation=None, mode="view"
        )
        if known.id != scene.data:  # labels go with their own points
            after = replace(after, data=known.id, centres=(), thumbs=known.kind == GALLERY)
        return [after, after.to_json()]
