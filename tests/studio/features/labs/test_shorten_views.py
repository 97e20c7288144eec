"""Charts of shortening: heights and places by hand, and numbers of any size."""

from __future__ import annotations

import re
import sys

import pytest

from studio.core.accounts.accounts import Owner
from studio.features.labs.shorten_views import curve, scores, table
from studio.page.widgets import Visitor

VISITOR = Visitor(Owner("local", "you", is_host=True), "en")


def heights(html: str) -> list[int]:
    return [int(each) for each in re.findall(r"height:(\d+)px", html)]


def point(blocks: int, perplexity: float, speed: float) -> dict:
    return {"blocks": blocks, "perplexity": perplexity, "tokens_per_second": speed,
            "parameters": 1000 - 100 * blocks}  # fmt: skip


def places(html: str, name: str) -> list[tuple[float, float]]:
    found = re.search(rf'<polyline class="{name}" points="([^"]*)"', html)
    return [tuple(map(float, each.split(","))) for each in found[1].split()]


def figures(parameters: int, perplexity: float, speed: float) -> dict:
    return {"parameters": parameters, "file_bytes": 4 * parameters, "perplexity": perplexity,
            "tokens_per_second": speed, "peak_bytes": 5 * parameters}  # fmt: skip


def test_bars_stand_on_zero_where_that_shows_their_differences():
    # 170 px high, of which 2 % are for the least; 5 of 10 is half of the rest.
    assert heights(scores([0.0, 5.0, 10.0], "taylor", [], False, VISITOR)) == [3, 87, 170]


def test_where_the_axis_begins_elsewhere_that_is_said():
    html = scores([100.0, 101.0, 102.0], "magnitude", [], False, VISITOR)
    assert heights(html) == [3, 87, 170]
    assert "The axis begins at 100, not at 0." in html


def test_far_scores_are_shown_by_their_logarithms():
    html = scores([10.0, 1000.0, 100_000.0], "perplexity", [], False, VISITOR)
    assert heights(html) == [3, 87, 170]
    assert "The axis is logarithmic." in html


def test_equal_scores_have_equal_bars():
    assert len(set(heights(scores([7.0] * 4, "taylor", [], False, VISITOR)))) == 1


def test_what_goes_and_what_is_guarded_is_marked_and_said():
    html = scores([float(n) for n in range(9)], "taylor", [4, 5], True, VISITOR)
    kinds = re.findall(r'class="block( \w+)?"', html)
    assert kinds == [" kept"] * 4 + [" gone"] * 2 + [""] + [" kept"] * 2
    assert "2 of 9 blocks go: 5, 6." in html
    assert html.count("guarded") == 2 * 6  # in each title and label


def test_the_curve_begins_at_zero_and_runs_from_least_to_most_dropped():
    html = curve([point(4, 30, 40), point(0, 15, 20)], "taylor", VISITOR, "M")
    (x0, worth0), (x1, worth1) = places(html, "perplexity")
    (_, speed0), (_, speed1) = places(html, "speed")
    bottom = 300 - 40
    assert x0 < x1
    # Twice the number is twice as high above the axis, up to a tenth of a pixel.
    assert bottom - worth1 == pytest.approx(2 * (bottom - worth0), abs=0.2)
    assert bottom - speed1 == pytest.approx(2 * (bottom - speed0), abs=0.2)


@pytest.mark.parametrize("worst", [1e4, 1e30, sys.float_info.max])
def test_a_model_that_was_cut_too_far_stays_on_the_sheet(worst):
    html = curve([point(0, 15, 20), point(9, worst, 30)], "taylor", VISITOR, "M")
    for _, y in places(html, "perplexity"):
        assert 20 <= y <= 261
    assert max(map(len, re.findall(r">([^<]*)<", html))) < 100
    assert heights(scores([15.0, worst], "perplexity", [], False, VISITOR)) == [3, 170]


def test_one_point_is_a_curve_too():
    assert len(places(curve([point(0, 15, 20)], "taylor", VISITOR, "M"), "speed")) == 1


def test_changes_are_of_the_original_and_good_ones_are_marked():
    facts = {"before": figures(1000, 10.0, 50.0), "cut": figures(750, 25.0, 60.0)}
    html = table(facts, VISITOR)
    found = dict(
        re.findall(r'data-figure="(\w+)" data-state="cut".*?<small class="(.*?)</small>', html)
    )
    assert found == {
        "parameters": 'better">−25 %',
        "file_bytes": 'better">−25 %',
        "perplexity": 'worse">+150 %',
        "tokens_per_second": 'better">+20 %',
        "peak_bytes": 'better">−25 %',
    }
    widths = re.findall(r'data-figure="perplexity".*?width:([\d.]+)%', html)
    assert widths == ["40.0", "100.0"]


def test_what_people_wrote_stays_text():
    html = scores([1.0, 2.0], "taylor", [], False, VISITOR, "<b>x</b>")
    html += curve([point(0, 15, 20)], "taylor", VISITOR, "<b>x</b>")
    assert "<b>x" not in html
