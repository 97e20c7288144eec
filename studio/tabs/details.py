"""The settings of one picture with the ways to go on from it; the same below every result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio import views
from studio.reuse import fields_of
from studio.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.server import Studio


class Details:
    """Shows parameters and offers to use them elsewhere.

    Attributes:
        outputs: what :meth:`shown` and :meth:`hidden` update.
        use, compare: the buttons that send the settings to another tab.
    """

    def __init__(self, studio: Studio, name: str, large: bool = False) -> None:
        self.studio = studio
        self.large = large
        # The server keeps what is shown, so that the browser sends nothing back but the wish.
        self._parameters = gr.State(value=None)
        self._html = gr.HTML(elem_id=f"{name}-details")
        with gr.Row(elem_classes="actions", visible=False) as self._actions:
            self.use = gr.Button(label("Use these settings"), size="sm", elem_id=f"{name}-use")
            self.compare = gr.Button(
                label("Compare samplers"), size="sm", elem_id=f"{name}-compare"
            )
        self.outputs = [self._html, self._actions, self._parameters]

    def shown(
        self, parameters: dict[str, Any], visitor: Visitor, id: str | None = None
    ) -> list[Any]:
        """Updates of :attr:`outputs`."""
        html = views.details(parameters, visitor, id=id, large=self.large)
        return [html, gr.update(visible=True), parameters]

    def hidden(self) -> list[Any]:
        """Updates of :attr:`outputs` with nothing to show."""
        return ["", gr.update(visible=False), None]

    def send_to(
        self,
        controls: list[gr.components.Component],
        fill: Callable[[dict[str, Any]], list[Any]],
        tabs: gr.Tabs,
        tab: str,
        button: gr.Button,
    ) -> None:
        """Let ``button`` fill the controls of another tab and switch to it."""

        def send(parameters: dict[str, Any] | None) -> list[Any]:
            return [*fill(fields_of(parameters or {})), gr.update(selected=tab)]

        button.click(send, self._parameters, [*controls, tabs], **QUIET)
