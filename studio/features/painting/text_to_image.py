"""Text to image: words, settings, one button, and the picture as it appears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from studio.page.components.details import Details
from studio.page.components.paint_form import PaintForm
from studio.page.components.watching import Watch
from studio.page.widgets import QUIET, label

if TYPE_CHECKING:
    from studio.core.services import Studio
    from studio.page.opening import Opening

KIND = "text_to_image"


class Tab:
    """Draws the tab.

    Attributes:
        form: the controls of the request.
        details: of the chosen picture.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.form = PaintForm(studio)
        with gr.Row(elem_classes="bench"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self.form.draw_prompt()
                    with gr.Row():
                        self._paint = gr.Button(label("Paint"), variant="primary", elem_id="paint")
                        self._cancel = gr.Button(label("Cancel"), visible=False, elem_id="cancel")
                with gr.Column(elem_classes="rest"):
                    self.form.draw_rest()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._board = gr.HTML(elem_id="board", js_on_load=Watch.CLICKED)
                self.details = Details(studio, "painted")

    def listen(self, opening: Opening) -> None:
        """Connect the controls with one another and with the jobs."""
        watch = Watch(
            self.studio,
            kind=KIND,
            board=self._board,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "Nothing painted yet",
                "Describe a picture or pick an example, then press Paint. "
                "It appears here step by step.",
            ),
        )
        self.form.listen(opening, watch.last_request)
        watch.connect(opening, self._paint, self.form.data, self.form.inputs)
        self.form.reuse_seed.click(
            watch.last_seed, watch.job_id, self.form.controls["seed"], **QUIET
        )
