"""Who may look into which model, and what is kept of a look."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipelines.chat import inspect as engine
from pipelines.chat.catalog import ChatCatalog
from pipelines.chat.entries import OWN, ChatEntry
from pipelines.chat.inspect import InspectRequest
from pipelines.chat.sampling import reshape
from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, NotFound, Refused
from pipelines.core.messages import Message
from studio.core.accounts.accounts import Owner
from studio.features.labs import inspect
from studio.features.labs.inspect import Inspector
from tests.patience import PATIENCE
from tests.pipelines.chat.tiny_llama import byte_level, llama

ANNA, BEN = Owner("anna", "Anna", is_host=False), Owner("ben", "Ben", is_host=False)
TEXT = "The cat sat on the mat"
PRESET = "title: Tiny\nbackend: transformers\nsource: {folder: tiny}\n"
FARAWAY = "title: Faraway\nbackend: remote\nurl: http://127.0.0.1:1/v1\n"
MISSING = "title: Missing\nbackend: transformers\nsource: {folder: nowhere}\n"


class Held:
    """As :class:`pipelines.chat.backends.transformers_model.TransformersModel` is leased."""

    def __init__(self, entry: ChatEntry) -> None:
        self.entry, self.model, self.tokenizer = entry, llama(), byte_level()
        self.passes = 0
        self.model.model.register_forward_hook(self._count)

    def _count(self, *_) -> None:
        self.passes += 1

    @property
    def nbytes(self) -> int:
        return 1000

    def to(self, device: str) -> None:
        raise AssertionError

    def close(self) -> None:
        self.model = self.tokenizer = None


@pytest.fixture
def service(tmp_path: Path) -> SimpleNamespace:
    """The service on a cache that counts what it loads; Anna has a model of her own."""
    presets, home = tmp_path / "presets", tmp_path / "home"
    (presets / "chat").mkdir(parents=True)
    (home / "chat" / "tiny").mkdir(parents=True)
    for name, text in (("tiny", PRESET), ("faraway", FARAWAY), ("missing", MISSING)):
        (home / "chat" / f"{name}.yaml").write_text(text)
    catalog = ChatCatalog(home, presets)
    loaded: list[Held] = []

    def load(name, device, notes) -> Held:
        loaded.append(Held(catalog.get("tiny")))
        return loaded[-1]

    cache = ModelCache(load, "cpu", 10_000)
    hers = catalog.get("tiny").model_copy(update={"name": f"{OWN}1", "title": "Hers"})
    own = lambda owner: [hers] if owner == "anna" else []  # noqa: E731
    return SimpleNamespace(inspector=Inspector(catalog, cache, own), cache=cache, loaded=loaded)


def request_of(**changes) -> InspectRequest:
    return InspectRequest(**{"model": "tiny", "text": TEXT, **changes})


# --- who may open which ---------------------------------------------------------------------------


def test_what_is_here_and_ones_own_is_offered(service):
    assert [entry.title for entry in service.inspector.models(ANNA)] == ["Tiny", "Hers"]
    assert [entry.title for entry in service.inspector.models(BEN)] == ["Tiny"]


def test_an_own_model_is_its_owners_alone(service):
    assert service.inspector.entry(ANNA, f"{OWN}1").title == "Hers"
    with pytest.raises(NotFound, match="no model called own-chat:1"):
        service.inspector.look(BEN, request_of(model=f"{OWN}1"), "odds")


def test_what_was_kept_of_an_own_model_is_not_shown_to_others(service):
    service.inspector.look(ANNA, request_of(model=f"{OWN}1"), "odds")
    with pytest.raises(NotFound):
        service.inspector.look(BEN, request_of(model=f"{OWN}1"), "odds")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("faraway", Refused, "Faraway runs on another server"),
        ("missing", Refused, "Missing has not been downloaded yet"),
        ("tinny", NotFound, "Did you mean tiny"),
    ],
)
def test_what_cannot_be_opened_is_refused_before_anything_is_loaded(service, name, error, words):
    with pytest.raises(error, match=words):
        service.inspector.look(ANNA, request_of(model=name), "odds")
    assert service.loaded == []


# --- what is kept ---------------------------------------------------------------------------------


def test_a_text_is_read_once_for_all_views(service):
    for view in ("odds", "attention", "layers", "build"):
        service.inspector.look(ANNA, request_of(), view)
    service.inspector.look(ANNA, request_of(position=2, layer=3, head=4), "attention")
    service.inspector.look(BEN, request_of(position=3), "layers")
    assert [held.passes for held in service.loaded] == [1]


def test_a_slider_needs_the_model_no_more(service):
    service.inspector.look(ANNA, request_of(), "odds")
    service.cache.clear()
    cold = service.inspector.look(ANNA, request_of(temperature=0), "odds").odds
    assert cold.possible == 1
    assert len(service.loaded) == 1


def test_what_is_kept_keeps_no_model_in_memory(service):
    for view in ("odds", "attention", "layers", "build"):
        service.inspector.look(ANNA, request_of(), view)
    model = weakref.ref(service.loaded[0].model)
    service.cache.clear()
    service.loaded.clear()
    gc.collect()
    assert model() is None


def test_no_more_than_a_few_texts_are_kept(service, monkeypatch):
    monkeypatch.setattr(inspect, "KEPT_TEXTS", 2)
    for text in ("a", "b", "c", "a"):
        service.inspector.look(ANNA, request_of(text=text), "odds")
    assert service.loaded[0].passes == 4
    service.inspector.look(ANNA, request_of(text="c"), "odds")
    assert service.loaded[0].passes == 4


def test_large_texts_are_not_kept_beside_others(service, monkeypatch):
    monkeypatch.setattr(inspect, "KEPT_BYTES", 1)
    for text in ("a", "b", "a"):
        service.inspector.look(ANNA, request_of(text=text), "odds")
    assert service.loaded[0].passes == 3


# --- what is shown --------------------------------------------------------------------------------


def test_each_view_has_what_it_shows(service):
    look = service.inspector.look
    seen = look(ANNA, request_of(), "odds")
    count = len(seen.text.tokens)
    assert seen.position == count
    assert len(seen.odds.candidates) == engine.TOP
    assert look(ANNA, request_of(), "attention").weights.shape == (4, count, count)
    lens = look(ANNA, request_of(), "layers").lens
    assert (len(lens.rows), len(lens.rows[0]), lens.first) == (4, count, 0)
    assert look(ANNA, request_of(), "build").build.blocks == 3


def test_the_penalty_counts_the_text_up_to_the_position(service):
    request = request_of(position=4, repetition_penalty=2.0)
    seen = service.inspector.look(ANNA, request, "odds")
    ids = [token.id for token in seen.text.tokens]
    logits = llama()(torch.tensor([ids])).logits[0, 3]
    after = {each.id: each.after for each in seen.odds.candidates}

    def agrees(previous: list[int]) -> bool:
        wanted = reshape(logits, request, previous)
        return all(abs(odds - float(wanted[id])) < 1e-6 for id, odds in after.items())

    assert agrees(ids[:4])
    assert not agrees(ids[:3])
    assert not agrees(ids[:5])


def test_the_lens_ends_at_the_position(service, monkeypatch):
    monkeypatch.setattr(inspect, "COLUMNS", 3)
    lens = service.inspector.look(ANNA, request_of(position=5), "layers").lens
    assert (lens.first, len(lens.rows[0])) == (2, 3)


def test_positions_and_heads_that_are_not_there(service):
    with pytest.raises(BadRequest, match="no token 999"):
        service.inspector.look(ANNA, request_of(position=999), "odds")
    with pytest.raises(BadRequest, match="no head 9"):
        service.inspector.look(ANNA, request_of(head=9), "attention")
    service.inspector.look(ANNA, request_of(), "attention")
    with pytest.raises(BadRequest, match="no head 9"):
        service.inspector.look(ANNA, request_of(head=9), "attention")


def test_many_at_once_get_the_same(service):
    found, errors = [], []

    def look(position: int) -> None:
        try:
            seen = service.inspector.look(ANNA, request_of(position=position), "odds")
            found.append((position, seen.odds.candidates[0].id))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=look, args=(1 + n % 5,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(found)) == 5
    assert len(service.loaded) == 1


def test_loading_is_told(service):
    notes = []
    waiting = threading.Event()
    load = service.cache._load

    def slowly(name, device, tell):
        tell(Message("Loading {model}", model="Tiny"), 0.5)
        waiting.wait(PATIENCE)
        return load(name, device, tell)

    def note(progress) -> None:
        notes.append(str(progress.note))
        if notes[-1] == "Loading Tiny":
            waiting.set()

    service.cache._load = slowly
    service.inspector.look(ANNA, request_of(), "odds", note)
    assert notes[-1] == "Loading Tiny"
