"""What is said of a size that was taken from a picture."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from pipelines.core.errors import NotFound
from pipelines.diffusion.from_picture.sizes import scaled_size
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.features.from_picture.size_form import SizeForm, _remark
from studio.page.components.canvas import UNSENT
from studio.page.widgets import Visitor


@pytest.mark.parametrize(
    ("picture", "scale", "said"),
    [
        ((640, 480), 1, "It is 640×480 now."),
        ((640, 480), 1.5, "It is 960×720 now."),
        (
            (4000, 3000),
            1,
            "4000×3000 pixels are not painted: a side has 64 to 2048. It is 2048×1536 now.",
        ),
        (
            (128, 96),
            0.25,
            "32×24 pixels are not painted: a side has 64 to 2048. It is 88×64 now.",
        ),
        ((101, 67), 4, "Of 404×268 pixels it is 400×272: sides are multiples of 8."),
    ],
)
def test_a_size_is_said_and_why_it_is_another_one_where_it_cannot_be_had(picture, scale, said):
    size, bounded = scaled_size(picture, scale)
    assert str(_remark(picture, scale, size, bounded, 8)) == said


PICTURE = "a" * 32


@pytest.fixture
def form(monkeypatch):
    """The controls beside a picture of 640×320 pixels, for two models."""
    entries = {
        "small": SimpleNamespace(native_size=256, family="sd1", autoencoder=None),
        "wide": SimpleNamespace(native_size=1024, family="flux", autoencoder=None),
    }

    def get(owner, id):
        if id != PICTURE:
            raise NotFound("There is no picture {id}.", id=id)
        return SimpleNamespace(width=640, height=320)

    monkeypatch.setattr(Visitor, "of", lambda request: Visitor(LOCAL_OWNER, "en"))
    return SizeForm(
        SimpleNamespace(inputs=SimpleNamespace(get=get)),
        SimpleNamespace(entry_of=lambda fields, visitor: entries[fields["model"]]),
        "change-",
    )


def test_a_picture_s_proportions_have_as_many_pixels_as_the_model_is_used_to(form):
    width, height, said = form._size_like("small", PICTURE, None)
    assert width / height == pytest.approx(2, rel=0.05)
    assert width * height == pytest.approx(256 * 256, rel=0.05)
    assert said["visible"]
    assert f"It is {width}×{height} now." in said["value"]
    width, height, _ = form._size_like("wide", f"offered:{PICTURE}", None)
    assert width * height == pytest.approx(1024 * 1024, rel=0.05)
    assert (width % 16, height % 16) == (0, 0)


def test_a_picture_s_own_size_is_taken_as_often_as_is_asked(form):
    assert form._size_of("small", PICTURE, 1, None)[:2] == [640, 320]
    assert form._size_of("small", PICTURE, 0.5, None)[:2] == [320, 160]
    assert form._size_of("small", PICTURE, None, None)[:2] == [640, 320]  # emptied
    width, height, said = form._size_of("wide", PICTURE, 0.55, None)  # 352×176
    assert (width % 32, height % 32) == (0, 0)
    assert "sides are multiples of 32" in said["value"]
    width, height, said = form._size_of("wide", PICTURE, 4, None)
    assert (width, height) == (2048, 1024)
    assert "2560×1280 pixels are not painted" in said["value"]


@pytest.mark.parametrize(
    ("value", "words"),
    [("", "There is no picture yet"), ("b" * 32, "There is no picture"), (UNSENT, "newest lines")],
)
def test_without_a_picture_the_size_stays_and_it_is_said_why(form, value, words):
    for width, height, said in (
        form._size_like("small", value, None),
        form._size_of("small", value, 1, None),
    ):
        assert (width, height) == (gr.skip(), gr.skip())
        assert said["visible"]
        assert words in said["value"]
