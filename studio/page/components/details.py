"""The settings of one picture with the ways to go on from it; the same below every result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from pipelines.diffusion.samplers import samplers_in
from studio.core.exchange import (
    PICTURE,
    SETTINGS,
    Exchange,
    Route,
    Settings,
    Target,
    buttons,
)
from studio.core.gallery import reuse
from studio.core.gallery.infotext_change import change_of
from studio.core.gallery.infotext_units import unused_values
from studio.page import views
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.core.services import Studio


NOT_IN_THE_FILE = (
    "The picture that this one began from is not in the file. Its settings can be used on a "
    "picture that you bring in."
)


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
        outputs: what :meth:`show` and :meth:`hide` update.
    """

    def __init__(self, studio: Studio, name: str, large: bool = False, kept: bool = True) -> None:
        self.studio = studio
        self.large = large
        # The server keeps what is shown, so that the browser sends nothing back but the wish.
        self._shown = gr.State(value=None)
        self.html = gr.HTML(elem_id=f"{name}-details")
        with gr.Row(elem_classes="actions", visible=False) as self._actions:
            kinds = (SETTINGS, PICTURE) if kept else (SETTINGS,)
            self._buttons = {
                target: self._button(target.button, f"{name}-{target.name}")
                for target in buttons(studio.features.tabs(), kinds)
            }
        self.outputs = [self.html, self._actions, self._shown]

    @staticmethod
    def _button(text: str, elem_id: str) -> gr.Button:
        return gr.Button(label(text), size="sm", elem_id=elem_id)

    def show(
        self, parameters: dict[str, Any], visitor: Visitor, id: str | None = None
    ) -> list[Any]:
        """Updates of :attr:`outputs`."""
        samplers, control = samplers_in(self.studio.home), self.studio.control
        unused = reuse.unused_settings(parameters, self._models(visitor), samplers, control)
        notes = [
            Message(
                "Of {line}, these cannot be used here and will be left out: {values}.",
                line=line,
                values=", ".join(values),
            )
            for line, values in unused_values(parameters, control).items()
        ]
        if id is None and change_of(parameters) is not None:
            notes.append(Message(NOT_IN_THE_FILE))
        html = views.details(
            parameters, visitor, id=id, large=self.large, unused=unused, notes=notes
        )
        return [html, gr.update(visible=True), Shown(parameters, id)]

    def _models(self, visitor: Visitor) -> set[str]:
        """What pictures can call the models that the visitor may use."""
        entries = [*self.studio.catalog.models(), *self.studio.loras.models(visitor.owner.id)]
        return {name for entry in entries for name in (entry.name, entry.title)}

    def hide(self) -> list[Any]:
        """Updates of :attr:`outputs` with nothing to show."""
        return ["", gr.update(visible=False), None]

    def listen(self, exchange: Exchange) -> None:
        """Let the buttons hand what is shown to other tabs."""
        for target, button in self._buttons.items():
            exchange.offer(target.kind, partial(self._connect, target, button), target.name)

    def _connect(self, target: Target, button: gr.Button, route: Route) -> None:
        def send(shown: Shown | None, request: gr.Request, *values: Any) -> list[Any]:
            thing = None
            if shown is not None:
                fields = reuse.fields_of(shown.parameters)
                settings = Settings(fields, shown.parameters, shown.id)
                thing = shown.id if target.kind == PICTURE else settings
            visitor = Visitor.of(request)
            try:
                return [*route.send(thing, visitor, values), gr.skip()]
            except UserError as error:
                skipped = [gr.skip()] * len(route.outputs)
                return [*skipped, views.error(error.message, visitor)]

        outputs = [*route.outputs, self.html]
        route.follow(button.click(send, [self._shown, *route.inputs], outputs, **QUIET))
