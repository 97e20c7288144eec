"""The charts' script in Chromium, on a page that has nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from pipelines.catalog import ASSETS
from pipelines.clustering.labels import renumber
from studio.accounts import Owner
from studio.clustering.charts import SCRIPT, chart
from studio.clustering.charts_points import k_distance
from studio.clustering.charts_tree import dendrogram
from studio.clustering.views import comparison
from studio.widgets import Visitor

VISITOR = Visitor(Owner("local", "you", is_host=True), "en")
POINTS = np.random.default_rng(5).normal(size=(40, 2))
TREE = linkage(POINTS, "ward")


@pytest.fixture
def page(browser) -> Iterator:
    context = browser.new_context(viewport={"width": 600, "height": 700})
    page = context.new_page()
    failures = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    context.close()
    assert failures == []


def show(page, html: str) -> None:
    """The HTML with style and script, which tells its events to a list."""
    style = (ASSETS / "clustering_charts.css").read_text(encoding="utf-8")
    page.set_content(f"<style>{style}</style><div id=here>{html}</div>")
    page.evaluate(
        "script => { window.told = [];"
        " const trigger = (name, data) => window.told.push([name, data]);"
        " new Function('element', 'trigger', script)(document.getElementById('here'), trigger); }",
        SCRIPT,
    )


def told(page) -> list:
    return page.evaluate("window.told")


def drag(page, share: float) -> None:
    """Takes the line in its middle and moves it to a share of the plot's height."""
    line = page.locator(".dragged").bounding_box()
    field = page.locator(".field").bounding_box()
    x, y = line["x"] + line["width"] / 2, line["y"] + line["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 5, steps=2)
    page.mouse.move(x, field["y"] + (1 - share) * field["height"], steps=4)
    page.mouse.up()


def branches(page) -> dict[int, str]:
    """Node → its class; brackets come before stems, and both have the same."""
    found = page.eval_on_selector_all(
        ".branch", "all => all.map(e => [Number(e.dataset.node), e.getAttribute('class')])"
    )
    return dict(found)


def test_the_line_of_eps_is_dragged_and_counts_core_points(page):
    distances = np.linspace(0.01, 1, 100).tolist()
    show(page, k_distance({"distances": distances, "min_samples": 4, "eps": 0.2}, VISITOR))
    drag(page, 0.5)
    ((name, data),) = told(page)
    assert name == "line"
    assert data["name"] == "eps"
    assert data["value"] == pytest.approx(0.5, abs=0.01)
    below = np.searchsorted(distances, data["value"], side="right")
    assert page.locator(".reading").inner_text().startswith(f"{below}.0 % of the points")
    assert page.locator(".dragged b").inner_text() == f"eps = {data['value']}"


def test_a_click_on_the_line_moves_nothing(page):
    show(page, k_distance({"distances": [0.1, 0.2, 1.0], "min_samples": 4, "eps": 0.2}, VISITOR))
    page.locator(".dragged b").click()
    assert told(page) == []


def test_the_line_of_eps_moves_by_keys_and_is_told_when_they_rest(page):
    show(page, k_distance({"distances": [0.1, 0.2, 1.0], "min_samples": 4, "eps": 0.2}, VISITOR))
    page.locator(".dragged").focus()
    for key in ("ArrowUp", "ArrowUp", "PageUp", "ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_function("window.told.length")
    assert told(page) == [["line", {"name": "eps", "value": 0.255}]]
    page.keyboard.press("Home")
    page.wait_for_function("window.told.length == 2")
    assert told(page)[1][1]["value"] == 0.001
    page.keyboard.press("End")
    page.wait_for_function("window.told.length == 3")
    assert told(page)[2][1]["value"] == 1


def test_the_cut_is_dragged_and_colours_the_tree_as_the_page_would(page):
    show(page, dendrogram(TREE[:, :2], TREE[:, 2], 2, VISITOR))
    plot = json.loads(page.locator(".plot").get_attribute("data-tree"))
    drag(page, (plot["heights"][-4] + plot["heights"][-5]) / 2 / plot["high"])
    assert told(page) == [["line", {"name": "clusters", "value": 5}]]
    shown = branches(page)
    labels = renumber(fcluster(TREE, 5, "maxclust"))
    for leaf, first in enumerate(plot["firsts"]):
        assert shown[leaf] == f"branch k{labels[first]}"
    at_once = dendrogram(TREE[:, :2], TREE[:, 2], 5, VISITOR)
    show(page, at_once)
    assert branches(page) == shown


def test_the_cut_moves_by_keys_one_cluster_at_a_time(page):
    show(page, dendrogram(TREE[:, :2], TREE[:, 2], 2, VISITOR))
    line = page.locator(".dragged")
    line.focus()
    height = line.bounding_box()["y"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert line.get_attribute("aria-valuenow") == "4"
    assert line.bounding_box()["y"] > height
    page.keyboard.press("Home")
    assert line.get_attribute("aria-valuenow") == "1"
    page.keyboard.press("ArrowUp")
    page.wait_for_function("window.told.length")
    assert told(page) == [["line", {"name": "clusters", "value": 1}]]


def test_a_mark_gives_its_k_by_mouse_and_keys(page):
    data = {"ks": [1, 2, 3, 4], "inertia": [9.0, 4.0, 2.0, 1.0], "knee": 2}
    show(page, chart("elbow", data, VISITOR))
    page.locator('[data-k="3"] .reach').click()
    page.locator('[data-k="4"]').focus()
    page.keyboard.press("Enter")
    assert told(page) == [["line", {"name": "clusters", "value": k}] for k in (3, 4)]
    assert page.locator('.mark[aria-pressed="true"]').get_attribute("data-k") == "4"


def test_a_card_of_the_comparison_is_picked(page):
    rows = [{"algorithm": name, "title": name, "silhouette": at / 4, "clusters": 2}
            for at, name in enumerate(("kmeans", "birch"))]  # fmt: skip
    show(page, comparison(rows, {}, VISITOR))
    page.locator("[data-algorithm=birch]").click()
    assert told(page) == [["pick", {"algorithm": "birch"}]]


def test_charts_fit_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    show(page, dendrogram(TREE[:, :2], TREE[:, 2], 2, VISITOR))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
