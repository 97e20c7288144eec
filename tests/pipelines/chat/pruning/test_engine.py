"""Scores, curves and prunings as jobs ask for them, healing in a process included."""

from __future__ import annotations

import itertools
import json
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.chat.pruning import engine
from pipelines.chat.pruning.depth import drop_blocks
from pipelines.chat.pruning.evaluate import Effort
from pipelines.chat.pruning.folder import PruneFolder
from pipelines.chat.pruning.healing import running
from pipelines.chat.pruning.healing.process import main
from pipelines.chat.pruning.models import bytes_of
from pipelines.chat.pruning.requests import CurveRequest, PruneRequest, ScoreRequest
from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, OutOfMemory, Stopped, UserError, validate
from pipelines.core.events import Progress, Result
from pipelines.core.paths import ROOT
from tests.patience import PATIENCE, wait_until
from tests.pipelines.chat.pruning.test_depth import logits

SMALL = Effort(tokens=120, new_tokens=2, runs=1)


@dataclass
class Leased:
    model: Any
    tokenizer: Any

    @property
    def nbytes(self) -> int:
        return bytes_of(self.model)

    def to(self, device: str) -> None:
        self.model.to(device)

    def close(self) -> None:
        self.model = None


@pytest.fixture
def original(llama):
    """Nine blocks, so that the guard leaves three."""
    return llama(num_hidden_layers=9)


@pytest.fixture
def cache(original, tokenizer, tmp_path) -> ModelCache:
    def load(name, device, notes):
        assert name == "llama:tiny"
        return Leased(original, tokenizer)

    return ModelCache(load, "cpu", 2**30, home=tmp_path, offline=True)


def ask(kind: type, **settings: Any):
    values: dict[str, Any] = {"model": "tiny", "criterion": "magnitude"}
    if kind is PruneRequest:
        values |= {"pruning": secrets.token_hex(16), "name": "Tiny, shorter!"}
    return validate(kind, values | settings)


def follow(request, cache, stop, **further) -> list[Progress | Result]:
    return list(engine.run(request, cache, stop, effort=SMALL, **further))


def at_once(folder: PruneFolder, device: str, offline: bool) -> subprocess.Popen:
    """Heals within this process, as a launcher: torch is loaded here already."""
    code = main([str(folder.path), "--device", device])
    return subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])


def briefly(folder: PruneFolder, device: str, offline: bool) -> subprocess.Popen:
    """As :func:`at_once`, for two small steps."""
    path = folder.path / "heal.json"
    settings = json.loads(path.read_text()) | {"steps": 2, "batch_size": 1, "window": 16}
    path.write_text(json.dumps(settings))
    return at_once(folder, device, offline)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "perplexity"])
def test_scores_come_one_a_block_with_the_order_in_which_they_would_go(cache, stop, criterion):
    data = follow(ask(ScoreRequest, criterion=criterion), cache, stop)[-1].data
    assert len(data["scores"]) == 9
    assert data["guarded"] == []
    assert [data["scores"][n] for n in data["order"]] == sorted(data["scores"])
    safe = follow(ask(ScoreRequest, criterion=criterion, guard=True), cache, stop)[-1].data
    assert safe["scores"] == data["scores"]
    assert safe["guarded"] == [0, 1, 2, 3, 7, 8]
    assert sorted(safe["order"]) == [4, 5, 6]
    json.dumps(data, allow_nan=False)


def test_a_depth_pruned_model_is_an_ordinary_folder_with_what_was_done(
    cache, stop, original, ids, tmp_path
):
    request = ask(PruneRequest, blocks=2, guard=True)
    events = follow(request, cache, stop, models=tmp_path / "here")
    data = events[-1].data
    (folder,) = (tmp_path / "here").iterdir()
    assert folder.name == data["folder"] == f"tiny-shorter-{request.pruning[:8]}"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    dropped = data["what"]["dropped"]
    assert len(dropped) == 2
    assert set(dropped) < {4, 5, 6}
    assert torch.equal(logits(model, ids), logits(drop_blocks(original, dropped), ids))
    text = "Whose umbrella is it?"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    about = json.loads((folder / "atelier.json").read_text(encoding="utf-8"))
    assert (about["name"], about["made_from"]) == ("Tiny, shorter!", "tiny")
    assert about["what"]["dropped"] == dropped
    before, after = data["before"], data["after"]
    assert before["tokens"] == after["tokens"] > 100
    assert before["parameters"] - after["parameters"] == 2 * (2 * 1024 + 2 * 512 + 3 * 1536 + 64)
    assert after["file_bytes"] < before["file_bytes"]
    assert about["after"] == after
    assert "healed" not in data
    assert not PruneFolder(tmp_path, request.pruning).cut.exists()
    files = [file.read_text(errors="replace") for file in folder.glob("*.json")]
    assert not any(str(tmp_path) in text for text in files)


def test_a_narrow_model_says_what_was_taken_out(cache, stop, tmp_path):
    request = ask(PruneRequest, method="width", criterion="taylor", share=0.5)
    data = follow(request, cache, stop)[-1].data
    assert data["what"]["kv_heads"] == [2, 1]
    assert data["what"]["channels"] == [48, 24]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / engine.MODELS / data["folder"])
    assert model.config.num_attention_heads == 2
    assert data["after"]["parameters"] == sum(w.numel() for w in model.parameters())


@pytest.mark.parametrize("settings", [{"blocks": 0}, {"method": "width", "share": 0.0}])
def test_taking_nothing_out_changes_nothing_and_is_said(
    cache, stop, original, ids, tmp_path, settings
):
    data = follow(ask(PruneRequest, **settings), cache, stop)[-1].data
    model = AutoModelForCausalLM.from_pretrained(tmp_path / engine.MODELS / data["folder"])
    assert torch.equal(logits(model.eval(), ids), logits(original, ids))
    assert data["before"]["perplexity"] == data["after"]["perplexity"]
    assert data["notes"][0]["template"].startswith("Nothing was taken out")


def test_what_is_smaller_but_not_faster_says_so(cache, stop, tmp_path):
    request = ask(PruneRequest, blocks=2)
    follow(request, cache, stop)
    folder = PruneFolder(tmp_path, request.pruning)
    slow = folder.known["cut"] | {"tokens_per_second": 1.0}
    folder.remember(cut=slow)
    (note,) = follow(request, cache, stop)[-1].data["notes"]
    assert "not faster here" in note["template"]


def test_a_curve_has_a_point_for_each_number_of_blocks(cache, stop, original):
    data = follow(ask(CurveRequest, blocks=(4, 0, 1, 4)), cache, stop)[-1].data
    points = data["points"]
    assert [point["blocks"] for point in points] == [0, 1, 4]
    assert len({point["tokens"] for point in points}) == 1
    sizes = [point["parameters"] for point in points]
    assert sizes[0] == sum(w.numel() for w in original.parameters())
    assert (sizes[0] - sizes[1]) * 4 == sizes[0] - sizes[2]
    alone = follow(ask(PruneRequest, blocks=4), cache, stop)[-1].data
    assert alone["after"]["perplexity"] == points[2]["perplexity"]


def test_healing_is_part_of_it_and_both_figures_are_kept(cache, stop, tmp_path):
    request = ask(PruneRequest, blocks=2, heal_minutes=5)
    events = follow(request, cache, stop, launch=briefly)
    data = events[-1].data
    assert data["healing"]["steps"] == 2
    assert data["after"] == data["healed"] != data["cut"]
    assert data["healed"]["parameters"] == data["cut"]["parameters"]
    assert data["healed"]["perplexity"] != data["cut"]["perplexity"]
    assert any("Healing: step 2" in str(event.note) for event in events[:-1])
    # Asked again, it has been done.
    again = follow(request, cache, stop, launch=lambda *_: pytest.fail("healed again"))
    assert again[-1].data["after"] == data["after"]
    assert len(list((tmp_path / engine.MODELS).iterdir())) == 1


@pytest.mark.deep
def test_healing_under_accelerate_launch_in_its_own_process(cache, stop, tmp_path):
    request = ask(PruneRequest, blocks=1, heal_minutes=0.02)
    data = follow(request, cache, stop)[-1].data
    assert data["healing"]["steps"] >= 1
    assert (tmp_path / engine.MODELS / data["folder"] / "model.safetensors").is_file()


@pytest.mark.deep
def test_a_healing_that_is_stopped_leaves_the_model_and_goes_on_later(cache, stop, tmp_path):
    request = ask(PruneRequest, blocks=1, heal_minutes=10)
    seen = []

    def watch():
        for event in engine.run(request, cache, stop, effort=SMALL):
            seen.append(str(event.note))
            if "Healing: step" in seen[-1]:
                stop.set()

    with pytest.raises(Stopped):
        watch()
    (folder,) = (tmp_path / engine.MODELS).iterdir()
    kept = json.loads((folder / "atelier.json").read_text())
    steps = kept["healing"]["steps"]
    assert steps >= 1
    stop.clear()

    def a_little(folder: PruneFolder, device: str, offline: bool) -> subprocess.Popen:
        path = folder.path / "heal.json"
        more = json.loads(path.read_text()) | {"steps": steps + 2}
        path.write_text(json.dumps(more))
        return at_once(folder, device, offline)

    data = follow(request, cache, stop, launch=a_little)[-1].data
    assert data["healing"]["steps"] == steps + 2
    assert [each.name for each in (tmp_path / engine.MODELS).iterdir()] == [folder.name]


OUTLIVED = """
import sys, time
from pathlib import Path
from pipelines.chat.pruning.folder import PruneFolder
path = Path(sys.argv[1])
folder = PruneFolder(path.parent.parent, path.name)
with folder.hold() as mine:
    assert mine
    folder.report("step", step=1, loss=9.0, seconds=1.0, memory=1)
    while not (path / "seen").exists():
        time.sleep(0.02)
"""


def test_a_process_that_outlived_its_studio_is_followed_before_another_starts(
    cache, stop, tmp_path
):
    request = ask(PruneRequest, blocks=1, heal_minutes=5)
    folder = PruneFolder(tmp_path, request.pruning)
    folder.begin(request)
    before = subprocess.Popen([sys.executable, "-c", OUTLIVED, str(folder.path)], cwd=ROOT)
    wait_until(lambda: before.poll() is not None or folder.progress()[0])
    assert before.poll() is None
    began = []

    def launch(*given):
        began.append(before.wait(PATIENCE))
        return briefly(*given)

    notes = []
    for event in engine.run(request, cache, stop, effort=SMALL, launch=launch):
        notes.append(str(event.note) if isinstance(event, Progress) else "")
        if notes[-1] == "Starting to heal":
            (folder.path / "seen").touch()
    assert began == [0]
    assert notes.count("Starting to heal") == 2
    assert event.data["healing"]["steps"] == 2


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", OutOfMemory, "SIGKILL"),
        ("print('out of luck'); raise SystemExit(7)", UserError, "exit code 7.*out of luck"),
    ],
)
def test_a_process_that_ends_without_a_word_is_told_of(cache, stop, body, kind, words):
    def launch(folder, device, offline):
        with folder.log.open("ab") as log:
            return subprocess.Popen([sys.executable, "-u", "-c", body], stdout=log, stderr=log)

    with pytest.raises(kind, match=f"(?s){words}"):
        follow(ask(PruneRequest, blocks=1, heal_minutes=1), cache, stop, launch=launch)


def test_what_the_process_says_is_the_error_here(cache, stop, monkeypatch):
    from pipelines.chat.pruning.healing.training import Healer

    def fail(self):
        raise UserError("The disk is full.")

    monkeypatch.setattr(Healer, "run", fail)
    with pytest.raises(UserError, match="The disk is full"):
        follow(ask(PruneRequest, blocks=1, heal_minutes=1), cache, stop, launch=at_once)


@pytest.mark.parametrize("kind", [ScoreRequest, CurveRequest, PruneRequest])
@pytest.mark.parametrize(
    "after", [0, 3, *(pytest.param(each, marks=pytest.mark.deep) for each in (1, 5))]
)
def test_a_stop_is_seen_at_the_next_event(cache, stop, kind, after, tmp_path):
    points = {"blocks": (0, 3)} if kind is CurveRequest else {}
    events = engine.run(ask(kind, criterion="taylor", **points), cache, stop, effort=SMALL)
    for _ in range(after):
        next(events)
    stop.set()
    with pytest.raises(Stopped):
        list(itertools.islice(events, 1))
    assert not (tmp_path / engine.MODELS).exists()
    assert all(entry.leases == 0 for entry in cache.list_loaded())


def test_the_leased_model_is_never_changed(cache, stop, original, ids):
    before = {name: weight.clone() for name, weight in original.state_dict().items()}
    expected = logits(original, ids)
    for request in (
        ask(ScoreRequest, criterion="perplexity"),
        ask(CurveRequest, criterion="taylor", blocks=(2,)),
        ask(PruneRequest, method="width", criterion="taylor", share=0.5),
    ):
        follow(request, cache, stop)
    assert torch.equal(logits(original, ids), expected)
    assert all(torch.equal(before[n], w) for n, w in original.state_dict().items())
    assert all(weight.grad is None for weight in original.parameters())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"blocks": 9}, "9 blocks cannot be dropped: the model has 9"),
        ({"blocks": 4, "guard": True}, "at most 3 may go"),
        ({"method": "width", "criterion": "perplexity"}, "scores whole blocks only"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(cache, stop, settings, words):
    events = engine.run(ask(PruneRequest, **settings), cache, stop, effort=SMALL)
    seen = []
    with pytest.raises(BadRequest, match=words):
        seen += (str(event.note) for event in events)
    assert all("Loading" in note for note in seen)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (PruneRequest, {"blocks": -1}, "Blocks to drop is -1; it must be at least 0."),
        (PruneRequest, {"blocks": 201}, "it must be at most 200."),
        (PruneRequest, {"share": 0.95}, "Share to take out is 0.95; it must be at most 0.9."),
        (PruneRequest, {"share": float("nan")}, "it must be a number."),
        (PruneRequest, {"heal_minutes": float("inf")}, "it must be a number."),
        (PruneRequest, {"pruning": "../../etc"}, "Pruning cannot be ../../etc"),
        (PruneRequest, {"name": " "}, "Model name cannot be"),
        (ScoreRequest, {"criterion": "luck"}, "Criterion cannot be luck"),
        (ScoreRequest, {"speed": 9}, "There is no setting called speed."),
        (CurveRequest, {"blocks": ()}, "Blocks dropped cannot be []: "),
        (CurveRequest, {"blocks": tuple(range(13))}, "Blocks dropped has 13 entries"),
    ],
)
def test_bad_requests_are_refused_with_the_limit(kind, settings, words):
    with pytest.raises(BadRequest) as caught:
        ask(kind, **settings)
    assert words in str(caught.value)


def test_a_pruning_is_not_gone_on_with_under_other_settings(cache, stop):
    request = ask(PruneRequest, blocks=1)
    follow(request, cache, stop)
    with pytest.raises(BadRequest, match=r"other settings \(Blocks to drop\)"):
        follow(request.model_copy(update={"blocks": 2}), cache, stop)


def test_a_name_that_leads_elsewhere_stays_in_the_folder(cache, stop, tmp_path):
    request = ask(PruneRequest, blocks=1, name="../../短い")
    data = follow(request, cache, stop)[-1].data
    assert data["folder"] == f"model-{request.pruning[:8]}"
    assert Path(tmp_path / engine.MODELS / data["folder"]).is_dir()


def test_the_command_is_accelerates(tmp_path):
    from pipelines.core import child_process

    folder = PruneFolder(tmp_path, "0" * 32)
    command = child_process.launch_command(running.MODULE, folder, "cuda:1", True)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert command[command.index("--gpu_ids") + 1] == "1"
    assert command[-4:] == [str(folder.path), "--device", "cuda", "--offline"]
