"""Teaches the student by matching distributions (DMD2, Yin et al., 2024, arXiv 2405.14867).

The generator is pushed along the difference of two scores of its own noised pictures: that of the
guided base, which knows what pictures should be, and that of a network that learns all the time
what the generator paints (section 3). That *fake* network takes ``FAKE_STEPS`` steps for each of
the generator's, which makes a regression loss needless (4.2). A critic on its bottleneck tells
noised pictures of the generator from noised renders, so that the student may surpass its teacher
(4.3).

The student is sampled in four steps, so it learns from states that these steps go through (4.5):
rows of pictures are on their way from noise, each at its own step, and what the generator makes of
them is noised anew for the next. The timesteps are those of the sampler LCM, 999, 759, 499 and 259
(the paper has 999, 749, 499 and 249).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import nn

from pipelines.toybox.captions import caption
from pipelines.toybox.train.run import Run, autocast, learning_rates
from pipelines.toybox.train.student.few_steps import (
    GUIDANCE,
    Adapter,
    Levels,
    Teacher,
    learning_parameters,
    make_scheduler,
    make_student,
    read,
    sample,
)
from pipelines.toybox.train.unet import (
    Latents,
    Samples,
    paint_sheet,
    prepare_for_training,
    update_average,
)

FAKE_STEPS = 5  # of the fake network and the critic for each step of the generator
FROM, UNTIL = 20, 980  # timesteps at which scores are compared
EMA_DECAY = 0.95
PRAISE = 5e-3  # weight of the critic's opinion in the generator's loss
BLAME = 1e-2  # weight of the critic's own loss beside the fake network's


def score_gradient(clean: torch.Tensor, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Where the generator's pictures should move from, (B, C, h, w): fake − real, normalised.

    Both are pictures that the scores stand for: (fake − real) is the difference of the scores but
    for a factor. The normalisation makes all timesteps weigh alike (DMD, arXiv 2311.18828, eq. 8).

    Args:
        clean: the generator's pictures.
        fake, real: what the two networks make of them, noised.
    """
    size = (clean - real).abs().mean((1, 2, 3), keepdim=True)
    return (fake - real) / size.clamp(min=1e-5)


def matching_loss(clean: torch.Tensor, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """A number whose gradient by ``clean`` is :func:`score_gradient`, over the number of values."""
    gradient = score_gradient(clean.detach(), fake, real)
    return 0.5 * F.mse_loss(clean, (clean - gradient).detach())


class Critic(nn.Module):
    """Whether a picture is a render, by the bottleneck of a UNet that looks at it.

    Args:
        channels: of the bottleneck.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(16, channels),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, 1),
        )

    def forward(self, bottleneck: torch.Tensor) -> torch.Tensor:
        """(B,) logits of (B, C, h, w): above 0 for renders."""
        return self.layers(bottleneck)[:, 0]


class Fake(nn.Module):
    """The network that learns what the generator paints, with the critic on its bottleneck."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        self.critic = Critic(unet.config.block_out_channels[-1])

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, embeds: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """v (B, C, h, w) and the critic's logits (B,), both float32."""
        seen: list[torch.Tensor] = []
        hook = self.unet.mid_block.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            v = self.unet(x, t, embeds, return_dict=False)[0]
        finally:
            hook.remove()
        return v.float(), self.critic(seen[0]).float()


class Rows:
    """Pictures on their way from noise, each by its own words and at its own step.

    Args:
        latents: whose scenes give the words; rows have the shape of its latents.
        tokenizer, text_encoder: the base's.
        count: how many rows.
        rng: draws.

    Attributes:
        x: (B, C, h, w), noised.
        embeds: (B, 77, D).
    """

    def __init__(
        self, latents: Latents, tokenizer, text_encoder, count: int, device: str, rng
    ) -> None:
        self._latents, self._rng, self._device = latents, rng, device
        self._tokenizer, self._text_encoder = tokenizer, text_encoder
        self._levels = Levels(device)
        self._times = make_scheduler().timesteps.to(device)
        # Rows are spread over the steps, and so they stay.
        self._steps = torch.arange(count, device=device) % len(self._times)
        self.x = torch.randn_like(latents.batch([0] * count)).to(device)
        self.embeds = self._read(count)

    @property
    def t(self) -> torch.Tensor:
        """(B,) the timesteps that the rows are at."""
        return self._times[self._steps]

    def advance(self, clean: torch.Tensor) -> None:
        """Takes each row to its next step by what was made of it; finished ones begin anew."""
        self._steps = (self._steps + 1) % len(self._times)
        noise = torch.randn_like(clean)
        self.x = self._levels.add_noise(clean.detach(), noise, self.t)
        if len(begun := (self._steps == 0).nonzero()[:, 0]):
            self.x[begun] = noise[begun]
            self.embeds[begun] = self._read(len(begun))

    def _read(self, count: int) -> torch.Tensor:
        entries = self._rng.integers(2 * len(self._latents.shards), size=count)
        words = [caption(self._latents.scene(int(each)), self._rng) for each in entries]
        return read(self._tokenizer, self._text_encoder, words, self._device)


class Matching:
    """The three that learn from one another: generator, fake network and critic.

    Args:
        student: the generator, whose LoRA learns.
        fake: begins as the base.
        teacher: the base with guidance.
        rows: what the generator is at work on.
        samples: renders, for the critic.
        rng: draws.
    """

    def __init__(
        self,
        student: UNet2DConditionModel,
        fake: Fake,
        teacher: Teacher,
        rows: Rows,
        samples: Samples,
        rng: np.random.Generator,
    ) -> None:
        self.student, self.fake, self.teacher = student, fake, teacher
        self.rows, self.samples, self._rng = rows, samples, rng
        self._device = samples.device
        self._levels = Levels(self._device)
        self._learning = learning_parameters(student)
        self._optimizer = torch.optim.AdamW(self._learning, betas=(0.0, 0.99), weight_decay=0)
        self._judging = torch.optim.AdamW(fake.parameters(), betas=(0.0, 0.99), weight_decay=0.01)

    @property
    def parts(self) -> dict[str, object]:
        """For :meth:`Run.load` and :meth:`Run.save`."""
        return {
            "student": Adapter(self.student),
            "optimizer": self._optimizer,
            "fake": self.fake,
            "judging": self._judging,
        }

    def teach_fake(self, lr: float) -> dict[str, float]:
        """One step of fake network and critic, on what the generator paints; their losses."""
        rows, levels = self.rows, self._levels
        with torch.no_grad():
            clean = self._generate()
        noise, t = torch.randn_like(clean), self._draw_timesteps()
        entries = self._rng.integers(2 * len(self.samples.latents.shards), size=len(clean))
        real, real_t, real_embeds, _ = self.samples.draw(entries, self._draw_timesteps(), self._rng)
        with autocast(self._device):
            v, opinion = self.fake(
                torch.cat([levels.add_noise(clean, noise, t), real]),
                torch.cat([t, real_t]),
                torch.cat([rows.embeds, real_embeds.float()]),
            )
        signal, sigma = levels.at(t)
        score_loss = F.mse_loss(v[: len(clean)], signal * noise - sigma * clean)
        of_made, of_renders = opinion.chunk(2)
        blame = F.softplus(of_made).mean() + F.softplus(-of_renders).mean()
        (score_loss + BLAME * blame).backward()
        _step(self._judging, list(self.fake.parameters()), lr)
        rows.advance(clean)
        return {"fake": score_loss.item(), "critic": blame.item()}

    def teach_generator(self, lr: float) -> dict[str, float]:
        """One step of the generator; its losses."""
        rows, levels = self.rows, self._levels
        clean = self._generate()
        t = self._draw_timesteps()
        x = levels.add_noise(clean, torch.randn_like(clean), t)
        real = levels.clean(x.detach(), self.teacher.predict(x.detach(), t, rows.embeds), t)
        self.fake.requires_grad_(False)
        with autocast(self._device):
            v, opinion = self.fake(x, t, rows.embeds)
        self.fake.requires_grad_(True)
        loss = matching_loss(clean, levels.clean(x, v, t).detach(), real)
        praise = F.softplus(-opinion).mean()
        (loss + PRAISE * praise).backward()
        _step(self._optimizer, self._learning, lr)
        rows.advance(clean.detach())
        return {"loss": loss.item(), "praise": praise.item()}

    def _generate(self) -> torch.Tensor:
        """(B, C, h, w) what the generator makes of the rows."""
        rows = self.rows
        with autocast(self._device):
            v = self.student(rows.x, rows.t, rows.embeds, return_dict=False)[0]
        return self._levels.clean(rows.x, v.float(), rows.t)

    def _draw_timesteps(self) -> torch.Tensor:
        return torch.randint(FROM, UNTIL, (len(self.rows.x),), device=self._device)


def train(
    run: Run,
    base: UNet2DConditionModel,
    latents: Latents,
    tokenizer,
    text_encoder,
    minutes: float,
    batch: int,
    lr: float = 3e-4,
    anneal: float = 0.3,
    guidance: float = GUIDANCE,
    begin: Run | None = None,
    sheet_minutes: float = 10,
) -> Iterator[dict]:
    """Trains a student for ``minutes`` more and saves; yields a log line now and then.

    Args:
        run: the state; also where sample sheets go.
        base: the teacher, as it was trained; generator and fake network begin as it is.
        latents: of renders, at the size to paint at.
        tokenizer, text_encoder: the base's.
        minutes, batch, anneal: as :func:`train_unet.train` takes them.
        lr: of the generator, and of the fake network and the critic.
        guidance: of the teacher.
        begin: a student's training, whose weights the generator begins with instead.
        sheet_minutes: how often to save the state and paint a sample sheet.
    """
    device = run.device
    text_encoder = text_encoder.to(device).eval().requires_grad_(False)
    latents.vae.to(device)
    latents.refresh()
    base = prepare_for_training(base, device)
    fake = Fake(copy.deepcopy(base).train().requires_grad_(True)).to(device)
    teacher = Teacher(base, read(tokenizer, text_encoder, [""], device), guidance)
    student = make_student(base)
    if begin is not None and (weights := begin.get("ema")) is not None:
        Adapter(student).load_state_dict(weights)
    ema = copy.deepcopy(student).requires_grad_(False)
    rng = np.random.default_rng(run.samples)
    rows = Rows(latents, tokenizer, text_encoder, batch, device, rng)
    samples = Samples(latents, tokenizer, text_encoder, device, drop_caption=0)
    matching = Matching(student, fake, teacher, rows, samples, rng)
    parts = matching.parts | {"ema": Adapter(ema)}
    run.load(**parts)

    def save() -> None:
        run.save(**parts)
        paint_sheet(run, ema, latents.vae, tokenizer, text_encoder, latents.size, sample)

    averages: dict[str, float] = {}
    last_sheet = start = time.time()
    for step, rate in enumerate(learning_rates(minutes, lr, anneal, warm_up=20), start=1):
        for _ in range(FAKE_STEPS):
            values = matching.teach_fake(rate)
        values |= matching.teach_generator(rate)
        run.samples += batch
        update_average(ema, student, run.samples // batch, EMA_DECAY)
        averages = {k: 0.9 * averages.get(k, v) + 0.1 * v for k, v in values.items()}
        if step % 10 == 0:
            speed = step * batch / (time.time() - start)
            shown = {k: round(v, 4) for k, v in averages.items()}
            yield run.log(**shown, lr=rate, per_second=round(speed, 2))
        if time.time() - last_sheet > 60 * sheet_minutes:
            save()
            last_sheet = time.time()
    save()


def _step(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], lr: float) -> None:
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
