"""Text to image: words, settings, one button, and the picture as it appears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.core.exchange import CHANGE, PROMPT, SETTINGS, Exchange, Taker, Target
from studio.core.feature import Tab
from studio.features.painting.word_lists_form import WordListsForm
from studio.page.components.details import Details
from studio.page.components.live import LiveView
from studio.page.components.paint_form import PaintForm
from studio.page.components.picture_panel import VARY, PicturePanel
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.page.tab_events import TabEvents

KIND = "text_to_image"
Change = Callable[[dict[str, Any]], dict[str, Any]]


class PaintTab(Tab):
    """Draws the tab.

    Attributes:
        form: the controls of the request.
        details: of the chosen picture.
    """

    id, label, group = "paint", "Paint", "Text to image"
    takes = (Target(SETTINGS, "use", "Use these settings"), Target(PROMPT), Target(CHANGE), VARY)

    def draw(self) -> None:
        """The words and settings, the panel and the chosen picture's details."""
        self.form = PaintForm(self.studio)
        self._live = LiveView(self.studio, KIND)
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self.form.draw_prompt()
                    with gr.Row():
                        self._paint = gr.Button(label("Paint"), variant="primary", elem_id="paint")
                        self._cancel = gr.Button(label("Cancel"), visible=False, elem_id="cancel")
                        self._live.draw_switch()
                with gr.Column(elem_classes="rest"):
                    self.form.draw_rest()
                    self._lists = WordListsForm(self.studio)
                    self._lists.draw()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._live.draw_picture()
                self._panel = gr.HTML(elem_id="paint-panel", js_on_load=PicturePanel.CLICKED)
                self.details = Details(self.studio, "painted")

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with one another, with the jobs and with other tabs."""
        watch = PicturePanel(
            self.studio,
            kind=KIND,
            panel=self._panel,
            cancel=self._cancel,
            details=self.details,
            empty=(
                "Nothing painted yet",
                "Describe a picture or pick an example, then press Paint. "
                "It appears here step by step.",
            ),
        )
        self.form.listen(events, watch.last_request)
        self._lists.listen(events)
        watch.connect(events, self._paint, self.form.data, self.form.inputs)
        self.form.reuse_seed.click(
            watch.last_seed, watch.view.id, self.form.controls["seed"], **QUIET
        )
        self._live.connect(
            watch.view,
            self.form.data,
            self.form.inputs,
            self.form.controls["seed"],
            [self.form.model_chosen.then],
        )
        self.details.listen(exchange)
        watch.take_variations(exchange, self.id, of_any=True)
        outputs = self.form.outputs
        used = Taker(self.id, outputs, lambda given, who, values: self._fill(given.fields, who))
        exchange.take(SETTINGS, used, "use")
        said = Taker(self.id, outputs, lambda fields, who, values: self._fill(fields, who))
        exchange.take(PROMPT, said)
        exchange.take(CHANGE, Taker(self.id, outputs, self._change, self.form.inputs))

    def _fill(self, fields: Mapping[str, Any], visitor: Visitor) -> list[Any]:
        return self.form.fill(fields, visitor)

    def _change(self, change: Change, visitor: Visitor, values: list[Any]) -> list[Any]:
        return self.form.fill(change(self.form.data(values)), visitor)
