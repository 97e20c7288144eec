"""Markdown as HTML, block after block, by markdown-it; safe by how it is made.

HTML in an answer is text (CommonMark's HTML rules are off), links go to the web and nowhere else,
and a picture becomes a link, so that no answer can make the reader's browser fetch anything.
Formulas stay TeX in an element of the class ``math``, for KaTeX in the browser. Code is left out,
to be coloured by whoever asks: :func:`draw_blocks` returns it beside the HTML.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from html import escape
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token

_FORMULA_LINES = 60  # of one formula; a search for its end goes no farther
_LINK = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
# Pairs that hold a formula, and whether it stands on a line of its own.
_PAIRS = (("$$", "$$", True), ("\\[", "\\]", True), ("\\(", "\\)", False), ("$", "$", False))
# Where code belongs in the HTML. No text can look so: its “<” is escaped.
_PLACE = re.compile("<code-([0-9]+)>")


class Code(NamedTuple):
    """What stands in one block of code."""

    language: str
    text: str


class Block(NamedTuple):
    """One of a text's outermost blocks.

    Attributes:
        line: number of its first line, from 0.
        html: where its code belongs stands ``<code-0>``, ``<code-1>`` …
        codes: these.
    """

    line: int
    html: str
    codes: tuple[Code, ...]


def draw_blocks(text: str, growing: bool = False) -> list[Block]:
    """The outermost blocks of a text.

    Args:
        growing: the text is not complete: the end of a formula may still be on its way.
    """
    parser = _parser()
    env: dict[str, Any] = {"growing": growing}
    tokens = parser.parse(text, env)
    found, start = [], 0
    for at, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            block = tokens[start : at + 1]
            env["codes"] = []
            html = parser.renderer.render(block, parser.options, env)
            line = block[0].map[0] if block[0].map else 0
            found.append(Block(line, html, tuple(env["codes"])))
            start = at + 1
    return found


def put_codes(html: str, codes: list[str]) -> str:
    """A block's HTML with the HTML of its code in place."""
    return _PLACE.sub(lambda match: codes[int(match[1])], html) if codes else html


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("zero")
    parser.inline = _Inline()
    parser.configure("commonmark", {"html": False}).enable(["table", "strikethrough"])
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


# --- emphasis in writing without spaces -----------------------------------------------------------


class _Inline(ParserInline):
    """Inline rules that know of writing without spaces between words."""

    def parse(self, src: str, md: MarkdownIt, env: Any, tokens: list[Token]) -> list[Token]:
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


class _State(StateInline):
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        """Whether a run of ``*``, ``_`` or ``~`` may open and close.

        CommonMark tells the two apart by spaces and punctuation around a run, which fails where
        words follow one another without spaces: in ``**注意：**请`` the second run would close
        nothing. Here such writing, its punctuation included, counts as a letter before which and
        behind which a run may open and close (https://github.com/tats-u/markdown-cjk-friendly), and
        so does punctuation of no width of its own (quotes, dashes, dots) that stands beside it.
        All other writing is read as CommonMark 0.31.2 has it.
        """
        end = start
        while end < self.posMax and self.src[end] == self.src[start]:
            end += 1
        last = self.src[start - 1] if start > 0 else " "
        if start > 1 and _is_variation(last):  # it chooses a form of the character before it
            last = self.src[start - 2]
        next_ = self.src[end] if end < self.posMax else " "
        last_space, next_space = isWhiteSpace(ord(last)), isWhiteSpace(ord(next_))
        last_sign, next_sign = _is_sign(last), _is_sign(next_)
        last_unspaced = _is_unspaced(last) or (last_sign and self._beside_unspaced(start - 1, -1))
        next_unspaced = _is_unspaced(next_) or (next_sign and self._beside_unspaced(end, 1))
        left = not next_space and (
            not next_sign or next_unspaced or last_space or last_sign or last_unspaced
        )
        right = not last_space and (
            not last_sign or last_unspaced or next_space or next_sign or next_unspaced
        )
        return Scanned(
            left and (canSplitWord or not right or last_sign),
            right and (canSplitWord or not left or next_sign),
            end - start,
        )

    def _beside_unspaced(self, at: int, step: int) -> bool:
        """Whether a few signs, from ``at`` away from a run, end at writing without spaces."""
        for place in range(at, at + step * _SIGNS, step):
            if not 0 <= place < self.posMax or self.src[place] in "*_~":
                return False
            if not _is_sign(self.src[place]):
                return _is_unspaced(self.src[place])
            if _is_unspaced(self.src[place]):
                return True
        return False


def _is_sign(character: str) -> bool:
    return isMdAsciiPunct(ord(character)) or isPunctChar(character)


def _is_variation(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


_SIGNS = 6  # as many may stand between a run and the writing: “……”」
# Thai and Lao, Tibetan, Burmese, Khmer, Tai Le to Tai Tham, Javanese, Burmese extended.
_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf"
                       "\ua980-\ua9ff\uaa60-\uaa7f]")  # fmt: skip
_EMOJI = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff]")


@functools.lru_cache(maxsize=4096)
def _is_unspaced(character: str) -> bool:
    """Whether it is of a writing without spaces between words: letters, signs and punctuation."""
    wide = unicodedata.east_asian_width(character) in "WFH"
    return (wide and not _EMOJI.match(character)) or _UNSPACED.match(character) is not None


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
        end = _find_closing(state, begin, closing)
        if end < 0:
            return False
        if not silent:
            token = state.push("math", "", 0)
            token.content, token.meta = text[begin:end].strip(), {"display": display}
        state.pos = end + len(closing)
        return True
    return False


def _find_closing(state: StateInline, begin: int, closing: str) -> int:
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
    env["codes"].append(Code(language, token.content))
    return (
        f'<div class="code"><div class="code-head"><span>{escape(language)}</span>'
        '<button type="button" class="copy-code"></button></div>'
        f'<pre tabindex="0"><code><code-{len(env["codes"]) - 1}></code></pre></div>'
    )


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
