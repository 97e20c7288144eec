"""A mask over a drawing canvas, in red: where a picture is to change. Its value is the mask's id.

The mask is a layer of its own (``assets/canvas/mask.js``): the picture below stays the file that
was brought in. What is painted is sent to ``POST /api/v1/inputs?mask=true``.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from pipelines.core.errors import BadRequest
from studio.i18n import LANGUAGES
from studio.page.components.canvas import (
    ICONS,
    OFFERED,
    UNSENT,
    button,
    script,
    size_buttons,
    words_in,
)

SIZES = (12, 24, 48, 96)  # pixels of a canvas 512 pixels wide

WORDS = {
    "mask-tools": "Tools of the mask",
    "layer": "Mask",
    "paint": "Paint a mask",
    "eraser": "Eraser",
    "undo": "Undo",
    "redo": "Redo",
    "clear": "Clear",
    "invert": "Invert the mask",
    "outside": "Mask all that is outside of the line",
    "inside": "Mask all that is inside of the line",
    "grow": "Grow the mask",
    "shrink": "Shrink the mask",
    "alpha": "Mask what is transparent in the picture",
    "state": "{percent} % of the picture may change: what is striped.",
    "none": "No mask: the whole picture may change.",
    "gone": "The mask is no longer here. Paint it again.",
    "offline": "The studio cannot be reached. Your mask is still here; try again in a moment.",
}

_ICONS = ICONS | {
    "invert": '<circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 010 16z" fill="currentColor"/>',
    "outside": '<path d="M4 4h16v16H4z" fill="currentColor" fill-opacity=".35"/>'
    '<circle class="hole" cx="12" cy="12" r="5"/>',
    "inside": '<path d="M4 4h16v16H4z"/><circle cx="12" cy="12" r="5" fill="currentColor"/>',
    "grow": '<circle cx="12" cy="12" r="3" fill="currentColor"/>'
    '<path d="M12 6V2M12 22v-4M6 12H2M22 12h-4"/>',
    "shrink": '<circle cx="12" cy="12" r="2" fill="currentColor"/>'
    '<path d="M12 2v5l-2-2m2 2l2-2M12 22v-5l-2 2m2-2l2 2'
    'M2 12h5l-2-2m2 2l-2 2M22 12h-5l2-2m-2 2l2 2"/>',
    "alpha": '<path d="M4 4h16v16H4z"/><path d="M4 4h8v8H4zM12 12h8v8h-8z" fill="currentColor"/>',
}

_ACTS = ("undo", "redo", "clear", "invert", "outside", "inside", "grow", "shrink", "alpha")


def mask_layer(name: str, canvas: str, **options: Any) -> gr.HTML:
    """The component, below its canvas; its ``input`` event tells of another mask.

    Args:
        name: the component's ``elem_id``, and the mask's name under ``window.atelierMasks``.
        canvas: the name of the canvas that it lies on.
        **options: further arguments of :class:`gradio.HTML`.
    """
    words = {language: words_in(WORDS, language) for language in LANGUAGES}
    constants = (
        f"const NAME = {json.dumps(name)}, CANVAS = {json.dumps(canvas)}, "
        f"WORDS = {json.dumps(words)};\n"
    )
    return gr.HTML(
        OFFERED,
        html_template=_markup(),
        js_on_load=constants + script("strokes") + script("mask"),
        apply_default_css=False,
        elem_id=name,
        **options,
    )


def mask_of(picture: str, mask: str | None, is_offered: bool = False) -> str:
    """The value that shows a mask as soon as its picture lies on the canvas; no mask clears it.

    Args:
        is_offered: only where the browser's tab has no mask of its own.
    """
    return f"{OFFERED if is_offered else ''}{picture}:{mask or ''}"


def mask_on(value: Any) -> str | None:
    """The id in a mask's value; None where nothing is masked.

    Raises:
        BadRequest: the browser could not send the mask.
    """
    if value == UNSENT:
        raise BadRequest(
            "The newest lines of your mask have not reached the studio, so nothing was painted. "
            "They are still on the picture; try again in a moment."
        )
    return str(value or "").removeprefix(OFFERED).rpartition(":")[2] or None


def _markup() -> str:
    acts = "".join(button(act, f'data-do="{act}"', _ICONS) for act in _ACTS)
    return (
        '<div class="drawing masking"><div class="tools" role="toolbar" data-words="mask-tools">'
        '<button type="button" class="words" data-paints data-written data-words="paint"></button>'
        f'<span class="sizes">{size_buttons(SIZES)}{button("eraser", "data-erases")}</span>'
        f'<span class="acts">{acts}</span></div>'
        '<div class="about-mask"><span class="no-mask" data-words="none"></span>'
        '<span class="state" hidden></span></div>'
        '<div class="said error" role="alert" hidden></div></div>'
    )
