"""Gallery: one's own pictures, and what other pictures say of how they were made."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from pipelines.core.pictures.uploads import read_file
from studio.core.exchange import PICTURES, Exchange, Route, Target, buttons
from studio.core.feature import Tab
from studio.core.gallery.metadata import parse_parameters, read_settings
from studio.features.gallery import views as gallery_views
from studio.features.gallery.tools import gallery_tools
from studio.page import views
from studio.page.components.deletion import UNASKED, Deletion
from studio.page.components.details import Details
from studio.page.widgets import QUIET, Visitor, follow_newest, label

if TYPE_CHECKING:
    from studio.page.tab_events import TabEvents

PAGE = 24  # pictures; divides by 2, 3, 4 and 6 columns
MORE = 4 * PAGE
MAX_SENT = 1000  # pictures that are looked up to be sent to another tab


class GalleryTab(Tab):
    """Draws the tab.

    Attributes:
        details: of the chosen picture.
        dropped: of the file in the drop zone.
    """

    id, label = "gallery", "Gallery"

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self._limit = gr.State(PAGE)
        self._until = gr.State("")  # the last day that is shown; empty: today
        self._chosen = gr.State(None)
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self._search = gr.Textbox(
                        label=label("Search in prompts"),
                        placeholder=label("red mug"),
                        max_lines=1,
                        max_length=200,
                        elem_id="gallery-search",
                    )
                    self.details = Details(self.studio, "gallery", large=True)
                    self._deletion = Deletion("Delete", "delete")
                with gr.Column(elem_classes="rest"):
                    self._file = gr.File(
                        label=label("Read the settings of a PNG, JPEG or WEBP"),
                        height=120,
                        elem_id="drop-zone",
                    )
                    self._file_error = gr.HTML(elem_id="drop-error")
                    self.dropped = Details(self.studio, "dropped", kept=False)
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._targets = buttons(self.studio.features.tabs(), (PICTURES,))
                self._tools = gallery_tools(self._targets)
                self._tools_said = gr.HTML(elem_id="gallery-tools-said")
                self._pictures = gr.HTML(
                    elem_id="gallery-pictures", js_on_load=views.PICTURE_CLICKED
                )
                self._more = gr.Button(
                    label("Show more"), size="sm", visible=False, elem_classes="quiet"
                )

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls; the pictures are looked up whenever the tab is opened."""
        found = [self._pictures, self._more]
        query = [self._search, self._limit, self._chosen, self._until]
        chosen = [self._chosen, *self._deletion.outputs, *self.details.outputs]
        events.tab.select(self._find, query, found, **QUIET)
        follow_newest([self._search.change], lambda: PAGE, None, self._limit).then(
            self._find, query, found, **QUIET
        )
        self._tools.jump(self._jump, None, [self._until, self._limit], **QUIET).then(
            self._find, query, found, **QUIET
        )
        self._tools.changed(self._find, query, found, **QUIET)
        self._more.click(lambda limit: limit + MORE, self._limit, self._limit, **QUIET).then(
            self._find, query, found, **QUIET
        )
        self._pictures.pick(self._choose, None, chosen, **QUIET).then(
            self._find, query, found, **QUIET
        )
        self._deletion.ask(self._chosen, self._question)
        self._deletion.really.click(self._delete, self._chosen, chosen, **QUIET).then(
            self._find, query, found, **QUIET
        )
        self._file.upload(
            self._read, self._file, [self._file, self._file_error, *self.dropped.outputs], **QUIET
        )
        for target in self._targets:
            exchange.offer(PICTURES, partial(self._connect, target), target.name)
        self.details.listen(exchange)
        self.dropped.listen(exchange)

    def _connect(self, target: Target, route: Route) -> None:
        """Lets the tools send the chosen pictures to a tab, in the order of their making."""
        unchanged = [gr.skip()] * (len(route.outputs) + 1)

        def send(request: gr.Request, event: gr.EventData, *values: Any) -> list[Any]:
            if event._data.get("to") != target.name:
                return unchanged
            visitor, gallery = Visitor.of(request), self.studio.gallery
            try:
                ids = [str(id) for id in event._data.get("ids") or ()][: MAX_SENT + 1]
                rows = [gallery.get(visitor.owner.id, id) for id in ids]
                ordered = [row.id for row in sorted(rows, key=lambda row: row.number)]
                return [*route.send(ordered or None, visitor, values), ""]
            except UserError as error:
                return [*unchanged[1:], views.error(error.message, visitor)]

        outputs = [*route.outputs, self._tools_said]
        route.follow(self._tools.send(send, route.inputs, outputs, **QUIET))

    @staticmethod
    def _jump(event: gr.EventData) -> list[Any]:
        return [str(event._data.get("until") or ""), PAGE]

    def _find(
        self, text: str, limit: int, chosen: str | None, until: str, request: gr.Request
    ) -> list[Any]:
        visitor = Visitor.of(request)
        gallery, owner = self.studio.gallery, visitor.owner.id
        day = gallery_views.day_of(until)
        try:
            rows = gallery.search(owner, text, limit=limit + 1, until=day)
        except UserError as error:
            return [views.error(error.message, visitor), gr.update(visible=False)]
        if rows:
            shown = gallery_views.grid(rows[:limit], chosen, visitor, text, gallery.span(owner))
        elif text.strip():
            shown = views.empty(
                "No prompt has these words", "Try fewer words, or clear the search.", visitor
            )
        elif day is not None:
            shown = views.empty(
                "No pictures of that day or before it", "Choose a later day.", visitor
            )
        else:
            shown = views.empty(
                "No pictures yet",
                "Paint one under “Text to image”. It stays here, with its settings.",
                visitor,
            )
        return [shown, gr.update(visible=len(rows) > limit)]

    def _choose(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        try:
            row = self.studio.gallery.get(visitor.owner.id, str(event._data.get("id")))
        except UserError as error:  # deleted in another window
            return [*self._nothing_chosen(), views.error(error.message, visitor), *_KEPT]
        shown = self.details.show(parse_parameters(row.parameters), visitor, row.id)
        return [row.id, gr.update(visible=True), UNASKED, *shown]

    @staticmethod
    def _question(chosen: str | None, visitor: Visitor) -> str | None:
        return (
            views.summary([Message("Delete this picture for good?")], visitor) if chosen else None
        )

    def _delete(self, chosen: str | None, request: gr.Request) -> list[Any]:
        visitor = Visitor.of(request)
        try:
            self.studio.gallery.delete(visitor.owner.id, str(chosen))
        except UserError as error:
            return [*self._nothing_chosen(), views.error(error.message, visitor), *_KEPT]
        return [*self._nothing_chosen(), *self.details.hide()]

    @staticmethod
    def _nothing_chosen() -> list[Any]:
        return [None, gr.update(visible=False), UNASKED]

    def _read(self, file: str | None, request: gr.Request) -> list[Any]:
        """The settings inside a dropped file; the drop zone is free again afterwards."""
        visitor = Visitor.of(request)
        try:
            parameters = read_settings(read_file(Path(file))) if file else {}
        except UserError as error:
            return [None, views.error(error.message, visitor), *self.dropped.hide()]
        if not parameters:
            words = (
                "No settings were found in this picture, neither in its texts nor in its EXIF "
                "block. Many sites strip them from what they show."
            )
            return [None, views.notice(words, visitor), *self.dropped.hide()]
        return [None, "", *self.dropped.show(parameters, visitor)]


_KEPT = (gr.update(visible=False), None)  # the rest of Details.outputs beside an error
