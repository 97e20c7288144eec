"""Code of each language that is coloured, made to be slow: it is coloured in time, or stands as it
was written; nothing of it is lost.

Each language colours a share of the texts, drawn by its name: all of them took ten minutes of
computing and found no more, as lexers that are slow are so with many texts of a kind.
"""

from __future__ import annotations

import random
import time
from html.parser import HTMLParser

import pytest

from studio.features.chat.markdown import html as markdown
from studio.features.chat.markdown.html import MAX_COLOURED, MAX_COLOURED_LINE
from studio.features.chat.markdown.languages import _LANGUAGES
from studio.features.chat.markdown.process import LIMIT_SECONDS, GivenUpError, colour_elsewhere

pytestmark = pytest.mark.deep

PIECES = [*"!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~ 0a杯", "a ", "a.", "a(", "a<", "<a ", "{{", "${",
          '\\"', "x = "]  # fmt: skip
OPENERS = ['"', "'", '"""', "'''", "/*", "<!--", "(*", "{-", "<<A\n", "<<<A\n", '@"', 'r#"', "`",
           "$$", "=begin\n", "<?php ", "#if 0\n", "{", "[", "("]  # fmt: skip
LINES = ["", " ", "a", "a {", "}", "# a", "// a", "a:", "@a", "\\", "a = 1;", "    if a:"]
FENCE = "~" * (MAX_COLOURED_LINE + 1)  # longer than any line
SLOWEST = 1 / 4  # of a language's texts may be given up; one with more is not worth its place


def texts(language: str) -> list[str]:
    """Long lines of one piece; many short ones; and what is opened and never closed."""
    draw, room = random.Random(language), MAX_COLOURED - 100
    found = []
    for piece in draw.sample(PIECES, 4):
        line = (piece * MAX_COLOURED_LINE)[: MAX_COLOURED_LINE - 1]
        found.append((f"{line}\n" * 20)[:room])
    found += [(f"{line}\n" * MAX_COLOURED)[:room] for line in draw.sample(LINES, 2)]
    found += [opener + "a b 1, x\n" * (room // 10) for opener in draw.sample(OPENERS, 2)]
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


@pytest.fixture
def late_texts(monkeypatch) -> list[str]:
    """The beginnings of the texts whose colouring took too long."""
    beginnings: list[str] = []

    def colour(owner: str, language: str, code: str) -> str:
        try:
            return colour_elsewhere(owner, language, code)
        except GivenUpError:
            beginnings.append(code[:20])
            raise

    monkeypatch.setattr(markdown, "colour_elsewhere", colour)
    return beginnings


@pytest.mark.parametrize("language", sorted(_LANGUAGES))
def test_no_text_holds_up_the_page_or_loses_anything(language, late_texts):
    all_texts = texts(language)
    for text in all_texts:
        before = time.thread_time()
        html = markdown.render(f"{FENCE}{language}\n{text}{FENCE}", "ann")
        assert time.thread_time() - before < LIMIT_SECONDS, "the other process does not count"
        assert Code(html).words == text
    assert len(late_texts) <= SLOWEST * len(all_texts), late_texts
