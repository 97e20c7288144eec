"""The style that every chart carries in itself, for light and for dark ground.

A chart is saved as it is written, so that the rules of ``assets/clustering/charts.css`` get the
colours of the theme and of :mod:`.colours` in the place of their variables.
"""

from __future__ import annotations

import re

from pipelines.core.paths import ASSETS
from studio.features.clustering.charts.colours import COLOURS, DARK, NOISE
from studio.page.theme import CLAY, FONT, STONE

_WHITE = "white"
_FONT = ", ".join(f"'{name}'" if " " in name else name for name in FONT)
_ALWAYS = {"font": _FONT, "noise": NOISE, "accent": CLAY.c500, "pill": CLAY.c600,
           "on-pill": _WHITE}  # fmt: skip
_LIGHT = _ALWAYS | {
    "text": STONE.c800, "subdued": STONE.c500, "faint": STONE.c400, "border": STONE.c200,
    "ground": STONE.c100, "card": _WHITE, "line": COLOURS[0], "k6-edge": STONE.c500,
    "on-shade": STONE.c800, "on-deep": _WHITE,
}  # fmt: skip
_NIGHT = _ALWAYS | {
    "text": STONE.c100, "subdued": STONE.c400, "faint": STONE.c500, "border": STONE.c700,
    "ground": STONE.c900, "card": STONE.c800, "line": COLOURS[4], "k6-edge": "none",
    "on-shade": STONE.c950, "on-deep": STONE.c950,
}  # fmt: skip


def _style() -> str:
    css = (ASSETS / "clustering" / "charts.css").read_text(encoding="utf-8")
    css = re.sub(r"/\*.*?\*/\s*", "", css, flags=re.DOTALL).strip()
    return f"{_resolve(css, _LIGHT, COLOURS)}\n{_resolve(_colour(css), _NIGHT, DARK)}"


def _resolve(css: str, values: dict[str, str], clusters: tuple[str, ...]) -> str:
    values = values | {f"k{at}": colour for at, colour in enumerate(clusters)}
    return re.sub(r"var\(--([\w-]+)\)", lambda found: values[found[1]], css)


def _colour(css: str) -> str:
    """Only what has variables of colour, below an element of the class ``dark``."""
    rules = []
    for rule in css.split("}")[:-1]:
        selectors, _, declarations = rule.partition("{")
        kept = [each for each in declarations.split(";") if "var(" in each and "--font" not in each]
        if kept:
            heads = ", ".join(f".dark {each.strip()}" for each in selectors.split(","))
            rules.append(f"{heads} {{{';'.join(kept)}; }}")
    return "\n".join(rules)


STYLE = _style()
"""CSS without variables; dark below an element of the class ``dark``."""
