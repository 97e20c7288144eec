"""Charts of clusterings: places worked by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from pipelines.clustering.labels import renumber
from studio.features.clustering.charts.curves import chart
from studio.features.clustering.charts.dendrogram import cut_height, dendrogram, tree
from studio.features.clustering.charts.point_charts import k_distance, silhouettes
from studio.features.clustering.charts.shaded_tables import confusion
from tests.studio.features.clustering.charts.chart_examples import DATA, KS, RESULT, VISITOR


def mark_places(html: str) -> list[tuple[float, float]]:
    """Left and top of every mark, in percent."""
    found = re.findall(r'<svg class="mark [^"]*" x="([\d.]+)%" y="([\d.]+)%"', html)
    return [(float(x), float(y)) for x, y in found]


def without_style(html: str) -> str:
    return re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)


def areas(html: str) -> list[list[tuple[float, float]]]:
    """The corners of every area of the inner drawing, in thousandths of its sides."""
    shapes = []
    sides = re.search(r'class="paths" viewBox="0 0 ([\d.]+) ([\d.]+)"', html).groups()
    width, height = (float(each) / 1000 for each in sides)
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
            corners.append((round(x / width), round(y / height)))
        shapes.append(corners)
    return shapes


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
    assert "ring" not in without_style(html)


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
    assert 'class="dragged" y="80.00%"' in html  # 0.4 of 2
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


def test_a_few_far_jumps_leave_the_valleys_of_reachability_their_room():
    heights = [None, *[0.01 * (1 + at % 4) for at in range(98)], 30.0]
    data = {"reachability": heights, "labels": [0] * 99 + [1], "ordering": list(range(100))}
    html = chart("reachability", data, VISITOR)
    assert re.findall(r'text-anchor="end">([^<]*)<', html)[-1] == "0.04"
    assert "Bars that go beyond the axis are cut off; the highest is 30." in html
    first, jump = areas(html)
    assert min(y for _, y in first[3:]) == 0  # 0.04 of 0.04, which the usual bars reach
    assert jump[1:3] == [(990, 0), (1000, 0)]
    near = data | {"reachability": [None, *[0.01] * 98, 0.03]}
    assert "cut off" not in chart("reachability", near, VISITOR)


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


def shades(html: str) -> list[int]:
    """How strongly the cells are shaded, in % of the way from the faintest to the strongest."""
    found = re.findall(r'<rect class="shade"[^>]* fill-opacity="([\d.]+)"', html)
    return [round(100 * (float(each) - 0.04) / 0.96) for each in found]


@pytest.mark.parametrize(("mean", "word"), [(0.95, "Stable"), (0.7, "Partly"), (0.1, "Unstable")])
def test_stability_says_what_its_mean_means(mean, word):
    html = chart("stability", DATA["stability"] | {"mean": mean}, VISITOR)
    assert f'<p class="finding">{word}' in html
    assert shades(html) == [100, 80, 80, 100]


def test_the_confusion_is_shaded_by_the_share_of_the_class():
    html = confusion(RESULT["agreement"], VISITOR)
    assert shades(html) == [67, 17, 17, 50, 25, 25]
    assert "Class a: 5 points (16.7 %) are noise" in html


# --- the dendrogram -------------------------------------------------------------------------------


def grow_tree(n: int, method: str = "ward", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Merges of scipy's, and the points' labels come from it as well."""
    return linkage(np.random.default_rng(seed).normal(size=(n, 2)), method)


@pytest.mark.parametrize("n", [2, 3, 20, 60, 61, 200])
@pytest.mark.parametrize("method", ["ward", "single"])
def test_a_cut_tree_has_scipys_clusters_in_the_order_of_labels(n, method):
    Z = grow_tree(n, method)
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
    Z = grow_tree(100)
    shown, heights = tree(Z[:, :2], Z[:, 2]), Z[:, 2]
    for k in range(1, 61):
        height = cut_height(shown, k, heights[-1] * 1.1)
        assert 1 + (heights > height).sum() == k


def test_no_two_branches_of_a_tree_cross():
    Z = grow_tree(150)
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
    assert 'class="dragged" y="50.00%"' in html  # 2 of 4
    assert "The longest step in height is cut at k = 2." in html


def test_merges_of_four_columns_and_equal_heights_are_taken():
    Z = linkage(np.zeros((70, 2)), "average")
    html = dendrogram(Z.tolist(), Z[:, 2].tolist(), 3, VISITOR)
    assert "60 groups" in html
    assert "nan" not in html
