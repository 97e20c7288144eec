"""A canvas to draw on, or to bring a picture to; its value is the id of what is on it.

Drawn in the browser on a plain canvas (``assets/canvas/``) that sends each change to
``POST /api/v1/inputs``, where it is looked at and encoded again like any upload. Gradio's own
ImageEditor sends every stroke to ``component_server``, a route that stays closed here: it keeps
what it is sent in one memory for all visitors, under ids and list indices that the browser chooses,
and decodes it without any limit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.errors import BadRequest
from pipelines.core.paths import ASSETS
from studio.core.palette import PENS
from studio.i18n import LANGUAGES, texts

if TYPE_CHECKING:
    from studio.core.gallery.inputs import Input
    from studio.core.services import Studio
    from studio.page.widgets import Visitor

OFFERED = "offered:"
UNSENT = "unsent"  # in the place of an id: what is on the canvas has not reached the server
SIZES = (3, 6, 12, 24)  # pixels of a canvas 512 pixels wide

WORDS = {
    **{name: name.capitalize() for name in PENS},
    "tools": "Drawing tools",
    "canvas": "Drawing canvas",
    "invitation": "Draw here, or drop a picture",
    "eraser": "Eraser",
    "undo": "Undo",
    "redo": "Redo",
    "clear": "Clear",
    "open": "Bring in a picture",
    "kinds": "This is not a PNG, JPEG or WEBP picture.",
    "gone": "The picture is no longer here. Bring it in again.",
    "offline": "The studio cannot be reached. Your drawing is still here; try again in a moment.",
}

# Drawn with the pen of the text's colour, 24 × 24.
ICONS = {
    "eraser": '<path d="M4 15l9-9 6 6-7 7H8zM9 10l6 6M12 19h8"/>',
    "undo": '<path d="M8 5L4 9l4 4M4 9h9a5 5 0 010 10h-3"/>',
    "redo": '<path d="M16 5l4 4-4 4M20 9h-9a5 5 0 000 10h3"/>',
    "clear": '<path d="M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5"/>',
    "open": '<path d="M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01"/>',
}


def canvas(name: str, **options: Any) -> gr.HTML:
    """The component; its ``input`` event tells that another picture lies on the canvas.

    Args:
        name: the component's ``elem_id``, and under ``window.atelierDrawings`` the canvas's name.
        **options: further arguments of :class:`gradio.HTML`.
    """
    words = {language: words_in(WORDS, language) for language in LANGUAGES}
    constants = f"const NAME = {json.dumps(name)}, WORDS = {json.dumps(words)};\n"
    return gr.HTML(
        OFFERED,
        html_template=_markup(),
        js_on_load=constants + script("strokes") + script("drawing"),
        apply_default_css=False,
        elem_id=name,
        **options,
    )


def bring_from_gallery(studio: Studio, visitor: Visitor, *pictures: str) -> list[Input]:
    """Pictures of the visitor's gallery, brought in; a toast says what was changed of them.

    Raises:
        UserError: as :meth:`studio.core.gallery.inputs.Inputs.from_gallery` does.
    """
    brought = [studio.inputs.from_gallery(visitor.owner.id, picture) for picture in pictures]
    said = dict.fromkeys(visitor.say(note) for each in brought for note in each.notes)
    if said:
        gr.Info("<br>".join(map(escape, said)), title="")
    return brought


def script(name: str) -> str:
    """One of the scripts of drawing."""
    return (ASSETS / "canvas" / f"{name}.js").read_text(encoding="utf-8")


def offer_picture(id: str) -> str:
    """The value that shows a picture only where the browser's tab has no drawing of its own."""
    return OFFERED + id


def picture_on(value: Any) -> str:
    """The id in a canvas's value; empty where there is none.

    Raises:
        BadRequest: the browser could not send what is on the canvas.
    """
    if value == UNSENT:
        raise BadRequest(
            "The newest lines of your drawing have not reached the studio, so it was not used. "
            "They are still on the canvas; try again in a moment."
        )
    return str(value or "").removeprefix(OFFERED)


def settled_js(drawings: dict[int, str]) -> str:
    """JavaScript for an event's ``js``: waits until all drawings are sent, then uses their ids.

    Args:
        drawings: place of a canvas, of its mask or of further pictures, among the event's inputs →
            its name.
    """
    pairs = ", ".join(f'[{place}, "{name}"]' for place, name in drawings.items())
    return (
        "async (...values) => {"
        f" for (const [place, name] of [{pairs}]) {{"
        " const drawing = window.atelierDrawings?.[name] || window.atelierMasks?.[name]"
        " || window.atelierSeveral?.[name];"
        " if (!drawing) continue;"
        " await drawing.whenSettled();"
        " values[place] = drawing.value();"
        " }"
        " return values; }"
    )


# For an event's ``js`` with the result's width and height as inputs: empty canvases take their
# proportions, at once and when they are first shown.
FIT_JS = (
    "(width, height) => {"
    " if (!(width > 0 && height > 0)) return;"
    " window.atelierCanvasSize = [width, height];"
    " Object.values(window.atelierDrawings || {}).forEach((drawing) => drawing.fit());"
    " }"
)


def words_in(words: Mapping[str, str], language: str) -> dict[str, str]:
    """The texts of a script in a language."""
    table = texts(language)
    return {name: table.get(text, text) for name, text in words.items()}


def _markup() -> str:
    """The tools and the canvas; words are put in by the script, in the reader's language."""
    sizes = size_buttons(SIZES)
    colours = "".join(
        f'<button type="button" data-colour="{colour}" data-words="{name}">'
        f'<i style="background:{colour}"></i></button>'
        for name, colour in PENS.items()
    )
    eraser = button("eraser", "data-erases")
    acts = "".join(button(act, f'data-do="{act}"') for act in ("undo", "redo", "clear", "open"))
    return (
        '<div class="drawing"><div class="tools" role="toolbar" data-words="tools">'
        f'<span class="sizes">{sizes}</span><span class="colours">{colours}</span>'
        f'<span class="acts">{eraser}{acts}</span></div>'
        '<div class="canvas-frame"><div class="margins" hidden></div>'
        '<canvas width="512" height="512" tabindex="0" role="img">'
        '</canvas><span class="canvas-hint" data-words="invitation"></span></div>'
        '<input type="file" accept="image/png,image/jpeg,image/webp" hidden>'
        '<div class="said error" role="alert" hidden></div></div>'
    )


def size_buttons(sizes: Sequence[int]) -> str:
    """A button with a dot for each size of a brush, in pixels of a canvas 512 pixels wide."""
    return "".join(
        f'<button type="button" data-size="{size}" title="{size} px" aria-label="{size} px">'
        f'<i style="width:{dot:.0f}px;height:{dot:.0f}px"></i></button>'
        for size, dot in zip(sizes, _dots(sizes), strict=True)
    )


def _dots(sizes: Sequence[int]) -> list[float]:
    """CSS pixels of the dots, no two alike: those of broad brushes are drawn smaller."""
    scale = min(0.55, 18 / max(sizes))
    return [4 + size * scale for size in sizes]


def button(name: str, data: str, icons: Mapping[str, str] = ICONS) -> str:
    """A button with a picture, whose words are put in by the script."""
    return (
        f'<button type="button" {data} data-words="{name}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true">{icons[name]}</svg></button>'
    )
