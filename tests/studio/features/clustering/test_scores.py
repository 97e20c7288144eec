"""Scores, comparisons, tables and palettes as HTML."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipelines.clustering.algorithms.registry import ALGORITHMS
from pipelines.core.errors import NotFound
from studio.features.clustering.charts.thumbnails import thumbnail
from studio.features.clustering.data import views as data_views
from studio.features.clustering.data.own_data_sets import Known
from studio.features.clustering.results import scores
from tests.studio.features.clustering.charts.chart_examples import (
    RESULT,
    ROWS,
    SWATCHES,
    TABLE,
    VISITOR,
    column,
)

# --- scores and comparison ------------------------------------------------------------------------


def test_scores_show_what_there_is_and_no_card_for_what_was_not_measured():
    html = scores.scores(RESULT, VISITOR)
    cards = dict(re.findall(r'data-figure="(\w+)"><span>[^<]*</span><b>([^<]*)</b>', html))
    assert cards == {
        "silhouette": "0.500", "davies_bouldin": "0.700", "calinski_harabasz": "1,234",
        "clusters": "2", "noise_share": "20.0 %", "seconds": "0.25 s",
    }  # fmt: skip
    assert re.search(r'meter" style="--p:75.0%"', html)  # 0.5 of −1 … 1
    assert "The silhouette is of 10,000 points" in html
    assert "favour round clusters" in html
    assert "There is no data set called x." in html


def bar_lengths(html: str) -> list[float]:
    """In % of their room."""
    return [float(each) for each in re.findall(r'class="area[^"]*"[^>]* width="([\d.]+)%"', html)]


def test_bars_of_sizes_are_as_long_as_their_counts():
    html = scores.sizes({"sizes": [30, 15], "noise": 15}, VISITOR)
    assert bar_lengths(html) == [100, 50, 50]
    assert re.findall(r">([\d.]+ %)</text>", html) == ["50.0 %", "25.0 %", "25.0 %"]


def test_of_many_clusters_the_rest_is_one_bar():
    html = scores.sizes({"sizes": [1] * 500, "noise": 0}, VISITOR)
    assert html.count('<g role="row"') == 21
    assert "480 more clusters" in html


def test_all_noise_has_sizes_and_no_scores():
    nothing = {"silhouette": None, "davies_bouldin": None, "calinski_harabasz": None,
               "clusters": 0, "sizes": [], "noise": 9, "noise_share": 1.0,
               "sampled": None}  # fmt: skip
    html = scores.scores({"scores": nothing}, VISITOR)
    assert "Three scores need at least two clusters" in html
    assert "favour round clusters" not in html
    assert "100 %" in html
    assert "raise the radius (eps)" in scores.scores({"scores": nothing}, VISITOR, "dbscan")
    one = nothing | {"clusters": 1, "sizes": [9], "noise": 0, "noise_share": 0.0}
    assert "lower the radius (eps)" in scores.scores({"scores": one}, VISITOR, "dbscan")
    assert "radius" not in scores.scores({"scores": one}, VISITOR, "kmeans")


def test_an_agreement_below_zero_has_the_shortest_bar():
    html = scores.agreement(RESULT["agreement"], VISITOR)
    assert bar_lengths(html) == [0.4, 20, 30, 40, 50]


FIRST = r'data-algorithm="(\w+)"[^>]*><svg[^>]* class="chart first"'


def test_the_best_algorithm_is_marked_and_a_refusal_says_why():
    html = scores.comparison(ROWS, {}, VISITOR)
    assert re.findall(FIRST, html) == ["kmeans"]
    assert "★: the best by Silhouette." in html
    assert 'data-refused="spectral"' in html
    assert "Lower &lt;img" in html
    best = re.findall(r'<td class="best">([^<]*)</td>', html)
    assert best == ["0.600", "0.500", "0.1 s"]  # memory and CH of one alone are no contest


def test_true_labels_decide_before_the_silhouette():
    rows = [ROWS[0] | {"ari": 0.1}, ROWS[1] | {"ari": 0.9}]
    html = scores.comparison(rows, {}, VISITOR)
    assert re.findall(FIRST, html) == ["dbscan"]
    assert "by ARI" in html


def test_among_equals_none_is_the_best():
    html = scores.comparison([ROWS[0], ROWS[0] | {"algorithm": "birch", "title": "BIRCH"}], {},
                            VISITOR)  # fmt: skip
    assert not re.findall(FIRST, html)


def test_thumbnails_keep_proportions_and_draw_noise_first():
    html = thumbnail(np.array([[0.0, 0], [4, 0], [4, 2], [np.nan, 1]]), np.array([0, 1, -1, 0]))
    paths = re.findall(r'<path class="dots (\w+)" d="([^"]*)"', html)
    assert paths == [("noise", "M154 43h.01"), ("k0", "M6 117h.01"), ("k1", "M154 117h.01")]


def test_thumbnails_of_many_points_are_small():
    rng = np.random.default_rng(0)
    html = thumbnail(rng.normal(size=(100_000, 2)), rng.integers(-1, 20, 100_000))
    assert html.count("M") <= 1500
    assert len(html) < 20_000
    assert "<path" not in thumbnail(np.full((3, 2), np.nan), np.zeros(3, int))
    assert "M80 80h.01" in thumbnail(np.ones((3, 2)), np.zeros(3, int))


def test_times_are_short():
    assert [scores.format_elapsed(each) for each in (0.0042, 0.5, 12.3, 100)] == [
        "4.2 ms", "0.5 s", "12 s", "1 min 40 s"]  # fmt: skip


# --- data -----------------------------------------------------------------------------------------


def test_a_table_shows_its_columns_and_how_it_was_read():
    html = data_views.table_preview(TABLE, VISITOR)
    assert ("3 rows, 2 columns · 1 chosen · UTF-8 · separated by semicolons · decimal comma · "
            "no row of names") in html  # fmt: skip
    assert "1 … 2 · 2 missing" in html
    assert html.count('scope="col" class="column chosen"') == 1
    assert html.count('class="number chosen"') == 3


def test_a_table_shows_which_column_has_the_true_labels():
    name = TABLE["columns"][1]["name"]
    html = data_views.table_preview(TABLE, VISITOR, [], name)
    assert html.count('scope="col" class="column truth"') == html.count("true labels") == 1
    assert " chosen" not in html.replace("0 chosen", "")


def test_points_without_a_true_label_are_told():
    found = {"ari": 0.5, "nmi": 0.5, "homogeneity": 0.5, "completeness": 0.5, "matched": 0.5}
    said = "Points left out of this because they have no true label: 1,234."
    assert said in scores.agreement(found | {"unlabelled": 1234}, VISITOR)
    assert "no true label" not in scores.agreement(found | {"unlabelled": 0}, VISITOR)
    rows = [ROWS[0] | {"unlabelled": 1234}, *ROWS[1:]]
    assert said in scores.comparison(rows, {}, VISITOR)


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


# --- what is foreseen -----------------------------------------------------------------------------


def known_data(points: int, columns: int = 2) -> Known:
    names = tuple(f"c{number}" for number in range(columns))
    return Known("0" * 32, "made", "Blobs", points, names, False, {}, (), 0.0, 0)


def test_a_long_fit_is_told_before_it_begins_and_a_short_one_is_not():
    assert data_views.foreseen("optics", known_data(600), {}, VISITOR) == ""
    long = data_views.foreseen("optics", known_data(50_000), {}, VISITOR)
    assert re.search(r"This will take about \d+ (s|min|h)\b.* of memory", long)


def test_a_refusal_is_told_before_a_button_is_pressed():
    most = ALGORITHMS["spectral"].most
    html = data_views.foreseen("spectral", known_data(most + 1), {}, VISITOR)
    assert f"at most {most} points" in html.replace(",", "")
    assert "300 clusters cannot be made of 20 points" in data_views.foreseen(
        "kmeans", known_data(20), {"clusters": 300}, VISITOR
    )


def test_nothing_is_foreseen_of_values_that_are_not_valid():
    assert data_views.foreseen("kmeans", known_data(20), {"clusters": -1}, VISITOR) == ""
