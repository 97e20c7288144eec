"""Answers as HTML: Markdown with code and formulas, and nothing of it can act on the page.

Safe by how it is made: HTML in an answer is text (CommonMark's HTML rules are off), links go to the
web and nowhere else, and a picture becomes a link, so that no answer can make the reader's browser
fetch anything. Formulas stay TeX in an element of the class ``math``, for KaTeX in the browser.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

MAX_RENDERED = 60_000  # characters; what is longer is shown as it was written
MAX_COLOURED = 20_000  # characters of code
_FORMULA_LINES = 60  # of one formula; a search for its end goes no farther
_GROWTH = 32  # an open block is drawn anew when it has grown by this part of itself
_LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
# Pairs that hold a formula, and whether it stands on a line of its own.
_PAIRS = (("$$", "$$", True), ("\\[", "\\]", True), ("\\(", "\\)", False), ("$", "$", False))


def render(text: str) -> str:
    """A whole answer as HTML, block after block."""
    if len(text) > MAX_RENDERED:
        return as_written(text)
    return "".join(html for _, html in _blocks(text))


def as_written(text: str) -> str:
    """Text with its spaces and line ends, nothing read into it."""
    return f'<div class="as-written">{escape(text)}</div>'


@dataclass(frozen=True, slots=True)
class Grown:
    """What has come to an answer since the last look.

    Attributes:
        blocks: HTML of those that are complete now; they never change again.
        tail: HTML of the block that is still open, anew, or None: it stays and gets ``words``.
        words: text to put behind what is shown.
    """

    blocks: tuple[str, ...] = ()
    tail: str | None = None
    words: str = ""


@dataclass(slots=True)
class Growing:
    """An answer that is being written, drawn with work in proportion to its length.

    Only the block that is still open is ever read again, and that when it has grown by a part of
    itself; in between its new words are told as they are.
    """

    _open: str = ""  # the open block
    _new: int = 0  # characters of it that were told as they are
    _length: int = 0
    _plain: bool = False

    def feed(self, words: str) -> Grown | None:
        """What to change for the answer's next words; None for nothing."""
        if not words:
            return None
        self._open += words
        self._new += len(words)
        self._length += len(words)
        drawn = len(self._open) - self._new
        if self._plain or self._new < drawn // _GROWTH:
            return Grown(words=words)
        self._new, self._plain = 0, self._length > MAX_RENDERED
        if self._plain:  # from now on words are only added
            return Grown(tail=as_written(self._open))
        if not (found := _blocks(self._open, growing=True)):
            return Grown(tail=as_written(self._open))
        *complete, (line, tail) = found
        start = _offset(self._open, line)
        closed = _blocks(self._open[:start]) if complete else []
        self._open = self._open[start:]
        return Grown(tuple(html for _, html in closed), tail)


def _offset(text: str, line: int) -> int:
    """Where the line of this number begins."""
    ends = _LINE_END.finditer(text)
    return next((end.end() for number, end in enumerate(ends, 1) if number == line), 0)


def _blocks(text: str, growing: bool = False) -> list[tuple[int, str]]:
    """The outermost blocks of a text: number of the first line, and HTML."""
    parser = _parser()
    env: dict[str, Any] = {"growing": growing}
    tokens = parser.parse(text, env)
    found, start = [], 0
    for at, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            block = tokens[start : at + 1]
            html = parser.renderer.render(block, parser.options, env)
            found.append((block[0].map[0] if block[0].map else 0, html))
            start = at + 1
    return found


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: _LINK.match(url) is not None
    parser.block.ruler.before(
        "code", "math_block", _math_block, {"alt": ["paragraph", "reference", "blockquote"]}
    )
    parser.inline.ruler.before("escape", "math", _math)
    rules = {
        "fence": _code,
        "code_block": _code,
        "image": _image,
        "link_open": _link,
        "table_open": lambda *_: '<div class="wide"><table>',
        "table_close": lambda *_: "</table></div>",
        "math": _formula,
        "math_block": _formula,
    }
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    return parser


# --- formulas -----------------------------------------------------------------------------------


def _math(state: StateInline, silent: bool) -> bool:
    """A formula within a line, in one of the pairs; ``$5 and $6`` is none."""
    text, start = state.src, state.pos
    if text[start] not in "$\\":
        return False
    for opening, closing, display in _PAIRS:
        if not text.startswith(opening, start, state.posMax):
            continue
        begin = start + len(opening)
        end = _closing(state, begin, closing)
        if end < 0:
            return False
        if not silent:
            token = state.push("math", "", 0)
            token.content, token.meta = text[begin:end].strip(), {"display": display}
        state.pos = end + len(closing)
        return True
    return False


def _closing(state: StateInline, begin: int, closing: str) -> int:
    """Where the pair that is open at ``begin`` closes, or −1."""
    text = state.src
    # What was once looked for in vain is not there farther on either.
    if begin >= state.env.setdefault("no_pair", {}).get((text, closing), len(text) + 1):
        return -1
    end = text.find(closing, begin, state.posMax)
    while end > 0 and closing[0] == "$" and text[end - 1] == "\\":
        end = text.find(closing, end + 1, state.posMax)
    if end < 0:
        state.env["no_pair"][text, closing] = begin
        return -1
    if closing == "$":
        # As Pandoc has it: no space inside the dollars, no digit behind them.
        loose = (
            text[begin].isspace() or text[end - 1].isspace() or text[end + 1 : end + 2].isdigit()
        )
        if loose or end == begin:
            return -1
    return end if text[begin:end].strip() else -1


def _math_block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A formula that begins a line with ``$$`` or ``\\[`` and ends one."""
    if state.is_code_block(first):
        return False
    start = state.bMarks[first] + state.tShift[first]
    pair = next((p for p in _PAIRS[:2] if state.src.startswith(p[0], start)), None)
    if pair is None:
        return False
    opening, closing, _ = pair
    lines, at, limit = [], first, min(last, first + _FORMULA_LINES)
    while at < limit:
        line = state.src[state.bMarks[at] + state.tShift[at] : state.eMarks[at]]
        if at > first and state.sCount[at] < state.blkIndent:
            return False
        if at == first:
            line = line[len(opening) :]
        lines.append(line)
        if line.rstrip().endswith(closing):
            break
        if closing in line:  # goes on behind the formula: a paragraph with one in it
            return False
        at += 1
    else:
        # Its end may still be on its way: until then it is shown as it is written.
        if limit < last or not state.env.get("growing"):
            return False
        at -= 1
    if silent:
        return True
    token = state.push("math_block", "", 0)
    token.content = "\n".join(lines).rstrip().removesuffix(closing).strip()
    token.meta, token.map = {"display": True}, [first, at + 1]
    state.line = at + 1
    return True


def _formula(self: RendererHTML, tokens: list[Token], at: int, *_: Any) -> str:
    token = tokens[at]
    tag = "div" if token.type == "math_block" else "span"
    shown = " display" if token.meta["display"] else ""
    return f'<{tag} class="math{shown}">{escape(token.content)}</{tag}>'


# --- code, links, pictures ----------------------------------------------------------------------


def _code(self: RendererHTML, tokens: list[Token], at: int, options: Any, env: Any) -> str:
    token = tokens[at]
    language = (token.info.split() or [""])[0][:30]
    shown = escape(token.content) if env["growing"] else _coloured(token.content, language)
    return (
        f'<div class="code"><div class="code-head"><span>{escape(language)}</span>'
        '<button type="button" class="copy-code"></button></div>'
        f'<pre tabindex="0"><code>{shown}</code></pre></div>'
    )


def _coloured(code: str, language: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    if not language or len(code) > MAX_COLOURED:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(code)
    return highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix="tok-"))


def _link(self: RendererHTML, tokens: list[Token], at: int, options: Any, env: Any) -> str:
    href = escape(str(tokens[at].attrGet("href") or ""))
    return f'<a href="{href}" target="_blank" rel="noopener noreferrer nofollow">'


def _image(self: RendererHTML, tokens: list[Token], at: int, options: Any, env: Any) -> str:
    """A link to the picture: it is fetched when the reader wants it, never before."""
    token = tokens[at]
    source = escape(str(token.attrGet("src") or ""))
    words = escape(self.renderInlineAsText(token.children or [], options, env)) or source
    return (
        f'<a class="picture-link" href="{source}" target="_blank" '
        f'rel="noopener noreferrer nofollow">{words}</a>'
    )
