"""A button that deletes, and the question that it asks first."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.page.widgets import QUIET, Visitor, label


class Deletion:
    """Draws the button, and the question below it, both hidden until :attr:`outputs` show them.

    Args:
        text: on the button.
        elem_id: of the button; those of the question and of its “Delete for good” begin with it.

    Attributes:
        really: the button that deletes.
        outputs: the button, which is visible where there is something to delete, and the question,
            which should be hidden (:data:`UNASKED`) as soon as something else is shown.
    """

    def __init__(self, text: str, elem_id: str) -> None:
        self._button = gr.Button(
            label(text), size="sm", visible=False, elem_id=elem_id, elem_classes="quiet"
        )
        with gr.Column(visible=False, elem_classes="confirm") as self._question:
            self._asked = gr.HTML(elem_id=f"{elem_id}-asked")
            with gr.Row(elem_classes="actions"):
                self.really = gr.Button(
                    label("Delete for good"),
                    size="sm",
                    variant="stop",
                    elem_id=f"{elem_id}-for-good",
                )
                self._keep = gr.Button(label("Keep"), size="sm")
        self.outputs: list[Any] = [self._button, self._question]

    def ask(self, chosen: gr.State, question: Callable[[str | None, Visitor], str | None]) -> None:
        """Let the button ask ``question(chosen, visitor)``, HTML; None asks nothing."""

        def show_question(id: str | None, request: gr.Request) -> list[Any]:
            words = question(id, Visitor.of(request))
            return [gr.skip(), UNASKED] if words is None else [words, gr.update(visible=True)]

        self._button.click(show_question, chosen, [self._asked, self._question], **QUIET)
        # The answer closes the question at once, in the browser: it does not wait for the server,
        # whose updates of components may overtake one another.
        for answer in (self._keep, self.really):
            answer.click(None, None, self._question, js=_CLOSE, **QUIET)


UNASKED = gr.update(visible=False)
_CLOSE = f"() => ({json.dumps(UNASKED)})"
