r"""Prompt editing and alternation, as A1111 reads them: what the prompt says at each step.

``[from:to:when]`` says ``from`` up to the step ``when`` and ``to`` after it, ``[to:when]`` begins
with nothing, ``[from::when]`` ends with nothing, ``[a|b]`` says another one at each step. All of it
nests. ``when`` is a number of steps, or with a point in it a share of them. In a second pass, as
of pictures that are made larger, whole numbers go on counting, and shares begin at 1: ``1.5`` is
half of it. Steps are counted from 1 over the whole schedule, also where a picture is begun from and
the first ones are left out. Other brackets weigh words, see :mod:`pipelines.diffusion.prompts`.

The grammar is that of ``modules/prompt_parser.py`` in AUTOMATIC1111. A step whose number equals
``when`` is the last one with ``from``; A1111 counts from 0 there, and so has one more.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

_SIGN = re.compile(r"\\.|[\[\]():|]", re.DOTALL)
_WHEN = re.compile(r"\s*(\d{1,6}(?:\.\d*)?|\.\d+)\s*")
_CLOSES = {"]": "[", ")": "("}
_ALMOST = 1e-6  # .58 of 50 steps are 29, though not in floating point


@dataclass(slots=True)
class _Bracket:
    """One that is open: its sign and place, and those of the signs directly in it."""

    sign: str
    place: int
    colons: list[int] = field(default_factory=list)
    strokes: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Edit:
    """A bracket that says several things in turn.

    Attributes:
        start, end: of the bracket in the prompt.
        parts: start and end of each thing that it says.
        when: the number after which the second part is said, as it is written; None: another part
            at each step.
    """

    start: int
    end: int
    parts: tuple[tuple[int, int], ...]
    when: str | None

    def part(self, step: int, steps: int, before: int | None) -> tuple[int, int]:
        """What is said at a step."""
        if self.when is None:
            return self.parts[(step - 1) % len(self.parts)]
        number = float(self.when)
        if "." in self.when:
            last = (number - (before is not None)) * steps + _ALMOST
        else:
            last = number - (before or 0)
        return self.parts[0 if step <= int(max(last, 0)) else 1]


def texts_of(prompt: str, steps: int, before: int | None = None) -> tuple[str, ...]:
    """What a prompt says at each of its steps.

    Args:
        steps: of this pass.
        before: steps of the pass before it; None: it is the first.

    >>> texts_of("a [red:blue:.5] mug", 4)
    ('a red mug', 'a red mug', 'a blue mug', 'a blue mug')
    >>> texts_of("[fe|]male", 3)
    ('female', 'male', 'female')
    """
    edits = _edits(prompt)
    if not edits:
        return (prompt,) * steps
    return tuple(_say(prompt, edits, step, steps, before) for step in range(1, steps + 1))


def _say(prompt: str, edits: list[_Edit], step: int, steps: int, before: int | None) -> str:
    """The prompt without all that its brackets do not say now."""
    left_out = []
    for edit in edits:
        start, end = edit.part(step, steps, before)
        left_out += [(edit.start, start), (end, edit.end)]
    kept, at = [], 0
    for start, end in sorted(left_out):
        kept.append(prompt[at : max(at, start)])
        at = max(at, end)
    return "".join([*kept, prompt[at:]])


def _edits(prompt: str) -> list[_Edit]:
    """The brackets that say several things in turn, in a single pass over the prompt."""
    edits: list[_Edit] = []
    opened: list[_Bracket] = []
    for match in _SIGN.finditer(prompt) if "[" in prompt else ():
        sign, place = match[0], match.start()
        if sign in ("[", "("):
            opened.append(_Bracket(sign, place))
        elif sign == ":" and opened:
            opened[-1].colons.append(place)
        elif sign == "|" and opened:
            opened[-1].strokes.append(place)
        elif sign in _CLOSES and opened and opened[-1].sign == _CLOSES[sign]:
            bracket = opened.pop()
            if sign == "]" and (edit := _edit(prompt, bracket, place)) is not None:
                edits.append(edit)
    return edits


def _edit(prompt: str, bracket: _Bracket, closing: int) -> _Edit | None:
    """What a closed bracket says in turn; None for one that weighs words."""
    begin, colons, strokes = bracket.place + 1, bracket.colons, bracket.strokes
    if len(colons) in (1, 2) and (when := _WHEN.fullmatch(prompt, colons[-1] + 1, closing)):
        first, last = colons[0], colons[-1]
        old, new = (begin, first), (first + 1, last)
        if first == last:  # what is said later alone
            old, new = (begin, begin), (begin, last)
        return _Edit(bracket.place, closing + 1, (old, new), when[1])
    if strokes and not colons:
        ends = [begin - 1, *strokes, closing]
        parts = [(start + 1, end) for start, end in itertools.pairwise(ends)]
        return _Edit(bracket.place, closing + 1, tuple(parts), None)
    return None
