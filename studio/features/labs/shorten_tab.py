"""Shorten: which blocks of a language model matter, and a model without those that do not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.chat.catalog import find
from pipelines.chat.pruning.blocks import block_count, guarded_blocks, least_important
from pipelines.chat.pruning.requests import CRITERIA, CurveRequest, PruneRequest
from pipelines.chat.requests import STARTER
from pipelines.core.errors import BadRequest, UserError
from pipelines.core.paths import ASSETS
from pipelines.diffusion.lora.record import free_name
from studio.core.exchange import CHAT_MODELS, Exchange
from studio.core.feature import Tab
from studio.core.jobs.record import Job
from studio.features.labs import shorten_views
from studio.features.labs.pruned_models import CURVE, SCORE
from studio.features.labs.shorten_panel import ShortenPanel
from studio.page.components.result_panel import ResultPanel
from studio.page.widgets import NEWEST, QUIET, Visitor, follow_newest, from_field, label

if TYPE_CHECKING:
    from pipelines.chat.entries import ChatEntry
    from studio.page.tab_events import TabEvents

DEPTH, WIDTH = "depth", "width"
METHODS = (("Blocks (depth)", DEPTH), ("Heads and channels (width)", WIDTH))
_MANY = 32  # blocks, of a model whose files do not say
_POINTS = 5  # of a curve, as proposed


class ShortenTab(Tab):
    """Draws the tab."""

    id, label, group = "shorten", "Shorten a LLaMA", "Labs"
    styles = (ASSETS / "shorten.css",)

    def draw(self) -> None:
        """Makes the controls and what shows results."""
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=4, min_width=320, elem_classes="controls"):
                with gr.Column(elem_classes="first"):
                    self._draw_choice()
                with gr.Column(elem_classes="rest"):
                    self._draw_rest()
            with gr.Column(scale=6, min_width=320, elem_classes="results shortening"):
                self.panel = ShortenPanel(self.studio, self.studio.prunings)
                self._scored = ResultPanel(self.studio, SCORE, "scores")
                self._curved = ResultPanel(self.studio, CURVE, "curve")

    def _draw_choice(self) -> None:
        self._model = self._field("model", kind=gr.Dropdown, choices=[], value=None, info=None)
        methods = [(label(title), name) for title, name in METHODS]
        self._method = self._field("method", kind=gr.Radio, choices=methods)
        self._criterion = self._field("criterion", kind=gr.Dropdown, choices=_criteria(DEPTH))
        self._guard = self._field("guard")
        self._blocks = self._field("blocks", kind=gr.Slider, maximum=_MANY - 1)
        self._share = self._field("share", kind=gr.Slider, visible=False)
        with gr.Row(elem_classes="actions"):
            self._score = gr.Button(label("Score the blocks"), elem_id="score")
            self._draw_curve = gr.Button(label("Draw the curve"), elem_id="curve")
        self._shorten = gr.Button(label("Shorten"), variant="primary", elem_id="shorten")

    def _draw_rest(self) -> None:
        self._name = self._field("name", kind=gr.Textbox, max_lines=1, value="")
        self._minutes = self._field("heal_minutes", kind=gr.Number, minimum=0)
        self._points = gr.Textbox(
            label=label("Points of the curve"),
            info=label("Numbers of blocks to drop; each one is measured."),
            value=", ".join(map(str, CurveRequest.model_fields["blocks"].default)),
            max_lines=1,
            elem_id="shorten-points",
        )

    @staticmethod
    def _field(name: str, **options: Any) -> gr.components.Component:
        elem_id = f"shorten-{name.replace('_', '-')}"
        return from_field(PruneRequest, name, **{"elem_id": elem_id, **options})

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """Connect the controls with one another and with the jobs."""
        bounds = [self._blocks, self._points]
        limits = [self._model, self._guard, self._blocks]
        opened = events.load(self._open, None, self._model, **QUIET)
        # The header of a large file takes its time: meanwhile another model may be chosen.
        opened.then(self._bounds, limits, bounds, **NEWEST)
        follow_newest([self._model.input, self._guard.input], self._bounds, limits, bounds)
        self._method.input(
            _fields_of,
            [self._method, self._criterion],
            [self._criterion, self._guard, self._blocks, self._share, self._score,
             self._draw_curve],
            **QUIET,
        )  # fmt: skip
        asked = [self._model, self._criterion, self._guard]
        seen = [self._model, self._method, self._guard, self._blocks]
        self._scored.connect(events, self._score, _read_score_form, asked, self._scores, seen)
        self._curved.connect(
            events, self._draw_curve, _read_curve_form, [*asked, self._points], self._curve, []
        )
        given = [
            *asked,
            self._method,
            self._blocks,
            self._share,
            self._name,
            self._minutes,
        ]
        watches = self.panel.connect(events, self._shorten, self._read_shorten_form, given)
        # What was shortened can be shortened again, and what was deleted no longer.
        for ended in watches:
            ended.then(self._models, self._model, self._model, **QUIET)
        exchange.offer(CHAT_MODELS, self.panel.send_to)

    # --- events -----------------------------------------------------------------------------

    def _open(self, request: gr.Request) -> Any:
        visitor = Visitor.of(request)
        entries = self.studio.prunings.models(visitor.owner)
        names = [entry.name for entry in entries]
        last = [job.request["model"] for kind in (SCORE, "shorten")
                for job in self.studio.jobs.list(visitor.owner.id, kind=kind, limit=1)]  # fmt: skip
        chosen = next((name for name in [*last, STARTER, *names] if name in names), None)
        return _choice(entries, chosen)

    def _models(self, chosen: Any, request: gr.Request) -> Any:
        """The list anew, with the same choice as far as it is still there."""
        entries = self.studio.prunings.models(Visitor.of(request).owner)
        names = [entry.name for entry in entries]
        return _choice(entries, chosen if chosen in names else next(iter(names), None))

    def _bounds(self, model: Any, guard: Any, blocks: Any, request: gr.Request) -> list[Any]:
        """Updates of the slider and of the curve's points: what a model's blocks allow."""
        count = self._blocks_of(Visitor.of(request), model) or _MANY
        most = max(1, count - (len(guarded_blocks(count)) if guard else 1))
        step = max(1, round(most * 0.4 / (_POINTS - 1)))
        points = range(0, min(most, step * (_POINTS - 1)) + 1, step)
        slider = gr.update(maximum=most, value=min(int(blocks or 0), most))
        return [slider, ", ".join(map(str, points))]

    def _blocks_of(self, visitor: Visitor, model: str | None) -> int | None:
        try:
            entry = self.studio.usable_chat_models.entry(visitor.owner, str(model))
            path = find(entry, self.studio.home)
        except UserError:  # gone since the tab was opened; what is asked of it says so
            return None
        return block_count(path) if path is not None else None

    def _read_shorten_form(self, values: list[Any], visitor: Visitor) -> dict[str, Any]:
        *asked, method, blocks, share, name, minutes = values
        fields = {**_score_request(asked), "method": method, "heal_minutes": minutes or 0}
        if method == WIDTH:
            fields |= {"share": share, "guard": False}
        else:
            fields |= {"blocks": blocks}
        return fields | {"name": self._name_or_default(str(name or "").strip(), fields, visitor)}

    def _name_or_default(self, name: str, fields: dict[str, Any], visitor: Visitor) -> str:
        """What was typed, else the original's name and what goes; numbered where it is taken."""
        if not name:
            titles = {e.name: e.title for e in self.studio.prunings.models(visitor.owner)}
            title = titles.get(fields["model"], str(fields["model"]))[:60]
            gone = f"{100 * fields['share']:.0f} %" if "share" in fields else fields["blocks"]
            name = f"{title} (−{gone})"
        known = self.studio.prunings.list(visitor.owner.id)
        return free_name(name, [each.name for each in known])

    # --- what is shown ----------------------------------------------------------------------

    def _scores(self, job: Job, visitor: Visitor, values: list[Any]) -> str:
        """A scored model's bars, with what would go if it is the chosen one."""
        model, method, guard, blocks = values
        found, going, guard = job.result["scores"], [], bool(guard)
        if method == DEPTH and model == job.request["model"]:
            most = len(found) - (len(guarded_blocks(len(found))) if guard else 1)
            going = least_important(found, max(0, min(int(blocks or 0), most)), guard)
        title = self._title(job, visitor)
        return shorten_views.scores(
            found, job.request["criterion"], going, guard and method == DEPTH, visitor, title
        )

    def _curve(self, job: Job, visitor: Visitor, values: list[Any]) -> str:
        title = self._title(job, visitor)
        return shorten_views.curve(job.result["points"], job.request["criterion"], visitor, title)

    def _title(self, job: Job, visitor: Visitor) -> str:
        names = {e.name: e.title for e in self.studio.prunings.models(visitor.owner)}
        return names.get(job.request["model"], job.request["model"])


def _fields_of(method: str, criterion: str) -> list[Any]:
    """What of the form belongs to a method."""
    depth, allowed = method == DEPTH, [name for _, name in _criteria(method)]
    kept = criterion if criterion in allowed else "taylor"
    shown = gr.update(visible=depth)
    return [
        gr.update(choices=_criteria(method), value=kept),
        shown,
        shown,
        gr.update(visible=not depth),
        shown,
        shown,
    ]


def _criteria(method: str) -> list[tuple[Any, str]]:
    """Perplexity scores whole blocks only."""
    names = [name for name in CRITERIA if method == DEPTH or name != "perplexity"]
    return [(label(shorten_views.CRITERIA[name]), name) for name in names]


def _choice(entries: list[ChatEntry], chosen: str | None) -> Any:
    return gr.update(choices=[(each.title, each.name) for each in entries], value=chosen)


def _score_request(values: list[Any]) -> dict[str, Any]:
    model, criterion, guard = values
    return {"model": model or "", "criterion": criterion, "guard": bool(guard)}


def _read_score_form(values: list[Any], visitor: Visitor) -> dict[str, Any]:
    return _score_request(values)


def _read_curve_form(values: list[Any], visitor: Visitor) -> dict[str, Any]:
    *asked, text = values
    points = [part for part in re.split(r"[\s,;、，]+", str(text or "")) if part]
    if not all(part.isdecimal() for part in points):
        raise BadRequest(
            "Points of the curve are whole numbers with commas between them, such as 0, 3, 6; not "
            "{text}.",
            text=str(text)[:60],
        )
    return _score_request(asked) | {"blocks": sorted({int(part) for part in points})}
