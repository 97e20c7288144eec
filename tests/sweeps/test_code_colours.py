"""Code of each language that is coloured, made to be slow: it is coloured in time, or stands as it
was written; nothing of it is lost."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest

from studio.features.chat.draw_process import LIMIT_SECONDS
from studio.features.chat.languages import lexer_names
from studio.features.chat.markdown import MAX_COLOURED, MAX_COLOURED_LINE, render

pytestmark = pytest.mark.deep

PIECES = [*"!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~ 0a杯", "a ", "a.", "a(", "a<", "<a ", "{{", "${",
          '\\"', "x = "]  # fmt: skip
OPENERS = ['"', "'", '"""', "'''", "/*", "<!--", "(*", "{-", "<<A\n", "<<<A\n", '@"', 'r#"', "`",
           "$$", "=begin\n", "<?php ", "#if 0\n", "{", "[", "("]  # fmt: skip
LINES = ["", " ", "a", "a {", "}", "# a", "// a", "a:", "@a", "\\", "a = 1;", "    if a:"]
FENCE = "~" * (MAX_COLOURED_LINE + 1)  # longer than any line
SLOWEST = 1 / 4  # of a language's texts may stand uncoloured; one with more is not worth its place


def texts() -> list[str]:
    """Long lines of one piece; many short ones; and what is opened and never closed."""
    room = MAX_COLOURED - 100
    found = []
    for piece in PIECES:
        line = (piece * MAX_COLOURED_LINE)[: MAX_COLOURED_LINE - 1]
        found.append((f"{line}\n" * 20)[:room])
    found += [(f"{line}\n" * MAX_COLOURED)[:room] for line in LINES]
    found += [opener + "a b 1, x\n" * (room // 10) for opener in OPENERS]
    return [text if text.endswith("\n") else f"{text}\n" for text in found]


class Code(HTMLParser):
    """The words within ``<code>``."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self._inside = "", False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._inside |= tag == "code"

    def handle_endtag(self, tag):
        self._inside &= tag != "code"

    def handle_data(self, data):
        self.words += data if self._inside else ""


@pytest.mark.parametrize("language", lexer_names())
def test_no_text_holds_up_the_page_or_loses_anything(language):
    uncoloured, all_texts = 0, texts()
    for text in all_texts:
        before = time.thread_time()
        html = render(f"{FENCE}{language}\n{text}{FENCE}", "ann")
        assert time.thread_time() - before < LIMIT_SECONDS, "the other process does not count"
        assert Code(html).words == text
        uncoloured += "<span class=" not in html
    assert uncoloured <= SLOWEST * len(all_texts)
