"""How long pictures are foretold to take: by the steps that are run, at both passes' sizes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipelines.diffusion.requests import TextToImageRequest
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import LOCAL_OWNER
from studio.core.painting.checks import Paintings

PICTURE = "0" * 32
BEGUN = {"picture": PICTURE, "strength": 0.5}


def request(**fields) -> TextToImageRequest:
    whole = {"prompt": "", "steps": 20, "width": 64, "height": 64}
    return TextToImageRequest(**{**whole, **fields})


def foretell(home, painted: list[tuple[TextToImageRequest, float]], *asked) -> float | None:
    rows = [
        SimpleNamespace(
            request=made.model_dump(mode="json"), seconds=seconds, width=made.width,
            height=made.height,
        )
        for made, seconds in painted
    ]  # fmt: skip
    gallery = SimpleNamespace(search=lambda owner, limit: rows)
    return Paintings(home, Catalog(home), gallery).foretell(LOCAL_OWNER, asked)


def test_a_second_pass_takes_as_long_as_its_pixels_and_half_the_strength_half_as_long(tmp_path):
    painted = [(request(), 2.0)]
    hires = {"scale": 2, "steps": 10}  # 10 steps of four times the pixels, as long as 40
    assert foretell(tmp_path, painted, request(hires=hires)) == pytest.approx(6)
    assert foretell(tmp_path, painted, request(from_picture=BEGUN)) == pytest.approx(1)
    assert foretell(tmp_path, painted, request(), request(steps=10)) == pytest.approx(3)
    assert foretell(tmp_path, painted, request(detail_fix={})) == pytest.approx(4)


def test_what_has_been_painted_is_read_in_the_same_way(tmp_path):
    hires = {"scale": 2, "steps": 10}
    for made, seconds in ((request(hires=hires), 6.0), (request(from_picture=BEGUN), 1.0)):
        assert foretell(tmp_path, [(made, seconds)], request()) == pytest.approx(2)


def test_pictures_that_tell_no_pace_are_left_out(tmp_path):
    fixed, enlarged = request(detail_fix={}), request()
    assert foretell(tmp_path, [(fixed, 9.0)], request()) is None
    assert foretell(tmp_path, [(fixed, 9.0), (enlarged, 2.0)], request()) == pytest.approx(2)
    # The picture stays as it was.
    begun = request(from_picture={"picture": PICTURE, "strength": 0})
    assert foretell(tmp_path, [(begun, 0.1), (enlarged, 2.0)], request()) == pytest.approx(2)
