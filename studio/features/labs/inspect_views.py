"""What the tab “Look inside a LLaMA” shows of tokens, odds and layers, as HTML, with
:mod:`studio.page.views`.

Drawn here rather than by a plotting library: it follows the theme, light and dark, is text that can
be selected, searched and read aloud, fits a phone, and needs nothing that would have to be loaded.
Shades differ in lightness, so that they can be told apart without seeing colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from pipelines.chat.backends.tokens import Token, whole
from pipelines.chat.inspect import Candidate, Guess, Lens, NextToken
from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from studio.page.views import percent

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

# Clicks on tokens and heads, and what lies under the pointer on a heat map.
SCRIPT = (ASSETS / "inspect.js").read_text(encoding="utf-8")
_HUES = 5  # of neighbouring tokens
_SEEN = str.maketrans({" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"})
_NICE = (0.05, 0.1, 0.25, 0.5, 1.0)  # ends of the odds' axis


def name_of(piece: bytes) -> str:
    """A token as a label: spaces visible, and bytes in hex where it is no whole characters."""
    text = whole(piece)
    if text is None:
        return " ".join(f"{byte:02X}" for byte in piece)
    return "".join(letter if letter.isprintable() else f"U+{ord(letter):04X}"
                   for letter in text.translate(_SEEN))  # fmt: skip


# --- tokens ---------------------------------------------------------------------------------------


def strip(tokens: Sequence[Token], position: int, visitor: Visitor) -> str:
    """The text in its coloured tokens, of which one is chosen; each is a button."""
    buttons, text = [], ""
    for number, token in enumerate(tokens, start=1):
        about = escape(visitor.say(_about(token, number)))
        chosen = number == position
        kind = "special" if token.special else f"hue{number % _HUES}"
        kind += " bytes" if token.text is None else ""
        shown = escape(_in_text(token))
        buttons.append(
            f'<button type="button" class="{kind}" data-at="{number}" title="{about}" '
            f'aria-pressed="{str(chosen).lower()}">{shown}</button>'
        )
        if token.bytes.endswith(b"\n"):
            buttons.append("<br>")
        text = about if chosen else text
    count = escape(visitor.say(Message("{count} tokens", count=len(tokens))))
    hint = escape(visitor.say("Click a token to look after it."))
    return (
        f'<div class="tokens"><div class="strip" role="group" aria-label="{count}">'
        f'{"".join(buttons)}</div><div class="about-token"><b>{count}</b>'
        f'<span data-chosen="{text}">{text}</span><i>{hint}</i></div></div>'
    )


def _in_text(token: Token) -> str:
    """Within the text, spaces are spaces: the colour shows to which token they belong."""
    text = token.text
    if text is None or token.special:
        return name_of(token.bytes)
    return "".join(
        letter if letter == " " or letter.isprintable() else name_of(letter.encode())
        for letter in text
    )


def _about(token: Token, number: int) -> Message:
    if token.start == token.end:
        return Message(
            "Token {number}, id {id}: {piece}, put before every text",
            number=number,
            id=token.id,
            piece=token.piece,
        )
    if token.text is None:
        return Message(
            "Token {number}, id {id}: the bytes {bytes}, a part of character {first}",
            number=number,
            id=token.id,
            bytes=name_of(token.bytes),
            first=token.first + 1,
        )
    return Message(
        "Token {number}, id {id}: {piece}, characters {first} to {last}",
        number=number,
        id=token.id,
        piece=name_of(token.bytes),
        first=token.first + 1,
        last=token.last,
    )


# --- odds -----------------------------------------------------------------------------------------


def odds(found: NextToken, token: Token, visitor: Visitor) -> str:
    """The likeliest next tokens as bars: what the model says, and what is drawn with."""
    highest = max(max(each.before, each.after) for each in found.candidates)
    end = next(end for end in _NICE if highest <= end or end == _NICE[-1])
    rows = "".join(_bar(each, end, visitor) for each in found.candidates)
    ticks = "".join(f"<span>{percent(end * at / 4).replace('.0 ', ' ')}</span>" for at in range(5))
    title = visitor.say(Message("What may come after “{token}”", token=name_of(token.bytes)))
    before, after = visitor.say("The model’s own odds"), visitor.say("With these settings")
    facts = [
        Message(
            "{possible} of {vocabulary} tokens can be drawn.",
            possible=f"{found.possible:,}",
            vocabulary=f"{found.vocabulary:,}",
        ),
        Message(
            "Uncertainty: {before} bits, with these settings {after}.",
            before=f"{found.entropy_before:.2f}",
            after=f"{abs(found.entropy_after):.2f}",
        ),
    ]
    words = " ".join(visitor.say(fact) for fact in facts)
    return (
        f'<div class="odds"><h4>{escape(title)}</h4>'
        f'<div class="legend"><span class="before">{escape(before)}</span>'
        f'<span class="after">{escape(after)}</span></div>'
        f'<div class="bars"><div class="scale" aria-hidden="true">{ticks}</div>{rows}</div>'
        f'<p class="summary">{escape(words)}</p></div>'
    )


def _bar(each: Candidate, end: float, visitor: Visitor) -> str:
    kind = "special" if each.special else ""
    kind += " bytes" if whole(each.bytes) is None else ""
    shown = percent(each.after) if each.after else visitor.say("cut")
    title = f"id {each.id}: {percent(each.before)} → {percent(each.after)}"
    return (
        f'<div class="row{"" if each.after else " gone"}" title="{title}">'
        f'<code class="{kind}">{escape(name_of(each.bytes))}</code>'
        f'<span class="bar"><i class="before" style="width:{100 * each.before / end:.2f}%"></i>'
        f'<i class="after" style="width:{100 * each.after / end:.2f}%"></i></span>'
        f"<span>{percent(each.before)}</span><b>{escape(shown)}</b></div>"
    )


# --- what each layer would say --------------------------------------------------------------------


def lens(found: Lens, tokens: Sequence[Token], position: int, visitor: Visitor) -> str:
    """A table of layers × positions: the token that each would say, shaded by its probability."""
    numbers = range(found.first + 1, found.first + 1 + len(found.rows[0]))
    heads = "".join(
        f'<th scope="col"{" class=chosen" if number == position else ""}>'
        f"{escape(_short(tokens[number - 1].bytes))}</th>"
        for number in numbers
    )
    final, rows = found.rows[-1], []
    for depth, row in enumerate(found.rows):
        if depth == 0:
            name = visitor.say("Embedding")
        elif row is final:
            name = visitor.say("Output")
        else:
            name = str(depth)
        cells = "".join(
            _cell(guesses, row is not final and guesses[0].id == last[0].id, number == position)
            for guesses, last, number in zip(row, final, numbers, strict=True)
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    corner = visitor.say("After block")
    words = visitor.say(
        "Each row is what the model would say if it ended after that block; the last one is its "
        "answer. Underlined: the answer is there already."
    )
    return (
        f'<div class="lens"><div class="scroll"><table><thead><tr>'
        f'<th scope="col">{escape(corner)}</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f"</table></div>{legend(visitor)}"
        f'<p class="summary">{escape(words)}</p></div>'
    )


def _cell(guesses: Sequence[Guess], same: bool, chosen: bool) -> str:
    best = guesses[0]
    title = " · ".join(f"{name_of(each.bytes)} {percent(each.probability)}" for each in guesses)
    kinds = [
        name
        for name, on in (("same", same), ("chosen", chosen), ("strong", best.probability > 0.28))
        if on
    ]
    # The root, as on the legend: small odds would not be told from none.
    return (
        f'<td class="{" ".join(kinds)}" style="--p:{best.probability**0.5:.2f}" '
        f'title="{escape(title)}">{escape(_short(best.bytes))}</td>'
    )


def _short(piece: bytes, limit: int = 9) -> str:
    name = name_of(piece)
    return name if len(name) <= limit else name[: limit - 1] + "…"


def legend(visitor: Visitor) -> str:
    """What the shades of a heat map stand for."""
    ticks = "".join(
        f'<span style="left:{100 * share**0.5:.0f}%">{100 * share:g} %</span>'
        for share in (0, 0.05, 0.25, 0.5, 1)
    )
    words = escape(visitor.say("Shades from 0 to 100 percent"))
    return f'<div class="shades" role="img" aria-label="{words}"><i></i>{ticks}</div>'
