"""LoRAs: what is in the library, bringing in, handing out, renaming, deleting and merging."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import UserError
from pipelines.core.matching import name_key
from pipelines.core.messages import Message
from pipelines.diffusion.lora.tags import with_tags
from pipelines.models.catalog import OWN
from studio.core.exchange import CHANGE, Exchange, Route
from studio.core.feature import Tab
from studio.features.library import views as library_views
from studio.features.library.merging import MergeForm
from studio.page import views
from studio.page.components import lora_rows
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from pipelines.diffusion.lora.record import LoraRecord
    from studio.page.tab_events import TabEvents


class LibraryTab(Tab):
    """Draws the tab."""

    id, label, former_ids = "library", "Library", ("shelf", "loras")

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        self._merging = MergeForm(self.studio)
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    # Of any kind: the library says better than a file picker what is wrong.
                    self._files = gr.File(
                        label=label("Bring in LoRAs or learned words (.safetensors, .zip)"),
                        file_count="multiple",
                        type="filepath",
                        height=150,
                        elem_id="library-files",
                    )
                    self._said = gr.HTML(elem_id="library-notices")
                with gr.Column(elem_classes="rest"):
                    self._merging.draw()
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                self._cards = gr.HTML(elem_id="library-cards", js_on_load=library_views.CHANGED)

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls; the library is looked up whenever the tab is opened."""
        chosen, shown = self._merging.choices, [self._cards, *self._merging.choices]
        look = {"inputs": chosen, "outputs": shown, "preprocess": False, **QUIET}
        events.tab.select(self._look, **look)
        self._files.upload(
            self._bring,
            [self._files, *chosen],
            [self._files, self._said, *shown],
            **QUIET,
        )
        self._cards.rename(self._rename, **look)
        self._cards.remove(self._remove, **look)
        self._merging.listen(events)
        self._merging.ended.change(self._look, **look)
        exchange.offer(CHANGE, self._send_to)

    def _send_to(self, route: Route) -> None:
        """Let “Paint with it” add an entry to the settings of another tab, and show it."""

        def send(event: gr.EventData, request: gr.Request, *values: Any) -> list[Any]:
            visitor, change = Visitor.of(request), None
            # An entry may be deleted in another window.
            with contextlib.suppress(UserError):
                record = self.studio.loras.get(visitor.owner.id, str(event._data.get("id")))
                change = partial(_fields_with, record)
            return route.send(change, visitor, values)

        self._cards.use(send, route.inputs, route.outputs, preprocess=False, **QUIET)

    # --- events -----------------------------------------------------------------------------

    def _look(self, request: gr.Request, *chosen: str | None) -> list[Any]:
        return self._show(Visitor.of(request), chosen)

    def _bring(
        self, paths: list[str] | None, request: gr.Request, *chosen: str | None
    ) -> Iterator[list[Any]]:
        """Takes the uploaded files one by one; the last one's card is open then."""
        visitor, said, newest = Visitor.of(request), "", None
        for path in map(Path, paths or ()):
            note = views.notice(Message("Reading {name} …", name=path.name), visitor)
            yield [None, said + note, *self._show(visitor, chosen, newest)]
            try:
                record = self.studio.loras.bring(visitor.owner.id, path.stem, path)
            except UserError as error:
                said += views.error(error.message, visitor)
            else:
                said, newest = said + library_views.added_notice(record, visitor), record.id
        yield [None, said, *self._show(visitor, chosen, newest)]

    def _rename(self, event: gr.EventData, request: gr.Request, *chosen: str | None) -> list[Any]:
        visitor, failure = Visitor.of(request), ""
        id, name = str(event._data.get("id")), str(event._data.get("name"))
        try:
            self.studio.loras.rename(visitor.owner.id, id, name)
        except UserError as error:
            failure = views.error(error.message, visitor)
        return self._show(visitor, chosen, id, failure)

    def _remove(self, event: gr.EventData, request: gr.Request, *chosen: str | None) -> list[Any]:
        visitor, id = Visitor.of(request), str(event._data.get("id"))
        try:
            self.studio.loras.delete(visitor.owner.id, id)
        except UserError as error:
            return self._show(visitor, chosen, id, views.error(error.message, visitor))
        return self._show(visitor, chosen)

    # --- what is shown ----------------------------------------------------------------------

    def _show(
        self,
        visitor: Visitor,
        chosen: tuple[str | None, ...],
        opened: str | None = None,
        failure: str = "",
    ) -> list[Any]:
        """Updates of the cards and of what can be merged."""
        records = self.studio.loras.list(visitor.owner.id)
        # The folder is the host's; others could do nothing about it.
        refused = self.studio.library.list_refusals() if visitor.owner.is_host else []
        cards = library_views.library_cards(
            records, refused, visitor, opened=opened, failure=failure
        )
        return [cards, *self._merging.update_choices(records, chosen)]


def _fields_with(record: LoraRecord, form: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``form`` that change when ``record`` is to be painted with as well.

    What calls it up comes into a prompt that has nothing of that: without it, a learned word does
    nothing, and a LoRA often little.
    """
    prompt = (form["prompt"] or "").strip()
    words = (library_views.word_of(record),) if record.kind == "embedding" else record.triggers
    if words and not any(name_key(word) in name_key(prompt) for word in words):
        prompt = ", ".join(part for part in (prompt, words[0]) if part)
    if record.kind == "model":
        return {"prompt": prompt, "loras": form["loras"], "model": f"{OWN}{record.id}"}
    use = {"name": record.name, "weight": 1.0}
    key = name_key(record.name)
    others = [each for each in form["loras"] if name_key(each["name"]) != key]
    if len(others) < lora_rows.ROWS:
        return {"prompt": prompt, "loras": [*others, use]}
    return {"prompt": with_tags(prompt, [use]), "loras": others}
