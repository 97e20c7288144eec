"""What “Look inside a LLaMA” shows of how a model is built: a picture in its own numbers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pipelines.chat.architecture import Architecture
from pipelines.core.messages import Message
from pipelines.core.sizes import format_bytes

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

_PART_TITLES = {
    "embedding": "Embedding",
    "attention": "Attention",
    "ffn": "Feed-forward",
    "norms": "Norms",
    "head": "Head",
    "other": "Other parts",
}


def build(found: Architecture, title: str, visitor: Visitor) -> str:
    """The diagram from the embedding to the head, the facts and the shares of the parameters."""
    return (
        f'<div class="build"><h4>{escape(title)}</h4><div class="sides">'
        f'{_diagram(found, visitor)}<div class="facts-side">{_facts(found, visitor)}'
        f"{_shares(found, visitor)}</div></div></div>"
    )


def count(number: int) -> str:
    """``134_515_008`` as ``134.5 M``."""
    for unit, factor in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= factor:
            value = number / factor
            return f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"
    return str(number)


def _diagram(found: Architecture, visitor: Visitor) -> str:
    def say(template: str, **values: object) -> str:
        return escape(visitor.say(Message(template, **values) if values else template))

    norm = _box("norm", "RMSNorm", f"ε = {found.norm_eps:.0e}".replace("e-0", "e-"))
    head_note = (
        say("the embedding once more") if found.tied else _params(found.parameters["head"], visitor)
    )
    rope = say("RoPE, base {base}", base=f"{found.rope_base:,.0f}") if found.rope_base else ""
    if found.rope_scaling:
        rope += f" ({escape(found.rope_scaling)})"
    heads = say("{heads} heads of {width}", heads=found.heads, width=found.head_dim)
    shared = (
        say("{count} kv heads, each for {share}", count=found.kv_heads,
            share=found.heads // found.kv_heads)
        if found.kv_heads != found.heads
        else say("a kv head each")
    )  # fmt: skip
    each = {part: found.parameters[part] // found.blocks for part in ("attention", "ffn")}
    attention = _box(
        "attend", say("Attention"), f"{heads} · {shared}", rope,
        _params(each["attention"], visitor), picture=_groups(found),
    )  # fmt: skip
    ffn = _box(
        "ffn", "SwiGLU" if found.activation == "silu" else f"GLU ({escape(found.activation)})",
        f"{found.hidden:,} → 2 × {found.ffn:,} → {found.hidden:,}", _params(each["ffn"], visitor),
        picture=_widths(found),
    )  # fmt: skip
    arrow = '<div class="arrow" aria-hidden="true"></div>'
    plus = '<div class="plus" aria-hidden="true">+</div>'
    half = '<div class="residual">{}' + arrow + "{}" + arrow + plus + "</div>"
    return (
        '<div class="diagram">'
        f'<div class="end">{say("token ids")}</div>{arrow}'
        + _box("embed", say("Embedding"), f"{found.vocabulary:,} × {found.hidden:,}",
               _params(found.parameters["embedding"], visitor))
        + f'{arrow}<div class="repeat"><b>× {found.blocks}</b>'
        + half.format(norm, attention) + arrow + half.format(norm, ffn)
        + f"</div>{arrow}{norm}{arrow}"
        + _box("out", say("Head"), f"{found.hidden:,} × {found.vocabulary:,}", head_note)
        + f'{arrow}<div class="end">{say("odds of the next token")}</div></div>'
    )  # fmt: skip


def _box(kind: str, title: str, *notes: str, picture: str = "") -> str:
    lines = "".join(f"<span>{note}</span>" for note in notes if note)
    return f'<div class="box {kind}"><strong>{title}</strong>{picture}{lines}</div>'


def _params(number: int, visitor: Visitor) -> str:
    return escape(visitor.say(Message("{count} parameters", count=count(number))))


def _groups(found: Architecture) -> str:
    """A square for each head: those of the queries above the kv head that serves them."""
    queries = "<i></i>" * (found.heads // found.kv_heads)
    group = f"<span><span>{queries}</span><u></u></span>"
    return f'<span class="groups" aria-hidden="true">{group * found.kv_heads}</span>'


def _widths(found: Architecture) -> str:
    """Bars as wide as the vectors are: in, inside (gate and value), out."""
    narrow = 100 * found.hidden / max(found.ffn, found.hidden)
    wide = 100 * found.ffn / max(found.ffn, found.hidden)
    bars = "".join(f'<i style="width:{width:.0f}%"></i>' for width in (narrow, wide, wide, narrow))
    return f'<span class="widths" aria-hidden="true">{bars}</span>'


def _facts(found: Architecture, visitor: Visitor) -> str:
    per_token = found.cache_bytes
    facts = [
        ("Parameters", f"{found.total:,}"),
        ("Weights in memory", f"{format_bytes(found.weight_bytes)} ({found.dtype})"),
        ("Cache a token", f"{per_token:,} B"),
        ("Cache of a full context", format_bytes(per_token * found.context)),
        ("Context", visitor.say(Message("{count} tokens", count=f"{found.context:,}"))),
        ("Family", found.kind),
    ]
    cells = "".join(
        f"<div><dt>{escape(visitor.say(name))}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts
    )
    sum_of = escape(
        visitor.say(
            Message(
                "Cache a token: 2 (keys, values) × {blocks} blocks × {kv_heads} kv heads × "
                "{width} × {bytes} bytes.",
                blocks=found.blocks,
                kv_heads=found.kv_heads,
                width=found.head_dim,
                bytes=per_token // (2 * found.blocks * found.kv_heads * found.head_dim),
            )
        )
    )
    return f'<dl class="numbers">{cells}</dl><p class="summary">{sum_of}</p>'


def _shares(found: Architecture, visitor: Visitor) -> str:
    """Which part has how many of the parameters, as one bar in parts."""
    parts = [(part, number) for part, number in found.parameters.items() if number]
    bar = "".join(f'<i class="of-{part}" style="flex:{number}"></i>' for part, number in parts)
    rows = "".join(
        f'<tr><td><i class="of-{part}"></i>{escape(visitor.say(_PART_TITLES[part]))}</td>'
        f"<td>{count(number)}</td><td>{100 * number / found.total:.1f} %</td></tr>"
        for part, number in parts
    )
    return (
        f'<div class="shares"><div class="parts" aria-hidden="true">{bar}</div>'
        f"<table><tbody>{rows}</tbody></table></div>"
    )
