"""The plot of clusters and its animations, on a page of its own with made answers."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor
from playwright.sync_api import expect
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from pipelines.clustering.data.sample_data import make
from pipelines.clustering.steps.kmeans import first_centres
from studio.core.palette import CLUSTERS
from tests.browser.clustering.cluster_stub import SETS, app
from tests.browser.page.test_look import PHONE
from tests.studio.serve import serve_app

PLOT = "window.atelierPlots.plot"
READY = "window.atelierPlots?.plot?.layers.ratio"
revisions = itertools.count(1)


@pytest.fixture(scope="module")
def address():
    with serve_app(app()) as address:
        yield address


@pytest.fixture(scope="module")
def open_plot(address, browser):
    """``open_plot(**options of the context)``: the page; its errors fail its test."""
    contexts, problems = [], []

    def open_page(**options):
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
        page.wait_for_function = partial(page.wait_for_function, polling=50)
        page.goto(address)
        page.wait_for_function(READY)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def page(open_plot):
    return open_plot()


def state(page) -> dict:
    return page.evaluate(f"{PLOT}.state()")


def show(page, **scene) -> dict:
    """Gives the plot a scene, as the studio does, and waits until it is seen."""
    revision = next(revisions)
    page.fill("#scene textarea", json.dumps({**scene, "revision": revision}))
    page.press("#scene textarea", "Enter")
    page.wait_for_function(
        f"(revision) => {PLOT}.state().revision === revision && !{PLOT}.state().busy", arg=revision
    )
    wait_for_frame(page)
    wait_for_frame(page)  # in the size that what stands beside it leaves
    return state(page)


def wait_for_frame(page) -> None:
    """Waits until what has happened so far is drawn."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def animate(page, data: str, algorithm: str, **parameters) -> dict:
    body = {"data": data, "algorithm": algorithm, "parameters": parameters}
    return show(page, data=data, animation=body)


def point(page, at: int) -> list[float]:
    """Where a point lies on the page."""
    return page.evaluate(
        f"(at) => {{ const {{ layers, over }} = {PLOT}, box = over.getBoundingClientRect();"
        " return [box.left + layers.screen[2 * at], box.top + layers.screen[2 * at + 1]]; }",
        at,
    )


def last_message(page, name: str):
    """What the page was told last, under this name."""
    page.wait_for_function(f"document.querySelector('#told textarea').value.includes('\"{name}\"')")
    return json.loads(page.input_value("#told textarea"))[name]


def animation_labels(page) -> np.ndarray:
    return np.array(page.evaluate(f"[...{PLOT}.animation.frames.labels]"))


def same(found, expected) -> bool:
    return adjusted_rand_score(found, expected) == pytest.approx(1)


def test_points_have_their_clusters_and_a_click_on_the_legend_hides_one(page):
    seen = show(page, data="blobs", labels="blobs-4")
    assert (seen["points"], seen["drawn"], seen["clusters"]) == (400, 400, 4)
    expect(page.locator("#plot .shows")).to_have_text("K-Means")
    buttons = page.locator("#plot .legend button")
    expect(buttons).to_have_count(5)
    expect(buttons.last).to_contain_text("Noise")
    size = int(buttons.first.locator("b").inner_text())
    buttons.first.click()
    assert state(page)["drawn"] == 400 - size
    expect(buttons.first).to_have_attribute("aria-pressed", "false")
    buttons.first.click()
    assert state(page)["drawn"] == 400


def test_true_groups_are_shown_in_place_of_clusters(page):
    show(page, data="blobs", labels="blobs-3")
    page.click("#plot .choice [data-value=truth]")
    seen = state(page)
    assert (seen["by"], seen["clusters"]) == ("truth", 4)
    expect(page.locator("#plot .legend")).to_contain_text("Group 3")
    page.click("#plot .choice [data-value=clusters]")
    assert state(page)["clusters"] == 3


def test_the_point_under_the_pointer_is_named(page):
    show(page, data="moons")
    x, y = point(page, 17)
    page.mouse.move(x + 1, y)
    row = state(page)["hovered"]
    X = make(SETS["moons"]).X
    place = page.evaluate(f"{PLOT}.camera.back({x + 1} - {PLOT}.over.getBoundingClientRect().left,"
                          f" {y} - {PLOT}.over.getBoundingClientRect().top)")  # fmt: skip
    assert row == np.argmin(((X - place) ** 2).sum(axis=1))
    expect(page.locator("#plot .tip")).to_contain_text(f"Row {row + 1}")
    page.mouse.move(2, 2)
    expect(page.locator("#plot .tip")).to_be_hidden()


def test_the_wheel_zooms_where_the_pointer_is_and_a_double_click_shows_all_again(page):
    show(page, data="moons")
    # A page that has just opened may be scrolled on by the wheel (SCROLLING of pointer.js).
    page.wait_for_function("performance.now() > 400")
    x, y = point(page, 3)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -240)
    page.wait_for_function(f"{PLOT}.state().zoom > 1.4")
    wait_for_frame(page)
    assert point(page, 3) == pytest.approx([x, y], abs=1)
    box = page.locator("#plot .over").bounding_box()
    page.mouse.move(box["x"] + 90, box["y"] + 90)
    before = point(page, 3)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 110, steps=4)
    page.mouse.up()
    wait_for_frame(page)
    assert point(page, 3) == pytest.approx([before[0] + 40, before[1] + 20], abs=1)
    page.mouse.dblclick(box["x"] + 90, box["y"] + 90)
    assert not state(page)["moved"]


def test_keys_zoom_and_move(page):
    show(page, data="moons")
    page.focus("#plot .over")
    page.keyboard.press("+")
    assert state(page)["zoom"] == pytest.approx(1.3)
    before = page.evaluate(f"{PLOT}.camera.centre")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(f"{PLOT}.camera.centre")[0] < before[0]
    page.keyboard.press("0")
    assert not state(page)["moved"]


def test_what_is_circled_with_shift_is_selected_and_told(page):
    show(page, data="moons")
    box = page.locator("#plot .over").bounding_box()
    X = make(SETS["moons"]).X
    middle = page.evaluate(f"{PLOT}.pixel(0, 0)")[0] - box["x"]
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 30, box["y"] + 3)  # the corner is round
    page.mouse.down()
    low = box["height"] - 3
    for x, y in ((middle, 3), (middle, low), (30, low), (3, low - 40), (3, 40)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    rows = last_message(page, "select")
    assert set(rows) == set(np.flatnonzero(X[:, 0] < 0).tolist())
    expect(page.locator("#plot .selection")).to_contain_text(f"{len(rows)} points selected")
    page.focus("#plot .over")
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('#told textarea').value === '{\"select\": []}'")


def test_kmeans_plays_to_its_end_which_is_that_of_scikit_learn(page):
    seen = animate(page, "blobs", "kmeans", clusters=4, seed=5)
    assert seen["frame"] == 0
    assert seen["frames"] > 6
    expect(page.locator("#plot .sentence")).to_contain_text("4 centres are chosen")
    page.click("#plot .player .choice [data-value='4']")
    page.click("#plot .player .play")
    page.wait_for_function(f"(() => {{ const s = {PLOT}.state(); return !s.playing &&"
                           " s.frame === s.frames - 1; })()")  # fmt: skip
    expect(page.locator("#plot .sentence")).to_contain_text("this is the end")
    X = make(SETS["blobs"]).X
    expected = KMeans(4, init=first_centres(X, 4, "random", 5), n_init=1).fit(X)
    assert (animation_labels(page) == expected.labels_).all()


def test_steps_go_forward_and_back_by_buttons_and_keys(page):
    animate(page, "blobs", "kmeans", clusters=4, seed=5)
    page.get_by_role("button", name="One step forward").click()
    page.get_by_role("button", name="One step forward").click()
    after_two = animation_labels(page)
    assert state(page)["frame"] == 2
    page.focus("#plot .over")
    page.keyboard.press("End")
    assert state(page)["frame"] == state(page)["frames"] - 1
    assert not (animation_labels(page) == after_two).all()
    page.keyboard.press("Home")
    assert (animation_labels(page) == -1).all()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert (animation_labels(page) == after_two).all()
    page.keyboard.press("ArrowLeft")
    assert state(page)["frame"] == 1


def test_dbscan_ends_with_the_labels_and_cores_of_scikit_learn(page):
    animate(page, "moons", "dbscan", eps=0.14, min_samples=5)
    page.evaluate(f"{PLOT}.player.seek(40)")
    expect(page.locator("#plot .sentence")).to_contain_text("points within eps")
    page.focus("#plot .over")
    page.keyboard.press("End")
    expected = DBSCAN(eps=0.14, min_samples=5).fit(make(SETS["moons"]).X)
    assert (animation_labels(page) == expected.labels_).all()
    counts = [int(each.replace(",", "")) for each in page.locator(".legend b").all_inner_texts()]
    noise = int((expected.labels_ == -1).sum())
    core = len(expected.core_sample_indices_)
    assert counts == [core, 300 - core - noise, 0, noise, 0]


@pytest.mark.deep
def test_a_mixture_ends_with_the_labels_of_scikit_learn(page):
    seen = animate(page, "blobs", "mixture", clusters=4)
    page.evaluate(f"{PLOT}.player.toEnd()")
    expected = GaussianMixture(4, random_state=0).fit_predict(make(SETS["blobs"]).X)
    assert seen["frames"] > 2
    assert same(animation_labels(page), expected)


@pytest.mark.deep
def test_merges_end_in_one_cluster_and_are_coloured_as_cut(page):
    seen = animate(page, "few", "agglomerative", clusters=3)
    X = make(SETS["few"]).X
    expected = AgglomerativeClustering(3).fit_predict(X)
    page.evaluate(f"{PLOT}.player.seek({seen['frames'] - 3})")  # three clusters are left
    assert same(animation_labels(page), expected)
    expect(page.locator("#plot .sentence")).to_contain_text("the line cuts the tree here")
    colours = page.evaluate(f"[...{PLOT}.look.marks].map((mark) => {PLOT}.look.kinds[mark].fill)")
    assert same(colours, expected)
    page.evaluate(f"{PLOT}.player.toEnd()")
    assert len(set(animation_labels(page))) == 1


def test_points_are_drawn_erased_and_brought_back(page):
    show(page, mode="draw")
    box = page.locator("#plot .over").bounding_box()
    x, y = box["x"] + 120, box["y"] + 120
    page.mouse.click(x, y)
    expect(page.locator("#plot .drawn")).to_have_text("1 points")
    (only,) = last_message(page, "drawn")
    assert page.evaluate("([x, y]) => window.atelierPlots.plot.pixel(x, y)", only) == pytest.approx(
        [x, y], abs=0.6
    )
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 200, y + 60, steps=20)
    page.mouse.up()
    sprayed = state(page)["sketched"]
    assert sprayed > 20
    page.get_by_role("button", name="Eraser").click()
    page.mouse.move(x + 195, y + 59)
    page.mouse.down()
    page.mouse.up()
    left = state(page)["sketched"]
    assert 0 < left < sprayed
    page.get_by_role("button", name="Undo").click()
    assert state(page)["sketched"] == sprayed
    page.wait_for_function(
        f"JSON.parse(document.querySelector('#told textarea').value).drawn?.length === {sprayed}"
    )
    # What the page sends back does not undo what is drawn since; other points take its place.
    assert show(page, mode="draw", points=last_message(page, "drawn"))["sketched"] == sprayed
    page.get_by_role("button", name="Clear").click()
    assert state(page)["sketched"] == 0
    page.get_by_role("button", name="Undo").click()
    assert show(page, mode="draw", points=[[0, 0], [0.5, 0.5]])["sketched"] == 2


def test_centres_are_set_moved_and_taken_away(page):
    show(page, data="blobs", mode="centres")
    expect(page.locator("#plot .hinting")).to_contain_text("Click where the centres")
    for place in ((-0.5, 0.5), (0.5, 0), (0, -0.5)):
        page.mouse.click(
            *page.evaluate("(place) => window.atelierPlots.plot.pixel(...place)", place)
        )
    page.wait_for_function(f"{PLOT}.state().centres.length === 3")
    page.wait_for_function(
        "JSON.parse(document.querySelector('#told textarea').value || '{}').centres?.length === 3"
    )
    first = last_message(page, "centres")[0]
    assert first == pytest.approx([-0.5, 0.5], abs=0.01)
    x, y = page.evaluate("(place) => window.atelierPlots.plot.pixel(...place)", first)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y, steps=4)
    page.mouse.up()
    assert state(page)["centres"][0][0] > first[0]
    page.mouse.click(x + 50, y)
    assert len(state(page)["centres"]) == 2
    show(page, data="blobs", mode="centres", scaling="standard")  # places in another picture
    assert state(page)["centres"] == []


def test_clusters_of_colours_are_shown_in_these_or_told_apart(page):
    fills = f"{PLOT}.look.kinds.filter(({{ fill }}) => fill).map(({{ fill }}) => fill)"
    show(page, data="colours", labels="colours-3")
    assert set(page.evaluate(fills)) == {"#336699", "#cc3311", "#225522"}
    page.click("#plot .choice [data-value=clusters]")
    assert set(page.evaluate(fills)) == {"#0072b2", "#e69f00", "#009e73"}
    page.click("#plot .choice [data-value=own]")
    assert set(page.evaluate(fills)) == {"#336699", "#cc3311", "#225522"}
    animate(page, "colours", "kmeans", clusters=3)  # whose clusters are others
    assert page.evaluate(f"{PLOT}.colours.inks") is None


def test_of_many_points_a_sample_is_drawn_over_the_density_of_all(page):
    seen = show(page, data="large", labels="large-3")
    assert (seen["points"], seen["drawn"]) == (20_000, 20_000)
    assert page.evaluate(f"Boolean({PLOT}.layers.density)")
    sizes = [int(each.replace(",", "")) for each in page.locator(".legend b").all_inner_texts()]
    assert sum(sizes) == 200_000  # of all points, not of those drawn


SHADED = f"""() => {{
  const {{ picture }} = {PLOT}.layers.density;
  const {{ data }} = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
  return Array.from({{ length: data.length / 4 }}, (_, at) => [...data.slice(4 * at, 4 * at + 4)]);
}}"""


@pytest.mark.deep
def test_the_shading_has_the_colours_of_the_clusters_that_are_not_hidden(page):
    show(page, data="large", labels="large-3")
    first, second = (ImageColor.getrgb(colour) for colour in CLUSTERS[:2])
    before = np.array(page.evaluate(SHADED))
    dense = before[:, 3] > 150
    for colour in (first, second):
        assert (np.abs(before[dense, :3] - colour).max(axis=1) < 30).sum() > 20
    page.locator("#plot .legend button[data-label='0']").click()
    wait_for_frame(page)
    after = np.array(page.evaluate(SHADED))
    of_first = dense & (np.abs(before[:, :3] - first).max(axis=1) < 4)
    assert (after[of_first, 3] < 60).all()
    page.locator("#plot .legend button[data-label='0']").click()


@pytest.mark.deep
def test_marks_of_a_sample_let_its_density_through_until_one_comes_closer(page):
    mark = f"(() => {{ const of = {PLOT}.look.kinds.find(({{ shape }}) => shape === 'circle');"
    mark += " return [of.radius, of.alpha]; })()"
    show(page, data="large", labels="large-3")
    page.evaluate(f"{PLOT}.camera.home(); {PLOT}.onMove()")
    radius, alpha = page.evaluate(mark)
    assert radius < 1.5
    assert alpha < 0.5
    page.evaluate(f"{PLOT}.camera.zoomAt(10); {PLOT}.onMove()")
    closer, opaque = page.evaluate(mark)
    assert closer > 1.5 * radius
    assert opaque == 1


@pytest.mark.deep
def test_what_is_known_of_a_point_goes_with_it_when_the_picture_moves(page):
    show(page, data="blobs")
    page.evaluate(f"{PLOT}.camera.home(); {PLOT}.onMove()")
    x, y = point(page, 17)
    page.mouse.move(x + 1, y)
    tip = page.locator("#plot .tip")
    expect(tip).to_be_visible()
    page.evaluate(f"{PLOT}.camera.drag(-40, 30); {PLOT}.onMove()")
    wait_for_frame(page)
    (x, y), box = point(page, 17), tip.bounding_box()
    assert 10 <= max(box["x"] - x, x - box["x"] - box["width"]) <= 22
    page.evaluate(f"{PLOT}.camera.drag(-5000, 0); {PLOT}.onMove()")
    expect(tip).to_be_hidden()
    page.evaluate(f"{PLOT}.camera.home(); {PLOT}.onMove()")


def test_a_space_is_turned_by_dragging(page):
    seen = show(page, data="curve", dims=3)
    assert (seen["dims"], seen["points"]) == (3, 1500)
    before = page.evaluate(f"[...{PLOT}.layers.screen.slice(0, 60)]")
    box = page.locator("#plot .over").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 220, steps=4)
    page.mouse.up()
    wait_for_frame(page)
    after = page.evaluate(f"[...{PLOT}.layers.screen.slice(0, 60)]")
    assert np.abs(np.subtract(after, before)).max() > 20
    page.mouse.dblclick(box["x"] + 200, box["y"] + 200)
    wait_for_frame(page)
    assert page.evaluate(f"[...{PLOT}.layers.screen.slice(0, 60)]") == pytest.approx(before)


@pytest.mark.deep
def test_pictures_lie_at_their_points_and_more_of_them_closer_by(page):
    loaded = f"{PLOT}.state().thumbs && [...{PLOT}.thumbs.loaded.values()].every((p) => p.complete)"
    seen = show(page, data="few", thumbs=True)
    page.wait_for_function(loaded)
    first = state(page)["thumbs"]
    assert 3 <= first < seen["points"]
    page.evaluate(f"{PLOT}.camera.zoomAt(3, ...{PLOT}.layers.screen.slice(0, 2)); {PLOT}.onMove()")
    wait_for_frame(page)
    page.wait_for_function(loaded)
    at = page.evaluate(f"{PLOT}.thumbs.seen.at(-1).at")
    page.mouse.move(*point(page, at))
    page.mouse.move(*(place + 1 for place in point(page, at)))
    expect(page.locator("#plot .tip img")).to_be_visible()
    shown = page.evaluate(
        f"[...{PLOT}.thumbs.loaded.values()].filter((p) => p.naturalWidth).length"
    )
    assert shown >= first
    assert show(page, data="few")["thumbs"] == 0


def save(page, kind: str, folder: Path) -> Path:
    """The file that the plot's menu gives."""
    page.click("#plot .save summary")
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.deep
def test_very_many_points_are_saved_as_pictures_between_axes_and_legend(page, tmp_path):
    show(page, data="large", labels="large-4")
    root = ElementTree.parse(save(page, "SVG", tmp_path)).getroot()
    svg = "{http://www.w3.org/2000/svg}"
    # Inkscape reads no other address of a picture.
    address = "{http://www.w3.org/1999/xlink}href"
    pictures = [each.get(address) for each in root.iter(f"{svg}image")]
    assert len(pictures) == 2  # of the density, and of the points that are drawn
    assert all(each.startswith("data:image/png;base64,") for each in pictures)
    assert len(list(root.iter(f"{svg}path"))) < 100
    texts = [each.text for each in root.iter(f"{svg}text")]
    entries = page.locator("#plot .legend .entry").all_inner_texts()
    assert texts[-len(entries) :] == ["  ".join(each.split("\n")) for each in entries]
    assert {"x", "y", "1.0"} <= set(texts)


@pytest.mark.parametrize(
    "algorithm",
    [
        "agglomerative",
        *(pytest.param(each, marks=pytest.mark.deep) for each in ("kmeans", "dbscan", "mixture")),
    ],
)
def test_what_is_seen_is_saved_as_svg_and_png(page, algorithm, tmp_path):
    seen = animate(page, "few", algorithm)
    page.evaluate(f"{PLOT}.player.seek({seen['frames'] // 2})")
    page.evaluate(f"{PLOT}.camera.home(); {PLOT}.onMove()")
    saved = {kind: save(page, kind, tmp_path) for kind in ("PNG", "SVG")}
    root = ElementTree.parse(saved["SVG"]).getroot()
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 40  # a mark for each point
    assert "NaN" not in saved["SVG"].read_text()
    assert "undefined" not in saved["SVG"].read_text()
    with Image.open(saved["PNG"]) as picture:
        assert picture.width == 2 * round(float(root.get("width")))
        assert len(picture.convert("RGB").getcolors(maxcolors=2**24)) > 20


def test_what_is_refused_is_said_and_another_scene_is_shown_afterwards(page):
    assert show(page, data="gone")["error"] == "This data is no longer here."
    expect(page.locator("#plot .error")).to_be_visible()
    assert show(page, data="few")["error"] == ""
    expect(page.locator("#plot .error")).to_be_hidden()


@pytest.mark.deep
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_in_both_themes(open_plot, address, theme):
    page = open_plot(**PHONE)
    page.goto(f"{address}/?__theme={theme}")
    page.wait_for_function(READY)
    animate(page, "moons", "dbscan")
    page.evaluate(f"{PLOT}.player.seek(100)")
    wait_for_frame(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = {
        name: page.locator(f"#plot .{name}").bounding_box() for name in ("frame", "player", "side")
    }
    assert boxes["frame"]["y"] < boxes["player"]["y"] < boxes["side"]["y"]
    assert page.evaluate(f"{PLOT}.colours.dark") == (theme == "dark")


@pytest.mark.deep
def test_it_speaks_chinese(open_plot):
    page = open_plot(locale="zh-CN")
    animate(page, "few", "kmeans", clusters=3)
    expect(page.locator("#plot .sentence")).to_contain_text("选定 3 个中心")
