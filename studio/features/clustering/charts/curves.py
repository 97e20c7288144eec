"""Charts over the number of clusters: elbow, silhouette, gap statistic, BIC and AIC.

Each takes a dataclass of :mod:`pipelines.clustering.model_selection`, its fields as JSON has them.
A mark that is clicked sends ``line`` with ``{"name": "clusters", "value": k}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    sampled,
)
from studio.features.clustering.charts.heat import stability
from studio.features.clustering.charts.point_charts import k_distance, reachability, silhouettes

if TYPE_CHECKING:
    from studio.page.widgets import Visitor

Data = Mapping[str, Any]
_PANEL = (WIDTH - GAP) / 2 - LEFT - RIGHT  # pixels of one of two plots side by side
SCRIPT = (ASSETS / "clustering" / "charts.js").read_text(encoding="utf-8")
"""``js_on_load`` of every HTML component that shows charts: lines that are dragged and what is
clicked, with the events ``line`` and ``pick``."""


def elbow(data: Data, visitor: Visitor) -> str:
    """K-Means' J over k with its knee. ``data``: ks, inertia, knee."""
    say, knee = visitor.say, data.get("knee")
    if knee is None:
        found = say("There is no knee: J falls in a straight line.")
    else:
        found = say(Message("The knee is at k = {k}: further clusters gain less.", k=knee))
    drawn = _over_k(
        data["ks"],
        data["inertia"],
        axis(data["inertia"], say("Inertia J"), zero=True),
        Best(knee, "knee: k = {k}"),
        "k = {k}: J = {value}",
        visitor,
    )
    return figure(
        "elbow",
        say("Elbow: inertia over the number of clusters"),
        drawn,
        visitor,
        finding=found,
        caption=[
            say("J is the sum of squared distances of the points to their centres."),
            say("It always falls with k; what is looked for is where it stops falling fast."),
        ],
        hint=say("Click a mark to take its k."),
    )


def silhouette(data: Data, visitor: Visitor) -> str:
    """Mean silhouette over k. ``data``: ks, means (None where not defined), best, sampled."""
    say, means, best = visitor.say, data["means"], data.get("best")
    if best is None:
        found = say("It is not defined for any k here: it needs two clusters and more points.")
    else:
        found = say(Message("The highest mean silhouette is at k = {k}.", k=best))
    return figure(
        "silhouette",
        say("Silhouette over the number of clusters"),
        _over_k(
            data["ks"],
            means,
            axis(means, say("Mean silhouette"), zero=True),
            Best(best, "highest: k = {k}"),
            "k = {k}: silhouette {value}",
            visitor,
        ),
        visitor,
        finding=found,
        caption=[
            say("1: clusters lie far apart. 0: they touch. Below 0: points are nearer to others."),
            *sampled(data, visitor),
        ],
        hint=say("Click a mark to take its k."),
    )


def gap(data: Data, visitor: Visitor) -> str:
    """The gap statistic with its errors. ``data``: ks, gap, s, log_w, log_w_reference, best."""
    say, best, values, errors = visitor.say, data.get("best"), data["gap"], data["s"]
    ends = [each + sign * s for each, s in zip(values, errors, strict=True) for sign in (-1, 1)]
    if best is None:
        found = say("No k has what the rule asks for: the gap rises all the way. Try larger k.")
    else:
        found = say(Message("The gap statistic chooses k = {k}.", k=best))
    return figure(
        "gap",
        say("Gap statistic over the number of clusters"),
        _over_k(
            data["ks"],
            values,
            axis(ends, say("Gap")),
            Best(best, "chosen: k = {k}"),
            "k = {k}: gap {value} ± {error}",
            visitor,
            errors,
        ),
        visitor,
        finding=found,
        caption=[
            say("How much tighter the clusters are than those of points strewn evenly."),
            say(
                "Chosen is the smallest k whose gap is at least the next one less its standard "
                "error (the bars)."
            ),
        ],
        hint=say("Click a mark to take its k."),
    )


class Best(NamedTuple):
    """The k that a curve speaks for, or None, and what is written there."""

    k: int | None
    words: str


def _over_k(
    ks: Sequence[int],
    values: Sequence[float | None],
    y: Axis,
    best: Best,
    about: str,
    visitor: Visitor,
    errors: Sequence[float] | None = None,
) -> str:
    """A curve over k whose marks take their k; ``about`` has {k}, {value} and maybe {error}."""
    plot = Plot(_k(ks, visitor), y)
    rows = [row for row in zip(ks, values, errors or [0.0] * len(ks), strict=True)
            if row[1] is not None]  # fmt: skip
    marks = "".join(_error(plot, k, value, s) for k, value, s in rows) if errors else ""
    for k, value, s in rows:
        words = Message(about, k=k, value=number(value), error=number(s))
        title = visitor.say(words)
        marks += plot.mark(k, value, title, best=k == best.k, k=k, among=len(rows))
    if best.k is not None:
        marks = plot.upright(best.k, visitor.say(Message(best.words, k=best.k))) + marks
    return plot.drawn(y.title, paths=plot.curve(ks, values), marks=marks)


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
    return plot.drawn(title, paths, marks, styled=False)


def _k(ks: Sequence[int], visitor: Visitor) -> Axis:
    return counts(ks, visitor.say("Clusters (k)"))


CHARTS: dict[str, Callable[[Data, Visitor], str]] = {
    "elbow": elbow,
    "silhouette": silhouette,
    "gap": gap,
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
