"""Chat: conversations with language models, one or up to three side by side.

Drawn in the browser by ``assets/chat/``, which speaks with ``/api/v1/chats``. An answer comes as
server-sent events that hold only what is new (:mod:`studio.features.chat.answers.sse`);
Gradio's own Chatbot would carry the whole conversation through the server and draw the whole answer
anew twenty times a second, and knows neither branches nor revisions.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from pipelines.core.paths import ASSETS
from studio.core.exchange import CHAT_MODELS, Exchange, Taker, Target
from studio.core.feature import Tab
from studio.i18n import strings_in_scripts, translations

if TYPE_CHECKING:
    from studio.page.tab_events import TabEvents

SCRIPTS = ASSETS / "chat"


class ChatTab(Tab):
    """Draws the tab."""

    id, label = "chat", "Chat"
    takes = (Target(CHAT_MODELS),)

    def draw(self) -> None:
        """An element that the scripts draw in."""
        gr.HTML(
            "",
            html_template='<div class="chat"></div>',
            js_on_load=_start(),
            apply_default_css=False,
            elem_id="chat",
        )

    def listen(self, events: TabEvents, exchange: Exchange) -> None:
        """The scripts listen for themselves; others may show the tab."""
        exchange.take(CHAT_MODELS, Taker(self.id, (), lambda models, who, values: []))


@cache
def _start() -> str:
    """Loads the scripts with what they need to know."""
    given = {"words": translations(strings_in_scripts(SCRIPTS)), "katex": katex()}
    return (
        "import(new URL('scripts/main.js', document.baseURI).href)"
        f".then((chat) => chat.start(element.querySelector('.chat'), {json.dumps(given)}));"
    )


def katex() -> dict[str, Any] | None:
    """Where Gradio's page has KaTeX, its script and its style; None: formulas stay TeX."""
    folder = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    script = next(iter(sorted(folder.glob("katex-*.js"))), None)
    style = next(iter(sorted(folder.glob("katex-*.css"))), None)
    if script is None or style is None:
        return None
    return {"script": f"assets/{script.name}", "style": f"assets/{style.name}"}
