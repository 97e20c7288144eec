"""HTML of jobs and pictures: nothing that a person wrote can act in another's page."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

from pipelines.core.messages import Message
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.core.gallery.gallery import Span
from studio.features.gallery import views as gallery_views
from studio.page import views
from studio.page.components import sheet_views
from studio.page.widgets import Visitor

ENGLISH = Visitor(LOCAL_OWNER, "en")
CHINESE = Visitor(LOCAL_OWNER, "zh")
ATTACK = "<img src=x onerror=alert(1)>\"'</script>"


@pytest.mark.parametrize(
    "html",
    [
        views.details({"prompt": ATTACK, "negative_prompt": ATTACK, "Model": ATTACK}, ENGLISH),
        views.details({ATTACK: ATTACK}, ENGLISH, id=ATTACK, large=True),
        views.details({ATTACK: ATTACK}, ENGLISH, unused=[ATTACK]),
        views.thumbnails({ATTACK: ATTACK}, ATTACK, ENGLISH),
        gallery_views.grid(
            [SimpleNamespace(id=ATTACK, request={"prompt": ATTACK}, parameters="", created=0.0)],
            ATTACK,
            ENGLISH,
            ATTACK,
            Span(1, 0.0, 0.0),
        ),
        views.unknown_words([ATTACK], ENGLISH),
        views.error(Message("There is no model called {model}.", model=ATTACK), ENGLISH),
        views.header([(ATTACK, ATTACK)], ENGLISH, ATTACK),
        views.summary([ATTACK], ENGLISH),
        views.example_buttons([ATTACK], "Surprise me"),
    ],
)
def test_what_people_write_is_shown_as_text(html):
    assert "<img src=x" not in html
    assert "</script>" not in html
    assert ATTACK not in html


def test_settings_that_cannot_be_used_are_struck_out_and_said_to_be_left_out():
    html = views.details({"Steps": "20", "VAE": "mse"}, CHINESE, unused={"VAE"})
    assert "<s>mse</s>" in html
    assert "<s>20</s>" not in html
    assert "会被略去" in html
    assert "会被略去" not in views.details({"Steps": "20"}, CHINESE)


def test_progress_says_step_share_and_time_left():
    progress = views.Progressing("running", step=5, total=20, seconds_left=95.2)
    html = views.result_panel(ENGLISH, progress=progress)
    assert "Step 5 of 20" in html
    assert "width:25.0%" in html
    assert "1 min 35 s left" in html


def test_what_an_engine_says_of_a_step_stands_in_the_place_of_its_count():
    words = Message(
        "Step {step} of {total} (of {steps}, strength {strength})",
        step=3, total=12, steps=20, strength=0.6,
    )  # fmt: skip
    progress = views.Progressing("running", step=6, total=48, words=words, part=(2, 3))
    html = views.progress_bar(progress, ENGLISH)
    assert "<span>Picture 2 of 3</span><span>Step 3 of 12 (of 20, strength 0.6)</span>" in html
    assert "width:12.5%" in html
    assert "of 48" not in html


def test_a_progress_bar_has_a_name_and_its_words_for_those_who_do_not_see_it():
    html = views.result_panel(ENGLISH, progress=views.Progressing("running", step=5, total=20))
    assert 'aria-label="Progress"' in html
    assert 'aria-valuenow="25"' in html
    assert 'aria-valuetext="Step 5 of 20"' in html
    assert "aria-valuenow" not in views.result_panel(ENGLISH, progress=views.Progressing("queued"))


def test_pictures_are_called_by_their_numbers_and_first_words():
    rows = [
        SimpleNamespace(id="one", request={"prompt": "a <red> mug"}, parameters=""),
        SimpleNamespace(id="two", request={}, parameters="a duck " * 20 + "\nSteps: 3"),
    ]
    names = views.picture_names(rows, ENGLISH)
    assert names["one"] == "Picture 1: a <red> mug"
    assert names["two"].startswith("Picture 2: a duck a duck")
    assert names["two"].endswith("…")
    assert len(names["two"]) <= len("Picture 2: ") + 80
    assert 'alt="Picture 1: a &lt;red&gt; mug"' in views.thumbnails(names, None, ENGLISH)


@pytest.mark.parametrize(("position", "words"), [(1, "next in the queue"), (3, "place 3")])
def test_a_queued_job_says_its_place(position, words):
    progress = views.Progressing("queued", position=position)
    assert words in views.result_panel(ENGLISH, progress=progress)


@pytest.mark.parametrize(
    ("wait", "words"),
    [(0, "about 5 s"), (38.2, "about 40 s"), (95, "about 1 min 30 s"), (800, "about 13 min")],
)
def test_a_queued_job_says_about_how_long_it_waits(wait, words):
    progress = views.Progressing("queued", position=2, wait=wait)
    assert f">{words}<" in views.result_panel(ENGLISH, progress=progress)


def test_a_wait_that_is_unknown_is_not_made_up():
    html = views.result_panel(ENGLISH, progress=views.Progressing("queued", position=2))
    assert "about" not in html


def test_sentences_are_in_the_visitors_language():
    progress = views.Progressing("running", step=5, total=20)
    assert "第 5 步，共 20 步" in views.result_panel(CHINESE, progress=progress)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min"), (95.2, "1 min 35 s"), (7260, "2 h 1 min")],
)
def test_durations_read_well(seconds, words):
    assert views.duration(seconds) == words


def test_a_preview_is_small_whatever_the_picture():
    uri = views.preview_uri(Image.effect_noise((2048, 1024), 80))
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 60_000


def test_a_model_of_one_s_own_is_described_in_the_reader_s_language(tmp_path):
    entry = next(iter(Catalog(tmp_path).models())).model_copy(update={"licence": "your own file"})
    assert "your own file" in views.about_model(entry, ENGLISH)
    assert "您自己的文件" in views.about_model(entry, CHINESE)


BASE = {"prompt": "a red mug"}
LORA = {"name": ATTACK, "weight": 1.0, "id": ""}


@pytest.mark.parametrize(
    ("kind", "request_", "english", "chinese"),
    [
        (
            "compare_samplers",
            {"base": BASE, "samplers": ["Euler", "Heun"], "steps": [8, 25]},
            ["“a red mug”", "sampler: Euler, Heun;", "steps: 8, 25."],
            ["“a red mug”", "采样器：Euler, Heun；", "步数：8, 25。"],
        ),
        (
            "grid",
            {"base": BASE, "x": {"field": "steps", "values": "1-3"}, "y": None, "loras": []},
            ["“a red mug” with Steps: 1-3."],
            ["“a red mug”，变化：Steps: 1-3。"],
        ),
        (
            "before_after",
            {"base": BASE, "prompts": ["a cup", "a jug"], "lora": LORA, "weights": [0.0, 0.25, 1]},
            ["“a cup”, “a jug”", "&lt;img", "0, 0.25, 1, where 0 is without it"],
            ["“a cup”, “a jug”", "&lt;img", "0, 0.25, 1，0 为不使用"],
        ),
        (
            "before_after",
            {"base": BASE, "prompts": ["a cup"], "lora": None, "model": "own:x", "weights": [0]},
            ["“a cup”", "on the right by the one that has learnt"],
            ["“a cup”", "右边由学习后的模型绘制"],
        ),
    ],
)
def test_a_sheet_says_what_its_rows_and_columns_are(kind, request_, english, chinese):
    caption = sheet_views.caption(SimpleNamespace(kind=kind, request=request_))
    for visitor, words in ((ENGLISH, english), (CHINESE, chinese)):
        html = views.result_panel(visitor, sheet="abc", caption=caption)
        alt = html.partition('alt="')[2].partition('"')[0]
        below = html.partition("<figcaption>")[2].partition("</figcaption>")[0]
        assert alt == below
        assert all(word in alt for word in words), alt
        assert "<img src=x" not in html


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-11-30T12:00", "0"])
def test_what_is_no_day_is_none(text):
    assert gallery_views.day_of(text) is None
