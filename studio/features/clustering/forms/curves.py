"""The clustering tab's curves: what helps to choose an algorithm's parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.clustering.lessons import CHOOSING, lesson
from pipelines.clustering.requests import OF_AN_ALGORITHM, CurveRequest
from studio.core.jobs.record import Job
from studio.features.clustering.charts.curves import SCRIPT, chart
from studio.features.clustering.results.views import beside_its_data
from studio.page.components.result_panel import ResultPanel
from studio.page.widgets import QUIET, Visitor, from_field, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.tab_events import TabEvents

KIND = "cluster_curve"
CURVES = {
    "elbow": "Elbow: J over k",
    "silhouette": "Silhouette over k",
    "silhouettes": "Silhouette of each point",
    "gap": "Gap statistic",
    "k_distance": "k-distance: sets eps",
    "information": "BIC and AIC of mixtures",
    "reachability": "Reachability (OPTICS)",
    "stability": "Stability over seeds",
}
_OVER_K = ("elbow", "silhouette", "gap", "information")


class CurveForm:
    """Draws the controls and the panel of a curve."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        titles = [(label(title), name) for name, title in CURVES.items()]
        with gr.Row(elem_classes="curve-of"):
            self._curve = self._field("curve", kind=gr.Dropdown, choices=titles, value="elbow",
                                      min_width=260)  # fmt: skip
            self._least = self._field("least", kind=gr.Number)
            self._most = self._field("most", kind=gr.Number)
            self._neighbours = self._field("min_samples", kind=gr.Number, visible=False)
            self._seeds = self._field("seeds", kind=gr.Number, visible=False)
            self._draw = gr.Button(
                label("Draw"), elem_id="cluster-draw-curve", min_width=96, scale=0
            )
        self.panel = ResultPanel(
            studio, KIND, "cluster-curve", SCRIPT,
            ("No curve yet", "Choose one above and press Draw."),
        )  # fmt: skip
        with gr.Accordion(label("How to choose"), open=False):
            self._lesson = gr.Markdown(
                latex_delimiters=[{"left": "$$", "right": "$$", "display": True},
                                  {"left": "$", "right": "$", "display": False}],
                elem_id="cluster-choosing", elem_classes="lesson",
            )  # fmt: skip

    @staticmethod
    def _field(name: str, **options: Any) -> gr.components.Component:
        elem_id = f"cluster-curve-{name.replace('_', '-')}"
        arguments = {"elem_id": elem_id, "info": None, "min_width": 110, **options}
        return from_field(CurveRequest, name, **arguments)

    def listen(
        self,
        events: TabEvents,
        asked: list[Any],
        on_data: Callable[[list[Any], Visitor], dict[str, Any]],
        parameters: Callable[[list[Any], Visitor], dict[str, Any]],
        scene: gr.State,
    ) -> None:
        """Connect the controls with the jobs.

        Args:
            asked: scene, seed, algorithm, whose parameters are shown, their controls, those of the
                data.
            on_data: the fields of data and seed, of all values of ``asked``.
            parameters: the fields of the algorithm, of all values of ``asked``.
            scene: what the plot shows.
        """
        events.load(_lesson, None, self._lesson, **QUIET)
        own = [self._curve, self._least, self._most, self._neighbours, self._seeds]
        self._curve.input(_fields_of, self._curve, own[1:], **QUIET)

        def request_of(values: list[Any], visitor: Visitor) -> dict[str, Any]:
            of_tab, (curve, least, most, neighbours, seeds) = values[:-5], values[-5:]
            fields = on_data(of_tab, visitor) | {"curve": curve}
            if curve in _OVER_K:
                fields |= {"least": least, "most": most}
            if curve == "k_distance":
                fields |= {"min_samples": neighbours}
            if curve == "stability":
                fields |= {"seeds": seeds}
            if curve in OF_AN_ALGORITHM or (curve, of_tab[2]) == ("reachability", "optics"):
                fields |= parameters(of_tab, visitor)
            return fields

        self.panel.connect(
            events, self._draw, request_of, [*asked, *own], self._draw_result, [scene]
        )

    def _draw_result(self, job: Job, visitor: Visitor, values: list[Any]) -> str:
        drawn = chart(job.request["curve"], job.result["curve"], visitor)
        return beside_its_data(self.studio, job, visitor, values[0].data, drawn)


def _lesson(request: gr.Request) -> str:
    return lesson(CHOOSING, Visitor.of(request).language)


def _fields_of(curve: str) -> list[Any]:
    """What belongs to a curve."""
    over_k = gr.update(visible=curve in _OVER_K)
    return [
        over_k,
        over_k,
        gr.update(visible=curve == "k_distance"),
        gr.update(visible=curve == "stability"),
    ]
