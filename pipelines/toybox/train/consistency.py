"""Trains the sketch ControlNet on what it paints: drawn lines must be edges of the picture.

Pairs of a drawing and its picture never show what to do where the words contradict the drawing: an
outline from a wooden floor, and a prompt of snow. So the map is read back from the painting and
compared with the map given, the cycle consistency of ControlNet++ (Li et al., ECCV 2024,
https://arxiv.org/abs/2404.07987, section 3.3), with Canny's detector as the reward model
(:func:`edge_loss`). There, pictures of the training set are noised a little;
here no such picture exists. Instead rows of pictures are painted all the time, each at its own
step, and the loss is put on what each would become if the present prediction were the last one, as
reward feedback learning does (Xu et al., 2023, https://arxiv.org/abs/2304.05977, section 3.2). The
same prediction, without its gradient, takes the row one step further; so the network learns from
states that its own painting goes through, and painting costs nothing extra. Predictions are guided
as pictures of the studio are, since guidance is what turns a weak contradiction into a strong one.

The diffusion loss on pairs goes on beside it, so that what was learnt stays. Still the edges are
learnt sooner than they can be balanced: after 74 steps of 8 rows boards were drawn into the snow
with thick outlines, and one place in six was another's. So the weights that are kept lie between
those before and after, which gave up little of the lines and nothing of the places (weight-space
ensembles: Wortsman et al., CVPR 2022, https://arxiv.org/abs/2109.01903, section 3).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel

from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.toybox.captions import caption
from pipelines.toybox.measure import edge_f1
from pipelines.toybox.scenes import Scene, is_reserved
from pipelines.toybox.train.control import (
    DROP_CAPTION,
    NEXT_TO_THE_EDGE,
    as_batch,
    condition_of,
    make_network,
    paint_sheet,
    steer,
)
from pipelines.toybox.train.run import Optimizers, Run, autocast, learning_rates
from pipelines.toybox.train.sketches import sketch
from pipelines.toybox.train.unet import (
    SCHEDULE,
    Latents,
    Samples,
    prepare_for_training,
    timesteps,
    update_average,
)
from pipelines.toybox.vocabulary import COLOURS, PLACES

CLEAR = 200.0  # strength at which a line is surely found: the upper threshold of the measurement
DOUBTFUL = 150.0  # strength at which an edge is as likely found as not: between the thresholds
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_TAN_22, _TAN_67 = 2**0.5 - 1, 2**0.5 + 1
GUIDANCE = 3.0  # the starter's own
STEPS = 10  # of a painting
JUDGED_BELOW = 950  # timesteps: nearer to pure noise nothing is outlined yet
CONTRADICTS = 0.8  # share of colours, and share of places, that are another's
EXACT = 0.6  # share of maps that are Canny's edges; the others are drawn as hands draw
LOW, HIGH = 100, 200  # Canny's thresholds, the measurement's
EMA_DECAY = 0.99  # a training of hundreds of steps, not of many thousands


@dataclass
class Drawing:
    """What a row is painted by, and what is asked of it.

    Attributes:
        condition: (H, W) uint8, the map given.
        lines: (H, W) bool, edges of the render that the map shows.
        allowed: (H, W) bool, where the painting may have edges; everywhere for a hand's drawing,
            which leaves out most of what a picture has.
        exact: whether the map is Canny's.
        prompt: words for the painting.
    """

    condition: np.ndarray
    lines: np.ndarray
    allowed: np.ndarray
    exact: bool
    prompt: str


def draw(latents: Latents, rng: np.random.Generator) -> Drawing:
    """A map of a random render, with words that mostly contradict it."""
    index = int(rng.integers(2 * len(latents.shards)))
    image, depth = latents.shards.image(index // 2), latents.shards.depth(index // 2)
    edges = cv2.Canny(np.ascontiguousarray(image), LOW, HIGH)
    exact = rng.random() < EXACT
    condition = edges if exact else sketch(image, depth, rng)
    shown = cv2.dilate((condition > 127).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    lines = (edges > 127) & shown
    maps = [condition, lines, _near(lines) if exact else np.ones_like(lines)]
    if index % 2:
        maps = [np.ascontiguousarray(each[:, ::-1]) for each in maps]
    scene = contradict(latents.scene(index), rng)
    return Drawing(*maps, exact, caption(scene, rng, plain=rng.random() < 0.5))


def contradict(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same toys, most of them in other colours, and mostly at another place.

    Combinations kept for measuring do not come out.
    """
    while True:
        things = tuple(
            replace(thing, colour=str(rng.choice(list(COLOURS))))
            if rng.random() < CONTRADICTS
            else thing
            for thing in scene.things
        )
        place = str(rng.choice(list(PLACES))) if rng.random() < CONTRADICTS else scene.place
        if not any(is_reserved(thing, place) for thing in things):
            return replace(scene, things=things, place=place)


def _near(lines: np.ndarray) -> np.ndarray:
    return (spread(torch.from_numpy(lines)[None, None].float()) > 0)[0, 0].numpy()


class Paintings:
    """Rows of pictures on their way from noise, each by its own drawing and at its own step.

    Args:
        latents: drawings are made of its renders.
        vae: whose decoder the studio uses.
        tokenizer, text_encoder: the base's.
        rows: how many.
        rng: draws.
    """

    def __init__(
        self,
        latents: Latents,
        vae: PatchAutoencoder,
        tokenizer,
        text_encoder,
        rows: int,
        device: str,
        rng: np.random.Generator,
    ) -> None:
        self.latents, self.vae, self.rng, self.device = latents, vae, rng, device
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod
        self.nothing = self._read("")
        self.drawings: list[Drawing] = [None] * rows
        self.times: list[list[int]] = [[] for _ in range(rows)]  # those left
        self.embeds = self.nothing.repeat(rows, 1, 1)
        side = latents.size // 8
        self.x = torch.zeros(rows, vae.config.latent_channels, side, side, device=device)
        self.f1: list[float] = []  # of pictures that were finished, whose maps were exact
        for row in range(rows):
            self._begin(row)

    @torch.no_grad()
    def _read(self, words: str) -> torch.Tensor:
        """(1, 77, D)."""
        ids = self.tokenizer(
            [words], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        with autocast(self.device):
            return self.text_encoder(ids.to(self.device)).last_hidden_state.float()

    def _begin(self, row: int) -> None:
        self.drawings[row] = drawing = draw(self.latents, self.rng)
        self.embeds[row] = self._read(drawing.prompt)
        self.x[row].normal_()
        # One in each of as many equal spans, so that all timesteps come up.
        jittered = (np.arange(STEPS, 0, -1) - self.rng.random(STEPS)) / STEPS
        self.times[row] = [min(int(1000 * each), 999) for each in jittered]

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """For :func:`steer`, without words first: x (2B, C, h, w), t, text and maps."""
        t = torch.tensor([times[0] for times in self.times], device=self.device)
        maps = as_batch([each.condition for each in self.drawings]).to(self.device)
        words = torch.cat([self.nothing.expand_as(self.embeds), self.embeds])
        x = self.x.repeat(2, 1, 1, 1).to(memory_format=torch.channels_last)
        return x, t.repeat(2), words, maps.repeat(2, 1, 1, 1)

    def judge(self, v: torch.Tensor) -> torch.Tensor:
        """The mean edge loss of what the rows would become; then they go one step further.

        Args:
            v: (2B, C, h, w) the steered predictions for :attr:`inputs`, with gradients.
        """
        without, by_words = v.float().chunk(2)
        v = without + GUIDANCE * (by_words - without)
        now = [times[0] for times in self.times]
        signal, sigma = self._levels(now)
        clean = signal * self.x - sigma * v
        rows = [row for row, t in enumerate(now) if t < JUDGED_BELOW]
        loss = v.sum() * 0
        if rows:
            with autocast(self.device):
                pictures = self.vae.decode(clean[rows] / self.vae.config.scaling_factor).sample
            chosen = [self.drawings[row] for row in rows]
            lines = self._masks([each.lines for each in chosen])
            allowed = self._masks([each.allowed for each in chosen])
            loss = edge_loss(pictures.float(), lines, allowed).sum() / len(now)
        self._advance(clean.detach(), sigma * self.x + signal * v.detach())
        return loss

    def _advance(self, clean: torch.Tensor, noise: torch.Tensor) -> None:
        """DDIM's step, and new drawings for the rows that are finished."""
        finished = [row for row, times in enumerate(self.times) if len(times) == 1]
        signal, sigma = self._levels([([*times, 0])[1] for times in self.times])
        self.x = signal * clean + sigma * noise
        for row in finished:
            if self.drawings[row].exact:
                self.f1.append(self._agreement(clean[row : row + 1], self.drawings[row]))
            self._begin(row)
        for row in set(range(len(self.times))).difference(finished):
            del self.times[row][0]

    @torch.no_grad()
    def _agreement(self, latent: torch.Tensor, drawing: Drawing) -> float:
        picture = self.vae.decode(latent / self.vae.config.scaling_factor).sample.clamp(-1, 1)
        picture = ((picture[0] + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
        return edge_f1(cv2.Canny(picture.copy(), LOW, HIGH), drawing.condition)

    def _levels(self, times: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        alphas = self.alphas[times].to(self.device)[:, None, None, None]
        return alphas.sqrt(), (1 - alphas).sqrt()

    def _masks(self, masks: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(masks))[:, None].to(self.device)


def train(
    run: Run,
    unet: UNet2DConditionModel,
    latents: Latents,
    vae: PatchAutoencoder,
    tokenizer,
    text_encoder,
    minutes: float,
    batch: int,
    lr: float = 3e-4,
    anneal: float = 0.3,
    strength: float = 5.0,
    share: float = 0.55,
    save_minutes: float = 5,
) -> Iterator[dict]:
    """Trains a sketch ControlNet for ``minutes`` more and saves; yields a log line now and then.

    It goes on from the averaged weights of the training before.

    Args:
        run: of a ControlNet that can follow maps already.
        unet, latents, tokenizer, text_encoder: as :func:`train_control.train` takes them.
        vae: the finished autoencoder; its decoder stays as it is.
        minutes, lr, anneal: likewise.
        batch: rows that are painted, and half as many pairs for the diffusion loss.
        strength: weight of the edge loss beside the diffusion loss.
        share: of the way from the weights before to those after that the averaged weights go.
        save_minutes: how often to save the state.
    """
    device = run.device
    unet = prepare_for_training(unet, device).eval().requires_grad_(False)
    text_encoder = text_encoder.to(device).eval().requires_grad_(False)
    vae = vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    network = prepare_for_training(make_network("controlnet", unet), device)
    ema = copy.deepcopy(network).requires_grad_(False)
    run.load(ema=ema)
    network.load_state_dict(ema.state_dict())
    before = copy.deepcopy(ema)
    optimizers = Optimizers(network, first_and_last=NEXT_TO_THE_EDGE)
    run.load(**optimizers.parts)
    samples = Samples(latents, tokenizer, text_encoder, device, DROP_CAPTION)
    rng = np.random.default_rng(run.samples)
    count = latents.refresh()
    paintings = Paintings(latents, vae, tokenizer, text_encoder, batch, device, rng)
    pairs = max(1, batch // 2)
    averages: dict[str, float] = {}
    painted = run.get("painted", 0)

    def save() -> torch.nn.Module:
        kept = between(before, ema, share)
        run.save({"painted": painted}, network=network, ema=kept, **optimizers.parts)
        return kept

    start = last_saved = time.time()
    for step, rate in enumerate(learning_rates(minutes, lr, anneal, warm_up=20), start=1):
        indices = rng.integers(count, size=pairs)
        maps = as_batch([condition_of(latents.shards, i, "sketch", rng) for i in indices])
        noised, t, embeds, target = samples.draw(indices, timesteps(pairs), rng)
        both = zip(paintings.inputs, (noised, t, embeds.float(), maps.to(device)), strict=True)
        with autocast(device):
            v = steer(unet, network, *(torch.cat(each) for each in both))
        rows, paired = v.float().split([2 * batch, pairs])
        loss = F.mse_loss(paired, target)
        edges = paintings.judge(rows)
        (loss + strength * edges).backward()
        optimizers.step(rate)
        run.samples += batch + pairs
        painted += batch
        update_average(ema, network, step, EMA_DECAY)
        values = {"loss": loss.item(), "edges": edges.item()}
        averages = {k: 0.95 * averages.get(k, v) + 0.05 * v for k, v in values.items()}
        if step % 20 == 0:
            speed = step * batch / (time.time() - start)
            shown = {k: round(v, 4) for k, v in averages.items()}
            finished, paintings.f1 = paintings.f1, []
            if finished:
                shown["f1"] = round(float(np.mean(finished)), 4)
            yield run.log(**shown, lr=rate, per_second=round(speed, 2))
        if time.time() - last_saved > 60 * save_minutes:
            save()
            last_saved = time.time()
    paint_sheet(run, unet, save(), latents, tokenizer, text_encoder, "sketch")


@torch.no_grad()
def between(before: torch.nn.Module, after: torch.nn.Module, share: float) -> torch.nn.Module:
    """A network of the weights (1 − share)·before + share·after."""
    made = copy.deepcopy(before)
    torch._foreach_lerp_(list(made.parameters()), list(after.parameters()), share)
    return made


def edge_strength(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How strongly each pixel changes, and where the crests of the changes are.

    Up to its thresholds Canny's detector is differentiable almost everywhere: Sobel's derivatives,
    the colour channel that changes most, |dx| + |dy|, and of the ridge across an edge only the
    crest (Canny, "A Computational Approach to Edge Detection", 1986; the details as OpenCV has
    them, so that what is trained is what :func:`pipelines.toybox.measure.edge_f1` counts).

    Args:
        pictures: (B, 3, H, W) in −1 … 1.

    Returns:
        Strengths (B, 1, H, W) in Canny's units, 0 … 2040, with gradients, and crests (B, 1, H, W)
        bool: Canny with both thresholds at s finds the crests stronger than s.
    """
    x = (pictures.clamp(-1, 1) + 1) * 127.5
    sobel = torch.tensor(_SOBEL, dtype=x.dtype, device=x.device)
    kernels = torch.stack([sobel, sobel.T])[:, None].repeat(3, 1, 1, 1)  # (6, 1, 3, 3)
    change = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels, groups=3)
    change = change.unflatten(1, (3, 2))  # (B, 3, 2, H, W)
    strength, channel = change.abs().sum(2).max(1, keepdim=True)  # (B, 1, H, W)
    with torch.no_grad():
        of_channel = channel[:, :, None].expand(-1, -1, 2, -1, -1)
        dx, dy = change.gather(1, of_channel)[:, 0].split(1, 1)
        height = strength.round(decimals=2)  # of equals one is the crest, whatever floats add
        around = F.pad(height, (1, 1, 1, 1))

        def beside(down: int, right: int) -> torch.Tensor:
            rows, columns = height.shape[-2:]
            return around[..., 1 + down : 1 + down + rows, 1 + right : 1 + right + columns]

        level = (height > beside(0, -1)) & (height >= beside(0, 1))
        upright = (height > beside(-1, 0)) & (height >= beside(1, 0))
        falling = (height > beside(-1, -1)) & (height > beside(1, 1))
        rising = (height > beside(-1, 1)) & (height > beside(1, -1))
        slanted = torch.where((dx < 0) ^ (dy < 0), rising, falling)
        steep = dy.abs() > _TAN_67 * dx.abs()
        flat = dy.abs() < _TAN_22 * dx.abs()
        crests = torch.where(flat, level, torch.where(steep, upright, slanted))
    return strength, crests


def spread(values: torch.Tensor) -> torch.Tensor:
    """The largest value within 2 pixels, (B, 1, H, W): dilation by OpenCV's ellipse of 5×5."""
    wide = F.max_pool2d(values, (3, 5), stride=1, padding=(1, 2))
    return torch.maximum(wide, F.max_pool2d(values, (5, 1), stride=1, padding=(2, 0)))


def edge_loss(
    pictures: torch.Tensor, lines: torch.Tensor, allowed: torch.Tensor | None = None
) -> torch.Tensor:
    """(B,) 1 − F1 of the pictures' edges and the drawn lines, softened, 0 … about 1.

    How far a picture is from showing the drawn lines and no others: a line that is too faint and
    an edge where nothing is drawn cost the more the farther they are from the threshold, instead of
    all or nothing.

    With W drawn pixels and E edge pixels 1 − F1 is (W not met + E not drawn) / (W + E). A drawn
    pixel is met in part by the strongest change within 2 pixels; E in the denominator has no
    gradient, or doubled outlines would pay.

    Args:
        pictures: (B, 3, H, W) in −1 … 1.
        lines: (B, 1, H, W) bool, one pixel thin: where edges must be.
        allowed: (B, 1, H, W) bool: where edges may be; within 2 pixels of ``lines`` if left out.
    """
    strength, crests = edge_strength(pictures)
    if allowed is None:
        allowed = spread(lines.float()) > 0
    unmet = F.relu(1 - spread(strength) / CLEAR) * lines
    edges = strength.square() / (strength.square() + DOUBTFUL**2) * crests
    total = lines.sum((1, 2, 3)) + edges.detach().sum((1, 2, 3))
    return (unmet + edges * ~allowed).sum((1, 2, 3)) / total.clamp_min(1)
