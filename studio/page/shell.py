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
from studio.core.feature import Features, Tab
from studio.i18n import LANGUAGES, texts
from studio.page import views
from studio.page.events import Page
from studio.page.tab_events import TabEvents
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
def _name_in_errors(feature: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _TabFailed(feature, error) from error


def _build(studio: Studio, is_upload: Callable[[Owner, Path], bool]) -> Page:
    exchange, places, bars = Exchange(), studio.features.places(), Bars()
    former = {name: tab.id for tab in studio.features.tabs() for name in tab.former_ids}
    with Page(is_upload, title="Atelier", analytics_enabled=False, fill_width=True) as page:
        page.former_tabs = former
        _header(studio, page)
        drawn = []
        with bars.add("tabs", places[0].id):
            for place in places:
                if len(place.tabs) == 1:
                    drawn += _draw(studio, bars, place.label, *place.tabs[0])
                    continue
                with (
                    bars.tab(place.id, place.label),
                    bars.add(f"tabs-of-{place.id}", place.tabs[0][1].id),
                ):
                    for name, each in place.tabs:
                        drawn += _draw(studio, bars, each.label, name, each)
        for name, tab, place in drawn:
            with _name_in_errors(name), bars.within(tab.id):
                tab.listen(TabEvents(page, place), exchange)
        exchange.connect(bars.all, bars.show, gr.skip())
    return page


def _draw(
    studio: Studio, bars: Bars, name: str, feature: str, tab: type[Tab]
) -> list[tuple[str, Tab, gr.Tab]]:
    """A tab of a feature is drawn where the page is; it is called ``name`` there."""
    with _name_in_errors(feature), bars.tab(tab.id, name) as place:
        drawn = tab(studio)
        drawn.draw()
    return [(feature, drawn, place)]


class Bars:
    """The bars of a page on which tabs are chosen: the main one, and one for each group.

    Attributes:
        all: the bars.
    """

    def __init__(self) -> None:
        self.all: list[gr.Tabs] = []
        # What is chosen in turn to see what is drawn now, or each tab.
        self._way: list[tuple[gr.Tabs, gr.Tab]] = []
        self._ways: dict[str, list[tuple[gr.Tabs, gr.Tab]]] = {}
        self._inner: list[gr.Tabs] = []

    @contextlib.contextmanager
    def add(self, elem_id: str, selected: str) -> Iterator[None]:
        """A bar, within which its tabs are drawn."""
        with gr.Tabs(
            selected=selected,
            elem_id=elem_id,
            elem_classes=["in-address", *(["in-group"] if self.all else [])],
            overflow_behavior="wrap",
        ) as bar:
            self.all.append(bar)
            self._inner.append(bar)
            yield
            self._inner.pop()

    @contextlib.contextmanager
    def tab(self, id: str, name: str) -> Iterator[gr.Tab]:
        """A tab of the innermost bar."""
        with gr.Tab(label(name), id=id) as tab:
            self._way.append((self._inner[-1], tab))
            self._ways[id] = list(self._way)
            yield tab
            self._way.pop()

    @contextlib.contextmanager
    def within(self, id: str) -> Iterator[None]:
        """Lets what is made stand in the tab of this id: states and timers."""
        with contextlib.ExitStack() as stack:
            for each in (each for pair in self._ways[id] for each in pair):
                stack.enter_context(each)
            yield

    def show(self, id: str) -> list[Any]:
        """Updates of :attr:`all` that show the tab of this id."""
        chosen = {bar: tab.id for bar, tab in self._ways[id]}
        return [gr.update(selected=chosen[bar]) if bar in chosen else gr.skip() for bar in self.all]


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
    machine = studio.device.status()
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
        visitor.say(titles.get(entry.name, entry.name))
        if entry.name in titles or not studio.features.is_own(entry.name)
        else others
        for entry in studio.device.list_loaded()
    ]
    facts.append(("Loaded", ", ".join(loaded) or visitor.say("nothing yet")))
    waiting = studio.jobs.count_unfinished()
    facts.append(("Queue", str(waiting) if waiting else visitor.say("empty")))
    return facts
