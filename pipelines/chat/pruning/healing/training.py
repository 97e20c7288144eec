"""Healing: a LoRA on all linear layers teaches the pruned model to do without what it has lost.

The recipe of Kim et al., "Shortened LLaMA" (2024), section 4.1, after LLM-Pruner: rank 8, alpha 16,
dropout 0.05, AdamW, next-token loss. Their data is an instruction set; here it is the calibration
text that comes along, in windows, every one once before any comes again. Their learning rate of
1e-4 is one for thousands of steps; of the few that fit into minutes without a GPU it makes little
(SmolLM2 less 6 blocks by Taylor, two minutes on two cores: perplexity 23,708 → 5,357, with 5e-4
186, with 1e-3 103), so here it is 1e-3. How many steps fit is not known when it begins, so that
the rate rises over the first steps and stays. All that is random in a step follows from the seed
and its number.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.chat.pruning.folder import PruneFolder
from pipelines.chat.pruning.model_files import load_model, save_model
from pipelines.chat.pruning.scores import next_token_loss
from pipelines.chat.pruning.texts import CALIBRATION, tokens_of
from pipelines.core import checkpoint
from pipelines.core.devices import peak_memory
from pipelines.core.errors import Stopped, UserError
from pipelines.core.messages import Message


@dataclass(frozen=True, slots=True)
class Healing:
    """What the process is to do; ``heal.json``.

    Attributes:
        minutes: of training, over all runs; loading does not count.
        steps: at most so many; None: as many as fit into the minutes.
        window: tokens of a sample.
        save_seconds: between two checkpoints.
    """

    minutes: float
    steps: int | None = None
    batch_size: int = 4
    window: int = 256
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    max_grad_norm: float = 1.0
    save_seconds: float = 30.0
    seed: int = 0

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Healing:
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Healer:
    """One healing, from the cut model to the merged one.

    Args:
        folder: of the pruning; read for the stop flag, written.
        healing: what to do.
        accelerator: knows the device and the precision.
    """

    def __init__(self, folder: PruneFolder, healing: Healing, accelerator: Any) -> None:
        self.folder, self.healing, self.accelerator = folder, healing, accelerator
        self.device = str(accelerator.device)

    def run(self) -> None:
        """Heals until the time is over or a stop is asked for; then merges and saves.

        Raises:
            Stopped: a stop was asked for; what has been healed is saved, if anything.
            UserError: it cannot go on; the last checkpoint is kept.
        """
        self.prepare()
        try:
            for _ in self.steps():
                pass
        finally:
            self.folder.report("seconds", step=self.step, seconds=round(self.seconds, 1))
        self.save()
        self.merge()
        self.folder.report("done", step=self.step)

    def prepare(self) -> None:
        """Loads the cut model, puts the LoRA on it, resumes."""
        from peft import LoraConfig, get_peft_model

        healing = self.healing
        self._note(Message("Loading the pruned model"))
        base, self.tokenizer = load_model(self.folder.cut, self.device)
        torch.manual_seed(healing.seed)  # of the LoRA's first weights
        config = LoraConfig(
            r=healing.rank,
            lora_alpha=healing.alpha,
            lora_dropout=healing.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.peft = get_peft_model(base, config).train()
        self.learning = {n: w for n, w in self.peft.named_parameters() if w.requires_grad}
        self.optimizer = torch.optim.AdamW(self.learning.values(), lr=healing.learning_rate)
        ids = tokens_of(self.tokenizer, CALIBRATION)
        window = min(healing.window, base.config.max_position_embeddings)
        self.windows = ids[: len(ids) // window * window].view(-1, window)
        self.step, self.seconds, self.last_saved = 0, 0.0, 0
        self._resume()
        self.trained, self.optimizer = self.accelerator.prepare(_Loss(self.peft), self.optimizer)

    def steps(self) -> Iterator[int]:
        """Takes steps until the time is over; yields the number of steps done after each.

        Raises:
            Stopped: a stop was asked for.
            UserError: the loss is no longer a number, or a checkpoint cannot be written.
        """
        healing = self.healing
        saved_at = time.monotonic()
        while self.seconds < healing.minutes * 60 and self.step != healing.steps:
            if self.folder.is_stopping:
                self._stop()
            began = time.monotonic()
            loss = self._take_step()
            self.step += 1
            self.seconds += time.monotonic() - began
            if not torch.isfinite(loss):
                raise UserError(
                    "The loss is no number any more at step {step}: this model cannot be healed. "
                    "Take out less.",
                    step=self.step,
                )
            self.folder.report(
                "step",
                step=self.step,
                loss=round(loss.item(), 6),
                seconds=round(self.seconds, 3),
                memory=peak_memory(self.device),
            )
            if time.monotonic() - saved_at >= healing.save_seconds:
                self.save()
                saved_at = time.monotonic()
            yield self.step

    def _take_step(self) -> Tensor:
        healing = self.healing
        rate = healing.learning_rate * min(1.0, (self.step + 1) / (healing.warmup_steps + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Of dropout, which draws from the global generators.
        torch.manual_seed(healing.seed * 1_000_003 + self.step)
        with self.accelerator.autocast():
            loss = self.trained(self.batch(self.step).to(self.device))
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.learning.values(), healing.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def batch(self, step: int) -> Tensor:
        """(B, T) int64: the windows of this step; every one once before any comes again."""
        count, size = len(self.windows), self.healing.batch_size
        rows = []
        for place in range(step * size, (step + 1) * size):
            turn, number = divmod(place, count)
            order = torch.Generator().manual_seed(self.healing.seed * 7919 + turn)
            rows.append(torch.randperm(count, generator=order)[number])
        return self.windows[torch.stack(rows)]

    def save(self) -> None:
        """Writes a checkpoint, if there is anything new."""
        if self.last_saved == self.step:
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "lora": {name: weight.detach().cpu() for name, weight in self.learning.items()},
            "optimizer": self.optimizer.state_dict(),
        }
        checkpoint.save(self.folder.checkpoint, state)
        self.folder.report("checkpoint", step=self.step)
        self.last_saved = self.step

    def _resume(self) -> None:
        state = checkpoint.load(self.folder.checkpoint)
        self.folder.forget_after(state["step"] if state else 0)
        if state is None:
            return
        with torch.no_grad():
            for name, weight in self.learning.items():
                weight.copy_(state["lora"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = self.last_saved = state["step"]
        self.seconds = state["seconds"]
        self._note(Message("Going on from step {step}", step=self.step))

    def merge(self) -> None:
        """Adds the LoRA to the weights and saves an ordinary model."""
        self._note(Message("Merging"))
        merged = self.peft.merge_and_unload().eval()
        save_model(merged, self.tokenizer, self.folder.healed)

    def _stop(self) -> None:
        """Keeps what there is."""
        if self.step:
            self.save()
            self.merge()
        raise Stopped

    def _note(self, message: Message) -> None:
        self.folder.report("note", message=message.to_json())


class _Loss(nn.Module):
    """All that gradients pass through, as one module for the launcher's wrappers."""

    def __init__(self, peft: nn.Module) -> None:
        super().__init__()
        self.peft = peft

    def forward(self, batch: Tensor) -> Tensor:
        """The mean next-token cross entropy of (B, T) int64."""
        return next_token_loss(self.peft.get_base_model(), batch).mean()
