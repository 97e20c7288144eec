"""What a clustering is like, as HTML: scores, sizes, agreement with true labels, several compared.

Plain data in, HTML out; all texts are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.core.messages import Message
from pipelines.core.sizes import duration, format_bytes
from studio.features.clustering.charts import drawing
from studio.features.clustering.charts.axes import format_signed, number
from studio.features.clustering.charts.bars import Bar, bars
from studio.features.clustering.charts.cards import Fact, card, refused_card, title_lines
from studio.features.clustering.charts.colours import kind_of
from studio.features.clustering.charts.shaded_tables import confusion
from studio.page.views import percent

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

_BARS = 20  # clusters that have a bar; the rest is one more

HIGHER, LOWER = "Higher is better", "Lower is better"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that is shown of a clustering.

    Attributes:
        name: in a result's scores or a comparison's row.
        title: in English.
        means: what it says, in a sentence.
        better: :data:`HIGHER`, :data:`LOWER`, or "" where neither is.
        written: how.
        ends: between which values it lies, or None.
    """

    name: str
    title: str
    means: str
    better: str
    written: Callable[[Any], str]
    ends: tuple[float, float] | None = None


def format_elapsed(seconds: float) -> str:
    """``0.0042`` as ``4.2 ms``."""
    if seconds < 0.0995:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.2g} s" if seconds < 9.95 else duration(seconds)


def _three(value: float) -> str:
    return format_signed(f"{value:.3f}")


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("silhouette", "Silhouette",
               "How much nearer points are to their own cluster than to the next one.",
               HIGHER, _three, (-1, 1)),
        Figure("davies_bouldin", "Davies–Bouldin",
               "How wide clusters are for their distance from the most similar one.",
               LOWER, _three),
        Figure("calinski_harabasz", "Calinski–Harabasz",
               "Spread between clusters over spread within them; grows with the points.",
               HIGHER, number),
        Figure("clusters", "Clusters", "How many were found.", "", lambda value: f"{value:,}"),
        Figure("noise_share", "Noise", "Points that belong to no cluster.", "", percent, (0, 1)),
        Figure("seconds", "Time", "Of the fit alone.", LOWER, format_elapsed),
        Figure("peak_bytes", "Memory", "At the peak, beyond the data.", LOWER, format_bytes),
        Figure("ari", "ARI",
               "Adjusted Rand index: pairs of points that both have together or apart; 0 by "
               "chance.",
               HIGHER, _three, (-0.5, 1)),
        Figure("nmi", "NMI",
               "Normalised mutual information: how much one says of the other.",
               HIGHER, _three, (0, 1)),
        Figure("homogeneity", "Homogeneity", "1: no cluster has points of two classes.",
               HIGHER, _three, (0, 1)),
        Figure("completeness", "Completeness", "1: no class is parted among clusters.",
               HIGHER, _three, (0, 1)),
        Figure("matched", "Matched",
               "Points in the cluster that goes with their class, one to one.",
               HIGHER, percent, (0, 1)),
    )
}  # fmt: skip
_CARDS = ("silhouette", "davies_bouldin", "calinski_harabasz", "clusters", "noise_share",
          "seconds", "peak_bytes")  # fmt: skip
_SCORES = _CARDS[:3]  # which few clusters, or many, do not have: a hint says so
_AGREEMENT = ("ari", "nmi", "homogeneity", "completeness", "matched")


def scores(result: Mapping[str, Any], visitor: Visitor, algorithm: str = "") -> str:
    """All that a clustering's result says: cards, notes, sizes, agreement, confusion.

    Args:
        result: ``Result.data`` of a ``ClusterRequest``: scores, fit_seconds, peak_bytes, notes,
            agreement where true labels are known.
        algorithm: whose it is, if it is to be said what to change where it has found too little.
    """
    found = result["scores"]
    values = {**found, "seconds": result.get("fit_seconds"), "peak_bytes": result.get("peak_bytes")}
    shown = [name for name in _CARDS if name in _SCORES or values.get(name) is not None]
    cards = "".join(_card(FIGURES[name], values.get(name), visitor) for name in shown)
    notes = [Message.from_json(note) for note in result.get("notes", ())]
    if count := found.get("sampled"):
        notes.append(Message("The silhouette is of {count} points, drawn at random.",
                             count=f"{count:,}"))  # fmt: skip
    if chosen := ALGORITHMS.get(algorithm):
        advice = {0: chosen.all_noise, 1: chosen.one_cluster}.get(found["clusters"])
        notes += [Message(advice)] if advice else []
    if found["silhouette"] is None:
        notes.append(Message("Three scores need at least two clusters, and fewer than points."))
    hints = "".join(f'<div class="hint">{escape(visitor.say(note))}</div>' for note in notes)
    parts = [f'<div class="cards">{cards}</div>{_caution(found, visitor)}{hints}',
             sizes(found, visitor)]  # fmt: skip
    if known := result.get("agreement"):
        parts += [agreement(known, visitor), confusion(known, visitor)]
    return f'<div class="cluster-view results-of">{"".join(parts)}</div>'


def _caution(found: Mapping[str, Any], visitor: Visitor) -> str:
    """Whoever sees two moons parted rightly with a silhouette of 0.36 is to know why."""
    if found["silhouette"] is None:
        return ""
    words = (
        "The first three scores favour round clusters of one size: long or nested ones score low "
        "even where they are right."
    )
    return f'<p class="summary">{escape(visitor.say(words))}</p>'


def _card(figure: Figure, value: Any, visitor: Visitor) -> str:
    say, meter = visitor.say, ""
    if figure.ends and value is not None:
        meter = f'<i class="meter" style="--p:{_share(figure, value):.1f}%"></i>'
    written = "–" if value is None else figure.written(value)
    better = (
        f"<small>{_arrow(figure)} {escape(say(figure.better))}</small>" if figure.better else ""
    )
    return (
        f'<div class="card" data-figure="{figure.name}"><span>{escape(say(figure.title))}</span>'
        f"<b>{escape(written)}</b>{meter}<p>{escape(say(figure.means))}</p>{better}</div>"
    )


def _arrow(figure: Figure) -> str:
    return "↑" if figure.better == HIGHER else "↓"


def _share(figure: Figure, value: float) -> float:
    """Of the way between a figure's ends, in percent."""
    low, high = figure.ends or (0, 1)
    return 100 * min(1.0, max(0.0, (value - low) / (high - low)))


def sizes(found: Mapping[str, Any], visitor: Visitor) -> str:
    """A bar for each cluster. ``found``: sizes (in the order of the labels), noise."""
    say, counts = visitor.say, list(enumerate(found["sizes"]))
    total = sum(found["sizes"]) + found["noise"]
    if not total:
        return ""
    rows = [(kind_of(label), say(Message("Cluster {n}", n=label)), count)
            for label, count in counts[:_BARS]]  # fmt: skip
    if rest := counts[_BARS:]:
        name = say(Message("{count} more clusters", count=len(rest)))
        rows.append(("noise", name, sum(count for _, count in rest)))
    if found["noise"]:
        rows.append(("noise", say("Noise"), found["noise"]))
    top = max(count for _, _, count in rows)
    drawn = bars(
        [
            Bar(kind, name, count / top, (f"{count:,}", percent(count / total)))
            for kind, name, count in rows
        ],
        say("Sizes"),
    )
    return drawing.figure("sizes", say("Sizes"), drawn, visitor)


def agreement(found: Mapping[str, Any], visitor: Visitor) -> str:
    """How the clusters go with true labels. ``found``: ari, nmi, homogeneity, completeness,
    matched, unlabelled (points that do not count)."""
    shown = [FIGURES[name] for name in _AGREEMENT if found.get(name) is not None]
    title = visitor.say("Agreement with the true labels")
    words = [visitor.say("Each is at most 1, which is full agreement; noise counts as one more "
                         "cluster."), *_unlabelled_note(found, visitor)]  # fmt: skip
    rows = [
        Bar("", visitor.say(each.title), max(0, found[each.name]),
            (each.written(found[each.name]),), visitor.say(each.means), each.name)
        for each in shown
    ]  # fmt: skip
    return drawing.figure("agreement", title, bars(rows, title), visitor, caption=words)


def _unlabelled_note(found: Mapping[str, Any], visitor: Visitor) -> list[str]:
    if not (count := found.get("unlabelled")):
        return []
    return [visitor.say(Message("Points left out of this because they have no true label: {count}.",
                                count=f"{count:,}"))]  # fmt: skip


# --- several algorithms ---------------------------------------------------------------------------

_SHOWN = ("ari", "silhouette", "clusters", "noise_share", "seconds", "peak_bytes")
_TABLE = ("ari", "nmi", "homogeneity", "completeness", "silhouette", "davies_bouldin",
          "calinski_harabasz", "clusters", "noise_share", "seconds", "peak_bytes")  # fmt: skip


def comparison(
    rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, str], visitor: Visitor
) -> str:
    """A card for each algorithm, then all numbers as a table; what is best is marked.

    A card that is clicked sends ``pick`` with ``{"algorithm": name}``.

    Args:
        rows: as :meth:`pipelines.clustering.comparing.Row.cells` has them.
        pictures: by algorithm, as
            :func:`studio.features.clustering.charts.thumbnails.thumbnail` draws them.
    """
    best = _best(rows)
    lines = title_lines([visitor.say(row["title"]) for row in rows if not row.get("error")] or [""])
    cards = "".join(
        _algorithm(row, lines, pictures, best, visitor, styled=at == 0)
        for at, row in enumerate(rows)
    )
    measure = next((name for name in ("ari", "silhouette") if name in best), None)
    words = [visitor.say("Each with settings that suit these points.")]
    if measure:
        title = visitor.say(FIGURES[measure].title)
        words.append(visitor.say(Message("★: the best by {score}.", score=title)))
    worked = next((row for row in rows if row.get("unlabelled")), {})
    words += _unlabelled_note(worked, visitor)
    said = drawing.with_caption(words, visitor.say("Click one to see it large."))
    head = drawing.draw_heading(visitor.say("Algorithms side by side"), visitor)
    return (
        f'<div class="cluster-view comparison"{drawing.file_name_attribute("comparison")}>{head}'
        f'<div class="grid">{cards}</div>'
        f'<p class="summary">{said}</p>'
        f"{_numbers(rows, best, visitor)}</div>"
    )


def _best(rows: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Figure → the algorithms that are best in it, where that is not all of them."""
    best = {}
    for name, figure in FIGURES.items():
        known = [(row[name], row["algorithm"]) for row in rows if row.get(name) is not None]
        if not figure.better or len(known) < 2:
            continue
        value = (max if figure.better == HIGHER else min)(value for value, _ in known)
        firsts = {algorithm for its, algorithm in known if its == value}
        if len(firsts) < len(known):
            best[name] = firsts
    return best


def _algorithm(
    row: Mapping[str, Any],
    lines: int,
    pictures: Mapping[str, str],
    best: Mapping[str, set[str]],
    visitor: Visitor,
    styled: bool,
) -> str:
    say, name = visitor.say, row["algorithm"]
    title = say(row["title"])
    if row.get("error"):
        why = say(Message.from_json(row["error"]))
        return (
            f'<div class="algorithm" data-refused="{name}" role="img" '
            f'aria-label="{escape(f"{title}: {why}")}">{refused_card(title, why, styled)}</div>'
        )
    star = say("The best") if name in best.get("ari", best.get("silhouette", ())) else ""
    facts = [
        Fact(say(FIGURES[each].title), FIGURES[each].written(row[each]),
             name in best.get(each, ()))
        for each in _SHOWN
        if row.get(each) is not None
    ]  # fmt: skip
    return (
        f'<button type="button" class="algorithm" data-algorithm="{name}" '
        f'aria-label="{escape(title)}">'
        f"{card(title, lines, pictures.get(name, ''), facts, star, styled)}</button>"
    )


def _numbers(
    rows: Sequence[Mapping[str, Any]], best: Mapping[str, set[str]], visitor: Visitor
) -> str:
    """All of it as a table, to be read and copied."""
    say = visitor.say
    shown = [FIGURES[name] for name in _TABLE if any(row.get(name) is not None for row in rows)]
    if not shown:
        return ""
    heads = "".join(
        f'<th scope="col" title="{escape(say(figure.means))}">{escape(say(figure.title))}'
        f"{' ' + _arrow(figure) if figure.better else ''}</th>"
        for figure in shown
    )
    lines = "".join(
        f'<tr><th scope="row">{escape(say(row["title"]))}</th>'
        + "".join(_number(row, figure, best) for figure in shown)
        + "</tr>"
        for row in rows
        if not row.get("error")
    )
    words = escape(say("↑ higher is better, ↓ lower is better; the best of a column is bold."))
    return (
        '<div class="scroll" data-unsaved><table class="all-numbers">'
        f"<thead><tr><td></td>{heads}</tr></thead>"
        f'<tbody>{lines}</tbody></table></div><p class="summary" data-unsaved>{words}</p>'
    )


def _number(row: Mapping[str, Any], figure: Figure, best: Mapping[str, set[str]]) -> str:
    value = row.get(figure.name)
    first = ' class="best"' if row["algorithm"] in best.get(figure.name, ()) else ""
    return f"<td{first}>{'–' if value is None else escape(figure.written(value))}</td>"
