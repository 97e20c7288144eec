"""What holds for all charts and views of clusterings: whole tags, plain texts, words, colours."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from pipelines.core.paths import ASSETS
from studio.features.clustering.charts import curves
from studio.features.clustering.charts.chart_style import STYLE
from studio.features.clustering.charts.colours import COLOURS, DARK, NOISE, kind_of
from studio.features.clustering.charts.shaded_tables import confusion
from studio.features.clustering.data import views as data_views
from studio.features.clustering.results import scores
from studio.i18n import texts
from tests.studio.features.clustering.charts.chart_examples import (
    CHINESE,
    EVIL,
    RESULT,
    SWATCHES,
    VISITOR,
    every_view,
)


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
        html = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
        parts = re.findall(r">([^<]+)<", html)
        parts += re.findall(r'(?:title|aria-label)="([^"]*)"', html)
        kept = " ".join(parts).replace(EVIL, "")
        for name in ("K-Means", "DBSCAN", "There is no data set", "Davies–Bouldin", "BIRCH"):
            kept = kept.replace(name, "")
        assert not re.findall(r"\b(?:the|of|is|are|has|Higher|Click|Drag|Cluster|Points)\b", kept)


def test_all_words_that_stand_in_tables_have_a_chinese_translation():
    chinese = texts("zh")
    said = {text for figure in scores.FIGURES.values()
            for text in (figure.title, figure.means, figure.better) if text}  # fmt: skip
    said |= {*data_views._KINDS.values(), *data_views._DELIMITERS.values()}
    said |= {"Assumes", "Cost", "Fails", "Makes centres", "Leaves noise out", "Soft membership"}
    said |= {"Labels new points"}
    not_said = {"values", "best", "caption"}
    said |= {text for each in curves._OVER_K.values()
             for name, text in each._asdict().items() if name not in not_said}  # fmt: skip
    said |= {text for each in curves._OVER_K.values() for text in each.caption}
    assert not sorted(said - chinese.keys())


def test_the_style_of_charts_is_whole_in_itself():
    light, dark = STYLE.split(".dark ", 1)
    for colours, style in ((COLOURS, light), (DARK, dark)):
        found = re.findall(r"\.k\d \{ ?color: (#\w+);", style)
        assert found == list(colours)
        assert NOISE in style
    assert not re.search(r"var\(|url\(|color-mix|/\*", STYLE)


def test_a_chart_has_one_style_which_its_drawings_share():
    for html in every_view(VISITOR):
        charts = re.findall(r"<figure.*?</figure>", html, re.DOTALL) or [html]
        assert all(each.count("<style>") == 1 for each in charts if "<svg xmlns" in each)


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
