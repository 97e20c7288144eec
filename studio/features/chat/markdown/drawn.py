"""What the process that draws texts says: it is looked at before it stands in anybody's page.

That process reads the texts of all who write here. Should one of them ever make it say what it
likes, that is neither HTML that acts on a page nor other words than were written.
"""

from __future__ import annotations

import re
from html import unescape

from pydantic import ConfigDict, TypeAdapter

from pipelines.core.processes import UnreadableAnswer
from studio.features.chat.markdown.blocks import Block

# Each tag that :mod:`studio.features.chat.markdown.blocks` writes, attributes and all.
_TAG = re.compile(
    r"</?(?:p|h[1-6]|ul|ol|li|blockquote|em|strong|s|table|thead|tbody|tr|th|td|code|pre|span|div|a"
    r"|button)>"
    r"|<(?:br|hr) />"
    r'|<ol start="[0-9]{1,9}">'
    r'|<t[hd] style="text-align:(?:left|right|center)">'
    r'|<(?:div|span) class="(?:math|math display)">'
    r'|<div class="(?:wide|code|code-head)">'
    r'|<button type="button" class="copy-code">'
    r'|<pre tabindex="0">'
    r"|<code-[0-9]{1,6}>"
    r'|<a (?:class="picture-link" )?href="(?:(?:https?://|mailto:)[^"<>]*+)?" target="_blank" '
    r'rel="noopener noreferrer nofollow">',
    re.IGNORECASE,
)
_COLOUR = re.compile(r'<span class="(?:tok-[a-zA-Z0-9-]{1,20} ?){1,4}">|</span>')
_PLACE = re.compile("<code-([0-9]+)>")
_BLOCKS: TypeAdapter[tuple[list[Block]]] = TypeAdapter(
    tuple[list[Block]], config=ConfigDict(strict=True, extra="forbid")
)
_TEXT: TypeAdapter[str] = TypeAdapter(str, config=ConfigDict(strict=True))


def read_blocks(answer: bytes) -> list[Block]:
    """The blocks of a text in a line of JSON.

    Raises:
        UnreadableAnswer: it holds anything else, or HTML that is none of ours.
    """
    try:
        (blocks,) = _BLOCKS.validate_json(b"[" + answer + b"]")
    except ValueError as error:
        raise UnreadableAnswer(str(error)[:500]) from None
    for block in blocks:
        _check_html(block.html, len(block.codes))
    return blocks


def read_coloured(answer: bytes, code: str) -> str:
    """The HTML of a piece of code in a line of JSON.

    Raises:
        UnreadableAnswer: it is anything else than this code with colours.
    """
    try:
        html = _TEXT.validate_json(answer)
    except ValueError as error:
        raise UnreadableAnswer(str(error)[:500]) from None
    text, plain = _COLOUR.sub("", html), code.removeprefix("\ufeff")
    # Pygments leaves a byte order mark out, and ends the last line.
    if "<" in text or unescape(text) not in (plain, f"{plain}\n"):
        raise UnreadableAnswer("it is not the code that was to be coloured")
    return html


def _check_html(html: str, codes: int) -> None:
    if "<" in _TAG.sub("", html):
        raise UnreadableAnswer("it has a tag that is none of ours")
    if any(int(place) >= codes for place in _PLACE.findall(html)):
        raise UnreadableAnswer("it has a place of code that there is not")
