"""The clustering tab's algorithm: which one, its parameters, and what is known of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

import gradio as gr
from pydantic.fields import FieldInfo

from pipelines.clustering.algorithms.registry import ALGORITHMS, find
from pipelines.clustering.animation import ANIMATED
from pipelines.clustering.lessons import lesson
from pipelines.clustering.requests import ClusterRequest
from pipelines.core.errors import UserError
from studio.features.clustering.data.views import about, foreseen
from studio.features.clustering.plot.plot_scene import Scene  # Gradio reads the hints of listeners
from studio.page.components.parameters import Parameters
from studio.page.widgets import (
    Visitor,
    as_text,
    bounds,
    follow_newest,
    from_field,
    kind_of,
    label,
    step,
)

if TYPE_CHECKING:
    from studio.core.services import Studio

FIRST = "kmeans"
_LOOKED_AT = 4_000_000  # numbers, for a radius to begin with
_LONGEST_SLIDER = 100  # a number that goes beyond is typed


class AlgorithmForm:
    """Draws the controls of the algorithm.

    Attributes:
        choice: the list of algorithms.
        cluster, play: the buttons.
        parameters: the controls of what is chosen.
        outputs: what shows an algorithm, in the order of :meth:`show`.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        # The radius that was proposed, while it is in its control.
        self._proposed = gr.State(None)

    def draw_choice(self) -> None:
        self.choice = cluster_field(
            "algorithm", kind=gr.Dropdown, info=None,
            choices=[(label(each.title), name) for name, each in ALGORITHMS.items()],
        )  # fmt: skip
        with gr.Row(elem_classes="actions"):
            self.cluster = gr.Button(label("Cluster"), variant="primary", elem_id="cluster")
            self.play = gr.Button(label("Play the steps"), elem_id="cluster-play")
        self._foreseen = gr.HTML(elem_id="cluster-foreseen")

    def draw_parameters(self) -> None:
        models = [each.parameters for each in ALGORITHMS.values()]
        first = ALGORITHMS[FIRST].parameters
        with gr.Column(elem_classes="parameters"):
            self.parameters = Parameters(models, first, "cluster", _kind, ("centres",))
        self._about = gr.HTML(elem_id="cluster-about")

    def listen(
        self, scene: gr.State, scaling: gr.Dropdown, said: gr.HTML, taught: gr.Markdown
    ) -> None:
        """Connect the controls with one another.

        Args:
            scene: what the plot shows.
            scaling: of the columns, before they are clustered.
            said: what the data are.
            taught: the lesson.
        """
        controls = self.parameters.controls
        self.outputs = [self._about, *controls, taught, self.play, self._proposed]
        weighs = [said.change, self.parameters.whose.change, *(each.input for each in controls)]
        follow_newest(weighs, self._weigh, [scene, self.choice, *controls], self._foreseen,
                      preprocess=False)  # fmt: skip
        follow_newest([scene.change, scaling.input], self._propose_again,
                      [scene, scaling, self.choice, self._proposed, *controls],
                      [self._proposed, *controls])  # fmt: skip

    def show(
        self, name: str, values: dict[str, Any], visitor: Visitor, proposed: float | None = None
    ) -> list[Any]:
        """Updates of :attr:`outputs`; what ``values`` leave out has its default.

        Args:
            proposed: the radius among the values that nobody has chosen.
        """
        return [
            about(name, visitor), *self.parameters.show(find(as_text(name)).parameters, values),
            lesson(name, visitor.language), gr.update(interactive=name in ANIMATED), proposed,
        ]  # fmt: skip

    def begin(self, name: str, scene: Scene, visitor: Visitor) -> list[Any]:
        """The same for an algorithm that was chosen this moment."""
        eps = self._first_eps(name, scene.data, scene.scaling, visitor)
        return self.show(name, {} if eps is None else {"eps": eps}, visitor, eps)

    def fields(self, name: str, values: Sequence[Any]) -> dict[str, Any]:
        """The values of the parameters' controls as fields of ``name``, not yet checked."""
        return self.parameters.data(find(as_text(name)).parameters, values)

    def _first_eps(
        self, name: str, data: str | None, scaling: str, visitor: Visitor
    ) -> float | None:
        """A radius to begin with on the data that are there; None for other algorithms."""
        from pipelines.clustering.model_selection import estimate_k_distance
        from pipelines.clustering.running import outcome, run
        from pipelines.clustering.tasks import propose_eps

        if name != "dbscan" or data is None:
            return None
        try:
            X = self.studio.cluster_data.dataset(visitor.owner.id, data).X
        except UserError:  # deleted since
            return None
        if X.size > _LOOKED_AT:
            return None
        asked = {"scaling": scaling, "seed": 0}
        with contextlib.suppress(UserError):  # what cannot be scaled so has no radius
            estimate = estimate_k_distance(*X.shape, 5)
            return outcome(run(propose_eps, X, asked, estimate, Event(), owner=visitor.owner.id))
        return None

    def _propose_again(
        self, scene: Scene, scaling: str, name: str, proposed: float | None, request: gr.Request,
        *values: Any,
    ) -> list[Any]:  # fmt: skip
        """On other data another radius is proposed, unless somebody has set one."""
        skipped = [gr.skip()] * (len(values) + 1)
        if proposed is None or self.fields(name, values).get("eps") != proposed:
            return skipped
        eps = self._first_eps(name, scene.data, scaling, Visitor.of(request))
        if eps is None or eps == proposed:
            return skipped
        return [eps, *self.parameters.change(find(as_text(name)).parameters, {"eps": eps})]

    def _weigh(self, scene: Scene, name: str, request: gr.Request, *values: Any) -> str:
        """What the algorithm will take with these data, before it is begun."""
        visitor = Visitor.of(request)
        try:
            known = self.studio.cluster_data.get(visitor.owner.id, str(scene.data))
        except UserError:  # there are none, or they were deleted since
            return ""
        fields = self.fields(name, values)
        given = {field: value for field, value in fields.items() if value is not None}
        return foreseen(name, known, given, visitor)


def cluster_field(name: str, **options: Any) -> gr.components.Component:
    """The control of a field of the request."""
    elem_id = f"cluster-{name}"
    return from_field(ClusterRequest, name, **{"elem_id": elem_id, **options})


def _kind(field: FieldInfo) -> type:
    """A slider only where it is short and fine enough; what may be empty is typed."""
    kind, usual = kind_of(field), field.default
    if kind is not gr.Slider:
        return kind
    fine = usual is not None and (usual == 0 or usual >= step(field))
    return gr.Slider if fine and bounds(field)[1] <= _LONGEST_SLIDER else gr.Number
