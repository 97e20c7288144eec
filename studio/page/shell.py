"""The page: a slim header and the tabs below it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from pipelines.core.sizes import format_bytes
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.styles import styles
from pipelines.dreambooth.presets import presets as training_presets
from studio.core.accounts.accounts import Owner
from studio.core.gallery.reuse import fields_of
from studio.core.machine import is_own
from studio.core.tab_ids import (
    CHAT,
    CLUSTERING,
    COMPARE,
    GALLERY,
    INSIDE,
    PAINT,
    SETTINGS,
    SHELF,
    SHORTEN,
    STEER,
    TEACH,
)
from studio.features.chat import tab as chat
from studio.features.clustering import tab as cluster
from studio.features.control import tab as control
from studio.features.gallery import tab as gallery
from studio.features.labs import inspect_tab as inside
from studio.features.labs import shorten_tab as shorten
from studio.features.library import tab as shelf
from studio.features.painting import compare, text_to_image
from studio.features.settings import tab as settings
from studio.features.training import tab as train
from studio.i18n import LANGUAGES, texts
from studio.page import views
from studio.page.components.details import Details, Shown
from studio.page.events import Page
from studio.page.opening import Opening
from studio.page.theme import theme
from studio.page.widgets import QUIET, Visitor, label

if TYPE_CHECKING:
    from studio.core.services import Studio

HEADER_SECONDS = 5
STYLES = ("page", "inside", "shorten", "clustering", "clustering_charts")


def build(studio: Studio, is_upload: Callable[[Owner, Path], bool] = lambda *_: False) -> Page:
    """The Gradio page of ``studio``. Imports no torch: it must answer at once.

    Args:
        is_upload: whether an owner has uploaded a file, which no tab has taken yet.
    """
    with Page(is_upload, title="Atelier", analytics_enabled=False, fill_width=True) as page:
        _header(studio, page)
        with gr.Tabs(
            selected=PAINT, elem_id="tabs", elem_classes="in-address", overflow_behavior="wrap"
        ) as tabs:
            with gr.Tab(label("Text to image"), id=PAINT):
                painting = text_to_image.Tab(studio)
            with gr.Tab(label("Chat"), id=CHAT):
                chat.Tab(studio)
            with gr.Tab(label("Sketch & depth"), id=STEER) as steering_tab:
                steering = control.Tab(studio)
            with gr.Tab(label("Teach"), id=TEACH) as teaching_tab:
                teaching = train.Tab(studio)
            with gr.Tab(label("LoRAs"), id=SHELF) as shelf_tab:
                keeping = shelf.Tab(studio)
            with gr.Tab(label("Compare samplers"), id=COMPARE) as comparing_tab:
                comparing = compare.Tab(studio)
            with gr.Tab(label("Look inside"), id=INSIDE) as inside_tab:
                opened = inside.Tab(studio)
            with gr.Tab(label("Shorten"), id=SHORTEN) as shorten_tab:
                shortening = shorten.Tab(studio)
            with gr.Tab(label("Clustering"), id=CLUSTERING) as clustering_tab:
                clustering = cluster.Tab(studio)
            with gr.Tab(label("Gallery"), id=GALLERY) as gallery_tab:
                showing = gallery.Tab(studio)
            with gr.Tab(label("Settings"), id=SETTINGS, visible=False) as settings_tab:
                adjusting = settings.Tab(studio)
        painting.listen(Opening(page))
        steering.listen(Opening(page, steering_tab))
        teaching.listen(Opening(page, teaching_tab))
        teaching.send_to(painting, tabs, PAINT)
        keeping.listen(Opening(page, shelf_tab), shelf_tab)
        keeping.send_to(painting, tabs, PAINT)
        comparing.listen(Opening(page, comparing_tab))
        opened.listen(Opening(page, inside_tab))
        shortening.listen(Opening(page, shorten_tab))
        shortening.send_to(tabs, CHAT)
        clustering.listen(Opening(page, clustering_tab))
        showing.listen(gallery_tab)
        adjusting.listen(page, settings_tab)
        kept = (
            painting.details,
            steering.details,
            teaching.details,
            comparing.details,
            showing.details,
        )
        for source in (*kept, showing.dropped):
            _use_settings(source, painting, steering, tabs)
            _compare_settings(source, comparing, tabs)
        for source in kept:
            steering.take_pictures_of(source, tabs, STEER)
    return page


def _use_settings(
    source: Details, painting: text_to_image.Tab, steering: control.Tab, tabs: gr.Tabs
) -> None:
    """Settings of a picture that was steered go to the tab that steers."""

    def take(shown: Shown, visitor: Visitor) -> list[Any]:
        fields = fields_of(shown.parameters)
        if units := steering.units_of(shown, visitor):
            left = [gr.skip()] * len(painting.form.outputs)
            return [*left, *steering.fill(fields, units, visitor), gr.update(selected=STEER)]
        left = [gr.skip()] * len(steering.outputs)
        return [*painting.form.fill(fields, visitor), *left, gr.update(selected=PAINT)]

    outputs = [*painting.form.outputs, *steering.outputs, tabs]
    steering.read_after(source.on_click(source.use, take, outputs))


def _compare_settings(source: Details, comparing: compare.Tab, tabs: gr.Tabs) -> None:
    def take(shown: Shown, visitor: Visitor) -> list[Any]:
        return [*comparing.fill(fields_of(shown.parameters), visitor), gr.update(selected=COMPARE)]

    source.on_click(source.compare, take, [*comparing.outputs, tabs])


def look() -> dict[str, Any]:
    """What the page is shown with: arguments of :func:`gradio.mount_gradio_app`."""
    return {
        "theme": theme(),
        "css_paths": [ASSETS / f"{name}.css" for name in STYLES],
        "i18n": gr.I18n(**{language: labels(language) for language in LANGUAGES}),
    }


def labels(language: str) -> dict[str, str]:
    """All labels of the page in one language, those from ``presets/`` included.

    The browser takes braces for formatting of its own, so sentences with values are left to
    :func:`studio.i18n.translate`.
    """
    samplers = samplers_in(None)
    described = [*samplers, *samplers.schedules.values()]
    presets = [entry.description for entry in described] + [s.title for s in styles().values()]
    presets += [preset.title for preset in training_presets()]
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
