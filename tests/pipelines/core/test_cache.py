"""The cache's promises, held with models that are nothing but a number of bytes."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from pipelines.core.cache import ModelCache
from pipelines.core.errors import Busy, OutOfMemory, Stopped, Unavailable
from pipelines.core.messages import Message
from tests.patience import PATIENCE, wait_until

SIZES = {"a": 40, "b": 40, "c": 40, "large": 90, "huge": 200}


class Weights:
    """A model as the cache sees one; remembers where it has been."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.nbytes, self.places, self.closed = name, SIZES[name], [device], False

    def to(self, device: str) -> None:
        self.places.append(device)

    def close(self) -> None:
        self.closed = True


def load_weights(name, device, notes):
    return Weights(name, device)


def make(load=load_weights, device="cpu", budget=100, ram=0, expected=SIZES.get) -> ModelCache:
    return ModelCache(load, device, budget, ram, expected)


def names(cache: ModelCache, where: str | None = None) -> set[str]:
    return {entry.name for entry in cache.list_loaded() if where in (None, entry.where)}


def use(cache: ModelCache, name: str) -> Weights:
    with cache.lease(name) as model:
        return model


def stop_at_first_event(cache: ModelCache, stop: threading.Event) -> None:
    for _ in cache.warm("a", stop):
        stop.set()


class Gate:
    """A loader that waits at a gate and tells how often it was asked."""

    def __init__(self) -> None:
        self.open, self.calls = threading.Event(), 0

    def __call__(self, name, device, notes):
        self.calls += 1
        while not self.open.wait(timeout=0.005):
            notes(Message("Reading {file}", file=name), 0.5)
        return Weights(name, device)


def test_ten_threads_that_ask_at_once_get_one_load():
    gate, got = Gate(), []
    cache = make(gate)
    threads = [threading.Thread(target=lambda: got.append(use(cache, "a"))) for _ in range(10)]
    for thread in threads:
        thread.start()
    gate.open.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(got) == 10
    assert len({id(model) for model in got}) == 1
    assert gate.calls == 1


def test_a_model_that_says_that_it_is_outdated_is_loaded_anew_once_nobody_uses_it():
    cache = make()
    with cache.lease("a") as first:
        first.is_outdated = True
        assert use(cache, "a") is first
    assert not first.closed
    second = use(cache, "a")
    assert first.closed
    assert use(cache, "a") is second


def test_the_least_recently_used_model_makes_room():
    cache = make()
    use(cache, "a")
    use(cache, "b")
    use(cache, "a")
    use(cache, "c")
    assert names(cache) == {"a", "c"}


def test_the_budget_holds_whatever_is_asked():
    cache = make()
    for name in ("a", "b", "large", "c", "a", "b", "large", "b"):
        use(cache, name)
        assert sum(entry.bytes for entry in cache.list_loaded()) <= 100


def test_the_budget_holds_while_a_model_is_loading():
    seen = []

    def load(name, device, notes):
        seen.append(sum(entry.bytes for entry in cache.list_loaded()))
        return Weights(name, device)

    cache = make(load)
    for name in ("a", "b", "large", "c"):
        use(cache, name)
    assert seen == [40, 80, 90, 40]


def test_what_a_model_takes_on_while_it_is_used_counts():
    cache = make()
    with cache.lease("a") as model:
        model.nbytes = 70
    assert [entry.bytes for entry in cache.list_loaded()] == [70]
    use(cache, "b")
    assert names(cache) == {"b"}


def test_an_evicted_model_is_really_gone():
    cache = make()
    with cache.lease("a") as model:
        reference = weakref.ref(model)
    del model
    use(cache, "large")
    assert reference() is None


def test_a_released_model_is_really_gone():
    cache = make()
    reference = weakref.ref(use(cache, "a"))
    assert cache.release("a")
    assert reference() is None
    assert not cache.release("a")


def test_a_leased_model_stays_and_the_newcomer_is_told_why_it_does_not_fit():
    cache = make()
    with cache.lease("a") as model:
        with pytest.raises(
            OutOfMemory, match=r"large needs about 90 B .* 40 B of 100 B are in use"
        ):
            use(cache, "large")
        with pytest.raises(Busy, match="a is in use"):
            cache.release("a")
        cache.clear()
        assert not model.closed
        assert names(cache) == {"a"}
    use(cache, "large")
    assert names(cache) == {"large"}


def test_a_model_larger_than_the_budget_is_refused_and_nothing_is_evicted_for_it():
    cache = make()
    use(cache, "a")
    with pytest.raises(
        OutOfMemory, match="huge needs about 200 B on cpu, but models may take 100 B"
    ):
        use(cache, "huge")
    assert names(cache) == {"a"}


def test_a_model_that_turns_out_larger_than_expected_is_closed_again():
    loaded = []

    def load(name, device, notes):
        loaded.append(Weights(name, device))
        return loaded[-1]

    cache = make(load, expected=lambda name: 10)
    with pytest.raises(OutOfMemory, match="huge"):
        use(cache, "huge")
    assert loaded[0].closed
    assert names(cache) == set()


def test_on_cuda_models_wait_in_ram_and_come_back_without_loading():
    cache = make(device="cuda", ram=80)
    first = use(cache, "a")
    use(cache, "large")
    assert names(cache, "ram") == {"a"}
    assert use(cache, "a") is first
    assert first.places == ["cuda", "cpu", "cuda"]
    assert names(cache, "ram") == set()  # large is over RAM's budget of 80


def test_ram_lets_go_of_the_least_recently_used():
    cache = make(device="cuda", ram=80, budget=40)
    models = [use(cache, name) for name in ("a", "b", "c")]
    use(cache, "a")
    assert names(cache, "ram") == {"b", "c"}
    SIZES["d"] = 40
    use(cache, "d")
    assert names(cache, "ram") == {"c", "a"}
    assert [model.closed for model in models] == [False, True, False]


def test_off_cuda_nothing_waits_in_ram():
    cache = make(device="mps", ram=1000)
    first = use(cache, "a")
    use(cache, "large")
    assert first.closed
    assert first.places == ["mps"]


def test_an_error_in_loading_reaches_everyone_who_waits_and_the_next_request_tries_again():
    broken, asked = threading.Event(), []
    broken.set()

    def load(name, device, notes):
        asked.append(name)
        if broken.is_set():
            wait_until(lambda: cache._slots[name].waiting == 5)
            raise Unavailable("{model} is not here.", model=name)
        return Weights(name, device)

    cache, errors = make(load), []

    def ask():
        try:
            use(cache, "a")
        except Unavailable as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == ["a is not here."] * 5
    assert len(asked) == 1
    assert cache.list_loaded() == []
    broken.clear()
    assert use(cache, "a").name == "a"


def test_warming_reports_and_ends_with_the_model_there():
    gate = Gate()
    cache = make(gate)
    events = []
    for event in cache.warm("a", threading.Event()):
        events.append((str(event.note), event.step, event.total))
        if ("Reading a", 50, 100) in events:
            gate.open.set()
    assert events[0] == ("Loading a", 0, 0) or events[0] == ("Reading a", 50, 100)
    assert names(cache, "cpu") == {"a"}
    assert list(cache.warm("a", threading.Event())) == []


def test_warming_raises_what_loading_raised():
    def load(name, device, notes):
        raise Unavailable("{model} is not here.", model=name)

    with pytest.raises(Unavailable, match="a is not here"):
        list(make(load).warm("a", threading.Event()))


def test_stopping_a_warming_stops_the_load_and_leaves_nothing_broken():
    gate, stop = Gate(), threading.Event()
    cache = make(gate)
    with pytest.raises(Stopped):
        stop_at_first_event(cache, stop)
    wait_until(lambda: cache.list_loaded() == [])
    gate.open.set()
    assert use(cache, "a").name == "a"
    assert gate.calls == 2


def test_stopping_a_warming_does_not_stop_the_load_for_others():
    gate, stop, got = Gate(), threading.Event(), []
    cache = make(gate)
    other = threading.Thread(target=lambda: got.append(use(cache, "a")))
    other.start()
    wait_until(lambda: gate.calls == 1)
    with pytest.raises(Stopped):
        stop_at_first_event(cache, stop)
    gate.open.set()
    other.join(PATIENCE)
    assert len(got) == 1
    assert gate.calls == 1


def test_a_warming_that_nobody_iterates_any_more_counts_as_stopped():
    gate = Gate()
    cache = make(gate)
    warming = cache.warm("a", threading.Event())
    next(warming)
    warming.close()
    wait_until(lambda: cache.list_loaded() == [])
    assert gate.calls == 1


def test_models_asked_for_together_that_do_not_fit_together_come_one_after_the_other():
    gate = Gate()
    cache, got, never = make(gate), [], threading.Event()
    threads = [
        threading.Thread(target=lambda n=name: got.append((n, list(cache.warm(n, never))[-1:])))
        for name in ("large", "a", "b")
    ]
    threads[0].start()
    wait_until(lambda: gate.calls == 1)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.05)
    gate.open.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(name for name, _ in got) == ["a", "b", "large"]
    assert names(cache) == {"a", "b"}


def test_many_threads_with_many_models_keep_the_budget_and_the_leases():
    over, failures = [], []

    def load(name, device, notes):
        time.sleep(0.001)
        return Weights(name, device)

    cache = make(load, budget=130)

    def work(order):
        for name in order:
            try:
                with cache.lease(name) as model:
                    if model.closed:
                        failures.append(name)
            except OutOfMemory:
                continue  # the others leased all of the room just then
            if sum(entry.bytes for entry in cache.list_loaded()) > 130:
                over.append(name)

    orders = ["abc" * 8, "cba" * 8, "bac" * 8, "acb" * 8]
    threads = [threading.Thread(target=work, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert over == []
    assert failures == []
    gc.collect()


class Offloaded(Weights):
    """Its parts visit the device one at a time, so that it takes more in RAM than there."""

    def __init__(self, name: str, device: str) -> None:
        super().__init__(name, device)
        self.on_device, self.in_ram = self.nbytes, 3 * self.nbytes

    def to(self, device: str) -> None:
        super().to(device)
        self.nbytes = self.in_ram if device == "cpu" else self.on_device


def test_an_offloaded_model_comes_back_from_ram_though_it_is_larger_there():
    cache = make(lambda name, device, notes: Offloaded(name, device), "cuda", budget=60, ram=500)
    first = use(cache, "a")
    use(cache, "b")
    assert names(cache, "ram") == {"a"}
    assert use(cache, "a") is first


def test_a_model_that_cannot_be_moved_to_ram_is_let_go_and_loaded_again():
    class Stuck(Weights):
        def to(self, device):
            raise MemoryError

    cache = make(lambda name, device, notes: Stuck(name, device), "cuda", budget=60, ram=500)
    first = use(cache, "a")
    use(cache, "b")
    assert first.closed
    assert names(cache) == {"b"}
    assert use(cache, "a") is not first


def test_a_model_whose_files_were_replaced_is_loaded_anew_once_nobody_uses_it(tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"one")
    cache = ModelCache(load_weights, "cpu", 100, files_of=lambda name: [file])
    with cache.lease("a") as first:
        file.write_bytes(b"another")
        assert use(cache, "a") is first, "it is at work"
    second = use(cache, "a")
    assert second is not first
    assert first.closed
    file.unlink()  # it may lie on a disk that is away
    assert use(cache, "a") is second
    file.write_bytes(b"a third")
    list(cache.warm("a", threading.Event()))
    assert use(cache, "a") is not second
