"""The gallery's tools: going to a day, and choosing several pictures to download or delete.

Drawn in the browser (``assets/gallery.js``): which pictures are chosen is of no concern to the
server until something is done with them, and a choice of thousands is not sent at every click.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import gradio as gr

from pipelines.core.paths import ASSETS
from studio.core.exchange import Target
from studio.i18n import LANGUAGES, texts

WORDS = {
    "until": "Up to the day",
    "oldest": "The oldest",
    "newest": "Back to the newest",
    "several": "Choose several",
    "chosen": "{count} pictures chosen",
    "one": "One picture chosen",
    "all": "All that are found",
    "none": "Choose none",
    "download": "Download",
    "delete": "Delete",
    "ask": "Delete {count} pictures for good?",
    "askOne": "Delete this picture for good?",
    "really": "Delete for good",
    "keep": "Keep",
    "deleting": "{step} of {total} pictures deleted",
    "stop": "Stop",
    "progress": "Progress",
    "offline": "The studio cannot be reached. Try again in a moment.",
}


def gallery_tools(targets: Sequence[Target] = ()) -> gr.HTML:
    """The component; it triggers ``jump`` with the last day to show as ``until`` (ISO, or empty),
    ``changed`` when pictures have been deleted, and ``send`` with ``ids`` and the name of the
    target as ``to``.

    Args:
        targets: to which the chosen pictures can be sent.
    """
    sent = {f"send-{target.name}": target.button for target in targets}
    words = {language: _words(language, WORDS | sent) for language in LANGUAGES}
    script = (ASSETS / "gallery.js").read_text(encoding="utf-8")
    return gr.HTML(
        "",
        html_template=_MARKUP.replace("<!--send-->", "".join(map(_button, sent))),
        js_on_load=f"const WORDS = {json.dumps(words)};\n{script}",
        apply_default_css=False,
        elem_id="gallery-tools",
    )


def _words(language: str, words: Mapping[str, str]) -> dict[str, str]:
    table = texts(language)
    return {name: table.get(text, text) for name, text in words.items()}


def _button(act: str, classes: str = "") -> str:
    return f'<button type="button" data-do="{act}" data-words="{act}" class="{classes}"></button>'


_MARKUP = (
    '<div class="gallery-tools"><div class="line">'
    '<span class="days"><label><span data-words="until"></span><input type="date"></label>'
    f"{_button('oldest')}{_button('newest')}</span>{_button('several')}</div>"
    '<div class="line several" hidden><span class="count" role="status"></span>'
    f"{_button('all')}{_button('none')}<!--send-->{_button('download')}{_button('delete')}</div>"
    '<div class="confirm" role="group" hidden><p></p>'
    f'<div class="line">{_button("really", "danger")}{_button("keep")}</div></div>'
    '<div class="line working" hidden><div class="progress" role="progressbar" aria-valuemin="0" '
    'aria-valuemax="100"><div class="bar"><span></span></div><div class="words"></div></div>'
    f"{_button('stop')}</div>"
    '<div class="said error" role="alert" hidden></div>'
    '<iframe name="gallery-download" title="Download" hidden></iframe></div>'
)
