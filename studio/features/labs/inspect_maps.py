"""What “Look inside a LLaMA” shows of attention: one head as a heat map, all of them small."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from pipelines.chat.backends.tokens import Token
from pipelines.chat.inspect import MEAN, one_head
from pipelines.core.messages import Message
from studio.core.palette import HEAT
from studio.features.labs.inspect_views import legend, name_of

if TYPE_CHECKING:
    import torch

    from studio.page.widgets import Visitor

_LABELLED = 48  # tokens; more names would not be read beside the map
_SMALL = 48  # pixels of a small map's side
_LABEL = 12  # characters


def attention(
    weights: torch.Tensor, tokens: Sequence[Token], head: int, position: int, visitor: Visitor
) -> str:
    """The heat map of a head and small ones of all heads.

    Args:
        weights: (heads, T, T).
        head: the chosen one, counted from 1, or ``MEAN``.
        position: of the chosen token, whose row is marked.
    """
    names = [_short(name_of(token.bytes)) for token in tokens]
    labels = ["", ""]
    if len(tokens) <= _LABELLED:
        marked = [
            f"<span{' class=chosen' if number == position else ''}>{escape(name)}</span>"
            for number, name in enumerate(names, start=1)
        ]
        labels = ["".join(marked), "".join(marked)]
    sentence = visitor.say("{from} looks at {to}: {share}")
    title = visitor.say("How much each token (row) looks at each earlier one (column)")
    plain = "" if any(labels) else " plain"
    return (
        f'<div class="attention">{_filters()}{_heads(weights, head, visitor)}'
        f'<figure style="--count:{len(tokens)}"><div class="map{plain}">'
        f'<div class="columns" aria-hidden="true">{labels[0]}</div>'
        f'<div class="rows" aria-hidden="true">{labels[1]}</div>'
        f'<img class="heat" src="{_uri(one_head(weights, head))}" alt="{escape(title)}" '
        f'data-names="{escape(json.dumps(names))}" data-words="{escape(sentence)}"></div>'
        f'<figcaption><span class="reading" aria-live="polite">{escape(title)}</span>'
        f"{legend(visitor)}</figcaption></figure></div>"
    )


def _heads(weights: torch.Tensor, chosen: int, visitor: Visitor) -> str:
    buttons = []
    for head in range(MEAN, len(weights) + 1):
        name = Message("Head {number}", number=head) if head else "Mean"
        name = escape(visitor.say(name))
        source, pressed = _uri(one_head(weights, head), _SMALL), str(head == chosen).lower()
        buttons.append(
            f'<button type="button" data-head="{head}" aria-pressed="{pressed}">'
            f'<img class="heat" src="{source}" alt="">{name}</button>'
        )
    label = escape(visitor.say("Heads"))
    return f'<div class="heads" role="group" aria-label="{label}">{"".join(buttons)}</div>'


def _uri(weights: torch.Tensor, side: int | None = None) -> str:
    """(T, T) from 0 to 1 as a grey PNG of their roots, one pixel each, or at most ``side``."""
    pixels = (weights.clamp(0, 1).sqrt() * 255).round().byte()
    image = Image.fromarray(pixels.numpy())
    if side is not None and len(weights) > side:
        image = image.resize((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _filters() -> str:
    """SVG filters that turn grey into shades: one picture serves both themes."""
    parts = []
    for name, stops in HEAT.items():
        tables = [
            " ".join(f"{int(stop[at : at + 2], 16) / 255:.4f}" for stop in stops)
            for at in (1, 3, 5)
        ]
        functions = "".join(
            f'<feFunc{channel} type="table" tableValues="{table}"/>'
            for channel, table in zip("RGB", tables, strict=True)
        )
        parts.append(
            f'<filter id="heat-{name}" color-interpolation-filters="sRGB">'
            f"<feComponentTransfer>{functions}</feComponentTransfer></filter>"
        )
    return f'<svg width="0" height="0" aria-hidden="true">{"".join(parts)}</svg>'


def _short(name: str) -> str:
    return name if len(name) <= _LABEL else name[: _LABEL - 1] + "…"
