from __future__ import annotations

import re

import gradio as gr
import pytest
from fastapi import FastAPI
from playwright.sync_api import expect

from pipelines.clustering.lessons import LESSONS, lesson
from studio.i18n import LANGUAGES
from tests.studio.serve import serve_app

DELIMITERS = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


@pytest.fixture(scope="module")
def lessons(browser):
    """A page with nothing but all lessons, as the page shows them."""
    with gr.Blocks() as blocks:
        for name in LESSONS:
            for language in LANGUAGES:
                gr.Markdown(
                    lesson(name, language),
                    latex_delimiters=DELIMITERS,
                    elem_id=f"{name}-{language}",
                )
    with serve_app(gr.mount_gradio_app(FastAPI(), blocks, path="/")) as address:
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.goto(address)
        expect(page.locator(f"#{LESSONS[-1]}-zh .katex").first).to_be_visible()
        yield page
        page.close()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", LESSONS)
def test_every_formula_and_label_of_a_lesson_is_drawn_as_it_was_written(lessons, name, language):
    words = lesson(name, language)
    shown = lessons.locator(f"#{name}-{language}")
    displayed = re.findall(r"\$\$(.+?)\$\$", words, flags=re.DOTALL)
    rest = re.sub(r"\$\$.+?\$\$", "", words, flags=re.DOTALL)
    inline = re.findall(r"\$(.+?)\$", rest)
    expect(shown.locator(".katex-display")).to_have_count(len(displayed))
    expect(shown.locator(".katex")).to_have_count(len(displayed) + len(inline))
    expect(shown.locator(".katex-error")).to_have_count(0)
    drawn = [" ".join(text.split()) for text in shown.locator("annotation").all_text_contents()]
    assert sorted(drawn) == sorted(" ".join(each.split()) for each in displayed + inline)

    plain = re.sub(r"\$.+?\$", "", rest)
    bold = re.findall(r"\*\*(.+?)\*\*", plain)
    assert shown.locator("strong").all_text_contents() == bold
    slanted = re.findall(r"\*(.+?)\*", re.sub(r"\*\*.+?\*\*", "", plain))
    assert shown.locator("em").all_text_contents() == slanted
    assert shown.locator("h4").count() == 6


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_does_not_stretch_a_phone(lessons, name):
    """A wide formula may scroll by itself; the page may not."""
    assert lessons.evaluate("document.documentElement.scrollWidth") <= 390
    box = lessons.locator(f"#{name}-zh").bounding_box()
    assert box["x"] + box["width"] <= 390
