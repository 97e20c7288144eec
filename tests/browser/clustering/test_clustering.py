"""The clustering tab as people use it."""

from __future__ import annotations

import csv
import json
import random
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.browser.page.traffic import TWO_FRAMES, wait_until_settled
from tests.patience import PATIENCE

PLOT = "window.atelierPlots?.['cluster-plot']?.state()"


@pytest.fixture
def page(visit) -> Page:
    page = visit(path="?tab=clustering")
    until(page, "state.points > 0 && !state.busy")
    kind(page, "Made")  # an earlier test may have left another
    page.locator("#cluster-of-made").wait_for()
    return page


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Clustering", exact=True).click()
    until(page, "state.points > 0 && !state.busy")


def refresh(page: Page) -> None:
    page.reload()
    page.locator("#cluster").wait_for()
    page.problems.clear()  # the old page complains that its connection was cut


def until(page: Page, condition: str) -> dict:
    """Waits until the plot's ``state`` is so, and returns it."""
    page.wait_for_function(f"() => {{ const state = {PLOT}; return state && ({condition}); }}")
    return page.evaluate(PLOT)


def choose(page: Page, field: str, option: str) -> None:
    page.locator(f"#cluster-{field} input").first.click()
    page.get_by_role("option", name=option, exact=True).click()


def kind(page: Page, name: str) -> None:
    page.locator("#cluster-kind").get_by_text(name, exact=True).click()


def ask_for(page: Page, clusters: int) -> None:
    """Types the number of clusters, over the default or what an earlier test has asked for."""
    wait_until_settled(page)
    page.get_by_label("Clusters (k)").first.fill(str(clusters))


def figure(page: Page, name: str) -> str:
    return page.locator(f"#cluster-panel .card[data-figure={name}] b").inner_text()


def test_k_means_is_found_again_after_a_refresh(page):
    choose(page, "data-name", "Blobs")
    choose(page, "algorithm", "K-Means")
    ask_for(page, 3)
    page.locator("#cluster").click()
    assert until(page, "state.clusters === 3")["points"] == 600
    assert float(figure(page, "silhouette")) > 0.8
    refresh(page)
    open_tab(page)
    until(page, "state.clusters === 3")
    expect(page.locator("#cluster-panel .card[data-figure=silhouette]")).to_be_visible()


@pytest.mark.deep
def test_no_algorithm_stumbles_over_the_values_of_the_one_before(page):
    for name, title in (("spectral", "Spectral clustering"), ("mixture", "Gaussian mixture"),
                        ("agglomerative", "Agglomerative clustering")):  # fmt: skip
        choose(page, "algorithm", title)
        page.locator(f"#cluster-about [data-algorithm={name}]").wait_for()
    wait_until_settled(page)
    expect(page.locator(".toast-body")).to_have_count(0)


@pytest.mark.deep
def test_a_refusal_is_foreseen_and_the_button_leads_from_the_lesson_to_it(page):
    choose(page, "data-name", "Iris")
    expect(page.locator("#cluster-data-said")).to_contain_text("150 points")
    choose(page, "algorithm", "K-Means")
    page.locator("#cluster-about [data-algorithm=kmeans]").wait_for()
    ask_for(page, 200)
    foreseen = page.locator("#cluster-foreseen")
    expect(foreseen).to_contain_text("200 clusters cannot be made of 150 points")
    page.get_by_role("tab", name="Lesson").click()
    page.locator("#cluster").click()
    clusters = page.get_by_role("tab", name="Clusters", exact=True)
    expect(clusters).to_have_attribute("aria-selected", "true")
    expect(page.locator("#cluster-panel .error")).to_contain_text("200 clusters")
    page.get_by_label("Clusters (k)").first.fill("3")
    expect(foreseen).to_be_hidden()


@pytest.mark.deep
def test_k_means_is_played_to_its_end(page):
    choose(page, "data-name", "Blobs")
    choose(page, "algorithm", "K-Means")
    ask_for(page, 3)
    page.locator("#cluster-play").click()
    state = until(page, "state.frames > 3")
    assert state["sentence"]
    state = until(page, "state.frame === state.frames - 1 && !state.playing")
    assert state["frame"] >= 3


@pytest.mark.deep
def test_a_dragged_eps_line_sets_eps_and_clusters(page):
    choose(page, "data-name", "Moons")
    choose(page, "algorithm", "DBSCAN")
    page.get_by_role("tab", name="Choose parameters").click()
    choose(page, "curve-curve", "k-distance: sets eps")
    page.locator("#cluster-draw-curve").click()
    line = page.locator("#cluster-curve-panel .dragged[data-line=eps]")
    line.wait_for(state="attached")
    before = float(line.get_attribute("aria-valuenow"))
    line.scroll_into_view_if_needed()
    box = line.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 60, steps=6)
    page.mouse.up()
    state = until(page, "state.clusters !== null")
    eps = page.get_by_label("Radius (eps)").first.input_value()
    assert float(eps) > before
    page.get_by_role("tab", name="Clusters", exact=True).click()
    assert int(figure(page, "clusters")) == state["clusters"]


@pytest.mark.deep
def test_drawing_goes_on_after_clustering_and_after_a_refresh(page):
    choose(page, "algorithm", "K-Means")
    kind(page, "Draw points")
    until(page, "state.mode === 'draw'")
    ask_for(page, 3)
    before = spray(page, 0.25)
    page.locator("#cluster").click()
    until(page, "state.clusters === 3")
    page.get_by_role("button", name="Go on drawing").click()
    until(page, "state.mode === 'draw'")
    drawn = spray(page, 0.75)
    assert drawn > before
    page.locator("#cluster").click()
    until(page, f"state.clusters === 3 && state.points === {drawn}")
    refresh(page)
    open_tab(page)
    page.get_by_role("button", name="Go on drawing").click()
    assert until(page, "state.mode === 'draw'")["points"] == drawn
    assert spray(page, 0.5) > drawn


def spray(page: Page, across: float) -> int:
    """Draws points with one stroke and returns how many there are then."""
    canvas = page.locator("#cluster-plot canvas").first
    canvas.scroll_into_view_if_needed()
    box, before = canvas.bounding_box(), page.evaluate(PLOT)["sketched"]
    x, y = box["x"] + box["width"] * across, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 20, steps=12)
    page.mouse.up()
    drawn = until(page, f"state.sketched > {before + 5}")["sketched"]
    expect(page.locator("#cluster-data-said")).to_contain_text(f"{drawn} points")
    return drawn


@pytest.mark.deep
def test_own_centres_are_placed_on_whatever_data_come_next(page):
    choose(page, "data-name", "Blobs")
    choose(page, "algorithm", "K-Means")
    page.get_by_label("Starting centres").first.click()
    page.get_by_role("option", name="own", exact=True).click()
    before = until(page, "state.mode === 'centres'")["revision"]
    choose(page, "data-name", "Moons")
    until(page, f"state.mode === 'centres' && state.revision > {before} && !state.busy")
    assert not page.evaluate(PLOT)["centres"]
    page.locator("#cluster-plot").scroll_into_view_if_needed()
    for place in ((-0.5, 0.0), (0.5, 0.0)):
        page.mouse.click(
            *page.evaluate(f"window.atelierPlots['cluster-plot'].pixel({place[0]}, {place[1]})")
        )
    until(page, "state.centres.length === 2")
    page.get_by_role("tab", name="Choose parameters").click()
    choose(page, "curve-curve", "Elbow: J over k")
    page.locator("#cluster-draw-curve").click()
    expect(page.locator("#cluster-curve-panel svg").first).to_be_visible()
    page.locator("#cluster").click()
    until(page, "state.clusters === 2 && state.mode === 'view'")
    page.get_by_role("button", name="Place centres").click()
    assert len(until(page, "state.mode === 'centres'")["centres"]) == 2
    page.get_by_label("Starting centres").first.click()
    page.get_by_role("option", name="k-means++", exact=True).click()
    until(page, "state.mode === 'view' && state.clusters === null")
    page.locator("#cluster").click()
    until(page, "state.clusters > 0")


@pytest.mark.deep
def test_drawn_points_are_clustered(page):
    choose(page, "algorithm", "K-Means")
    kind(page, "Draw points")
    until(page, "state.mode === 'draw'")
    box = page.locator("#cluster-plot canvas").first.bounding_box()
    for across in (0.25, 0.75):
        x, y = box["x"] + box["width"] * across, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y + 20, steps=12)
        page.mouse.up()
    drawn = until(page, "state.sketched > 10")["sketched"]
    expect(page.locator("#cluster-data-said")).to_contain_text(f"{drawn} points")
    ask_for(page, 2)
    page.locator("#cluster").click()
    assert until(page, "state.clusters === 2")["points"] == drawn


def test_a_table_is_clustered_and_its_rows_come_out_with_their_clusters(page, tmp_path):
    table = people(tmp_path / "people.csv")
    kind(page, "Table")
    page.locator("#cluster-file input[type=file]").set_input_files(table)
    expect(page.locator("#cluster-data-said")).to_contain_text("58 points, 2 columns")
    expect(page.locator("#cluster-preview")).to_contain_text("income")
    marked = page.locator("#cluster-preview th.chosen b")
    expect(marked).to_have_text(["age", "income"])
    page.locator("#cluster-columns").get_by_role("button", name="Remove").last.click()
    expect(marked).to_have_text(["age"])
    choose(page, "columns", "income")
    expect(marked).to_have_text(["age", "income"])
    choose(page, "scaling", "Standardised")
    choose(page, "algorithm", "K-Means")
    ask_for(page, 2)
    page.locator("#cluster").click()
    until(page, "state.clusters === 2 && state.points === 58")
    with page.expect_download() as download:
        page.get_by_role("link", name="Labels (CSV)").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert [row["cluster"] for row in rows].count("") == 2  # a value was missing
    young = {row["cluster"] for row in rows if row["cluster"] and float(row["age"]) < 40}
    old = {row["cluster"] for row in rows if row["cluster"] and float(row["age"]) > 40}
    assert len(young) == len(old) == 1
    assert young != old
    with page.expect_download() as download:
        page.get_by_role("link", name="Parameters (JSON)").click()
    model = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert model["parameters"]["clusters"] == 2


@pytest.mark.deep
def test_a_number_that_may_be_another_is_doubted_and_read_as_is_chosen(page, tmp_path):
    table = tmp_path / "sales.csv"
    table.write_bytes(
        "Größe;Preis;Menge\na;12,50;1.250\nb;9,75;2.500\nc;8,00;3.125\n".encode("cp1252")
    )
    kind(page, "Table")
    page.locator("#cluster-file input[type=file]").set_input_files(table)
    doubt = page.locator("#cluster-preview .doubt")
    expect(doubt).to_contain_text("1.250 → 1250")
    expect(page.locator("#cluster-preview")).to_contain_text("the first words are 'Größe'")
    expect(page.locator("#cluster-data-said")).to_contain_text("3 points, 2 columns")
    page.get_by_label("Thousands mark").first.click()
    page.get_by_role("option", name="none: 1250", exact=True).click()
    expect(doubt).to_contain_text("is no number by the marks of this file")
    expect(page.locator("#cluster-data-said")).to_contain_text("3 points, 1 columns")


@pytest.mark.deep
def test_a_column_of_true_labels_is_named_and_clusters_are_compared_with_it(page, tmp_path):
    draws = random.Random(1)
    places = {"oak": (0, 0), "elm": (9, 0), "ash": (0, 9)}
    with (tmp_path / "trees.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "number", "z", "tree"])
        for number in range(60):
            name = list(places)[number % 3]
            x, z = (draws.gauss(each, 1) for each in places[name])
            writer.writerow([f"{x:.3f}", number % 3, f"{z:.3f}", "" if number == 7 else name])
    kind(page, "Table")
    page.locator("#cluster-file input[type=file]").set_input_files(tmp_path / "trees.csv")
    said, columns = page.locator("#cluster-data-said"), page.locator("#cluster-columns .token")
    expect(columns).to_contain_text(["x", "number", "z"])
    choose(page, "truth", "number")  # a wrong one first, which is among the columns
    expect(said).to_contain_text("'number' has the true labels, of 3 classes.")
    expect(columns).to_contain_text(["x", "z"])
    choose(page, "truth", "tree")
    expect(said).to_contain_text("'tree' has the true labels, of 3 classes. 1 of 60 points")
    expect(page.locator("#cluster-preview th.truth")).to_contain_text("tree")
    choose(page, "algorithm", "K-Means")
    ask_for(page, 3)
    page.locator("#cluster").click()
    until(page, "state.clusters === 3 && state.points === 60")
    panel = page.locator("#cluster-panel")
    ari = panel.locator(".agreement [data-figure=ari] [role=cell]").first
    assert float(ari.text_content()) > 0.95
    heads = panel.locator(".confusion [role=rowheader]")
    expect(heads).to_have_count(3)
    expect(heads).to_contain_text(["ash", "elm", "oak"])
    page.locator("#cluster-plot .choice [data-value=truth]").click()
    entries = page.locator("#cluster-plot .legend .entry")
    expect(entries.locator("span")).to_have_text(["ash", "oak", "elm", "No true label"])
    expect(entries.locator("b")).to_have_text(["20", "20", "19", "1"])
    page.locator("#cluster-plot .choice [data-value=clusters]").click()
    expect(entries.first).to_contain_text("Cluster")


def people(path: Path) -> Path:
    draws = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "age", "income"])
        for number in range(60):
            age, income = ((25, 20), (65, 50))[number % 2]
            income = "" if number in (7, 8) else f"{draws.gauss(income, 2):.2f}"
            writer.writerow([f"person {number}", f"{draws.gauss(age, 2):.1f}", income])
    return path


@pytest.mark.deep
def test_a_picture_is_recoloured(page, tmp_path):
    picture = Image.new("RGB", (120, 90), "#d03020")
    ImageDraw.Draw(picture).rectangle((60, 0, 120, 90), "#2040c0")
    picture.save(tmp_path / "two.png")
    kind(page, "Picture")
    page.locator("#cluster-picture input[type=file]").set_input_files(tmp_path / "two.png")
    expect(page.locator("#cluster-data-said")).to_contain_text("10,800 points, 3 columns")
    choose(page, "algorithm", "K-Means")
    ask_for(page, 2)
    page.locator("#cluster").click()
    recoloured = page.locator("#cluster-panel .recoloured img")
    recoloured.wait_for()
    page.wait_for_function("image => image.naturalWidth === 120", arg=recoloured.element_handle())
    colours = page.locator("#cluster-panel .palette button")
    assert {text.split()[0].lower() for text in colours.all_inner_texts()} == {"#d03020", "#2040c0"}


@pytest.mark.deep
def test_algorithms_are_compared_and_one_is_shown_large(page):
    choose(page, "data-name", "Moons")
    page.get_by_role("tab", name="Compare algorithms").click()
    for name in ("OPTICS", "Affinity propagation", "Mean shift", "Spectral clustering"):
        page.locator("#cluster-compared").get_by_text(name, exact=True).click()
    page.locator("#cluster-compare").click()
    expect(page.locator("#cluster-compare-panel button[data-algorithm]")).to_have_count(8)
    page.locator("#cluster-compare-panel button[data-algorithm=hdbscan]").click()
    until(page, "state.clusters === 2")


@pytest.mark.deep
def test_long_work_is_stopped(page):
    choose(page, "data-name", "Blobs")
    points = page.get_by_label("Points", exact=True)
    points.fill("20000")
    points.press("Enter")
    until(page, "state.points === 20000")
    choose(page, "algorithm", "OPTICS")
    page.locator("#cluster").click()
    stop = page.locator("#cluster-stop")
    stop.wait_for()
    stop.click()
    expect(stop).to_be_hidden()
    assert until(page, "!state.busy")["clusters"] is None


@pytest.mark.deep
def test_a_slider_over_powers_of_ten_sets_the_points_by_keys(page):
    choose(page, "data-name", "Blobs")
    slider = page.get_by_role("slider", name="Slider: Points")
    typed = page.get_by_label("Points", exact=True)
    slider.press("Home")
    until(page, "state.points === 10")
    for _ in range(20):
        slider.press("ArrowRight")
    expect(typed).to_have_value("100")
    until(page, "state.points === 100")
    typed.fill("5")  # below the slider's end
    typed.press("Enter")
    until(page, "state.points === 5")
    expect(slider).to_have_attribute("aria-valuetext", "5")
    typed.fill("")
    typed.press("Tab")
    expect(typed).to_have_value("5")
    typed.fill("600")
    typed.press("Enter")
    until(page, "state.points === 600")


@pytest.mark.deep
def test_data_that_were_changed_this_moment_are_clustered(page, studio, monkeypatch):
    choose(page, "data-name", "Blobs")
    choose(page, "algorithm", "K-Means")
    ask_for(page, 3)
    until(page, "state.points > 0 && !state.busy")
    make = studio[0].cluster_data.make
    asked, go_on = threading.Event(), threading.Event()

    def slowly(*given):
        asked.set()
        assert go_on.wait(PATIENCE)
        return make(*given)

    monkeypatch.setattr(studio[0].cluster_data, "make", slowly)
    typed = page.get_by_label("Points", exact=True)
    typed.fill("700")
    typed.press("Enter")
    assert asked.wait(PATIENCE)
    page.locator("#cluster").click()
    page.evaluate(TWO_FRAMES)
    go_on.set()
    assert until(page, "state.clusters === 3")["points"] == 700


@pytest.mark.deep
def test_clusters_of_other_data_than_the_plot_shows_are_said_to_be(page):
    said = page.locator("#cluster-panel .of-others")
    choose(page, "data-name", "Blobs")
    choose(page, "algorithm", "K-Means")
    ask_for(page, 3)
    page.locator("#cluster").click()
    points = until(page, "state.clusters === 3")["points"]
    choose(page, "data-name", "Moons")
    expect(said).to_have_text(f"What is below is of other data: Blobs, {points:,} points.")
    expect(page.locator("#cluster-panel .former .card").first).to_be_visible()
    choose(page, "data-name", "Blobs")
    expect(said).to_have_count(0)
    expect(page.locator("#cluster-panel .card").first).to_be_visible()
    until(page, "state.clusters === 3")


@pytest.mark.deep
def test_what_cannot_be_asked_is_said_and_stays(page):
    choose(page, "data-name", "Slanted ellipses")
    choose(page, "algorithm", "K-Means")
    expect(page.locator("#cluster-data-said")).to_contain_text("Slanted ellipses")
    ask_for(page, 3)
    until(page, "state.clusters === null")
    page.locator("#cluster").click()
    until(page, "state.clusters === 3")
    page.get_by_label("Clusters (k)").first.fill("0")
    page.locator("#cluster").click()
    error = page.locator("#cluster-panel .error")
    expect(error).to_contain_text("Clusters (k) is 0")
    choose(page, "data-name", "Moons")  # the scores below are drawn anew
    expect(page.locator("#cluster-panel .of-others")).to_be_visible()
    expect(error).to_contain_text("Clusters (k) is 0")


@pytest.mark.deep
def test_it_speaks_chinese_and_fits_a_phone(visit):
    page = visit(locale="zh-CN", viewport={"width": 390, "height": 844})
    page.get_by_role("tab", name="聚类", exact=True).click()
    until(page, "state.points > 0 && !state.busy")
    page.get_by_role("tab", name="课程").click()
    expect(page.locator("#cluster-lesson")).to_contain_text("目标")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
