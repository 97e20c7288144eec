"""Models that were made here: whose they are, what they inherit, and that they answer."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from pipelines.chat import loading
from pipelines.chat.catalog import ChatCatalog, find
from pipelines.chat.engine import run as chat
from pipelines.chat.entries import INSPECT_PREFIX, OWN
from pipelines.chat.model_library import ModelLibrary
from pipelines.chat.pruning import engine
from pipelines.chat.pruning.evaluate import Effort
from pipelines.chat.pruning.requests import PruneRequest
from pipelines.chat.requests import ChatRequest
from pipelines.core.cache import ModelCache
from pipelines.core.errors import NotFound, validate
from pipelines.core.events import Result
from tests.pipelines.chat.llamas import save_llama

ID, OTHER = "a" * 32, "b" * 32
BASE = (
    "title: Base\nbackend: transformers\nsource: {folder: base}\ncontext_length: 128\n"
    "system_prompt: Be brief.\nsampling: {temperature: 0.3, top_k: 7}\nlicence: MIT\n"
    "chat_template: '{{ messages }}'\n"
)


def cache_in(home: Path) -> ModelCache:
    def load(name, device, notes):
        return loading.load(name, device, notes, True, home)

    return ModelCache(load, "cpu", 2**30, home=home, offline=True)


def shorten(cache: ModelCache, id: str = ID, owner: str = "anna", **changes) -> dict:
    """The shortened model's facts, after it was made by the engine."""
    values = {"model": "base", "pruning": id, "owner": owner, "name": "Brief", "blocks": 1}
    values |= {"criterion": "magnitude"} | changes
    effort = Effort(tokens=64, new_tokens=2, runs=1)
    request = validate(PruneRequest, values)
    *_, last = engine.run(request, cache, threading.Event(), effort=effort)
    assert isinstance(last, Result)
    return last.data


@pytest.fixture(scope="module")
def shortened_home(tmp_path_factory) -> Path:
    """A home with a model ``base`` and what Anna has shortened of it; treat it as read-only."""
    home = tmp_path_factory.mktemp("library")
    save_llama(home / "chat" / "base", blocks=3)
    (home / "chat" / "base.yaml").write_text(BASE)
    shorten(cache_in(home))
    return home


@pytest.fixture
def home(shortened_home: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(shortened_home, tmp_path / "home"))


@pytest.fixture
def cache(home) -> ModelCache:
    return cache_in(home)


def catalog_of(home) -> ChatCatalog:
    return ChatCatalog(home, own=ModelLibrary(home))


def test_what_was_shortened_is_listed_to_its_owner_alone(home):
    library = ModelLibrary(home)
    assert [made.name for made in library.models_of("anna")] == ["Brief"]
    assert library.models_of("ben") == []
    assert library.models_of("") == []


def test_it_is_as_the_model_it_was_made_from_but_for_its_weights(home):
    entry, base = catalog_of(home).get(OWN + ID), catalog_of(home).get("base")
    assert (entry.name, entry.backend) == (OWN + ID, "transformers")
    for name in ("sampling", "system_prompt", "chat_template", "context_length", "licence"):
        assert getattr(entry, name) == getattr(base, name)
    weights = (find(entry, home) / "model.safetensors").stat().st_size
    # Two blocks are left; keys and values of two heads, 8 numbers wide, for 128 tokens.
    assert entry.memory_bytes == weights + 2 * 2 * 2 * 8 * 128 * 4


def test_it_outlives_the_model_it_was_made_from(home):
    (home / "chat" / "base.yaml").unlink()
    entry = catalog_of(home).get(OWN + ID)
    assert (entry.context_length, entry.system_prompt) == (256, "")  # as config.json says


def test_its_folder_is_found_and_it_answers(home, cache):
    folder = find(catalog_of(home).get(OWN + ID), home)
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 2
    request = ChatRequest(
        model=OWN + ID,
        messages=[{"role": "user", "content": "Hello"}],
        max_new_tokens=3,
        temperature=0,
    )
    *_, last = chat(request, cache, threading.Event())
    assert 0 < last.data["completion_tokens"] <= 3


def test_what_was_shortened_can_be_shortened_again(home, cache):
    shorten(cache, OTHER, model=OWN + ID, name="Briefer")
    entry = catalog_of(home).get(OWN + OTHER)
    assert json.loads((find(entry, home) / "config.json").read_text())["num_hidden_layers"] == 1
    assert entry.system_prompt == "Be brief."
    with cache.lease(INSPECT_PREFIX + OWN + OTHER) as held:
        assert len(held.model.model.layers) == 1


def test_only_its_owner_deletes_it(home):
    library = ModelLibrary(home)
    folder = find(catalog_of(home).get(OWN + ID), home)
    assert folder.parent == home / "chat_models"
    with pytest.raises(NotFound):
        library.delete("ben", ID)
    assert library.by_id(ID).name == "Brief"
    library.delete("anna", ID)
    assert not folder.exists()
    assert list((home / "chat_models").iterdir()) == []
    for ask in (lambda: library.by_id(ID), lambda: catalog_of(home).get(OWN + ID)):
        with pytest.raises(NotFound, match="no longer here"):
            ask()


@pytest.mark.parametrize("id", ["", "*", "../chat/base", "a" * 31, "A" * 32, "a" * 32 + "\n"])
def test_what_is_no_id_names_no_folder(shortened_home, id):
    with pytest.raises(NotFound):
        ModelLibrary(shortened_home).by_id(id)


@pytest.mark.parametrize(
    "about", ["", "[]", "{", '{"pruning": "x", "owner": "anna", "name": "n", "made_from": "b"}',
              '{"pruning": "' + OTHER + '", "owner": "", "name": "n", "made_from": "base"}']
)  # fmt: skip
def test_a_damaged_folder_is_left_out(home, about):
    broken = home / "chat_models" / f"broken-{OTHER[:8]}"
    broken.mkdir()
    (broken / "atelier.json").write_text(about)
    library = ModelLibrary(home)
    assert [made.name for made in library.models_of("anna")] == ["Brief"]
    assert library.models_of("") == []
    with pytest.raises(NotFound):
        library.by_id(OTHER)
