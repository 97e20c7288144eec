"""What the tab that teaches shows: nothing of what people wrote becomes HTML; curves are right."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest

from pipelines.core.messages import Message
from pipelines.dreambooth.data.subjects import Subject
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.training import train_views
from studio.features.training.subjects import Made, Outcome
from studio.features.training.train_views import Learning
from studio.features.training.training_panel import TrainingPanel
from studio.page.widgets import Visitor
from tests.pipelines.dreambooth.data.test_photos import encode, scene

ENGLISH, CHINESE = Visitor(LOCAL_OWNER, "en"), Visitor(LOCAL_OWNER, "zh")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def subject(tmp_path) -> Subject:
    subject = Subject.create(tmp_path, EVIL)
    subject.add(f'"{EVIL}".png', encode(scene((200, 150), (100, 75))))
    return subject


def test_names_are_shown_and_never_become_html(subject):
    photo = subject.photos[0]
    outcomes = [Outcome(EVIL, refusal=Message("The file is empty. {x}", x=EVIL))]
    shown = [
        train_views.photos(subject, photo.id, ENGLISH),
        train_views.whole_photo(subject, photo, ENGLISH),
        train_views.outcomes(outcomes, ENGLISH),
        train_views.deletion_question(subject, Made(loras={"0": EVIL}), ENGLISH),
        train_views.samples([{"file": "1-0.png", "prompt": EVIL, "step": 1}], "0", ENGLISH),
    ]
    for html in shown:
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html


def test_remarks_are_marked_and_said(subject):
    html = train_views.photos(subject, None, ENGLISH)
    assert 'class="mark"' in html
    assert "Small: 200 × 150 pixels" in html
    assert "Small" not in train_views.photos(subject, None, CHINESE)


def test_the_frame_is_the_crop(subject):
    photo = subject.change_photo(subject.photos[0].id, focus=(1.0, 0.5))
    html = train_views.whole_photo(subject, photo, ENGLISH)
    assert "left:25.00%;top:0.00%;width:75.00%;height:100.00%" in html


def test_an_empty_subject_says_what_to_do(tmp_path):
    assert "Drop five to thirty photos" in train_views.photos(None, None, ENGLISH)
    assert "example photos" in train_views.photos(Subject.create(tmp_path, "x"), None, ENGLISH)


def test_of_500_refusals_a_few_are_named_and_the_rest_counted():
    outcomes = [Outcome(f"{n}.png", refusal=Message("no")) for n in range(500)]
    html = train_views.outcomes(outcomes, ENGLISH)
    assert html.count("<li>") == 9
    assert "0 of 500 photos were taken." in html
    assert "492 more were not taken." in html
    few = train_views.outcomes(outcomes[:8], ENGLISH)
    assert few.count("<li>") == 8
    assert "more" not in few


def test_captions_and_files_that_are_no_photos_are_said_and_not_counted(subject):
    photo = subject.photos[0]
    outcomes = [
        Outcome(
            "a.png", photo=photo, note=Message("Its caption was taken over: {caption}", caption="x")
        ),
        Outcome("b.png", photo=photo),
        Outcome(
            "@eaDir",
            note=Message("{count} files were left out.", count=9),
        ),
    ]
    outcomes.append(Outcome("lonely.txt", refusal=Message("No photo.")))
    html = train_views.outcomes(outcomes, ENGLISH)
    assert "2 of 2 photos were taken. Captions taken over from beside them: 1." in html
    assert "<b>@eaDir</b> 9 files were left out." in html


def learn_from(losses) -> Learning:
    found = Learning()
    found.hear([{"event": "step", "step": n, "loss": loss} for n, loss in losses])
    return found


def points(html: str, name: str) -> list[tuple[float, float]]:
    (text,) = re.findall(rf'class="{name}" points="([^"]*)"', html)
    return [tuple(float(each) for each in pair.split(",")) for pair in text.split()]


def test_the_smoothed_loss_is_the_running_mean_without_its_early_pull():
    smooth = train_views._smooth([(1, 4.0), (2, 2.0), (3, 6.0)])
    share = 0.94
    second = (share * 4 + 2) / (share + 1)
    third = (share**2 * 4 + share * 2 + 6) / (share**2 + share + 1)
    assert smooth[0][1] == pytest.approx(4)
    assert smooth[1][1] == pytest.approx(second)
    assert smooth[2][1] == pytest.approx(third)


def test_the_curve_goes_from_left_to_right_and_lower_losses_lie_lower():
    html = train_views.loss_curve(learn_from([(1, 3.0), (2, 2.0), (4, 1.0)]), 8, ENGLISH)
    raw = points(html, "raw")
    (x1, y1), (x2, y2), (x3, y3) = raw
    assert x1 < x2 < x3 < train_views._WIDTH / 2  # half of the steps are still to come
    assert y1 < y2 < y3
    assert len(points(html, "smooth")) == 3


def test_long_curves_are_thinned_and_keep_their_end():
    losses = [(n, 1 + math.sin(n / 50)) for n in range(1, 20_001)]
    html = train_views.loss_curve(learn_from(losses), 20_000, ENGLISH)
    assert len(html) < 40_000
    assert points(html, "raw")[-1][0] == pytest.approx(train_views._WIDTH - 4, abs=0.1)


def test_one_bad_batch_does_not_flatten_the_rest():
    losses = [(n, 1.0 + n % 2) for n in range(1, 300)]
    calm = points(train_views.loss_curve(learn_from(losses), 300, ENGLISH), "raw")
    losses[150] = (151, 1e6)
    wild = points(train_views.loss_curve(learn_from(losses), 300, ENGLISH), "raw")
    spread = [
        max(y for _, y in line[:100]) - min(y for _, y in line[:100]) for line in (calm, wild)
    ]
    assert spread[0] > 40
    assert all(0 <= y <= train_views._HEIGHT for _, y in wild)


@pytest.mark.parametrize("losses", [[], [(1, 0.5)]])
def test_there_is_no_curve_before_the_second_step(losses):
    assert train_views.loss_curve(learn_from(losses), 10, ENGLISH) == ""


def test_a_flat_loss_can_be_drawn():
    html = train_views.loss_curve(learn_from([(1, 0.0), (2, 0.0)]), 2, ENGLISH)
    assert "nan" not in html


def test_steps_done_again_after_a_resume_count_once():
    found = learn_from([(1, 1.0), (2, 2.0)])
    found.hear([{"event": "checkpoint", "step": 2}, {"event": "step", "step": 2, "loss": 5.0}])
    assert found.last["loss"] == 5.0
    assert list(found.steps) == [1, 2]
    assert found.saved == 2


def test_samples_stand_in_rows_by_prompt():
    lines = [
        {"file": f"{step:06d}-{n}.png", "prompt": prompt, "step": step}
        for step in (10, 20)
        for n, prompt in enumerate(("a", "b"))
    ]
    html = train_views.samples(lines, "0" * 32, ENGLISH)
    assert html.count('class="strip"') == 2
    assert html.index("000010-0.png") < html.index("000020-0.png") < html.index("000010-1.png")
    assert train_views.samples([], "0" * 32, ENGLISH) == ""


def test_what_is_to_be_said_of_a_finished_training_stands_behind_it():
    remark = Message("The training fell apart: {why}.", why="x")
    result = {"name": "mug", "seconds": 3, "notes": [remark.to_json()]}
    done = SimpleNamespace(state="done", ended=True, result=result)
    training = SimpleNamespace(job=done, name="mug")
    ready, *further = TrainingPanel._outcome(None, training, Learning())
    assert str(ready).startswith("mug is ready")
    assert further == [remark]
    del result["notes"]  # of earlier versions
    assert len(TrainingPanel._outcome(None, training, Learning())) == 1
