"""What holds for every sentence that a person sees, whatever was sent."""

from __future__ import annotations

import re

from pipelines.core.errors import UserError
from studio.i18n import translate

# Names of exceptions, of libraries and of their parts, and what only programmers say.
_INNER = re.compile(
    r"\b[A-Z]?\w*(?:Error|Exception|Warning)\b|Traceback|\bErrno\b|\bNone\b|\bNaN\b|\bnull\b"
    r"|\b(?:PIL|Pillow|zlib|struct|numpy|pydantic|codec|ImageCms|lcms|zipfile|bytes-like|unpack)\b"
    r"|\b0x[0-9a-f]+\b|<class|object at|\{\w*\}",
    re.IGNORECASE,
)


def check_sentence(error: UserError, *foreign: str) -> None:
    """Asserts that an error is one plain sentence in both languages.

    Args:
        error: what was raised.
        foreign: words of the input that may stand in it.
    """
    for language in ("en", "zh"):
        check_text(translate(error.message, language), language, *foreign)


def check_text(said: str, language: str, *foreign: str) -> None:
    """Asserts the same of a sentence that has been put into a language already."""
    if language == "zh":
        assert any("\u4e00" <= character <= "\u9fff" for character in said), said
    for words in foreign:
        said = said.replace(words, "")
    assert not _INNER.search(said), said
    assert said.rstrip()[-1] in ".。", said
