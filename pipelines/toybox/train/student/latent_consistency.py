"""Teaches the student by latent consistency (Luo et al., 2023, https://arxiv.org/abs/2310.04378).

A consistency function f(x, t) leads from any point of the guided sampler's path to the path's end.
Two points are ``SKIP`` timesteps apart: the first is a noised render, the second where one step of
DDIM with the guided base leads from it (section 4.3). f must say the same of both, by the
pseudo-Huber loss; of the second the averaged student is asked (section 3, algorithm 1). Guidance is
baked in at the strength that the starter is used with.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import LCMScheduler, UNet2DConditionModel

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

SKIP = 20  # timesteps; LCMScheduler's 50 points of the path
EMA_DECAY = 0.95
HUBER = 0.001  # below it the loss is a square, above it an absolute value


def consistency(levels: Levels, x: torch.Tensor, v: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """f(x, t) = c_skip·x + c_out·(the picture that v stands for), with f(x, 0) = x.

    The two factors are those of diffusers' sampler, which asks the student in the same way.
    """
    scalings = [_SCALINGS.get_scalings_for_boundary_condition_discrete(each) for each in t.tolist()]
    c_skip, c_out = torch.tensor(scalings, device=x.device).T[:, :, None, None, None]
    return c_skip * x + c_out * levels.clean(x, v, t)


_SCALINGS: LCMScheduler = make_scheduler()


def draw_points(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Timesteps (B,) of the path's points and of those one solver's step later, int64."""
    t = SKIP * torch.randint(1, 1000 // SKIP + 1, (batch,)) - 1
    return t, (t - SKIP).clamp(min=0)


def huber(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The mean of √((a − b)² + c²) − c."""
    return (((a - b) ** 2 + HUBER**2).sqrt() - HUBER).mean()


def distillation_loss(
    student: torch.nn.Module,
    average: torch.nn.Module,
    teacher: Teacher,
    levels: Levels,
    x: torch.Tensor,
    t: torch.Tensor,
    until: torch.Tensor,
    embeds: torch.Tensor,
) -> torch.Tensor:
    """How far the student's ends of paths from ``x`` are from those one solver's step later.

    Args:
        student, average: UNets, the second without gradients.
        teacher: leads from x (B, C, h, w) at timesteps t (B,) to ``until`` (B,).
        levels: of noise.
        embeds: (B, 77, D), the words.
    """
    with torch.no_grad():
        next_x = levels.solve(x, teacher.predict(x, t, embeds), t, until)
        with autocast(x.device.type):
            v = average(next_x, until, embeds, return_dict=False)[0]
        target = consistency(levels, next_x, v.float(), until)
    with autocast(x.device.type):
        v = student(x, t, embeds, return_dict=False)[0]
    return huber(consistency(levels, x, v.float(), t), target)


def train(
    run: Run,
    base: UNet2DConditionModel,
    latents: Latents,
    tokenizer,
    text_encoder,
    minutes: float,
    batch: int,
    lr: float = 1e-3,
    anneal: float = 0.3,
    guidance: float = GUIDANCE,
    sheet_minutes: float = 10,
) -> Iterator[dict]:
    """Trains a student for ``minutes`` more and saves; yields a log line now and then.

    Args:
        run: the state; also where sample sheets go.
        base: the teacher, as it was trained.
        latents: of renders, at the size to paint at.
        tokenizer, text_encoder: the base's.
        minutes, batch, lr, anneal: as :func:`train_unet.train` takes them.
        guidance: of the teacher.
        sheet_minutes: how often to save the state and paint a sample sheet.
    """
    device = run.device
    text_encoder = text_encoder.to(device).eval().requires_grad_(False)
    latents.vae.to(device)
    base = prepare_for_training(base, device)
    teacher = Teacher(base, read(tokenizer, text_encoder, [""], device), guidance)
    student = make_student(base)
    ema = copy.deepcopy(student).requires_grad_(False)
    learning = learning_parameters(student)
    optimizer = torch.optim.AdamW(learning, betas=(0.9, 0.99), weight_decay=0)
    parts = {"student": Adapter(student), "ema": Adapter(ema), "optimizer": optimizer}
    run.load(**parts)
    samples = Samples(latents, tokenizer, text_encoder, device, drop_caption=0)
    levels = Levels(device)
    rng = np.random.default_rng(run.samples)
    count = latents.refresh()

    def save() -> None:
        run.save(**parts)
        paint_sheet(run, ema, latents.vae, tokenizer, text_encoder, latents.size, sample)

    last_sheet = time.time()
    for rate in learning_rates(minutes, lr, anneal, warm_up=50):
        t, until = (each.to(device) for each in draw_points(batch))
        x, t, embeds, _ = samples.draw(rng.integers(count, size=batch), t, rng)
        loss = distillation_loss(student, ema, teacher, levels, x, t, until, embeds.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_average(ema, student, run.samples // batch + 1, EMA_DECAY)
        yield from run.step(loss, batch, every=25, lr=rate)
        if time.time() - last_sheet > 60 * sheet_minutes:
            save()
            count = latents.refresh()
            last_sheet = time.time()
    save()
