"""A number set by a slider or typed, over powers of ten too, which Gradio's slider cannot do."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
from pydantic import BaseModel

from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from studio.i18n import LANGUAGES, translate

_MARKUP = (
    '<div class="typed-slider"><label><span></span><input type="number"></label>'
    '<input type="range"></div>'
)


def typed_slider(
    model: type[BaseModel],
    name: str,
    least: float,
    most: float,
    step: float | None = None,
    **options: Any,
) -> gr.HTML:
    """The component for a field of a request; its ``release`` event tells that the number was set.

    What is typed is not bounded here: the request checks it, and says what its limits are.

    Args:
        least, most: the slider's ends.
        step: of the slider; None: it goes by powers of ten, 20 steps each, to two digits.
        **options: further arguments of :class:`gradio.HTML`.
    """
    field = model.model_fields[name]
    slider = Message("Slider: {field}", field=field.title)
    titles = {
        language: [translate(field.title, language), translate(slider, language)]
        for language in LANGUAGES
    }
    given = {"titles": titles, "least": least, "most": most, "step": step}
    script = (ASSETS / "typed_slider.js").read_text(encoding="utf-8")
    return gr.HTML(
        html_template=_MARKUP,
        js_on_load=f"const GIVEN = {json.dumps(given)};\n{script}",
        apply_default_css=False,
        **{"value": field.default, "container": True, "padding": True, **options},
    )
