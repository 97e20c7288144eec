"""Look inside: a model's tokens, next-token odds, attention, layers and how it is built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.chat.inspect import MEAN, InspectRequest
from pipelines.chat.requests import STARTER, Sampling
from pipelines.core.errors import UserError, validate
from pipelines.core.events import Progress
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from studio.core.exchange import Exchange
from studio.core.feature import Tab
from studio.features.labs import inspect_build, inspect_maps, inspect_views

# Gradio reads the hints of listeners, so not only for types.
from studio.features.labs.inspect import Seen, View
from studio.page import views
from studio.page.widgets import (
    DRAFT,
    NEWEST,
    QUIET,
    Visitor,
    follow_newest,
    from_field,
    label,
    restore_drafts,
)

if TYPE_CHECKING:
    from pipelines.chat.entries import ChatEntry
    from studio.page.tab_events import TabEvents

EXAMPLE = "The capital of France is"
LOOK_SECONDS = 0.3  # before a note says that something takes its time
SAMPLING = tuple(Sampling.model_fields)
OFF = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
# Value → least, greatest, step of its slider: within a request's bounds, as far as anybody goes.
_SLIDERS = {
    "temperature": (0, 2, 0.05),
    "top_p": (0.01, 1, 0.01),
    "top_k": (0, 200, 1),
    "min_p": (0, 1, 0.01),
    "repetition_penalty": (0.5, 2, 0.05),
}
_VIEWS: tuple[View, ...] = ("odds", "attention", "layers", "build")


class InspectTab(Tab):
    """Draws the tab."""

    id, label, group = "inside", "Look inside a LLaMA", "Labs"
    styles = (ASSETS / "inspect.css",)

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        # What is looked at, which need not be what stands in the text box by now.
        self._looked, self._position = gr.State(None), gr.State(None)
        self._head, self._view = gr.State(MEAN), gr.State(_VIEWS[0])
        self._shown: dict[View, gr.HTML] = {}
        self._tabs: dict[View, gr.Tab] = {}
        with gr.Row(elem_classes="workspace"):
            with (
                gr.Column(scale=3, min_width=300, elem_classes="controls"),
                gr.Column(elem_classes="first"),
            ):
                self._model = self._field(
                    "model", kind=gr.Dropdown, choices=[], value=None, info=None
                )
                self._text = self._field(
                    "text", value=EXAMPLE, info=None, lines=3, max_lines=12, elem_classes=DRAFT
                )
                self._specials = self._field("read_specials")
                self._open = gr.Button(
                    label("Open the model"), variant="primary", elem_id="inside-open"
                )
            with gr.Column(scale=7, min_width=320, elem_classes="results inspector"):
                self._said = gr.HTML(elem_id="inside-said")
                self._strip = gr.HTML(elem_id="inside-tokens", js_on_load=inspect_views.SCRIPT)
                with gr.Tabs(elem_id="inside-views", overflow_behavior="wrap"):
                    self._draw_views()

    def _draw_views(self) -> None:
        with gr.Tab(label("Next token"), id="odds") as self._tabs["odds"]:
            with gr.Row(elem_classes="sampling"):
                self._sampling = [self._slider(name) for name in SAMPLING]
            with gr.Row(elem_classes="actions"):
                self._as_set = gr.Button(label("As in chat"), size="sm", elem_id="inside-as-set")
                self._off = gr.Button(label("All off"), size="sm", elem_id="inside-off")
            self._shown["odds"] = self._html("odds")
        with gr.Tab(label("Attention"), id="attention") as self._tabs["attention"]:
            self._layer = self._field("layer", kind=gr.Slider, maximum=30, step=1)
            self._shown["attention"] = self._html("attention")
        with gr.Tab(label("Layer by layer"), id="layers") as self._tabs["layers"]:
            self._shown["layers"] = self._html("layers")
        with gr.Tab(label("How it is built"), id="build") as self._tabs["build"]:
            self._shown["build"] = self._html("build")

    @staticmethod
    def _field(name: str, **options: Any) -> gr.components.Component:
        elem_id = f"inside-{name.replace('_', '-')}"
        return from_field(InspectRequest, name, **{"elem_id": elem_id, **options})

    @staticmethod
    def _slider(name: str) -> gr.Slider:
        low, high, step = _SLIDERS[name]
        title = label(InspectRequest.model_fields[name].title)
        elem_id = f"inside-{name.replace('_', '-')}"
        return gr.Slider(low, high, OFF[name], step=step, label=title, elem_id=elem_id)

    @staticmethod
    def _html(view: View) -> gr.HTML:
        return gr.HTML(elem_id=f"inside-{view}", js_on_load=inspect_views.SCRIPT)

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls."""
        inputs = [self._view, self._looked, self._position, self._head, self._layer]
        outputs = [self._said, self._strip, self._layer, *self._shown.values()]
        inputs += self._sampling

        opened = events.load(self._open_tab, self._model, [self._model, *self._sampling], **QUIET)
        opened.then(self._show, inputs, outputs, **QUIET)
        restore_drafts(opened, [self._text])
        chosen = [self._model, self._text, self._specials]
        states = [self._looked, self._position, self._head]
        looked = gr.on([self._open.click, self._text.submit], self._look, chosen, states, **QUIET)
        picked = self._strip.pick(_pick_token, None, self._position, **QUIET)
        headed = self._shown["attention"].choose(_chosen_head, None, self._head, **QUIET)
        turned = [
            self._tabs[view].select(partial(_same, view), None, self._view, **QUIET)
            for view in _VIEWS
        ]
        reset = [
            self._model.input(self._choose_model, self._model, self._sampling, **QUIET),
            self._as_set.click(self._choose_model, self._model, self._sampling, **QUIET),
            self._off.click(lambda: [OFF[name] for name in SAMPLING], None, self._sampling,
                            **QUIET),
        ]  # fmt: skip
        for event in (looked, picked, headed, *turned, *reset):
            event.then(self._show, inputs, outputs, **NEWEST)
        moved = [each.input for each in (*self._sampling, self._layer)]
        follow_newest(moved, self._show, inputs, outputs)

    # --- events -----------------------------------------------------------------------------

    def _open_tab(self, model: Any, request: gr.Request) -> list[Any]:
        """Models may have come and gone since the studio started."""
        entries = self.studio.inspector.models(Visitor.of(request).owner)
        names = {entry.name: entry for entry in entries}
        entry = names.get(str(model)) or names.get(STARTER) or next(iter(entries), None)
        choices = [(each.title, each.name) for each in entries]
        shown = gr.update(choices=choices, value=entry.name if entry else None)
        return [shown, *_settings(entry)]

    def _choose_model(self, model: Any, request: gr.Request) -> list[Any]:
        """The settings that chat has for a model."""
        try:
            entry = self.studio.inspector.entry(Visitor.of(request).owner, str(model))
        except UserError:  # gone since the tab was opened; opening it says so
            entry = None
        return _settings(entry)

    @staticmethod
    def _look(model: Any, text: Any, read_specials: Any) -> list[Any]:
        """Look at something else, from its last token."""
        return [{"model": model or "", "text": text or "", "read_specials": bool(read_specials)},
                None, MEAN]  # fmt: skip

    async def _show(
        self,
        view: View,
        looked: Mapping[str, Any] | None,
        position: int | None,
        head: int,
        layer: float,
        request: gr.Request,
        *sampling: float,
    ) -> AsyncIterator[list[Any]]:
        """The tokens and one view; before them, what is being waited for."""
        visitor = Visitor.of(request)
        left = [gr.skip()] * (2 + len(_VIEWS))
        if looked is None:
            words = "Type a text and open the model: what it reads, says next and looks at."
            yield ["", "", gr.skip(), *self._only(view, views.empty(
                "Nothing opened yet", words, visitor))]  # fmt: skip
            return
        fields = {**looked, "position": position, "head": head, "layer": round(layer)}
        fields |= dict(zip(SAMPLING, sampling, strict=True))
        newest: list[Progress] = []
        looking = asyncio.ensure_future(
            anyio.to_thread.run_sync(partial(self._inspect, visitor, fields, view, newest.append))
        )
        note = None
        while not looking.done():
            await asyncio.wait({looking}, timeout=LOOK_SECONDS)
            now = newest[-1].note if newest else None
            now = now or Message("Computing …")
            if not looking.done() and now != note:
                note = now
                yield [views.notice(now, visitor), *left]
        try:
            seen, request_ = await looking
            shown = self._draw_view(view, seen, request_, visitor)
        except UserError as error:
            yield [views.error(error.message, visitor), *left]
            return
        blocks = gr.update(maximum=seen.build.blocks, value=request_.layer)
        strip = inspect_views.strip(seen.text.tokens, seen.position, visitor)
        yield ["", strip, blocks, *self._only(view, shown)]

    def _inspect(
        self, visitor: Visitor, fields: dict[str, Any], view: View, tell: Any
    ) -> tuple[Seen, InspectRequest]:
        request = validate(InspectRequest, fields)
        look = self.studio.inspector.look
        build = look(visitor.owner, request, "build", tell).build
        # The model before may have had more of them.
        fits = {"layer": min(request.layer, build.blocks)}
        fits["head"] = request.head if request.head <= build.heads else MEAN
        request = request.model_copy(update=fits)
        return look(visitor.owner, request, view, tell), request

    @staticmethod
    def _draw_view(view: View, seen: Seen, request: InspectRequest, visitor: Visitor) -> str:
        tokens, position = seen.text.tokens, seen.position
        if view == "odds":
            return inspect_views.odds(seen.odds, tokens[position - 1], visitor)
        if view == "attention":
            return inspect_maps.attention(seen.weights, tokens, request.head, position, visitor)
        if view == "layers":
            return inspect_views.lens(seen.lens, tokens, position, visitor)
        return inspect_build.build(seen.build, seen.entry.title, visitor)

    @staticmethod
    def _only(view: View, shown: str) -> list[Any]:
        return [shown if each == view else gr.skip() for each in _VIEWS]


def _settings(entry: ChatEntry | None) -> list[Any]:
    """What a model's file says, and off where it says nothing."""
    own = entry.sampling.model_dump(exclude_none=True) if entry else {}
    return [own.get(name, OFF[name]) for name in SAMPLING]


def _pick_token(event: gr.EventData) -> int | None:
    position = event._data.get("position")
    return position if isinstance(position, int) else None


def _chosen_head(event: gr.EventData) -> int:
    head = event._data.get("head")
    return head if isinstance(head, int) else MEAN


def _same(view: View) -> View:
    return view
