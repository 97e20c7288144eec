"""The page: a slim header and the tabs below it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from pipelines.core.sizes import format_bytes
from studio.core.accounts.accounts import Owner
from studio.core.exchange import Exchange
from studio.core.feature import Features
from studio.core.machine import is_own
from studio.i18n import LANGUAGES, texts
from studio.page import views
from studio.page.events import Page
from studio.page.opening import Opening
from studio.page.theme import theme
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.core.services import Studio

HEADER_SECONDS = 5


def build(studio: Studio, is_upload: Callable[[Owner, Path], bool] = lambda *_: False) -> Page:
    """The Gradio page of ``studio``. Imports no torch: it must answer at once.

    A feature whose tab cannot be drawn is left out, and the page built anew.

    Args:
        is_upload: whether an owner has uploaded a file, which no tab has taken yet.
    """
    while True:
        try:
            return _build(studio, is_upload)
        except _TabFailed as failed:
            studio.features.leave_out(failed.feature, failed.cause)


class _TabFailed(Exception):
    def __init__(self, feature: str, cause: Exception) -> None:
        self.feature, self.cause = feature, cause


@contextlib.contextmanager
def _named(feature: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _TabFailed(feature, error) from error


def _build(studio: Studio, is_upload: Callable[[Owner, Path], bool]) -> Page:
    exchange = Exchange()
    first = studio.features.tabs()[0].id
    with Page(is_upload, title="Atelier", analytics_enabled=False, fill_width=True) as page:
        _header(studio, page)
        drawn = []
        with gr.Tabs(
            selected=first, elem_id="tabs", elem_classes="in-address", overflow_behavior="wrap"
        ) as tabs:
            for feature in studio.features:
                for each in feature.tabs:
                    hidden = each.hidden
                    with (
                        _named(feature.name),
                        gr.Tab(label(each.label), id=each.id, visible=not hidden) as place,
                    ):
                        tab = each(studio)
                        tab.draw()
                    drawn.append((feature.name, tab, place))
        for name, tab, place in drawn:
            with _named(name):
                tab.listen(Opening(page, place, at_load=tab.id == first), exchange)
        exchange.connect(tabs, lambda id: gr.update(selected=id), gr.skip())
    return page


def look(studio: Studio) -> dict[str, Any]:
    """What the page is shown with: arguments of :func:`gradio.mount_gradio_app`."""
    styles = [path for tab in studio.features.tabs() for path in tab.styles]
    return {
        "theme": theme(),
        "css_paths": [ASSETS / "page.css", *styles],
        "i18n": gr.I18n(**{each: labels(each, studio.features) for each in LANGUAGES}),
    }


def labels(language: str, features: Features) -> dict[str, str]:
    """All labels of the page in one language, those from ``presets/`` included.

    The browser takes braces for formatting of its own, so sentences with values are left to
    :func:`studio.i18n.translate`.
    """
    presets = [words for feature in features for words in feature.labels()]
    table = {english: english for english in texts("zh")} | texts(language)
    table |= {words["en"]: words.get(language, words["en"]) for words in presets}
    return {english: text for english, text in table.items() if "{" not in english}


def _header(studio: Studio, page: gr.Blocks) -> None:
    header = gr.HTML(f'<div class="atelier-header">{views.BRAND}</div>', elem_id="header")
    timer = gr.Timer(HEADER_SECONDS)

    def show(request: gr.Request) -> str:
        visitor = Visitor.of(request)
        name = visitor.owner.name if studio.accounts.needed else None
        return views.header(_facts(studio, visitor), visitor, name)

    page.load(show, None, header, **QUIET)
    timer.tick(show, None, header, **QUIET)


def _facts(studio: Studio, visitor: Visitor) -> list[tuple[str, str]]:
    """Device, memory, loaded models and queue, as far as they are known."""
    machine = studio.machine.status()
    facts = []
    if machine["ready"]:
        free, total = machine["memory_free"], machine["memory_total"]
        memory = Message(
            "{free} free of {total}", free=format_bytes(free), total=format_bytes(total)
        )
        facts.append(("Device", machine["description"]))
        facts.append(("Memory", visitor.say(memory)))
    else:
        facts.append(("Device", visitor.say("getting ready …")))
    titles = studio.features.titles(studio, visitor.owner.id)
    others = visitor.say("somebody's own model")
    loaded = [
        titles.get(entry.name, others if is_own(entry.name) else entry.name)
        for entry in studio.machine.loaded()
    ]
    facts.append(("Loaded", ", ".join(loaded) or visitor.say("nothing yet")))
    waiting = studio.jobs.waiting()
    facts.append(("Queue", str(waiting) if waiting else visitor.say("empty")))
    return facts
