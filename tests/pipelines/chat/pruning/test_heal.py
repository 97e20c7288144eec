"""Healing in its own process: what it learns, killed and resumed, stopped, failing."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import random
import secrets
import signal
import time
from functools import partial
from multiprocessing.process import BaseProcess

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from pipelines.chat.pruning.depth import drop_blocks
from pipelines.chat.pruning.folder import PruneFolder
from pipelines.chat.pruning.healing import training as module
from pipelines.chat.pruning.healing.process import main
from pipelines.chat.pruning.healing.training import Healer, Healing
from pipelines.chat.pruning.model_files import save_model
from pipelines.chat.pruning.scores import next_token_loss
from pipelines.core.child_process import DONE, FAILED, TAKEN
from pipelines.core.errors import Stopped, UserError
from tests.clock import set_clock
from tests.patience import PATIENCE, wait_until
from tests.pipelines.chat.pruning.test_depth import logits

QUICK = Healing(minutes=60, steps=6, batch_size=2, window=32, learning_rate=1e-2)


@pytest.fixture
def healer(llama, tokenizer, tmp_path):
    """``healer(healing, folder=None)``: of a cut model in a folder of its own."""

    def make(healing: Healing = QUICK, folder: PruneFolder | None = None) -> Healer:
        if folder is None:
            folder = PruneFolder(tmp_path, secrets.token_hex(16))
            folder.path.mkdir(parents=True)
            save_model(drop_blocks(llama(), [1]), tokenizer, folder.cut)
            (folder.path / "heal.json").write_text(json.dumps(healing.to_json()))
        return Healer(folder, healing, Accelerator(cpu=True))

    return make


def weights_of(healer: Healer) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(healer.folder.healed)
    return model.state_dict()


def events_of(healer: Healer, kind: str) -> list[dict]:
    return [line for line in healer.folder.progress()[0] if line["event"] == kind]


def test_at_step_0_nothing_is_changed_at_all(healer, ids):
    made = healer(dataclasses.replace(QUICK, steps=0))
    made.run()
    before = AutoModelForCausalLM.from_pretrained(made.folder.cut).eval()
    after = AutoModelForCausalLM.from_pretrained(made.folder.healed).eval()
    assert torch.equal(logits(after, ids), logits(before, ids))


def test_a_lora_of_rank_8_on_all_seven_matrices_learns_and_nothing_else(healer):
    made = healer()
    made.prepare()
    places = {name.partition(".lora_")[0].rpartition(".")[2] for name in made.learning}
    assert places == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all(8 in weight.shape for weight in made.learning.values())
    assert len(made.learning) == 2 * 7 * 3
    frozen = {n: w.clone() for n, w in made.peft.named_parameters() if n not in made.learning}
    learning = {n: w.detach().clone() for n, w in made.learning.items()}
    for _ in made.steps():
        pass
    assert all(torch.equal(w, frozen[n]) for n, w in made.peft.named_parameters() if n in frozen)
    moved = [n for n, w in made.learning.items() if not torch.equal(w, learning[n])]
    assert len(moved) == len(learning)


def test_healing_lowers_the_loss_and_the_merged_model_has_it(healer):
    made = healer(dataclasses.replace(QUICK, steps=60, batch_size=4))
    made.prepare()
    cut = AutoModelForCausalLM.from_pretrained(made.folder.cut).eval()
    batch = made.windows[:16]
    for _ in made.steps():
        pass
    made.peft.eval()
    with torch.no_grad():
        unmerged = next_token_loss(made.peft.get_base_model(), batch)
        before = next_token_loss(cut, batch).mean()
        made.merge()
        healed = AutoModelForCausalLM.from_pretrained(made.folder.healed).eval()
        after = next_token_loss(healed, batch)
    torch.testing.assert_close(after, unmerged, atol=1e-4, rtol=1e-4)
    assert after.mean() < before - 0.5
    assert type(healed).__name__ == "LlamaForCausalLM"
    assert healed.config.num_hidden_layers == 3


def test_every_window_comes_once_before_any_comes_again(healer):
    made = healer(dataclasses.replace(QUICK, batch_size=7, window=64))
    made.prepare()
    count = len(made.windows)
    seen = torch.cat([made.batch(step) for step in range(-(-count // 7))])[:count]
    assert {tuple(row.tolist()) for row in seen} == {tuple(row.tolist()) for row in made.windows}


def _heal_until(folder: PruneFolder, settings: Healing, last: int) -> None:
    """Heals slowly, and not beyond step ``last``: it is killed there, however late that comes."""
    healer = Healer(folder, settings, Accelerator(cpu=True))
    healer.prepare()
    for step in healer.steps():
        time.sleep(0.02 if step <= last else PATIENCE)


def _has_come_to(step: int, folder: PruneFolder, child: BaseProcess) -> bool:
    steps = sum(line["event"] == "step" for line in folder.progress()[0])
    return steps >= step or not child.is_alive()


def test_kill_9_at_random_steps_three_times_changes_nothing(healer):
    # A fork of this very process has the locks that its other threads hold, and may wait for ever.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.chat.pruning.healing.process"])
    settings = dataclasses.replace(QUICK, steps=24, save_seconds=0.05)
    whole = healer(settings)
    whole.run()
    second = healer(settings)
    rng = random.Random(11)
    killed = 0
    for _ in range(3):
        wanted = len(events_of(second, "step")) + rng.randint(2, 6)
        child = context.Process(target=_heal_until, args=(second.folder, settings, wanted))
        child.start()
        wait_until(partial(_has_come_to, wanted, second.folder, child))
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
    assert killed == 3
    last = healer(settings, second.folder)
    last.run()
    assert "Going on from step" in json.dumps(events_of(last, "note"))
    mine, other = weights_of(whole), weights_of(last)
    assert max(float((mine[n] - other[n]).abs().max()) for n in mine) <= 1e-6
    assert [line["step"] for line in events_of(last, "step")] == list(range(1, 25))


def test_the_time_of_earlier_runs_counts(healer, monkeypatch):
    clock = iter(range(10_000))
    set_clock(monkeypatch, module, monotonic=lambda: float(next(clock)) * 10)
    made = healer(Healing(minutes=1.0, batch_size=1, window=16))
    made.prepare()
    for step in made.steps():  # 10 seconds each by this clock
        if step == 2:
            made.folder.ask_to_stop()
        if step == 3:
            pytest.fail("went on after a stop")
        if made.folder.is_stopping:
            break
    made.save()
    made.folder.go_on()
    again = healer(made.healing, made.folder)
    again.run()
    assert again.step == 6
    assert again.seconds == 60.0


def test_a_stop_keeps_a_checkpoint_and_a_merged_model(healer):
    made = healer(dataclasses.replace(QUICK, steps=50))
    made.prepare()

    def watch():
        for step in made.steps():
            if step == 3:
                made.folder.ask_to_stop()

    with pytest.raises(Stopped):
        watch()
    assert made.step == 3
    assert events_of(made, "checkpoint")[-1]["step"] == 3
    cut = AutoModelForCausalLM.from_pretrained(made.folder.cut).state_dict()
    assert any(not torch.equal(w, cut[n]) for n, w in weights_of(made).items())


def test_a_stop_before_the_first_step_leaves_nothing(healer):
    made = healer()
    made.folder.ask_to_stop()
    with pytest.raises(Stopped):
        made.run()
    assert not made.folder.healed.exists()


def test_the_process_does_it_from_its_command_line(healer):
    made = healer()
    assert main([str(made.folder.path), "--device", "cpu"]) == DONE
    kinds = [line["event"] for line in made.folder.progress()[0]]
    assert kinds.count("step") == 6
    assert kinds[-1] == "done"
    assert made.folder.healed.is_dir()


def test_two_processes_never_share_a_folder(healer):
    made = healer()
    with made.folder.hold():
        assert main([str(made.folder.path)]) == TAKEN


def test_the_process_says_why_it_failed(healer, monkeypatch):
    made = healer()

    def fail(self):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Healer, "run", fail)
    assert main([str(made.folder.path)]) == FAILED
    line = made.folder.progress()[0][-1]
    assert (line["event"], line["message"]["values"]["reason"]) == (
        "error", "ZeroDivisionError: by zero")  # fmt: skip


def test_a_loss_that_is_no_number_ends_it_with_the_reason(healer):
    made = healer()
    made.prepare()
    with torch.no_grad():
        next(iter(made.learning.values())).fill_(float("nan"))
    with pytest.raises(UserError, match="no number any more at step 1"):
        list(made.steps())
