"""Pictures from words by the official client, painted by the tiny model."""

from __future__ import annotations

import base64
import io
import threading
import time

import httpx
import openai
import pytest
from PIL import Image

from tests.patience import wait_until
from tests.studio.features.openai_api.conftest import MODEL
from tests.studio.live import TINY, waiting_client

PAINT = "/v1/images/generations"
QUICK = {"steps": 2, "seed": 5}


def paint(client: openai.OpenAI, extra: dict | None = None, **changes):
    return client.images.generate(
        **{"prompt": "a red mug", "model": TINY, "size": "64x72", **changes},
        extra_body=QUICK | (extra or {}),
    )


def picture(data) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data.b64_json)))


def test_pictures_come_inside_the_answer(client, studio):
    before = int(time.time())
    answer = paint(client, n=2, extra={"negative_prompt": "blue"})
    assert answer.size == "64x72"
    assert before <= answer.created <= time.time()
    pictures = [picture(each) for each in answer.data]
    assert [each.size for each in pictures] == [(64, 72)] * 2
    assert [each.format for each in pictures] == ["PNG"] * 2
    assert "Negative prompt: blue" in pictures[0].info["parameters"]
    assert [each.seed for each in answer.data] == [5, 6]
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert len(studio.gallery.search("local", "red mug")) >= 2, "they are in the gallery as well"


def test_what_had_no_effect_is_said_beside_the_pictures(client):
    answer = paint(client, extra={"negative_prompt": "blue", "guidance": 1})
    (note,) = answer.model_extra["notes"]
    assert "negative" in note.lower()
    assert "notes" not in (paint(client).model_extra or {})


def test_the_same_seed_paints_the_same(client):
    first, again = (picture(paint(client).data[0]).tobytes() for _ in range(2))
    assert first == again


def test_without_a_size_the_model_s_own_is_taken(client):
    answer = client.images.generate(prompt="a mug", model=TINY, extra_body=QUICK)
    assert picture(answer.data[0]).width == picture(answer.data[0]).height


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"size": "large"}, "size", "large"),
        ({"size": "65x64"}, "size", "multiple of 8"),
        ({"size": "64x9992"}, "size", "at most 2048"),
        ({"n": 0}, "n", "at least 1"),
        ({"n": 11}, "n", "at most 10"),
        ({"response_format": "url"}, "response_format", "b64_json"),
        ({"output_format": "webp"}, "output_format", "webp"),
        ({"stream": True}, "stream", "streamed"),
        ({"extra": {"steps": 0}}, "steps", "at least 1"),
        ({"extra": {"seed": "x"}}, "seed", "seed cannot be x"),
        ({"prompt": "x" * 10_001}, "prompt", "at most 10000"),
    ],
)
def test_bad_value_is_refused_by_its_name(client, changes, param, words):
    with pytest.raises(openai.BadRequestError) as caught:
        paint(client, **changes)
    assert caught.value.param == param
    assert words in caught.value.body["message"]


def test_a_chat_model_paints_nothing(client):
    with pytest.raises(openai.NotFoundError) as caught:
        paint(client, model=MODEL)
    assert caught.value.code == "model_not_found"


def test_prompt_is_needed(raw: httpx.Client):
    answer = raw.post(PAINT, json={"model": TINY})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"


def job_of(studio, prompt: str):
    return next((job for job in studio.jobs.list("local") if job.request["prompt"] == prompt), None)


def test_hanging_up_cancels_the_job(raw: httpx.Client, studio):
    body = {"prompt": "a slow mug", "model": TINY, "size": "512x512", "steps": 150, "n": 10}
    with waiting_client(raw, PAINT, body):
        job = wait_until(lambda: job_of(studio, "a slow mug"))
    wait_until(lambda: studio.jobs.get("local", job.id).ended)
    assert studio.jobs.get("local", job.id).state == "cancelled"


def test_a_job_that_is_cancelled_in_the_page_is_an_error(raw: httpx.Client, studio):
    def cancel() -> None:
        studio.jobs.cancel("local", wait_until(lambda: job_of(studio, "a stopped mug")).id)

    threading.Thread(target=cancel).start()
    body = {"prompt": "a stopped mug", "model": TINY, "size": "512x512", "steps": 150, "n": 10}
    answer = raw.post(PAINT, json=body)
    assert answer.status_code == 500
    assert "cancelled" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false", "the client would paint it again"
