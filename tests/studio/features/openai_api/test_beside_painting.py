"""Chats do not wait for pictures, nor pictures for chats."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.conftest import TINY
from tests.patience import wait_until
from tests.studio.features.openai_api.conftest import HELLO, MODEL


def test_ten_chats_at_once_and_a_picture_all_go_on(raw: httpx.Client):
    """Held by order, not by seconds: all chats end while the picture, which is asked for first and
    takes long, is being painted, and it gets on meanwhile."""
    request = {"prompt": "a cat", "model": TINY, "steps": 150, "batch_count": 16, "width": 256}
    job = raw.post("/api/v1/jobs/text_to_image", json=request).json()["id"]

    def picture() -> dict:
        return raw.get(f"/api/v1/jobs/{job}").json()

    wait_until(lambda: picture()["step"])
    before = picture()["step"]

    def chat(number: int) -> dict:
        body = {"model": MODEL, "messages": HELLO, "max_tokens": 8, "seed": number}
        return raw.post("/v1/chat/completions", json=body).json()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(chat, range(10)))

    after = picture()
    raw.post(f"/api/v1/jobs/{job}/cancel")
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [8] * 10
    assert after["state"] == "running"
    assert after["step"] > before
