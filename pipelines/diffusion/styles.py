"""Styles: words put around a prompt, from presets/styles.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.core.errors import NotFound
from pipelines.core.files import read_yaml
from pipelines.core.matching import closest, find_name

PRESETS = Path(__file__).parents[2] / "presets" / "styles.yaml"


@dataclass(frozen=True, slots=True)
class Style:
    """One entry of the picker.

    Attributes:
        title: what is shown, by language ("en", "zh").
        prompt: with ``{prompt}`` where the person's words go; without it, put behind them.
        negative_prompt: put behind the person's own.
    """

    name: str
    title: Mapping[str, str]
    prompt: str
    negative_prompt: str = ""

    def apply(self, prompt: str, negative_prompt: str) -> tuple[str, str]:
        """The prompt and the negative prompt with the style's words around them."""
        # str.replace, since a prompt may hold braces of its own.
        if "{prompt}" in self.prompt:
            styled = self.prompt.replace("{prompt}", prompt)
        else:
            styled = _join(prompt, self.prompt)
        return styled, _join(negative_prompt, self.negative_prompt)


@cache
def styles(presets: Path = PRESETS) -> Mapping[str, Style]:
    """All styles by name, in the order of the file."""
    listed = read_yaml(presets)
    return {entry["name"]: Style(**entry) for entry in listed}


def get_style(name: str) -> Style:
    """The style called ``name``.

    Raises:
        NotFound: names those that come close.
    """
    known = find_name(name, styles())
    if known is None:
        raise NotFound(
            "There is no style called {name}. Did you mean one of: {close}?",
            name=name,
            close=closest(name, styles()),
        )
    return styles()[known]


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part.strip())
