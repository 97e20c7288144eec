"""More pictures beside the one on a canvas; the value is their ids, with commas between.

Files that are dropped on the canvas together, pasted or chosen are sent to ``POST /api/v1/inputs``
one by one (``assets/canvas/several.js``): one that cannot be taken says so, and the others come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import gradio as gr

from studio.i18n import LANGUAGES
from studio.page.components.canvas import OFFERED, script, words_in

WORDS = {
    "invitation": "Several pictures that are dropped together are all changed in the same way.",
    "one": "One more picture is changed in the same way:",
    "count": "{count} more pictures are changed in the same way:",
    "picture": "Picture {number}",
    "out": "Leave picture {number} out",
    "none": "Leave them all out",
    "many": "At most {limit} more pictures are taken; {count} were left out.",
    "bringing": "{step} of {total} pictures brought in",
    "offline": "The studio cannot be reached. Try again in a moment.",
}


def several_pictures(name: str, canvas: str, most: int, **options: Any) -> gr.HTML:
    """The component, below its canvas; its ``input`` event tells of other pictures.

    Args:
        name: the component's ``elem_id``, and its name under ``window.atelierSeveral``.
        canvas: the name of the one that takes the first of several files.
        most: how many are taken besides that one.
        **options: further arguments of :class:`gradio.HTML`.
    """
    words = {language: words_in(WORDS, language) for language in LANGUAGES}
    constants = (
        f"const NAME = {json.dumps(name)}, CANVAS = {json.dumps(canvas)}, MOST = {most}, "
        f"WORDS = {json.dumps(words)};\n"
    )
    return gr.HTML(
        OFFERED,
        html_template=_MARKUP,
        js_on_load=constants + script("strokes") + script("several"),
        apply_default_css=False,
        elem_id=name,
        **options,
    )


def several_of(ids: Iterable[str], is_offered: bool = False) -> str:
    """The value that shows these pictures.

    Args:
        is_offered: only where the browser's tab has none of its own.
    """
    return (OFFERED if is_offered else "") + ",".join(ids)


def several_on(value: Any) -> list[str]:
    """The ids in a value, in their order."""
    return [id for id in str(value or "").removeprefix(OFFERED).split(",") if id]


_MARKUP = (
    '<div class="drawing several"><span class="invitation" data-words="invitation"></span>'
    '<div class="several-pictures" hidden>'
    '<span class="count" role="status"></span><ol></ol>'
    '<button type="button" class="words" data-written data-words="none"></button></div>'
    '<div class="working" role="status" hidden></div>'
    '<div class="said error" role="alert" hidden></div></div>'
)
