"""What a training puts in the library: once, at the second try, or in place of an earlier one."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from pathlib import Path

import pytest

from pipelines.core.cache import ModelCache
from pipelines.core.errors import (
    BadRequest,
    NotFound,
    Stopped,
    Unavailable,
)
from pipelines.core.events import Result
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.dreambooth import process
from pipelines.dreambooth.folder import TrainingFolder
from tests.pipelines.dreambooth.acting import follow, never, with_steps


def stop_after_one_step(request, cache, acting, learnt: Path) -> None:
    """A training that was stopped after one step; what it has learnt is in the library."""
    launch, stop = acting(f"""
import shutil
step(1)
shutil.copytree({str(with_steps(learnt, 1))!r}, folder.result, dirs_exist_ok=True)
"""), threading.Event()  # fmt: skip

    def until_stopped() -> None:
        for event in process.run(request, cache, stop, launch):
            if event.step == 1:
                stop.set()

    with pytest.raises(Stopped):
        until_stopped()
    with_steps(learnt, request.steps)


def finish_launcher(acting, learnt: Path):
    """A launcher of a trainer that takes all steps that are left."""
    return acting(f"""
import shutil
shutil.copytree({str(learnt)!r}, folder.result, dirs_exist_ok=True)
""")


def test_a_resumed_trainings_result_takes_the_place_of_its_earlier_one(
    ask, home, cache, make_launcher, training_result
):
    request, library = ask(), LoraLibrary(home)
    stop_after_one_step(request, cache, make_launcher, training_result)
    (first,) = library.own("local")
    library.rename("local", first.id, "my cat")
    second = follow(request, cache, launch=finish_launcher(make_launcher, training_result))[
        -1
    ].data["lora"]
    (record,) = library.own("local")
    assert second == first.id == record.id
    assert record.name == "my cat"


def test_what_the_trainer_remarks_on_its_result_is_in_the_job_s(
    ask, cache, make_launcher, training_result
):
    record = training_result / "about.json"
    remark = {"template": "The training fell apart: {why}.", "values": {"why": "x"}}
    assert (
        follow(ask(), cache, launch=finish_launcher(make_launcher, training_result))[-1].data[
            "notes"
        ]
        == []
    )
    record.write_text(json.dumps(json.loads(record.read_text()) | {"remark": remark}))
    request = ask()
    assert follow(request, cache, launch=finish_launcher(make_launcher, training_result))[-1].data[
        "notes"
    ] == [remark]
    assert follow(request, cache, launch=None)[-1].data["notes"] == [remark]  # asked for again


def test_a_training_that_is_done_keeps_nothing_to_go_on_from(
    ask, home, cache, make_launcher, training_result
):
    request = ask()
    folder = TrainingFolder(home, request.training)
    folder.checkpoint.mkdir(parents=True)
    (folder.checkpoint / "state.pt").write_bytes(bytes(10**6))
    stop_after_one_step(request, cache, make_launcher, training_result)
    assert folder.bytes > 10**6
    assert folder.steps_in_library == 1
    done = follow(request, cache, launch=finish_launcher(make_launcher, training_result))[-1]
    assert folder.steps_in_library == request.steps
    assert [path.name for path in folder.result.iterdir()] == ["about.json"]
    assert not folder.checkpoint.exists()
    assert folder.bytes < 10**4
    # As after a studio that was killed just then.
    again = follow(request, cache, launch=never)
    assert [each.data | {"seconds": 0} for each in again] == [done.data | {"seconds": 0}]
    assert LoraLibrary(home).factors(LoraLibrary(home).by_id(done.data["lora"]))


def test_what_was_taken_out_of_the_library_is_learnt_anew(
    ask, home, cache, make_launcher, training_result
):
    request, library = ask(), LoraLibrary(home)
    first = follow(request, cache, launch=finish_launcher(make_launcher, training_result))[-1].data[
        "lora"
    ]
    library.delete("local", first)
    stop_after_one_step(request, cache, make_launcher, training_result)
    assert TrainingFolder(home, request.training).steps_in_library == 1
    second = follow(request, cache, launch=finish_launcher(make_launcher, training_result))[-1]
    assert isinstance(second, Result)
    assert [record.id for record in library.own("local")] == [second.data["lora"]]


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    shutil.Error([("from", "to", "[Errno 28] No space left on device: 'to'")]),
])  # fmt: skip
def test_a_full_disk_leaves_what_is_in_the_library_and_is_said(
    ask, home, cache, make_launcher, training_result, monkeypatch, error
):
    request, library = ask(), LoraLibrary(home)
    stop_after_one_step(request, cache, make_launcher, training_result)
    (before,) = library.own("local")
    launch = finish_launcher(make_launcher, training_result)

    def full(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.diffusion.lora.entries._write_json", full)
        with pytest.raises(Unavailable, match=r"The disk is full: whiskers could not .* resume\."):
            follow(request, cache, launch=launch)
    assert library.own("local") == [before]
    assert library.factors(before)
    assert follow(request, cache, launch=launch)[-1].data["lora"] == before.id
    assert len(library.own("local")) == 1


def test_what_could_not_be_put_in_the_library_at_first_is_there_once(
    ask, home, cache, make_launcher, training_result, monkeypatch
):
    launch = finish_launcher(make_launcher, training_result)
    request, remember = ask(), TrainingFolder.remember_library_id

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingFolder, "remember_library_id", full)
        with pytest.raises(Unavailable, match="disk is full"):
            follow(request, cache, launch=launch)
    assert TrainingFolder.remember_library_id is remember
    follow(request, cache, launch=launch)
    assert len(LoraLibrary(home).own("local")) == 1


@pytest.mark.parametrize("done", [True, False])
def test_other_settings_need_a_training_of_their_own(
    ask, cache, make_launcher, training_result, done
):
    request = ask()
    stop_after_one_step(request, cache, make_launcher, training_result)
    launch = finish_launcher(make_launcher, training_result)
    if done:
        follow(request, cache, launch=launch)
    changed = request.model_copy(update={"rank": 8, "learning_rate": 1e-3, "name": "other"})
    with pytest.raises(BadRequest, match=r"other settings \(Rank, Learning rate\)"):
        follow(changed, cache, launch=launch)


def test_what_cannot_work_is_refused_before_anything_starts(ask, cache):
    def never(*_):
        pytest.fail("a trainer was started")

    with pytest.raises(BadRequest, match="batch size is 5, but the subject has 4 photos"):
        follow(ask(batch_size=5), cache, launch=never)
    with pytest.raises(NotFound, match="There is no subject"):
        follow(ask(subject="0" * 32), cache, launch=never)
    with pytest.raises(NotFound, match="There is no model called sd99"):
        follow(ask(model="sd99"), cache, launch=never)


def test_idle_models_are_let_go_when_memory_is_short(
    ask, home, make_launcher, training_result, monkeypatch
):
    cleared = []
    cache = ModelCache(lambda *_: None, "cpu", 2**40, home=home)
    monkeypatch.setattr(cache, "clear", lambda: cleared.append(True))
    free = iter([10**6, 10**12])
    monkeypatch.setattr(process, "free_memory", lambda device: next(free))
    launch = make_launcher(f"""
import shutil
shutil.copytree({str(training_result)!r}, folder.result)
""")
    follow(ask(), cache, launch=launch)
    assert cleared == [True]
