"""A studio with the real SmolLM2, the tiny painter, and the official client of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from studio.core.services import Studio
from tests.patience import PATIENCE
from tests.studio.live import build_api, live_studio, options_for

MODEL = "smollm2-135m"
HELLO = [{"role": "user", "content": "Tell me about ducks."}]

BROKEN = "title: Broken\nbackend: llama.cpp\nsource: {file: broken.gguf}\n"
DOWN = "title: Down\nbackend: remote\nurl: http://127.0.0.1:9/v1\n"
AWAY = "title: Away\nbackend: llama.cpp\nsource: {hub: nobody/nothing, file: nothing.gguf}\n"


@pytest.fixture(scope="session")
def studio_and_address(tmp_path_factory, twin_home) -> Iterator[tuple[Studio, str]]:
    """A studio that needs no login, and its address."""
    home: Path = tmp_path_factory.mktemp("openai")
    (home / "chat").mkdir()
    (home / "chat" / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    for name, text in {"broken": BROKEN, "down": DOWN, "away": AWAY}.items():
        (home / "chat" / f"{name}.yaml").write_text(text)
    with live_studio(options_for(home, twin_home), build_api) as running:
        yield running


@pytest.fixture(scope="session")
def studio(studio_and_address) -> Studio:
    return studio_and_address[0]


@pytest.fixture(scope="session")
def client(studio_and_address) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{studio_and_address[1]}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


@pytest.fixture(scope="session")
def raw(studio_and_address) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=studio_and_address[1], timeout=PATIENCE) as client:
        yield client
