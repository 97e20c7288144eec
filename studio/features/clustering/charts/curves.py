"""Charts over the number of clusters: elbow, silhouette, gap statistic, BIC and AIC.

Each takes a dataclass of :mod:`pipelines.clustering.model_selection`, its fields as JSON has them.
A mark that is clicked sends ``line`` with ``{"name": "clusters", "value": k}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.core.messages import Message
from pipelines.core.paths import ASSETS
from studio.features.clustering.charts.axes import Axis, axis, counts, number
from studio.features.clustering.charts.drawing import (
    GAP,
    LEFT,
    RIGHT,
    WIDTH,
    Plot,
    figure,
    legend,
    thin_out,
)
from studio.features.clustering.charts.point_charts import k_distance, reachability, silhouettes
from studio.features.clustering.charts.shaded_tables import stability

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

Data = Mapping[str, Any]
_PANEL = (WIDTH - GAP) / 2 - LEFT - RIGHT  # pixels of one of two plots side by side
SCRIPT = (ASSETS / "clustering" / "charts.js").read_text(encoding="utf-8")
"""``js_on_load`` of every HTML component that shows charts: lines that are dragged and what is
clicked, with the events ``line`` and ``pick``."""


class _OverK(NamedTuple):
    """A chart of a number over k, its texts in English.

    Attributes:
        title, axis: of the chart and of its numbers.
        values, best: where they are in the data, and the k that they speak for, or None.
        about, marked: what a mark says with {k}, {value} and {error}, and the line at the best k.
        found, nothing: what is found, with {k}, or that nothing is.
        caption: how it is read.
    """

    title: str
    axis: str
    values: str
    best: str
    about: str
    marked: str
    found: str
    nothing: str
    caption: tuple[str, ...]


_OVER_K = {
    "elbow": _OverK(
        "Elbow: inertia over the number of clusters", "Inertia J", "inertia", "knee",
        "k = {k}: J = {value}", "knee: k = {k}",
        "The knee is at k = {k}: further clusters gain less.",
        "There is no knee: J falls in a straight line.",
        ("J is the sum of squared distances of the points to their centres.",
         "It always falls with k; what is looked for is where it stops falling fast."),
    ),
    "silhouette": _OverK(
        "Silhouette over the number of clusters", "Mean silhouette", "means", "best",
        "k = {k}: silhouette {value}", "highest: k = {k}",
        "The highest mean silhouette is at k = {k}.",
        "It is not defined for any k here: it needs two clusters and more points.",
        ("1: clusters lie far apart. 0: they touch. Below 0: points are nearer to others.",),
    ),
    "gap": _OverK(
        "Gap statistic over the number of clusters", "Gap", "gap", "best",
        "k = {k}: gap {value} ± {error}", "chosen: k = {k}",
        "The gap statistic chooses k = {k}.",
        "No k has what the rule asks for: the gap rises all the way. Try larger k.",
        ("How much tighter the clusters are than those of points strewn evenly.",
         "Chosen is the smallest k whose gap is at least the next one less its standard error "
         "(the bars)."),
    ),
}  # fmt: skip


def _over_k(name: str, data: Data, visitor: Visitor) -> str:
    """A curve over k whose marks take their k. ``data``: of ``Elbow``, ``SilhouetteCurve`` or
    ``Gap``, which has standard errors ``s``."""
    say, shown = visitor.say, _OVER_K[name]
    ks, values, best, errors = data["ks"], data[shown.values], data.get(shown.best), data.get("s")
    rows = [row for row in zip(ks, values, errors or [0.0] * len(ks), strict=True)
            if row[1] is not None]  # fmt: skip
    ends = [value + sign * s for _, value, s in rows for sign in (-1, 1)]
    plot = Plot(_k(ks, visitor), axis(ends, say(shown.axis), zero=not errors))
    marks = plot.upright(best, say(Message(shown.marked, k=best))) if best is not None else ""
    if errors:
        marks += "".join(_error(plot, k, value, s) for k, value, s in rows)
    for k, value, s in rows:
        title = say(Message(shown.about, k=k, value=number(value), error=number(s)))
        marks += plot.mark(k, value, title, best=k == best, k=k, among=len(rows))
    return figure(
        name,
        say(shown.title),
        plot.to_svg(plot.y.title, plot.curve(ks, values), marks),
        visitor,
        finding=say(shown.nothing if best is None else Message(shown.found, k=best)),
        caption=[*map(say, shown.caption), *thin_out(data, visitor)],
        hint=say("Click a mark to take its k."),
    )


def _error(plot: Plot, k: int, value: float, s: float) -> str:
    top, bottom = plot.down(value + s), plot.down(value - s)
    at = plot.across(k)
    ends = "".join(
        f'<svg x="{at}" y="{end}"><line class="error-bar" x1="-5" x2="5"/></svg>'
        for end in (top, bottom)
    )
    return f'<line class="error-bar" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>{ends}'


def information(data: Data, visitor: Visitor) -> str:
    """BIC and AIC of Gaussian mixtures, side by side.

    ``data``: ks, covariances, bic and aic (a row a covariance, a column a k), best_bic and
    best_aic (k, covariance).
    """
    say, kinds = visitor.say, data["covariances"]
    k, covariance = data["best_bic"]
    other_k, other = data["best_aic"]
    values = {"k": k, "covariance": covariance, "other_k": other_k, "other": other}
    if (k, covariance) == (other_k, other):
        found = Message("Both are lowest at k = {k} with covariance “{covariance}”.", **values)
    else:
        found = Message(
            "BIC is lowest at k = {k} with covariance “{covariance}”, AIC at k = {other_k} with "
            "“{other}”.",
            **values,
        )
    names = legend((row, f"k{row}", kind) for row, kind in enumerate(kinds))
    panels = "".join(
        _criterion(data, name, title, visitor) for name, title in (("bic", "BIC"), ("aic", "AIC"))
    )
    return figure(
        "information",
        say("BIC and AIC of Gaussian mixtures"),
        f'{names}<div class="panels">{panels}</div>',
        visitor,
        finding=say(found),
        caption=[
            say("How badly the mixture fits, and a price for each of its parameters."),
            say("Lower is better; BIC asks the higher price, and so chooses simpler mixtures."),
        ],
        hint=say("Click a mark to take its k."),
    )


def _criterion(data: Data, name: str, title: str, visitor: Visitor) -> str:
    ks, kinds, table = data["ks"], data["covariances"], data[name]
    best = tuple(data[f"best_{name}"])
    y = axis([value for row in table for value in row], title)
    plot = Plot(_k(ks, visitor), y, _PANEL)
    paths = "".join(plot.curve(ks, row, f"k{at}") for at, row in enumerate(table))
    marks = "".join(
        plot.mark(
            k,
            value,
            visitor.say(
                Message(
                    "k = {k}, covariance “{covariance}”: {name} {value}",
                    k=k,
                    covariance=kind,
                    name=title,
                    value=number(value),
                )
            ),
            kind=f"k{at}",
            shape=at,
            best=(k, kind) == best,
            k=k,
            among=len(ks) * len(kinds),
        )
        for at, (kind, row) in enumerate(zip(kinds, table, strict=True))
        for k, value in zip(ks, row, strict=True)
    )
    return plot.to_svg(title, paths, marks, styled=False)


def _k(ks: Sequence[int], visitor: Visitor) -> Axis:
    return counts(ks, visitor.say("Clusters (k)"))


CHARTS: dict[str, Callable[[Data, Visitor], str]] = {
    **{name: partial(_over_k, name) for name in _OVER_K},
    "k_distance": k_distance,
    "information": information,
    "reachability": reachability,
    "stability": stability,
    "silhouettes": silhouettes,
}
"""By the name that a ``CurveRequest`` has for it."""


def chart(curve: str, data: Data, visitor: Visitor) -> str:
    """The chart of a curve, by its name."""
    return CHARTS[curve](data, visitor)
