"""Pictures that are sent and changed, by the official client and by bodies that others send."""

from __future__ import annotations

import io

import numpy as np
import openai
import pytest
from PIL import Image

from tests.studio.features.openai_api.test_images import QUICK, picture
from tests.studio.live import TINY

EDITS = "/v1/images/edits"
FORM = {"prompt": "a red mug", "model": TINY, **{name: str(v) for name, v in QUICK.items()}}


def noise(size: tuple[int, int] = (64, 72), seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def png(image: Image.Image) -> bytes:
    image.save(out := io.BytesIO(), "PNG")
    return out.getvalue()


def with_hole(image: Image.Image) -> Image.Image:
    """The same picture, transparent in its left half."""
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, image.width // 2, image.height))
    image = image.copy()
    image.putalpha(alpha)
    return image


def edit(client: openai.OpenAI, image: Image.Image, extra: dict | None = None, **changes):
    return client.images.edit(
        image=("photo.png", png(image), "image/png"),
        **{"prompt": "a red mug", "model": TINY, **changes},
        extra_body=QUICK | (extra or {}),
    )


def test_a_picture_is_changed_by_so_much(client, studio):
    photo = noise()
    answer = edit(client, photo, n=2)
    pictures = [picture(each) for each in answer.data]
    assert [each.size for each in pictures] == [(64, 72)] * 2, (
        "its proportions, at the model's size"
    )
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert [each.seed for each in answer.data] == [5, 6]
    assert "Denoising strength: 0.75" in pictures[0].info["parameters"]
    (kept,) = (picture(each) for each in edit(client, photo, {"strength": 0}).data)
    assert kept.convert("RGB").tobytes() == photo.tobytes()
    assert len(studio.gallery.search("local", "red mug")) >= 3, "they are in the gallery as well"


def test_only_what_is_transparent_in_the_mask_changes(client):
    photo = noise(seed=1)
    mask = ("mask.png", png(with_hole(Image.new("RGB", photo.size))), "image/png")
    (made,) = (picture(each) for each in edit(client, photo, mask=mask).data)
    before, after = np.asarray(photo), np.asarray(made.convert("RGB"))
    assert after.shape == before.shape
    half = photo.width // 2
    assert np.array_equal(after[:, half + 16 :], before[:, half + 16 :]), "but for the mask's blur"
    assert not np.array_equal(after[:, :half], before[:, :half])


def test_what_is_transparent_in_the_picture_itself_is_filled(client):
    photo = noise(seed=2)
    (made,) = (picture(each) for each in edit(client, with_hole(photo)).data)
    before, after = np.asarray(photo), np.asarray(made.convert("RGB"))
    half = photo.width // 2
    assert np.array_equal(after[:, half + 16 :], before[:, half + 16 :])
    assert after[:, : half - 8].mean() < 250, "it is not the white that lies behind it"


def test_variations_are_much_like_the_picture(client):
    photo = noise(seed=3)
    answer = client.images.create_variation(
        image=("photo.png", png(photo), "image/png"), n=2, model=TINY, extra_body=QUICK
    )
    made = [picture(each) for each in answer.data]
    assert made[0].tobytes() != made[1].tobytes()
    assert "Denoising strength: 0.5" in made[0].info["parameters"]
    same = client.images.create_variation(
        image=("photo.png", png(photo), "image/png"), model=TINY, extra_body={"strength": 0}
    )
    assert picture(same.data[0]).convert("RGB").tobytes() == photo.tobytes()


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"data": {"n": "eleven"}}, "n", "eleven"),
        ({"data": {"size": "65x64"}}, "size", "multiple of 8"),
        ({"data": {"strength": "2"}}, "from_picture.strength", "at most 1"),
        ({"data": {"stream": "true"}}, "stream", "streamed"),
        ({"data": {"background": "transparent"}}, "background", "background"),
        ({"data": {"image": "http://127.0.0.1/x.png"}, "files": {}}, "image", "not fetched"),
        ({"files": {}}, "image", "missing"),
        ({"files": {"image": b"no picture"}}, "image", "PNG"),
        ({"files": {"image": png(noise()), "photo": png(noise())}}, "photo", "not known as a file"),
        ({"files": {"image": png(noise()), "mask": png(noise())}}, "mask", "no transparent part"),
        ({"files": [("image[]", png(noise())), ("image[]", png(noise()))]}, "image", "2 were sent"),
        ({"data": {"model": "nobody"}}, "model", "nobody"),
    ],
)
def test_bad_forms_are_refused_by_the_field(raw, changes, param, words):
    files = changes.get("files", {"image": png(noise())})
    # A form without a file is one all the same.
    files = files or {"nothing": (None, "x")}
    answer = raw.post(EDITS, data=FORM | changes.get("data", {}), files=files)
    error = answer.json()["error"]
    assert answer.status_code in (400, 404), error
    assert error["param"] == param
    assert words in error["message"]


def test_what_is_no_form_is_said(raw):
    for body in (
        {"json": FORM},
        {"data": FORM},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ):
        error = raw.post(EDITS, **body)
        assert error.status_code == 400
        assert "multipart/form-data" in error.json()["error"]["message"]
