"""The charts' script in Chromium, on a page that has nothing else."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from scipy.cluster.hierarchy import fcluster, linkage

from pipelines.clustering.labels import renumber
from pipelines.core.paths import ASSETS
from studio.core.accounts.accounts import Owner
from studio.features.clustering.charts.curves import CHARTS, SCRIPT, chart
from studio.features.clustering.charts.dendrogram import dendrogram
from studio.features.clustering.charts.point_charts import k_distance
from studio.features.clustering.charts.shaded_tables import confusion
from studio.features.clustering.charts.thumbnails import thumbnail
from studio.features.clustering.results.scores import comparison
from studio.page.theme import STONE
from studio.page.widgets import Visitor
from tests.studio.features.clustering.charts.chart_examples import DATA, EVIL, RESULT, ROWS

VISITOR = Visitor(Owner("local", "you", is_host=True), "en")
POINTS = np.random.default_rng(5).normal(size=(40, 2))
TREE = linkage(POINTS, "ward")
HERE = "http://charts.invalid/"
LIGHT, DARK = STONE.c100, STONE.c900
THEME = (
    "body { --body-text-color: #2a2825; --body-text-color-subdued: #78736a;"
    " --border-color-primary: #e7e4de; --background-fill-primary: #fff; --color-accent: #d16442;"
    f" --background-fill-secondary: {LIGHT}; background: {LIGHT}; }} "
    "body.dark { --body-text-color: #f4f2ee; --body-text-color-subdued: #a59f95;"
    f" --background-fill-secondary: {DARK}; background: {DARK}; }}"
    ".gradio .prose * { color: var(--body-text-color); }"  # as Gradio has it
)


SIZE = {"width": 600, "height": 700}


@pytest.fixture(scope="module")
def blank(browser) -> Iterator[Page]:
    context = browser.new_context(viewport=SIZE)
    page = context.new_page()
    page.route(f"{HERE}**", serve)
    yield page
    context.close()


@pytest.fixture(scope="module")
def alone(blank) -> Iterator[Page]:
    """A page for what was saved, where there is neither the page's style nor its width."""
    page = blank.context.new_page()
    yield page
    page.close()


@pytest.fixture
def page(blank) -> Iterator[Page]:
    """The browser's one page, loaded anew; its errors fail the test."""
    failures = []

    def note(error) -> None:
        failures.append(str(error))

    blank.on("pageerror", note)
    blank.set_viewport_size(SIZE)
    blank.goto(HERE)
    yield blank
    blank.remove_listener("pageerror", note)
    assert failures == []


def serve(route) -> None:
    """An empty page and the scripts, as the studio serves them."""
    path = route.request.url.removeprefix(HERE)
    if not path:
        route.fulfill(body="<!doctype html>", content_type="text/html")
        return
    name = path.removeprefix("scripts/")
    own = ASSETS / (name if name.startswith("clustering/") else f"chat/{name}")
    route.fulfill(body=own.read_text(encoding="utf-8"), content_type="text/javascript")


def show(page, html: str) -> None:
    """The HTML with style and script, which tells its events to a list."""
    style = (ASSETS / "clustering_charts.css").read_text(encoding="utf-8")
    body = f"<div class=gradio><div id=here class=prose>{html}</div></div>"
    page.set_content(f"{body}<style>{THEME}{style}</style>")
    page.evaluate(
        "script => { window.told = [];"
        " const trigger = (name, data) => window.told.push([name, data]);"
        " new Function('element', 'trigger', script)(document.getElementById('here'), trigger); }",
        SCRIPT,
    )


def list_messages(page) -> list:
    return page.evaluate("window.told")


def drag(page, share: float) -> None:
    """Takes the line in its middle and moves it to a share of the plot's height."""
    line = page.locator(".dragged line").bounding_box()
    field = page.locator(".frame").bounding_box()
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
    ((name, data),) = list_messages(page)
    assert name == "line"
    assert data["name"] == "eps"
    assert data["value"] == pytest.approx(0.5, abs=0.01)
    below = np.searchsorted(distances, data["value"], side="right")
    assert page.locator(".reading").inner_text().startswith(f"{below}.0 % of the points")
    assert page.locator(".dragged .value").text_content() == f"eps = {data['value']}"


def test_a_click_on_the_line_moves_nothing(page):
    show(page, k_distance({"distances": [0.1, 0.2, 1.0], "min_samples": 4, "eps": 0.2}, VISITOR))
    page.locator(".dragged text").click()
    assert list_messages(page) == []


def test_the_line_of_eps_moves_by_keys_and_is_told_when_they_rest(page):
    show(page, k_distance({"distances": [0.1, 0.2, 1.0], "min_samples": 4, "eps": 0.2}, VISITOR))
    page.locator(".dragged").focus()
    for key in ("ArrowUp", "ArrowUp", "PageUp", "ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_function("window.told.length")
    assert list_messages(page) == [["line", {"name": "eps", "value": 0.255}]]
    page.keyboard.press("Home")
    page.wait_for_function("window.told.length == 2")
    assert list_messages(page)[1][1]["value"] == 0.001
    page.keyboard.press("End")
    page.wait_for_function("window.told.length == 3")
    assert list_messages(page)[2][1]["value"] == 1


def test_the_cut_is_dragged_and_colours_the_tree_as_the_page_would(page):
    show(page, dendrogram(TREE[:, :2], TREE[:, 2], 2, VISITOR))
    plot = json.loads(page.locator("figure").get_attribute("data-tree"))
    drag(page, (plot["heights"][-4] + plot["heights"][-5]) / 2 / plot["high"])
    assert list_messages(page) == [["line", {"name": "clusters", "value": 5}]]
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
    # Once they have rested, and on a slow machine between two of them as well.
    page.wait_for_function("window.told.at(-1)?.[1].value === 1")
    assert list_messages(page)[-1] == ["line", {"name": "clusters", "value": 1}]


def test_a_mark_gives_its_k_by_mouse_and_keys(page):
    data = {"ks": [1, 2, 3, 4], "inertia": [9.0, 4.0, 2.0, 1.0], "knee": 2}
    show(page, chart("elbow", data, VISITOR))
    page.locator('[data-k="3"] .dot').click()
    page.locator('[data-k="4"]').focus()
    page.keyboard.press("Enter")
    assert list_messages(page) == [["line", {"name": "clusters", "value": k}] for k in (3, 4)]
    assert page.locator('.mark[aria-pressed="true"]').get_attribute("data-k") == "4"


def test_a_card_of_the_comparison_is_picked(page):
    rows = [{"algorithm": name, "title": name, "silhouette": at / 4, "clusters": 2}
            for at, name in enumerate(("kmeans", "birch"))]  # fmt: skip
    show(page, comparison(rows, {}, VISITOR))
    page.locator("[data-algorithm=birch]").click()
    assert list_messages(page) == [["pick", {"algorithm": "birch"}]]


def test_marks_have_the_colours_of_their_curves(page):
    show(page, chart("information", DATA["information"], VISITOR))
    found = page.eval_on_selector_all(".mark .dot", "all => all.map(e => getComputedStyle(e).fill)")
    assert set(found) == {
        "rgb(0, 114, 178)", "rgb(230, 159, 0)", "rgb(0, 158, 115)", "rgb(204, 121, 167)"
    }  # fmt: skip
    show(page, chart("elbow", DATA["elbow"], VISITOR))
    assert page.eval_on_selector(".curve", "e => getComputedStyle(e).stroke") == "rgb(0, 114, 178)"


def test_charts_fit_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    show(page, dendrogram(TREE[:, :2], TREE[:, 2], 2, VISITOR))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


# --- saved as files -------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {
    "svg",
    "style",
    "title",
    "rect",
    "path",
    "text",
    "tspan",
    "g",
    "line",
    "circle",
    "polyline",
}


def save_chart(page, kind: str, folder: Path) -> Path:
    """The file that the menu of the first chart gives."""
    page.locator(".save summary").first.click()
    with page.expect_download() as coming:
        page.locator(f"[data-save={kind}]").first.click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    return path


def size(root: ET.Element) -> tuple[float, float]:
    return float(root.get("width")), float(root.get("height"))


def words(root: ET.Element) -> list[str]:
    """All texts, in the order in which they are written."""
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def plots(root: ET.Element) -> list[ET.Element]:
    return [
        each
        for each in root.iter(f"{SVG}svg")
        if each.find(f"{SVG}rect[@class='frame']") is not None
    ]


def places(root: ET.Element, title: str) -> list[tuple[float, float]]:
    """Where the marks of the first plot lie whose titles match, in pixels of the file."""
    plot = plots(root)[0]
    left, top, width, height = (float(plot.get(name)) for name in ("x", "y", "width", "height"))
    return [
        (
            left + width * float(each.get("x").removesuffix("%")) / 100,
            top + height * float(each.get("y").removesuffix("%")) / 100,
        )
        for each in plot.iter(f"{SVG}svg")
        if re.fullmatch(title, each.findtext(f"{SVG}title") or "")
    ]


def test_a_saved_elbow_holds_the_points_of_its_curve(page, tmp_path):
    ks, inertia = [1, 2, 3, 5], [100.0, 40.0, 20.0, 15.0]
    show(page, chart("elbow", {"ks": ks, "inertia": inertia, "knee": 2}, VISITOR))
    path = save_chart(page, "svg", tmp_path)
    assert path.name == "clusters-elbow.svg"
    root = ET.parse(path).getroot()
    at = np.array(places(root, r"k = \d: J = [\d.]+"))
    assert len(at) == 4
    # From the first and the last mark follow the others: both axes are even.
    across = np.interp(ks, [1, 5], at[[0, -1], 0])
    up = np.interp(inertia, [15, 100], at[[-1, 0], 1])
    assert np.allclose(at, np.column_stack([across, up]), atol=0.1)
    (plot,), line = plots(root), next(root.iter(f"{SVG}polyline")).get("points")
    corners = np.array([each.split(",") for each in line.split()], dtype=float)
    corner = np.array([float(plot.get("x")), float(plot.get("y"))])
    assert np.allclose(corners + corner, at, atol=0.1)
    inner = plot.find(f"{SVG}svg[@class='paths']")  # one unit is one pixel there
    assert inner.get("viewBox") == f"0 0 {plot.get('width')} {plot.get('height')}"
    assert {"Inertia J", "Clusters (k)", "knee: k = 2", "100"} <= set(words(root))
    title = "Elbow: inertia over the number of clusters"
    assert root.findtext(f"{SVG}title") == title == words(root)[0]
    assert "Click a mark" not in " ".join(words(root))


PICTURES = {"kmeans": thumbnail(POINTS, np.zeros(40, int))}
EVERY_CHART: dict[str, Callable[[], str]] = {
    **{name: partial(chart, name, DATA[name], VISITOR) for name in CHARTS},
    "dendrogram": lambda: dendrogram(TREE[:, :2], TREE[:, 2], 2, VISITOR),
    "confusion": lambda: confusion(RESULT["agreement"], VISITOR),
    "comparison": lambda: comparison(ROWS, PICTURES, VISITOR),
}
QUICK_CHARTS = ("silhouette", "dendrogram", "confusion", "comparison")


CUT_OFF = """() => {
  const { clientWidth, clientHeight } = document.documentElement;
  const isOut = ({ left, top, right, bottom }) =>
    left < 0 || top < 0 || right > clientWidth || bottom > clientHeight;
  const texts = Array.from(document.querySelectorAll("text"));
  const out = texts.filter((each) => isOut(each.getBoundingClientRect()));
  return out.map((each) => each.textContent);
}"""


@pytest.mark.parametrize(
    "name",
    [
        *QUICK_CHARTS,
        *(
            pytest.param(name, marks=pytest.mark.deep)
            for name in EVERY_CHART
            if name not in QUICK_CHARTS
        ),
    ],
)
def test_a_chart_is_saved_whole_the_same_from_a_phone_and_in_its_colours(
    page, alone, tmp_path, name
):
    page.set_viewport_size({"width": 1280, "height": 800})
    show(page, EVERY_CHART[name]())
    path = save_chart(page, "svg", tmp_path)
    text = path.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= DRAWN
    assert not re.search(r"var\(|url\(|color-mix|href|javascript| on\w+=", text)
    assert page.locator("h4").first.inner_text() == root.findtext(f"{SVG}title")
    page.set_viewport_size({"width": 390, "height": 800})
    again = save_chart(page, "svg", tmp_path)
    assert again.name == path.name
    assert again.read_text(encoding="utf-8") == text

    alone.goto(path.as_uri())
    width, height = size(root)
    alone.set_viewport_size({"width": int(width), "height": int(height)})
    assert alone.evaluate(CUT_OFF) == []
    ink = alone.evaluate("getComputedStyle(document.querySelector('text')).fill")
    assert ink == "rgb(42, 40, 37)"


def test_what_people_wrote_stays_text_in_a_saved_chart(page, tmp_path):
    wild = f"<script>alert(1)</script> {EVIL} \x01"
    agreement = RESULT["agreement"] | {"classes": [wild, "b"]}
    show(page, confusion(agreement, VISITOR))
    root = ET.parse(save_chart(page, "svg", tmp_path)).getroot()
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= DRAWN
    assert wild.replace("\x01", "\ufffd") in {each.text for each in root.iter(f"{SVG}title")}


@pytest.mark.parametrize("dark", [False, True])
def test_a_saved_picture_is_twice_as_sharp_on_the_ground_of_the_page(page, tmp_path, dark):
    show(page, chart("silhouette", DATA["silhouette"], VISITOR))
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
    root = ET.parse(save_chart(page, "svg", tmp_path)).getroot()
    picture = Image.open(save_chart(page, "png", tmp_path)).convert("RGB")
    assert picture.size == tuple(2 * side for side in size(root))
    assert "#{:02x}{:02x}{:02x}".format(*picture.getpixel((1, 1))) == (DARK if dark else LIGHT)
    marks = places(root, r"k = \d: silhouette [\d.]+")
    assert len(marks) == 3
    for x, y in marks:
        dot = picture.getpixel((round(2 * x), round(2 * y)))
        assert dot == ((0x56, 0xB4, 0xE9) if dark else (0x00, 0x72, 0xB2))


def test_a_chart_is_saved_by_keys(page, tmp_path):
    show(page, chart("gap", DATA["gap"], VISITOR))
    page.keyboard.press("Tab")
    menu = page.get_by_label("Save “Gap statistic over the number of clusters”")
    assert menu.evaluate("menu => menu === document.activeElement")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert not page.locator(".save").evaluate("menu => menu.open")
    assert menu.evaluate("menu => menu === document.activeElement")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    with page.expect_download() as coming:
        page.keyboard.press("Enter")
    assert coming.value.suggested_filename == "clusters-gap.png"
    assert Image.open(coming.value.path()).format == "PNG"
    assert not page.locator(".save").evaluate("menu => menu.open")
    assert list_messages(page) == []


def test_a_line_is_saved_where_it_was_dragged_to(page, tmp_path):
    show(page, dendrogram(TREE[:, :2], TREE[:, 2], 2, VISITOR))
    line = page.locator(".dragged")
    line.focus()
    page.keyboard.press("ArrowDown")
    root = ET.parse(save_chart(page, "svg", tmp_path)).getroot()
    assert "k = 3" in words(root)
    (plot,) = plots(root)
    found = {each.get("class") for each in plot.iter(f"{SVG}path")}
    assert found == {"branch cut", "branch k0", "branch k1", "branch k2"}
