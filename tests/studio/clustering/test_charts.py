"""Charts of clusterings: places worked by hand, numbers of any size, texts that stay texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from pipelines.catalog import ASSETS
from pipelines.clustering.algorithms import ALGORITHMS
from pipelines.clustering.labels import renumber
from pipelines.errors import NotFound
from pipelines.messages import Message
from studio.accounts import Owner
from studio.clustering import data_views, views
from studio.clustering.axes import axis, counts, number
from studio.clustering.charts import CHARTS, chart
from studio.clustering.charts_heat import confusion
from studio.clustering.charts_points import k_distance, silhouettes
from studio.clustering.charts_tree import cut_height, dendrogram, tree
from studio.clustering.colours import COLOURS, DARK, NOISE, kind_of
from studio.clustering.thumbnails import thumbnail
from studio.i18n import texts
from studio.widgets import Visitor

VISITOR = Visitor(Owner("local", "you", is_host=True), "en")
CHINESE = Visitor(Owner("local", "you", is_host=True), "zh")
EVIL = "<img src=x onerror=alert(1)>\"'&"

KS = [1, 2, 3, 4]
DATA = {
    "elbow": {"ks": KS, "inertia": [100.0, 40.0, 20.0, 15.0], "knee": 2},
    "silhouette": {"ks": KS, "means": [None, 0.4, 0.7, 0.5], "best": 3, "sampled": 10_000},
    "gap": {"ks": KS, "gap": [0.1, 0.2, 0.6, 0.55], "s": [0.01] * 4, "log_w": [1.0] * 4,
            "log_w_reference": [1.1] * 4, "best": 3},
    "k_distance": {"distances": [0.1, 0.2, 0.3, 0.4, 2.0], "min_samples": 3, "eps": 0.4,
                   "sampled": None},
    "information": {"ks": KS, "covariances": ["full", "tied", "diag", "spherical"],
                    "bic": [[4.0, 3.0, 1.0, 2.0]] * 4, "aic": [[3.0, 2.0, 1.5, 1.0]] * 4,
                    "best_bic": [3, "full"], "best_aic": [4, "full"]},
    "reachability": {"ordering": [0, 1, 2, 3], "reachability": [None, 0.5, 0.4, 2.0],
                     "labels": [0, 0, 1, -1], "of": 5000},
    "stability": {"seeds": [0, 1], "pairwise": [[1.0, 0.8], [0.8, 1.0]], "mean": 0.8,
                  "clusters": [3, 3]},
    "silhouettes": {"values": [0.5, -0.2, 0.8, 0.6], "labels": [0, 0, 1, 1], "mean": 0.425,
                    "sampled": None},
}  # fmt: skip


class Balanced(HTMLParser):
    """Raises where a tag is closed that is not open, or left open at the end."""

    VOID = frozenset({"img", "br", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


def mark_places(html: str) -> list[tuple[float, float]]:
    """Left and top of every mark, in percent."""
    found = re.findall(r'<svg class="mark [^"]*" x="([\d.]+)%" y="([\d.]+)%"', html)
    return [(float(x), float(y)) for x, y in found]


def areas(html: str) -> list[list[tuple[float, float]]]:
    """The corners of every area of the inner drawing."""
    shapes = []
    for path in re.findall(r'<path class="area [^"]*" d="([^"]*)"', html):
        x = y = 0.0
        corners = []
        for kind, rest in re.findall(r"([MHV])([^MHVZ]*)", path):
            values = [float(each) for each in rest.split()]
            if kind == "M":
                x, y = values
            elif kind == "H":
                x = values[0]
            else:
                y = values[0]
            corners.append((x, y))
        shapes.append(corners)
    return shapes


def every_view(visitor: Visitor) -> Iterator[str]:
    yield from (chart(name, DATA[name], visitor) for name in CHARTS)
    yield dendrogram([[0, 1], [2, 3]], [1.0, 3.0], 2, visitor)
    yield views.scores(RESULT, visitor)
    yield views.comparison(ROWS, {"kmeans": thumbnail(np.eye(2), np.array([0, -1]))}, visitor)
    yield data_views.palette(SWATCHES, visitor)
    yield data_views.table_preview(TABLE, visitor)
    yield from (data_views.about(name, visitor) for name in ALGORITHMS)


RESULT = {
    "scores": {"clusters": 2, "sizes": [30, 10], "noise": 10, "noise_share": 0.2,
               "silhouette": 0.5, "davies_bouldin": 0.7, "calinski_harabasz": 1234.0,
               "sampled": 10_000},
    "fit_seconds": 0.25, "peak_bytes": None,
    "notes": [Message("There is no data set called {name}.", name="x").to_json()],
    "agreement": {"ari": -0.1, "nmi": 0.2, "homogeneity": 0.3, "completeness": 0.4,
                  "matched": 0.5, "confusion": [[20, 5, 5], [10, 5, 5]], "classes": ["a", "b"],
                  "columns": [0, 1, -1]},
}  # fmt: skip
ROWS = [
    {"algorithm": "kmeans", "title": "K-Means", "seconds": 0.1, "peak_bytes": 1000, "clusters": 2,
     "sizes": [3, 3], "noise": 0, "noise_share": 0.0, "silhouette": 0.6, "davies_bouldin": 0.5,
     "calinski_harabasz": 10.0, "sampled": None},
    {"algorithm": "dbscan", "title": "DBSCAN", "seconds": 0.2, "peak_bytes": None, "clusters": 1,
     "sizes": [5], "noise": 1, "noise_share": 0.17, "silhouette": 0.4, "davies_bouldin": 0.9,
     "calinski_harabasz": None, "sampled": None},
    {"algorithm": "spectral", "title": "Spectral clustering",
     "error": Message("Lower {what}.", what=EVIL).to_json()},
]  # fmt: skip
SWATCHES = [{"label": 0, "hex": "#112233", "pixels": 75, "share": 0.75},
            {"label": -1, "hex": "#445566", "pixels": 25, "share": 0.25}]  # fmt: skip


def column(name: str, kind: str, **more: object) -> dict:
    return {"name": name, "kind": kind, "missing": 0, "infinite": 0, "unreadable": 0,
            "levels": None, "least": None, "most": None} | more  # fmt: skip


TABLE = {
    "rows": 3,
    "columns": [column(EVIL, "number", least=1.0, most=2.0, missing=1, unreadable=1),
                column("colour", "category", levels=2)],
    "suggested": [EVIL],
    "preview": [["1", EVIL], ["2", "red"], ["", "blue"]],
    "layout": {"encoding": "utf-8-sig", "delimiter": ";", "decimal": ",", "header": False},
    "notes": [],
}  # fmt: skip


# --- axes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.0, 100.0], ("0", "20", "40", "60", "80", "100")),
        ([0.0, 0.9], ("0", "0.2", "0.4", "0.6", "0.8", "1.0")),
        ([0.0, 1_000_000.0], ("0", "0.2M", "0.4M", "0.6M", "0.8M", "1.0M")),
        ([-0.2, 1.0], ("−0.25", "0", "0.25", "0.50", "0.75", "1.00")),
        ([3.0, 3.0], ("1", "2", "3", "4", "5")),
        ([], ("0", "0.2", "0.4", "0.6", "0.8", "1.0")),
    ],
)
def test_ticks_are_round(values, names):
    assert axis(values).names == names


@pytest.mark.parametrize("low", [-1e300, -7.3e-9, 0.0, 0.1, 123.4, 9e15])
@pytest.mark.parametrize("span", [1e-12, 0.37, 41.0, 1e6, 1e300])
def test_every_axis_holds_its_values_and_has_few_short_names(low, span):
    found = axis([low, low + span, None, math.nan, math.inf])
    slack = 1e-8 * (found.high - found.low)
    assert found.low - slack <= low < found.high
    assert found.high + slack >= low + span
    assert 2 <= len(found.ticks) <= 8
    assert max(map(len, found.names)) <= 9
    assert all(a < b for a, b in zip(found.ticks, found.ticks[1:], strict=False))


def test_whole_numbers_are_not_named_more_often_than_there_is_room():
    assert counts([1, 2, 3]).names == ("1", "2", "3")
    many = counts(range(1, 51))
    assert many.names == ("5", "10", "15", "20", "25", "30", "35", "40", "45", "50")
    assert many.low < 1 < 50 < many.high


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (math.inf, "∞"), (0, "0"), (1234.5, "1,234"), (-0.12345,
     "−0.1235"), (1e-9, "1e−09"), (1e15, "1e+15")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_times_are_short():
    assert [views.elapsed(each) for each in (0.0042, 0.5, 12.3, 100)] == [
        "4.2 ms", "0.5 s", "12 s", "1 min 40 s"]  # fmt: skip


# --- curves over k --------------------------------------------------------------------------------


def test_marks_of_the_elbow_lie_where_their_values_are():
    html = chart("elbow", DATA["elbow"], VISITOR)
    places = mark_places(html)
    assert [y for _, y in places] == [0.0, 60.0, 80.0, 85.0]  # of 0 … 100, from the top
    across = [x for x, _ in places]
    assert np.allclose(np.diff(across), np.diff(across)[0], atol=0.02)
    assert re.findall(r'data-k="(\d)"', html) == ["1", "2", "3", "4"]
    assert html.count('class="ring"') == 1
    assert "The knee is at k = 2" in html


def test_without_a_knee_none_is_marked():
    html = chart("elbow", DATA["elbow"] | {"knee": None}, VISITOR)
    assert "There is no knee" in html
    assert "ring" not in html


def test_where_the_silhouette_is_not_defined_the_line_is_broken():
    data = {"ks": [1, 2, 3, 4, 5], "means": [0.2, 0.3, None, 0.4, 0.5], "best": 5}
    html = chart("silhouette", data, VISITOR)
    assert [len(each.split()) for each in re.findall(r'points="([^"]*)"', html)] == [2, 2]
    assert len(mark_places(html)) == 4


def test_error_bars_of_the_gap_reach_one_standard_error_up_and_down():
    data = {"ks": [1, 2], "gap": [0.0, 1.0], "s": [0.5, 0.0], "best": None}
    html = chart("gap", data, VISITOR)  # the axis is −0.5 … 1
    found = re.findall(r'error-bar" x1="[^"]*" x2="[^"]*" y1="([\d.]+)%" y2="([\d.]+)%"', html)
    assert [tuple(map(float, each)) for each in found] == [(33.33, 100.0), (0.0, 0.0)]
    assert "the gap rises all the way" in html


def test_bic_and_aic_mark_their_own_best():
    html = chart("information", DATA["information"], VISITOR)
    ringed = [each for each in re.findall(r'<svg class="mark.*?</svg>', html) if "ring" in each]
    assert [re.search(r"<title>(.*?)</title>", each)[1] for each in ringed] == [
        "k = 3, covariance “full”: BIC 1",
        "k = 4, covariance “full”: AIC 1",
    ]


@pytest.mark.parametrize("far", [1e300, 1e-300, 0.0])
def test_numbers_of_any_size_stay_on_the_sheet(far):
    html = chart("elbow", {"ks": KS, "inertia": [far, 2.0, 1.0, 0.0], "knee": None}, VISITOR)
    assert all(0 <= value <= 100 for place in mark_places(html) for value in place)
    assert "nan" not in html
    assert "inf" not in html.replace("info", "")


# --- points in a row ------------------------------------------------------------------------------


def test_the_line_of_eps_lies_at_the_knee_and_counts_core_points():
    html = k_distance(DATA["k_distance"], VISITOR)
    assert 'data-line="eps"' in html
    assert 'aria-valuenow="0.4"' in html
    assert "--at:20.000%" in html  # 0.4 of 2
    assert "80.0 % of the points are core points" in html
    assert "min_samples = 3" in html
    assert "Distance to neighbour 2" in html  # the first is the point itself
    assert 'aria-valuenow="2"' in k_distance(DATA["k_distance"], VISITOR, eps=50.0)
    assert 'aria-valuenow="0.3"' in k_distance(DATA["k_distance"] | {"eps": None}, VISITOR)


def test_equal_points_have_a_chart_too():
    data = {"distances": [0.0] * 9, "min_samples": 5, "eps": None, "sampled": None}
    assert float(re.search(r'aria-valuenow="([^"]*)"', k_distance(data, VISITOR))[1]) > 0


def test_bars_of_reachability_are_as_high_as_their_distances():
    html = chart("reachability", DATA["reachability"], VISITOR)
    first, second, noise = areas(html)  # the axis is 0 … 2, each bar 250 wide
    assert first[1:5] == [(0, 0), (250, 0), (250, 750), (500, 750)]  # reached from none: full
    assert second[1:3] == [(500, 800), (750, 800)]
    assert noise[1:3] == [(750, 0), (1000, 0)]
    assert "2 clusters; 25.0 % is noise." in html
    assert "Of 5,000 values" in html


def test_blades_are_sorted_and_begin_at_zero():
    html = silhouettes(DATA["silhouettes"], VISITOR)  # the axis is −0.25 … 1
    first, second = areas(html)
    assert first[0][0] == first[-1][0] == 200
    assert [x for x, _ in first[1:-1:2]] == [600, 40]  # 0.5, −0.2
    assert [x for x, _ in second[1:-1:2]] == [840, 680]
    assert max(y for _, y in first) <= min(y for _, y in second)
    assert max(y for _, y in second) == 1000
    assert "25.0 % of the points are nearer to another cluster" in html
    assert "Cluster 0: 2 points, mean 0.15" in html


def test_sampled_blades_do_not_count_points():
    assert "2 points" not in silhouettes(DATA["silhouettes"] | {"sampled": 4}, VISITOR)


def test_noise_has_no_blade():
    html = silhouettes({"values": [0.5], "labels": [-1], "sampled": None}, VISITOR)
    assert "There is no cluster" in html


# --- tables that are shaded -----------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "word"), [(0.95, "Stable"), (0.7, "Partly"), (0.1, "Unstable")])
def test_stability_says_what_its_mean_means(mean, word):
    html = chart("stability", DATA["stability"] | {"mean": mean}, VISITOR)
    assert f'<p class="finding">{word}' in html
    assert html.count("--p:80%") == 2


def test_the_confusion_is_shaded_by_the_share_of_the_class():
    html = confusion(RESULT["agreement"], VISITOR)
    assert re.findall(r"--p:(\d+)%", html) == ["67", "17", "17", "50", "25", "25"]
    assert "Class a: 5 points (16.7 %) are noise" in html


# --- the dendrogram -------------------------------------------------------------------------------


def grown(n: int, method: str = "ward", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Merges of scipy's, and the points' labels come from it as well."""
    return linkage(np.random.default_rng(seed).normal(size=(n, 2)), method)


@pytest.mark.parametrize("n", [2, 3, 20, 60, 61, 200])
@pytest.mark.parametrize("method", ["ward", "single"])
def test_a_cut_tree_has_scipys_clusters_in_the_order_of_labels(n, method):
    Z = grown(n, method)
    shown = tree(Z[:, :2], Z[:, 2])
    assert sum(shown.leaves) == n
    assert len(shown.leaves) == min(n, 60)
    for k in {1, 2, min(5, n), len(shown.leaves)}:
        labels = renumber(fcluster(Z, k, "maxclust"))
        of = shown.clusters(k)
        assert set(of.values()) == set(range(k))
        for leaf, (size, first) in enumerate(zip(shown.leaves, shown.firsts, strict=True)):
            assert of[leaf] == labels[first]
            assert size <= (labels == labels[first]).sum()


def test_every_cut_lies_between_the_merges_that_it_parts():
    Z = grown(100)
    shown, heights = tree(Z[:, :2], Z[:, 2]), Z[:, 2]
    for k in range(1, 61):
        height = cut_height(shown, k, heights[-1] * 1.1)
        assert 1 + (heights > height).sum() == k


def test_no_two_branches_of_a_tree_cross():
    Z = grown(150)
    shown = tree(Z[:, :2], Z[:, 2])
    spans = {leaf: (leaf, leaf) for leaf in range(len(shown.leaves))}
    for at, (left, right) in enumerate(shown.merges):
        assert spans[left][1] + 1 == spans[right][0]
        spans[len(shown.leaves) + at] = (spans[left][0], spans[right][1])


def test_the_tree_is_coloured_below_its_cut_and_says_where_it_is():
    html = dendrogram([[0, 1], [2, 3]], [1.0, 3.0], 2, VISITOR)  # points 0 and 1, and then 2
    branches = re.findall(r'class="(branch [^"]*)" data-node="(\d)"', html)
    assert branches == [
        ("branch k0", "3"), ("branch k0", "0"), ("branch k0", "1"),
        ("branch cut", "4"), ("branch k0", "3"), ("branch k1", "2"),
    ]  # fmt: skip
    assert 'data-line="clusters"' in html
    assert 'aria-valuenow="2"' in html
    assert "--at:50.000%" in html  # 2 of 4
    assert "The longest step in height is cut at k = 2." in html


def test_merges_of_four_columns_and_equal_heights_are_taken():
    Z = linkage(np.zeros((70, 2)), "average")
    html = dendrogram(Z.tolist(), Z[:, 2].tolist(), 3, VISITOR)
    assert "60 groups" in html
    assert "nan" not in html


# --- scores and comparison ------------------------------------------------------------------------


def test_scores_show_what_there_is_and_a_dash_for_what_is_not():
    html = views.scores(RESULT, VISITOR)
    cards = dict(re.findall(r'data-figure="(\w+)"><span>[^<]*</span><b>([^<]*)</b>', html))
    assert cards == {
        "silhouette": "0.500", "davies_bouldin": "0.700", "calinski_harabasz": "1,234",
        "clusters": "2", "noise_share": "20.0 %", "seconds": "0.25 s", "peak_bytes": "–",
    }  # fmt: skip
    assert re.search(r'meter" style="--p:75.0%"', html)  # 0.5 of −1 … 1
    assert "The silhouette is of 10,000 points" in html
    assert "There is no data set called x." in html


def test_bars_of_sizes_are_as_long_as_their_counts():
    html = views.sizes({"sizes": [30, 15], "noise": 15}, VISITOR)
    assert re.findall(r"width:([\d.]+)%", html) == ["100.00", "50.00", "50.00"]
    assert re.findall(r"<td>([\d.]+ %)</td>", html) == ["50.0 %", "25.0 %", "25.0 %"]


def test_of_many_clusters_the_rest_is_one_bar():
    html = views.sizes({"sizes": [1] * 500, "noise": 0}, VISITOR)
    assert html.count("<tr") == 21
    assert "480 more clusters" in html


def test_all_noise_has_sizes_and_no_scores():
    nothing = {"silhouette": None, "davies_bouldin": None, "calinski_harabasz": None,
               "clusters": 0, "sizes": [], "noise": 9, "noise_share": 1.0,
               "sampled": None}  # fmt: skip
    html = views.scores({"scores": nothing}, VISITOR)
    assert "Three scores need at least two clusters" in html
    assert "100 %" in html


def test_an_agreement_below_zero_has_a_bar_of_no_length():
    assert re.findall(r"width:([\d.]+)%", views.agreement(RESULT["agreement"], VISITOR)) == [
        "0.00", "20.00", "30.00", "40.00", "50.00"]  # fmt: skip


def test_the_best_algorithm_is_marked_and_a_refusal_says_why():
    html = views.comparison(ROWS, {}, VISITOR)
    assert re.findall(r'class="algorithm first" data-algorithm="(\w+)"', html) == ["kmeans"]
    assert "★: the best by Silhouette." in html
    assert 'data-refused="spectral"' in html
    assert "Lower &lt;img" in html
    best = re.findall(r'<td class="best">([^<]*)</td>', html)
    assert best == ["0.600", "0.500", "0.1 s"]  # memory and CH of one alone are no contest


def test_true_labels_decide_before_the_silhouette():
    rows = [ROWS[0] | {"ari": 0.1}, ROWS[1] | {"ari": 0.9}]
    html = views.comparison(rows, {}, VISITOR)
    assert re.findall(r'class="algorithm first" data-algorithm="(\w+)"', html) == ["dbscan"]
    assert "by ARI" in html


def test_among_equals_none_is_the_best():
    html = views.comparison([ROWS[0], ROWS[0] | {"algorithm": "birch", "title": "BIRCH"}], {},
                            VISITOR)  # fmt: skip
    assert "first" not in html


def test_thumbnails_keep_proportions_and_draw_noise_first():
    html = thumbnail(np.array([[0.0, 0], [4, 0], [4, 2], [np.nan, 1]]), np.array([0, 1, -1, 0]))
    paths = re.findall(r'<path class="(\w+)" d="([^"]*)"', html)
    assert paths == [("noise", "M154 43h0"), ("k0", "M6 117h0"), ("k1", "M154 117h0")]


def test_thumbnails_of_many_points_are_small():
    rng = np.random.default_rng(0)
    html = thumbnail(rng.normal(size=(100_000, 2)), rng.integers(-1, 20, 100_000))
    assert html.count("M") <= 1500
    assert len(html) < 20_000
    assert "<path" not in thumbnail(np.full((3, 2), np.nan), np.zeros(3, int))
    assert "M80 80h0" in thumbnail(np.ones((3, 2)), np.zeros(3, int))


# --- data -----------------------------------------------------------------------------------------


def test_a_table_shows_its_columns_and_how_it_was_read():
    html = data_views.table_preview(TABLE, VISITOR)
    assert ("3 rows, 2 columns · 1 chosen · UTF-8 · separated by semicolons · decimal comma · "
            "no row of names") in html  # fmt: skip
    assert "1 … 2 · 2 missing" in html
    assert html.count('scope="col" class=chosen') == 1
    assert html.count('class="number chosen"') == 3


def test_of_a_wide_table_some_columns_are_not_shown():
    wide = TABLE | {"columns": [column(f"c{n}", "number") for n in range(1000)],
                    "preview": [["1"] * 1000] * 10, "suggested": [], "layout": None}  # fmt: skip
    html = data_views.table_preview(wide, VISITOR)
    assert "960 columns are not shown" in html
    assert len(html) < 60_000


def test_a_palette_has_shares_and_colours_to_copy():
    html = data_views.palette(SWATCHES, VISITOR)
    assert re.findall(r'data-copy="(#\w+)"', html) == ["#112233", "#445566"]
    assert "75.0 %" in html


def test_about_an_algorithm_that_there_is_not():
    with pytest.raises(NotFound):
        data_views.about("k-meens", VISITOR)


# --- all of them ----------------------------------------------------------------------------------


def test_all_tags_are_closed():
    for html in every_view(VISITOR):
        Balanced(html)


def test_what_people_wrote_stays_text():
    seen = "".join(every_view(VISITOR))
    assert "<img" not in seen
    agreement = RESULT["agreement"] | {"classes": [EVIL, "b"]}
    assert "<img" not in confusion(agreement, VISITOR)
    swatch = SWATCHES[0] | {"hex": EVIL}
    assert "<img" not in data_views.palette([swatch], VISITOR)


def test_nothing_is_said_in_english_to_a_chinese_reader():
    for html in every_view(CHINESE):
        parts = re.findall(r">([^<]+)<", html)
        parts += re.findall(r'(?:title|aria-label)="([^"]*)"', html)
        kept = " ".join(parts).replace(EVIL, "")
        for name in ("K-Means", "DBSCAN", "There is no data set", "Davies–Bouldin", "BIRCH"):
            kept = kept.replace(name, "")
        assert not re.findall(r"\b(?:the|of|is|are|has|Higher|Click|Drag|Cluster|Points)\b", kept)


def test_all_words_that_stand_in_tables_have_a_chinese_translation():
    chinese = texts("zh")
    said = {text for figure in views.FIGURES.values()
            for text in (figure.title, figure.means, figure.better) if text}  # fmt: skip
    said |= {*data_views._KINDS.values(), *data_views._DELIMITERS.values()}
    said |= {"Assumes", "Cost", "Fails", "Makes centres", "Leaves noise out", "Soft membership"}
    said |= {"Labels new points", "k = {k}: J = {value}", "k = {k}: silhouette {value}"}
    said |= {"k = {k}: gap {value} ± {error}", "knee: k = {k}", "highest: k = {k}"}
    said |= {"chosen: k = {k}"}
    assert not sorted(said - chinese.keys())


def test_style_and_script_have_the_same_colours():
    style = (ASSETS / "clustering_charts.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(k\d|k-noise): (#\w+);", style.partition(".dark")[0]))
    assert [light[f"k{n}"].upper() for n in range(8)] == list(COLOURS)
    assert light["k-noise"].upper() == NOISE
    at_night = re.findall(r"^\.dark .*--k7: (#\w+);", style, re.M)
    assert [each.upper() for each in at_night] == [DARK[-1]] * 2


def test_colours_come_again_and_are_told_apart():
    assert [kind_of(label) for label in (-1, 0, 7, 8, 16)] == [
        "noise", "k0", "k7", "k0 again", "k0"]  # fmt: skip


def test_a_rule_for_the_dark_has_one_selector():
    """Gradio puts a prefix before each of them, and the theme's class before the first alone."""
    style = (ASSETS / "clustering_charts.css").read_text(encoding="utf-8")
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S)
    heads = [head for head in re.findall(r"([^{}]+)\{", style) if ".dark" in head]
    assert heads
    assert not [head for head in heads if "," in head]


@pytest.mark.parametrize("value", [123.456, -5.5, 1e16, 3e150, 1e-300])
def test_an_axis_of_values_that_only_rounding_parts_has_ticks_of_its_own(value):
    """As BIC is for all kinds of covariance where there is one column."""
    drawn = axis([value, np.nextafter(value, np.inf)])
    assert drawn.low < value < drawn.high
    assert len(set(drawn.ticks)) == len(drawn.ticks) < 20
    assert 0 < drawn.share(value) < 1
