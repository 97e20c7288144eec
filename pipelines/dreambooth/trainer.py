"""The training itself, after diffusers' train_dreambooth_lora.py, with everything cached.

What :mod:`pipelines.dreambooth.train` runs in each process of ``accelerate launch``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from pipelines.core import checkpoint
from pipelines.core.errors import Stopped
from pipelines.core.messages import Message
from pipelines.diffusion.lora.families import family_of_unet
from pipelines.dreambooth.base import Base, Texts
from pipelines.dreambooth.data import class_pictures
from pipelines.dreambooth.data.latent_dataset import (
    TRIGGER,
    Batch,
    Dataset,
    PhotoLike,
    class_examples,
    encoder,
    generator_for,
    photo_examples,
    size_of,
)
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.dreambooth.held_out import held_out_loss, remark_on
from pipelines.dreambooth.learners import LEARNERS, write_result
from pipelines.dreambooth.loss import Loss, dreambooth_loss, offset_noise, spread_timesteps
from pipelines.dreambooth.optimizers import Average, make_optimizer, rate_factor
from pipelines.dreambooth.reports import Reports
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.models.catalog import ModelEntry


class Trainer:
    """One training, from photos to result.

    Args:
        folder: of the training; read for the stop flag, written by the main process.
        request: what to do.
        entry: the base model's.
        photos: the subject's.
        accelerator: knows the processes and devices.
        offline: never ask the hub.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        request: TrainingRequest,
        entry: ModelEntry,
        photos: list[PhotoLike],
        accelerator: Accelerator,
        offline: bool = True,
    ) -> None:
        self.folder, self.request, self.entry = folder, request, entry
        self.photos, self.accelerator, self.offline = photos, accelerator, offline
        self.device = str(accelerator.device)
        self.resolution = request.resolution or entry.native_size

    def run(self) -> None:
        """Trains to the end, or until a stop is asked for; then writes what was learnt.

        Raises:
            Stopped: a stop was asked for; what there is has been written.
            UserError: it cannot go on; the last checkpoint is kept.
        """
        self.prepare()
        for _ in self.steps():
            pass
        self.finish()

    # --- before the first step --------------------------------------------------------------

    def prepare(self) -> None:
        """Loads the model, makes what is cached, lets go of what is not needed, resumes."""
        request, folder = self.request, self.folder
        base = self.base = Base.load(
            self.entry,
            self.device,
            self.accelerator.mixed_precision,
            folder.home,
            self.offline,
            self._note,
        )
        pictures = self._class_pictures() if request.has_prior else []
        self._note(Message("Reading the photos"))
        self.dataset = self._dataset(pictures)
        torch.manual_seed(request.seed)  # of a LoRA's first weights
        learner = self.learner = LEARNERS[request.method](request, base)
        texts = self.texts = Texts(base)
        self._warn_of_long(texts)
        self.known = {} if learner.text_learns else texts.encode_captions(self.dataset.captions)
        self._paints = bool(request.sample_every and request.sample_prompts)
        again = self._paints or request.method == "full"
        base.put_away(again, "vae")
        if not learner.text_learns:
            base.put_away(again, "text_encoder", "text_encoder_2")
        if request.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
        base.unet.train()
        self.optimizer = make_optimizer(request, learner.groups(), self.device)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = Average(learner.parameters, request.ema_decay) if request.ema else None
        self.step = 0
        self.last_saved = 0
        self.loss_before: float | None = None  # see pipelines.dreambooth.held_out
        trained = _Trained(base.unet, texts if learner.text_learns else None)
        self._resume()
        self.trained, self.optimizer = self.accelerator.prepare(trained, self.optimizer)
        self._restore_scaler()
        if self.step == 0 and self.accelerator.is_main_process:
            self.loss_before = self._held_out_loss()

    def _class_pictures(self) -> list[Any]:
        request, accelerator = self.request, self.accelerator
        folder = class_pictures.folder_of(request, self.entry, self.folder.home)
        count = request.class_pictures
        here = class_pictures.list_missing(folder, count)[
            accelerator.process_index :: accelerator.num_processes
        ]
        total = len(here)

        def paint(prompt: str, seed: int, number: int) -> list[Any]:
            return self.base.paint(
                prompt,
                seed,
                number,
                _StopFlag(self.folder),
                self.folder.home,
                steps=class_pictures.steps_for(self.entry),
                width=self.resolution,
                height=self.resolution,
            )

        def report(finished: int) -> None:
            self._note(
                Message("Painting class pictures: {done} of {total}", done=finished, total=total),
                finished / total,
            )

        if here:
            report(0)
            class_pictures.paint_missing(folder, here, request.class_prompt, paint, report)
        accelerator.wait_for_everyone()
        return class_pictures.read(folder, count)

    def _dataset(self, pictures: list[Any]) -> Dataset:
        request = self.request
        encode = encoder(self.base.pipe.vae, self.device)
        sizes = {size_of(photo, self.resolution, request.buckets) for photo in self.photos}
        return Dataset(
            photo_examples(
                self.photos,
                request.trigger,
                self.resolution,
                request.buckets,
                request.mirror,
                encode,
            ),
            class_examples(pictures, request.class_prompt, sizes, encode) if pictures else {},
            request.batch_size,
            request.caption_dropout,
            request.seed,
        )

    def _warn_of_long(self, texts: Texts) -> None:
        for caption in texts.too_long(self.dataset.captions):
            self._note(
                Message(
                    "The end of the caption “{caption}…” is not read: it is too long.",
                    caption=caption[:40],
                )
            )

    # --- the steps --------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """Takes the steps that are left; yields the number of steps done after each.

        Raises:
            Stopped: a stop was asked for.
            UserError: the loss is no longer a number, or a checkpoint cannot be written.
        """
        request = self.request
        reports = Reports(
            self.folder,
            self.optimizer,
            self.rates[0],
            request.learning_rate,
            self.step,
            self.device,
            self.accelerator.is_main_process,
        )
        try:
            while self.step < request.steps:
                if self._asked_to_stop():
                    reports.flush()
                    self._stop()
                losses, norm = self._take_step()
                self.step += 1
                if self.average is not None:
                    self.average.update(self.learner.parameters, self.step)
                reports.add(self.step, losses, norm, self.rate_at(self.step - 1))
                if request.save_every and self.step % request.save_every == 0:
                    reports.flush()
                    self.save()
                if self._paints and self.step % request.sample_every == 0:
                    reports.flush()
                    self._paint_samples()
                yield self.step
        finally:
            reports.close()

    def _take_step(self) -> tuple[list[Loss], Tensor | None]:
        """One step of the optimiser; returns the losses of its batches and the gradients' norm."""
        request, accelerator = self.request, self.accelerator
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.rate_at(self.step)
        losses = []
        for part in range(request.gradient_accumulation):
            number = self.step * request.gradient_accumulation + part
            number = number * accelerator.num_processes + accelerator.process_index
            last = part == request.gradient_accumulation - 1
            alone = contextlib.nullcontext() if last else accelerator.no_sync(self.trained)
            with alone:
                loss = self.loss_of(number)
                accelerator.backward(loss.total / request.gradient_accumulation)
            losses.append(Loss(loss.total.detach(), loss.instance.detach(), _detach(loss.prior)))
        norm = None
        if request.max_grad_norm:
            norm = accelerator.clip_grad_norm_(self.learner.parameters, request.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return losses, norm

    def _held_out_loss(self) -> float:
        return held_out_loss(
            self.accelerator.unwrap_model(self.trained),
            self.dataset.photos,
            self.base.noising,
            self.conditions,
            self.request.seed,
            self.device,
        )

    def loss_of(self, number: int) -> Loss:
        """The loss of the batch of this number. All that is random in it follows from the number.

        The global generators are seeded too: dropout draws from them.
        """
        request, noising = self.request, self.base.noising
        batch = self.dataset.batch(number)
        generator = generator_for(request.seed, 4, number)
        torch.manual_seed(generator.initial_seed())
        noise = offset_noise(batch.latents.shape, request.noise_offset, generator)
        counts = [batch.instances, len(batch.captions) - batch.instances]
        t = torch.cat([spread_timesteps(n, noising.steps, generator) for n in counts if n])
        x0, noise, t = (each.to(self.device) for each in (batch.latents, noise, t))
        noised = noising.add_noise(x0, noise, t)
        prediction = self.trained(noised, t, **self.conditions(batch))
        return dreambooth_loss(
            prediction.float(),
            noising.target(x0, noise, t),
            noising.weights(t, request.snr_gamma),
            batch.instances,
            request.prior_weight,
        )

    def conditions(self, batch: Batch) -> dict[str, Any]:
        """What the UNet is told: token ids where the text encoder learns, else embeddings."""
        width, height = batch.size
        told: dict[str, Any] = {}
        if self.texts.two:
            sizes = [height, width, 0, 0, height, width]  # original, crop's corner, target
            told["time_ids"] = torch.tensor([sizes] * len(batch.captions), device=self.device)
        if self.learner.text_learns:
            return told | {"ids": self.texts.ids(batch.captions)}
        rows = [self.known[caption] for caption in batch.captions]
        told["embeds"] = torch.stack([embeds for embeds, _ in rows])
        if rows[0][1] is not None:
            told["pooled"] = torch.stack([pooled for _, pooled in rows])
        return told

    def rate_at(self, step: int) -> float:
        """What learning rates are multiplied by at ``step``."""
        request = self.request
        return rate_factor(step, request.steps, request.warmup_steps, request.schedule)

    # --- checkpoints ------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint; the main process does."""
        if self.accelerator.is_main_process and self.last_saved != self.step:
            scaler = self.accelerator.scaler
            state = {
                "step": self.step,
                "learner": self.learner.state(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.tensors if self.average else None,
                "scaler": scaler.state_dict() if scaler else None,
                "photos": [photo.id for photo in self.photos],
                "loss_before": self.loss_before,
            }
            checkpoint.save(self.folder.checkpoint, state)
            self.folder.report("checkpoint", step=self.step)
        self.last_saved = self.step

    def _resume(self) -> None:
        state = checkpoint.load(self.folder.checkpoint)
        self._scaler_state = state and state["scaler"]
        if self.accelerator.is_main_process:
            self.folder.forget_after(state["step"] if state else 0)
        if state is None:
            return
        if state["photos"] != [photo.id for photo in self.photos]:
            self._note(Message("The photos have changed since this training began."))
        self.learner.load(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            for mine, saved in zip(self.average.tensors, state["average"], strict=True):
                mine.copy_(saved)
        self.step = self.last_saved = state["step"]
        self.loss_before = state.get("loss_before")
        self._note(Message("Going on from step {step}", step=self.step))

    def _restore_scaler(self) -> None:
        if self._scaler_state and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(self._scaler_state)

    # --- the end ----------------------------------------------------------------------------

    def finish(self) -> None:
        """The last checkpoint and the result."""
        self.save()
        if self._paints and self.step % self.request.sample_every:
            self._paint_samples()
        self._write_result()
        if self.accelerator.is_main_process:
            self.folder.report("done", step=self.step)

    def _stop(self) -> None:
        """Keeps what there is."""
        if self.step:
            self.save()
            self._write_result()
        raise Stopped

    def _write_result(self) -> None:
        if not self.accelerator.is_main_process:
            return
        request = self.request
        facts = {
            "family": family_of_unet(self.base.unet.config),
            "base": self.entry.name,
            "trigger": request.trigger,
            "steps": self.step,
            "training": self.folder.id,
        }
        with self._use_average():
            rate = request.learning_rate
            if remark := remark_on(self.loss_before, self._held_out_loss(), rate):
                self._note(remark)
                facts["remark"] = remark.to_json()
            try:
                write_result(self.learner, self.folder.result, facts)
            except OSError as error:
                raise checkpoint.cannot_write(error, self.folder.path, self.step) from error

    @contextlib.contextmanager
    def _use_average(self) -> Iterator[None]:
        """The averaged weights in the place of the newest ones, where there is an average."""
        if self.average is None:
            yield
            return
        self.average.swap(self.learner.parameters)
        try:
            yield
        finally:
            self.average.swap(self.learner.parameters)

    # --- looking on -------------------------------------------------------------------------

    def _paint_samples(self) -> None:
        if not self.accelerator.is_main_process:
            return
        folder = self.folder
        folder.samples.mkdir(exist_ok=True)
        with self._use_average():
            for index, prompt in enumerate(self.request.sample_prompts):
                seed = (self.request.seed + index) % 2**32
                words = prompt.replace(TRIGGER, self.request.trigger)
                try:
                    (picture,) = self.base.paint(words, seed, 1, _StopFlag(folder), folder.home)
                except Stopped:
                    return  # noticed again before the next step
                name = f"{self.step:06d}-{index}.png"
                picture.save(folder.samples / name)
                folder.report("sample", step=self.step, file=name, prompt=prompt)

    def _asked_to_stop(self) -> bool:
        """Whether the stop file is there; all processes get the main one's answer."""
        asked = self.folder.is_stopping
        if self.accelerator.num_processes == 1:
            return asked
        flag = torch.tensor(int(asked and self.accelerator.is_main_process), device=self.device)
        return bool(self.accelerator.reduce(flag, "sum").item())

    def _note(self, message: Message, share: float | None = None) -> None:
        if self.accelerator.is_main_process:
            self.folder.report("note", message=message.to_json(), share=share)


class _Trained(nn.Module):
    """All that gradients pass through, as one module for the launcher's wrappers."""

    def __init__(self, unet: nn.Module, texts: Texts | None) -> None:
        super().__init__()
        self.unet, self.texts = unet, texts
        self.encoders = nn.ModuleList(encoder for _, encoder in texts.parts) if texts else None

    def forward(
        self,
        noised: Tensor,
        t: Tensor,
        ids: list[Tensor] | None = None,
        embeds: Tensor | None = None,
        pooled: Tensor | None = None,
        time_ids: Tensor | None = None,
    ) -> Tensor:
        """(B, C, h, w): the UNet's prediction."""
        if ids is not None:
            embeds, pooled = self.texts.encode(ids)
        further = {}
        if pooled is not None:
            further["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": time_ids}
        return self.unet(noised, t, embeds, return_dict=False, **further)[0]


def make_accelerator(precision: str, device: str, find_unused: bool) -> Accelerator:
    """The launcher's view of processes and devices.

    Args:
        find_unused: some trained weights may get no gradient (SDXL's last text layers).
    """
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=find_unused)]
    return Accelerator(mixed_precision=precision, cpu=device == "cpu", kwargs_handlers=handlers)


class _StopFlag:
    """The stop file as engines know a stop flag."""

    def __init__(self, folder: TrainingFolder) -> None:
        self._folder = folder

    def is_set(self) -> bool:
        return self._folder.is_stopping


def _detach(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
