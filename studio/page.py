"""The page: the tabs under one header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:
    from studio.server import Studio


def build(studio: Studio) -> gr.Blocks:
    """The Gradio page of ``studio``. Imports no torch: it must answer at once."""
    with gr.Blocks(title="Atelier", analytics_enabled=False) as page:
        gr.Markdown("# Atelier")
        gr.Markdown("\n".join(f"- {model.title}" for model in studio.catalog.models()))
    return page


def look() -> dict[str, Any]:
    """What the page is shown with: ``theme``, ``css_paths``, ``head``, ``i18n`` and the like,
    arguments of :func:`gradio.mount_gradio_app`."""
    return {}
