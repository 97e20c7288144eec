"""The switch Live: the picture follows typing, drawing and the sliders, and nothing of it is kept.

While it is off, a change of the controls costs no request.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import gradio as gr

from pipelines.core.errors import BadRequest, Stopped, UserError
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from pipelines.diffusion.seeds import MAX_SEED, RANDOM
from studio.core.jobs.live import LivePicture, TooSlow, Waits
from studio.page import views
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from PIL import Image

    from studio.core.services import Studio
    from studio.page.components.job_view import JobView

LOOK_SECONDS = 0.3  # before it is said what a picture waits for
HINT_SECONDS = 0.5  # beyond which fewer steps are advised
FEW_STEPS = 4  # fewer are not advised
LOSSLESS_SIDE = 256  # pixels: pictures up to this are sent as they are
AGAIN, OFF = "again", "off"
"""Words after which the newest wish is sent again (assets/live.js), or that stay though it is off
(assets/page.css)."""
_UNCHANGED = json.dumps(gr.skip())


class LiveView:
    """Draws the switch, and the picture that follows the controls of a tab.

    Args:
        studio: whose live painting.
        kind: of the requests.
        prefix: of the elements' ids.
    """

    def __init__(self, studio: Studio, kind: str, prefix: str = "") -> None:
        self.studio, self.kind, self._name = studio, kind, f"{prefix}live"

    def draw_switch(self) -> None:
        """The switch, to stand beside the button that paints."""
        self._switch = gr.Checkbox(
            False,
            label=label("Live"),
            container=False,
            scale=0,
            min_width=90,
            elem_id=self._name,
            elem_classes="live-switch",
        )

    def draw_picture(self, drawings: Sequence[str] = ()) -> None:
        """The picture, to stand above the panel.

        Args:
            drawings: names of the canvases that it follows.
        """
        with gr.Column(elem_classes="live"):
            self._picture = gr.HTML(elem_id=f"{self._name}-picture", padding=False)
            script = (ASSETS / "live.js").read_text(encoding="utf-8")
            constants = (
                f"const NAME = {json.dumps(self._name)}, DRAWINGS = {json.dumps(drawings)}, "
                f"SEEDS = {MAX_SEED + 1};"
            )
            with gr.Row():
                self._words = gr.HTML(
                    elem_id=f"{self._name}-words",
                    padding=False,
                    js_on_load=f"{constants}\n{script}",
                )
                self._keep = gr.Button(
                    label("Keep"),
                    size="sm",
                    scale=0,
                    min_width=130,
                    elem_id=f"{self._name}-keep",
                    elem_classes="keep",
                )

    def connect(
        self,
        view: JobView,
        request_of: Callable[[list[Any]], dict[str, Any]],
        inputs: list[gr.components.Component],
        seed: gr.components.Component,
        moments: Sequence[Any] = (),
        js: str | None = None,
    ) -> None:
        """Let the picture follow ``request_of(values of inputs)``.

        Args:
            view: where a picture that is to be kept is queued and watched.
            seed: the control that shows the seed of the picture.
            moments: ``then`` of further events that may have changed the controls.
            js: may put the newest values in place of those that the browser has.
        """
        self._request_of = request_of
        painted = gr.State(None)  # the request on the page, which no page can name another for
        self._outputs = [self._picture, self._words, painted, seed, self._switch]
        own = f"window.atelierLive?.[{json.dumps(self._name)}]"
        # Of canvases, which are HTML, `change` is told before what lies on them is on the server.
        moved = [each.input if isinstance(each, gr.HTML) else each.change for each in inputs]
        changed = {
            "fn": None,
            "js": f"() => {own}?.onChange()",
            "trigger_mode": "multiple",
            **QUIET,
        }
        gr.on(moved, **changed)
        for moment in moments:
            moment(**changed)
        named = f"{json.dumps(seed.elem_id)}, {_UNCHANGED}"
        turned = self._switch.change(
            None,
            [self._switch, seed],
            seed,
            js=f"(on, seed) => [{own} ? {own}.seedFor(on, seed, {named}) : {_UNCHANGED}]",
            **QUIET,
        )
        turned.then(None, self._switch, None, js=f"(on) => {own}?.turn(on)", **QUIET)
        asked = self._words.changed(
            self._follow,
            inputs,
            self._outputs,
            preprocess=False,
            trigger_mode="multiple",
            js=js,
            **QUIET,
        )
        answered = f"(words) => {own}?.onAnswer(words || '', {json.dumps(seed.elem_id)})"
        asked.then(None, self._words, None, js=answered, **QUIET)
        view.submit(self._keep.click, lambda values, visitor: _request_to_keep(values), [painted])

    async def _follow(self, request: gr.Request, *values: Any) -> AsyncIterator[list[Any]]:
        """The picture of the newest values, and before it what it waits for."""
        visitor, stop, notes = Visitor.of(request), threading.Event(), []
        making = asyncio.ensure_future(
            anyio.to_thread.run_sync(
                partial(self._paint, visitor, list(values), stop, notes.append)
            )
        )
        making.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            while not making.done():
                await asyncio.wait({making}, timeout=LOOK_SECONDS)
                if not making.done() and notes:
                    yield self._say(_words(views.notice(notes[-1], visitor)))
            with contextlib.suppress(Stopped):  # a newer wish is answered instead
                yield await making
        finally:
            stop.set()
        yield self._updates()  # Gradio sends a generator's last values once more

    def _paint(
        self,
        visitor: Visitor,
        values: list[Any],
        stop: threading.Event,
        tell: Callable[[Message], None],
    ) -> list[Any]:
        """Updates of the outputs, in a thread of its own."""
        try:
            fields = self._request_of(values)
            made = self.studio.live.paint(visitor.owner, self.kind, fields, stop, tell)
        except Waits as error:
            return self._say(_words(views.notice(error.message, visitor), AGAIN))
        except UserError as error:
            is_off = isinstance(error, TooSlow)
            words = _words(views.error(error.message, visitor), OFF if is_off else "")
            return self._say(words, is_off)
        alt = Message("Live: {prompt}", prompt=str(made.request["prompt"]))
        shown = (
            f'<div class="live-picture"><img src="{_uri(made.image)}" '
            f'alt="{escape(visitor.say(alt))}"></div>'
        )
        fields_of = self.studio.submissions.engine(self.kind).request_class.model_fields
        titles = [visitor.say(str(fields_of[each].title)) for each in made.left_out]
        drawn = made.request["seed"] if fields.get("seed") == RANDOM else None
        words = _words(views.summary(_remarks(made, titles), visitor), seed=drawn)
        seed = gr.skip() if drawn is None else drawn
        return [shown, words, made.request, seed, gr.skip()]

    def _say(self, words: str, is_off: bool = False) -> list[Any]:
        """Words beside the picture, which stays."""
        switch = gr.update(value=False) if is_off else gr.skip()
        return [gr.skip(), words, gr.skip(), gr.skip(), switch]

    def _updates(self) -> list[Any]:
        return [gr.skip() for _ in self._outputs]


def _words(html: str, state: str = "", seed: int | None = None) -> str:
    """What is said beside the picture; ``seed``: one that was drawn for it."""
    drawn = "" if seed is None else f' data-seed="{seed}"'
    return f'<div class="live-words {state}"{drawn}>{html}</div>'


def _request_to_keep(values: list[Any]) -> dict[str, Any]:
    (painted,) = values
    if painted is None:
        raise BadRequest("There is no live picture to keep yet. Switch Live on first.")
    return painted


def _remarks(made: LivePicture, left_out: Sequence[str]) -> list[Message]:
    """How long it took, what was left out (titles), and how it goes faster."""
    seconds = f"{made.seconds:.2f}"
    remarks = [Message("Live: a picture in {seconds} s.", seconds=seconds)]
    if made.seconds > HINT_SECONDS and (made.request.get("steps") or FEW_STEPS + 1) > FEW_STEPS:
        remarks.append(Message("Fewer steps are faster."))
    if left_out:
        remarks.append(Message("Left out: {fields}. Paint does them.", fields=", ".join(left_out)))
    return [*remarks, *made.notes]


def _uri(image: Image.Image) -> str:
    """The picture as a ``data:`` URI: small ones without loss, larger ones quickly."""
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "PNG", compress_level=1)
        kind = "png"
    else:
        image.save(buffer, "WEBP", quality=90, method=0)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
