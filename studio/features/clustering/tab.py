"""Clustering: data, an algorithm that one can watch, its clusters, and what helps to choose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.clustering.algorithms.registry import find
from pipelines.clustering.requests import ClusterRequest
from pipelines.core.errors import BadRequest, UserError
from pipelines.core.paths import ASSETS
from studio.core.exchange import Exchange
from studio.core.feature import Tab
from studio.core.jobs.record import DONE, Job
from studio.features.clustering.charts.curves import SCRIPT
from studio.features.clustering.forms.algorithm_choice import FIRST, AlgorithmForm, cluster_field
from studio.features.clustering.forms.comparison import Comparing
from studio.features.clustering.forms.curves import CurveForm
from studio.features.clustering.forms.data import DRAWN, GALLERY, DataForm
from studio.features.clustering.plot.placing import centres_of
from studio.features.clustering.plot.plot_component import plot
from studio.features.clustering.plot.plot_scene import (  # Gradio reads the hints of listeners
    UNKNOWN,
    Scene,
)
from studio.features.clustering.results.views import beside_its_data, drawn_result
from studio.page import views
from studio.page.components.result_panel import ResultPanel
from studio.page.widgets import NEWEST, QUIET, Visitor, as_text, follow_newest, label

if TYPE_CHECKING:
    from studio.features.clustering.data.own_data_sets import Known
    from studio.page.tab_events import TabEvents

KIND = "cluster"
CLUSTERS = "clusters"  # the view with the result
OWN_CENTRES = "own"
_SCALINGS = {"none": "As they are", "standard": "Standardised", "minmax": "Min-max",
             "robust": "Robust"}  # fmt: skip
_LAYOUTS = {"pca": "PCA", "umap": "UMAP", "none": "The first columns"}
LATEX = [{"left": "$$", "right": "$$", "display": True},
         {"left": "$", "right": "$", "display": False}]  # fmt: skip


class ClusteringTab(Tab):
    """Draws the tab."""

    id, label = "clustering", "Clustering"
    styles = (ASSETS / "clustering.css", ASSETS / "clustering_charts.css")

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self.scene = gr.State(Scene(data=UNKNOWN))
        self.form, self.algorithm = DataForm(self.studio), AlgorithmForm(self.studio)
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=3, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self.form.draw()
                    self.algorithm.draw_choice()
                with gr.Column(elem_classes="rest"):
                    self._draw_rest()
            with gr.Column(scale=7, min_width=320, elem_classes="results clustering"):
                self.plot = plot("cluster-plot")
                with gr.Tabs(elem_id="cluster-views") as self._views:
                    with gr.Tab(label("Clusters"), id=CLUSTERS):
                        self.panel = ResultPanel(
                            self.studio, KIND, "cluster", SCRIPT,
                            ("No clusters yet", "Press Cluster, or play the steps of an algorithm "
                             "to see how it works."),
                        )  # fmt: skip
                    with gr.Tab(label("Choose parameters")):
                        self.curves = CurveForm(self.studio)
                    with gr.Tab(label("Compare algorithms")):
                        self.comparing = Comparing(self.studio)
                    with gr.Tab(label("Lesson")):
                        self._lesson = gr.Markdown(
                            latex_delimiters=LATEX, elem_id="cluster-lesson", elem_classes="lesson"
                        )

    def _draw_rest(self) -> None:
        self.algorithm.draw_parameters()
        scalings = [(label(title), name) for name, title in _SCALINGS.items()]
        layouts = [(label(title), name) for name, title in _LAYOUTS.items()]
        with gr.Row():
            self._scaling = cluster_field("scaling", kind=gr.Dropdown, choices=scalings, info=None)
            self._seed = cluster_field("seed", kind=gr.Number, minimum=0, info=None)
        with gr.Row():
            self._layout = gr.Dropdown(
                layouts, value="pca", label=label("Layout of the picture"),
                info=label("Of more columns than axes. Clusters always come from all columns."),
                elem_id="cluster-layout",
            )  # fmt: skip
            self._dims = gr.Radio(
                [("2", 2), ("3", 3)], value=2, label=label("Axes"), elem_id="cluster-dims"
            )

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with the data, the plot and the jobs."""
        shown, algorithm = [self.scene, self.plot], self.algorithm
        algorithm.listen(self.scene, self._scaling, self.form.said, self._lesson)
        follows = [*algorithm.outputs, *shown]
        filled = [*self.form.outputs, algorithm.choice, self._scaling, self._seed, self.form.said,
                  *follows]  # fmt: skip
        events.fill(self._open, filled)
        moments = self.form.listen()
        made = {"fn": self._make_data, "inputs": [self.scene, *self.form.inputs],
                "outputs": [*shown, self.form.said]}  # fmt: skip
        follow_newest(moments, **made)
        for event in self.form.settled:
            event.then(**made, **NEWEST)
        self.plot.drawn(self._drew, [self.scene, *self.form.inputs],
                        [self.form.drawn, self.scene, self.form.said], **NEWEST)  # fmt: skip
        self.plot.centres(_place, self.scene, self.scene, **NEWEST)
        self.plot.mode(_turn, self.scene, shown, **QUIET)
        laid = [self._layout, self._dims, self._scaling]
        follow_newest([each.input for each in laid], _lay_out, [self.scene, *laid], shown)
        controls, whose = algorithm.parameters.controls, algorithm.parameters.whose
        chosen = [algorithm.choice, *controls]
        follow_newest([algorithm.choice.input], self._choose,
                      [algorithm.choice, whose, self.scene], follows)  # fmt: skip
        follow_newest([each.input for each in controls], self._mode, [self.scene, *chosen], shown)
        # Those of the data too: a button may be pressed before what was set there has been made.
        asked = [self.scene, self._seed, *chosen, *self.form.inputs]
        lines = [
            panel.line(self._line, [self.scene, *chosen], [algorithm.choice, *follows], **QUIET)
            for panel in (self.panel.panel, self.curves.panel.panel)
        ]
        self.panel.connect(events, algorithm.cluster, self._request_of, asked, self._result,
                           [self.scene], also=lines)  # fmt: skip
        # Whoever reads the lesson meanwhile would see neither progress nor what is wrong.
        to_clusters = gr.update(selected=CLUSTERS)
        algorithm.cluster.click(lambda: to_clusters, None, self._views, **QUIET)
        for event in self.panel.followed:
            event.then(self._label, [self.panel.view.id, *shown[:1]], shown, **QUIET)
        follow_newest([self.scene.change], self._label_again,
                      [self.panel.view.id, *shown[:1]], shown)  # fmt: skip
        algorithm.play.click(self._play, asked, [*shown, self.form.said], preprocess=False, **QUIET)
        self.curves.listen(events, asked, self._on_data, self._with_parameters, self.scene)
        self.comparing.listen(events, [*asked[:2], *self.form.inputs], self._on_data, shown)

    # --- data -------------------------------------------------------------------------------

    def _open(self, visitor: Visitor) -> list[Any]:
        """What was clustered last, with its clusters; or the first data set."""
        form, skip = self.form, gr.skip()
        jobs = self.studio.jobs.list(visitor.owner.id, kind=KIND, limit=1)
        job = jobs[0] if jobs else None
        request = ClusterRequest.model_validate(job.request) if job is not None else None
        known = None
        if request is not None:
            try:
                known = self.studio.cluster_data.get(visitor.owner.id, request.data)
            except UserError:  # deleted since
                request = None
        name = request.algorithm if request is not None else FIRST
        values = request.parameters if request is not None else {}
        if known is None:
            fill = [skip] * len(form.outputs)
            try:
                known = self.studio.cluster_data.make(visitor.owner, {"kind": "made"})
                scene = Scene(data=known.id, described=known.id)
                said = form.about(known, known.kind, visitor)
            except UserError as error:  # no room is left, say
                scene, said = Scene(), views.error(error.message, visitor)
        else:
            points = self._drawn_points(known, visitor)
            fill = form.fill(known.source, visitor, points)
            own = values.get("start") == OWN_CENTRES
            scene = Scene(
                data=known.id, described=known.id, scaling=request.scaling,
                thumbs=known.kind == GALLERY,
                labels=job.id if job.state == DONE else None,
                mode="draw" if known.kind == DRAWN and job.state != DONE else "view",
                sketch=known.kind == DRAWN, points=points or (), own=own,
                centres=tuple(map(tuple, values["centres"])) if own else (),
            )  # fmt: skip
            said = form.about(known, known.kind, visitor)
        return [
            *fill, name, scene.scaling, request.seed if request is not None else 0,
            said, *self.algorithm.show(name, values, visitor), scene, scene.to_json(),
        ]  # fmt: skip

    def _make_data(self, scene: Scene, request: gr.Request, *values: Any) -> list[Any]:
        """The data set that the controls describe by now."""
        visitor, kind = Visitor.of(request), values[0]
        known, said = None, ""
        try:
            known = self.form.make(list(values), visitor)
            said = self.form.about(known, kind, visitor)
        except UserError as error:
            said = views.error(error.message, visitor)
        id, mode = known and known.id, "centres" if scene.own else "view"
        if kind == DRAWN:
            mode = "draw"
        if id == scene.data and (kind == DRAWN) == scene.sketch:
            return [gr.skip(), gr.skip(), said]
        points = tuple(map(tuple, values[-1])) if kind == DRAWN else ()
        after = scene.but(
            data=id, described=id, mode=mode, labels=None, algorithm=None, animation=None,
            centres=(), points=points, thumbs=kind == GALLERY, sketch=kind == DRAWN,
        )  # fmt: skip
        return [after, after.to_json(), said]

    def _drew(
        self, scene: Scene, event: gr.EventData, request: gr.Request, *values: Any
    ) -> list[Any]:
        """Points were drawn: the plot shows them already."""
        visitor = Visitor.of(request)
        points = event._data.get("points") or ()
        values = (DRAWN, *values[1:-1], points)
        known = None
        try:
            known = self.form.make(list(values), visitor)
            said = self.form.about(known, DRAWN, visitor)
        except UserError as error:
            said = views.error(error.message, visitor)
        id = known and known.id
        after = scene.but(data=id, described=id, labels=None, animation=None)
        return [points, after, said]

    def _drawn_points(self, known: Known, visitor: Visitor) -> tuple[tuple[float, ...], ...] | None:
        """The points of a drawn data set, which its source does not repeat; None of others."""
        if known.kind != DRAWN:
            return None
        X = self.studio.cluster_data.dataset(visitor.owner.id, known.id).X
        return tuple(map(tuple, X.tolist()))

    # --- the algorithm ----------------------------------------------------------------------

    def _choose(self, name: str, whose: str, scene: Scene, request: gr.Request) -> list[Any]:
        """Another algorithm: its parameters as they begin, its lesson."""
        if whose == find(as_text(name)).parameters.__name__:
            return [gr.skip()] * (len(self.algorithm.outputs) + 2)
        after = _with_centres(scene, False)
        if after.animation is not None:  # of the algorithm before
            after = after.but(animation=None)
        return [
            *self.algorithm.begin(name, scene, Visitor.of(request)),
            *_updates_between(scene, after),
        ]

    def _mode(self, scene: Scene, name: str, *values: Any) -> list[Any]:
        """Own centres are placed in the picture."""
        fields = self.algorithm.fields(name, values)
        return _updates_between(scene, _with_centres(scene, fields.get("start") == OWN_CENTRES))

    def _line(
        self, scene: Scene, name: str, event: gr.EventData, request: gr.Request, *values: Any
    ) -> list[Any]:
        """A line was dragged: the parameter that it stands for takes its place."""
        field, value = str(event._data.get("name")), event._data.get("value")
        if field == "eps" and name != "dbscan":
            name, fields = "dbscan", {}
        else:
            fields = self.algorithm.fields(name, values)
        if field not in find(as_text(name)).parameters.model_fields:
            return [gr.skip()] * (len(self.algorithm.outputs) + 3)
        if "height" in fields:
            fields["height"] = None
        shown = self.algorithm.show(name, fields | {field: value}, Visitor.of(request))
        return [name, *shown, gr.skip(), gr.skip()]

    # --- jobs -------------------------------------------------------------------------------

    def _on_data(self, values: list[Any], visitor: Visitor) -> dict[str, Any]:
        """The fields that say which data, from what is asked: scene and seed first, the data's
        controls last."""
        scene, seed = values[:2]
        data = self._data(scene, values[-len(self.form.inputs) :], visitor)
        if data is None:
            raise BadRequest("There are no data yet. Choose or bring in some first.")
        return {"data": data, "scaling": scene.scaling, "seed": seed or 0}

    def _data(self, scene: Scene, form: list[Any], visitor: Visitor) -> str | None:
        """The data set in the plot, or the one that the controls describe since a moment."""
        if form[0] == GALLERY and scene.thumbs:  # to look for new pictures is not asked here
            return scene.data
        known = self.form.make(form, visitor)
        described = known and known.id
        return scene.data if described == scene.described else described

    def _with_parameters(self, values: list[Any], visitor: Visitor) -> dict[str, Any]:
        """The fields of the algorithm, from the values of all that is asked."""
        scene, _, name, *rest = values[: -len(self.form.inputs)]
        parameters = self.algorithm.fields(name, rest)
        if parameters.get("start") == OWN_CENTRES:
            if not scene.centres:
                raise BadRequest("No centres are placed. Click in the picture to place some.")
            data = self.studio.cluster_data.dataset(visitor.owner.id, str(scene.data))
            centres = centres_of(visitor.owner.id, scene, data)
            parameters |= {"centres": centres, "clusters": len(scene.centres)}
        given = {field: value for field, value in parameters.items() if value is not None}
        return {"algorithm": name, "parameters": given}

    def _request_of(self, values: list[Any], visitor: Visitor) -> dict[str, Any]:
        fields, scene = self._on_data(values, visitor), values[0]
        if fields["data"] != scene.data:  # centres that were placed are of the former
            values = [replace(scene, data=fields["data"], centres=()), *values[1:]]
        return fields | self._with_parameters(values, visitor)

    def _play(self, request: gr.Request, *values: Any) -> list[Any]:
        visitor, scene = Visitor.of(request), values[0]
        try:
            fields = self._request_of(list(values), visitor)
            ClusterRequest.model_validate(fields)
        except UserError as error:
            return [gr.skip(), gr.skip(), views.error(error.message, visitor)]
        after = scene.but(animation=fields | {"projection": scene.projection}, mode="view")
        return [after, after.to_json(), gr.skip()]

    def _label(self, job_id: str | None, scene: Scene, request: gr.Request) -> list[Any]:
        """The plot shows the clusters of the job in the panel, where they are of its data."""
        try:
            job = self.studio.jobs.get(Visitor.of(request).owner.id, str(job_id))
        except UserError:  # there is none yet
            return [gr.skip(), gr.skip()]
        if job.state != DONE or job.request["data"] != scene.data or scene.labels == job.id:
            return [gr.skip(), gr.skip()]
        after = scene.but(labels=job.id, algorithm=None, animation=None, mode="view")
        return [after, after.to_json()]

    def _label_again(self, job_id: str | None, scene: Scene, request: gr.Request) -> list[Any]:
        """The same, once the data are those of the job, where nothing else is shown of them."""
        if scene.mode != "view" or scene.labels is not None or scene.animation is not None:
            return [gr.skip(), gr.skip()]
        return self._label(job_id, scene, request)

    def _result(self, job: Job, visitor: Visitor, values: list[Any]) -> str:
        drawn = drawn_result(self.studio, job, visitor)
        return beside_its_data(self.studio, job, visitor, values[0].data, drawn)


def _lay_out(scene: Scene, layout: str, dims: int, scaling: str) -> list[Any]:
    # Centres are places in the picture: in another one they would lie elsewhere.
    return _updates_between(
        scene, scene.but(projection=layout, dims=dims, scaling=scaling, centres=())
    )


def _place(scene: Scene, event: gr.EventData) -> Scene:
    """Centres were placed: the plot shows them already."""
    try:
        centres = tuple((float(x), float(y)) for x, y in event._data.get("centres") or ())
    except (TypeError, ValueError, OverflowError):  # no plot has sent that
        return scene
    return scene.but(centres=centres)


def _with_centres(scene: Scene, wanted: bool) -> Scene:
    if wanted == scene.own:
        return scene
    if wanted:
        return scene.but(own=True, mode="centres", animation=None, labels=None, algorithm=None)
    return scene.but(
        own=False, mode="view" if scene.mode == "centres" else scene.mode, animation=None
    )


def _turn(scene: Scene, event: gr.EventData) -> list[Any]:
    """Back to drawing, or to placing centres, as the plot was asked for."""
    mode = event._data.get("mode")
    if mode not in (("draw",) if scene.sketch else ()) + (("centres",) if scene.own else ()):
        return [gr.skip(), gr.skip()]
    return _updates_between(
        scene, scene.but(mode=mode, animation=None, labels=None, algorithm=None)
    )


def _updates_between(before: Scene, after: Scene) -> list[Any]:
    """Updates of state and plot, where there is something new to see."""
    if after is before:
        return [gr.skip(), gr.skip()]
    return [after, after.to_json()]
