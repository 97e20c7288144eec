"""The settings of one picture with the ways to go on from it; the same below every result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.messages import Message
from pipelines.diffusion.samplers import samplers_in
from studio.core.gallery import reuse
from studio.core.gallery.infotext_units import unused_values
from studio.page import views
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.core.services import Studio


@dataclass(frozen=True, slots=True)
class Shown:
    """What details are of.

    Attributes:
        parameters: as :func:`studio.core.gallery.metadata.parse_parameters` gives them.
        id: of a picture of the gallery; None for a file that was dropped.
    """

    parameters: dict[str, Any]
    id: str | None


class Details:
    """Shows parameters and offers to use them elsewhere.

    Args:
        studio: whose pictures they are.
        name: begins the ``elem_id`` of all parts.
        large: show the picture as well.
        kept: the pictures are in the gallery, so that they can be sent elsewhere themselves.

    Attributes:
        outputs: what :meth:`shown` and :meth:`hidden` update.
        use, compare: the buttons that send the settings to another tab.
        steer: the button that sends the picture to another tab; None if it is not kept.
    """

    def __init__(self, studio: Studio, name: str, large: bool = False, kept: bool = True) -> None:
        self.studio = studio
        self.large = large
        # The server keeps what is shown, so that the browser sends nothing back but the wish.
        self._shown = gr.State(value=None)
        self.html = gr.HTML(elem_id=f"{name}-details")
        with gr.Row(elem_classes="actions", visible=False) as self._actions:
            self.use = self._button("Use these settings", f"{name}-use")
            self.compare = self._button("Compare samplers", f"{name}-compare")
            self.steer = self._button("Send to sketch & depth", f"{name}-steer") if kept else None
        self.outputs = [self.html, self._actions, self._shown]

    @staticmethod
    def _button(text: str, elem_id: str) -> gr.Button:
        return gr.Button(label(text), size="sm", elem_id=elem_id)

    def shown(
        self, parameters: dict[str, Any], visitor: Visitor, id: str | None = None
    ) -> list[Any]:
        """Updates of :attr:`outputs`."""
        samplers, control = samplers_in(self.studio.home), self.studio.control
        unused = reuse.unused(parameters, self._models(visitor), samplers, control)
        notes = [
            Message(
                "Of {line}, these cannot be used here and will be left out: {values}.",
                line=line,
                values=", ".join(values),
            )
            for line, values in unused_values(parameters, control).items()
        ]
        html = views.details(
            parameters, visitor, id=id, large=self.large, unused=unused, notes=notes
        )
        return [html, gr.update(visible=True), Shown(parameters, id)]

    def _models(self, visitor: Visitor) -> set[str]:
        """What pictures can call the models that the visitor may use."""
        entries = [*self.studio.catalog.models(), *self.studio.loras.models(visitor.owner.id)]
        return {name for entry in entries for name in (entry.name, entry.title)}

    def hidden(self) -> list[Any]:
        """Updates of :attr:`outputs` with nothing to show."""
        return ["", gr.update(visible=False), None]

    def on_click(
        self,
        button: gr.Button,
        take: Callable[[Shown, Visitor], list[Any]],
        outputs: list[gr.components.Component],
    ) -> gr.events.Dependency:
        """Let ``button`` hand what is shown to another tab.

        Args:
            button: one of this object's.
            take: gives the updates of ``outputs``.
        """

        def send(shown: Shown | None, request: gr.Request) -> list[Any]:
            visitor = Visitor.of(request)
            return take(shown, visitor) if shown is not None else [gr.skip()] * len(outputs)

        return button.click(send, self._shown, outputs, **QUIET)
