"""What larger pictures cost: guidance in an interval, a hires pass, decoding in tiles, upscaling.

    python -m benchmarks.larger [guidance] [hires] [memory] [upscaler] [--rounds 5] [--sheet x.png]

All of them without a name. Times are medians of sides that take turns in one process; memory is the
peak of a process of its own for each size; the upscaler is held against Lanczos on renders that no
training has seen.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from benchmarks.text_to_image import in_turn, table
from pipelines.core.cache import ModelCache
from pipelines.core.devices import dtype_for
from pipelines.core.events import Picture
from pipelines.core.paths import ASSETS
from pipelines.diffusion import text_to_image
from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.diffusion.loading import tile_for_size
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import training_scene
from pipelines.toybox.vocabulary import TRAINED
from pipelines.upscaling import networks
from pipelines.upscaling.catalog import Upscalers
from pipelines.upscaling.engine import enlarge

PROMPT = "a red mug on a wooden floor"
STARTER = ASSETS / "starter" / "base"
HELD_OUT = 200_000  # seeds from here on: below those of all trainings
SHAPES = {"starter": "the starter", "sd": "random weights of Stable Diffusion's shape"}
PARTS = ("guidance", "hires", "memory", "upscaler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=" ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=60, help="upscaler: renders")
    parser.add_argument("--sheet", type=Path, help="upscaler: write some of them here")
    parser.add_argument("--shape", choices=SHAPES, default="starter", help="memory: whose decoder")
    parser.add_argument("--decode", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode:
        decode(options.decode, options.shape)
        return
    print(f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for part in options.parts or PARTS:
        if part in ("guidance", "hires"):
            with starter() as paint:
                {"guidance": guidance, "hires": hires}[part](paint, options.rounds)
        elif part == "memory":
            memory(options.shape)
        else:
            upscaler(options.count, options.sheet)


def guidance(paint, rounds: int) -> None:
    """The whole picture with guidance at all steps, and within shares of them."""
    intervals = {"all steps": (0.0, 1.0), "0.2 … 1": (0.2, 1.0), "0.2 … 0.8": (0.2, 0.8),
                 "0 … 0.5": (0.0, 0.5)}  # fmt: skip
    for batch in (1, 4):
        sides = {
            name: partial(paint, guidance_start=start, guidance_end=end, batch_size=batch)
            for name, (start, end) in intervals.items()
        }
        table(f"Guidance, 20 steps, batch of {batch}", in_turn(sides, rounds))


def hires(paint, rounds: int) -> None:
    """128 → 256 beside its two passes alone; the sizes are warm."""
    second = {"scale": 2, "strength": 0.7}
    sides = {
        "128, 20 steps": lambda: paint(width=128, height=128),
        "256, 20 steps": lambda: paint(width=256, height=256),
        "hires 128 → 256, 20 + 20 steps": lambda: paint(width=128, height=128, hires=second),
    }
    seconds = in_turn(sides, rounds)
    table("Hires pass", seconds)
    one, two, both = seconds.values()
    print(f"  of the sum of both passes{both / (one + two):>30.2f}×  (target ≤ 1.10)")


def memory(shape: str) -> None:
    """Peak of a process that decodes one picture of a size, with the model and torch in it."""
    peaks = {}
    for size in (512, 1024, 2048):
        command = [sys.executable, "-m", "benchmarks.larger", "--decode", str(size),
                   "--shape", shape]  # fmt: skip
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        peaks[size] = [float(each) for each in said]
    print(f"\nDecoding with {SHAPES[shape]}, peak of the process  (2048: ≤ 1.5× of 512)")
    base = peaks[512][0]
    for size, (peak, before, seconds) in peaks.items():
        print(
            f"  {size}²{peak:>20.0f} MB{peak / base:>8.2f}×   {peak - before:>6.0f} MB above the "
            f"model, {seconds:.1f} s",
        )


def decode(size: int, shape: str) -> None:
    """Prints the process' peak in MB, what it was before, and the seconds."""
    if shape == "starter":
        vae = PatchAutoencoder.from_pretrained(STARTER / "vae", dtype=torch.float32)
    else:
        vae = stable_diffusion_vae().to(dtype_for("cpu"))
    latents = torch.randn(1, vae.config.latent_channels, size // 8, size // 8).to(vae.dtype)
    tile_for_size(vae, size, size)
    with torch.inference_mode():
        vae.decode(latents[..., :16, :16])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        started = time.perf_counter()
        vae.decode(latents)
        seconds = time.perf_counter() - started
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, before, seconds)


def stable_diffusion_vae() -> AutoencoderKL:
    """That of Stable Diffusion 1.x and XL, with random weights: memory and time are the same."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    ).eval()


def upscaler(count: int, sheet: Path | None) -> None:
    """PSNR of renders of 256 pixels, halved and made larger again, whole and along edges."""
    entry = next((each for each in Upscalers(None).list() if each.path is not None), None)
    if entry is None:
        print("\nNo upscaler comes along: nothing to hold against Lanczos.")
        return
    network = networks.load(entry, "cpu")
    vae = PatchAutoencoder.from_pretrained(STARTER / "vae", dtype=torch.float32)
    sides = {"Lanczos": None, entry.name: network}
    scores: dict[tuple[str, str], list[float]] = {}
    rows = []
    for seed in range(HELD_OUT, HELD_OUT + count):
        true = np.asarray(render(training_scene(seed, TRAINED), 256, 256).image, np.float32)
        small = true.reshape(128, 2, 128, 2, 3).mean((1, 3))
        row = []
        for kind, low in (("render", small), ("as the starter paints", round_trip(vae, small))):
            picture = Image.fromarray(low.round().clip(0, 255).astype(np.uint8))
            for name, each in sides.items():
                made = finish(enlarge(picture, (256, 256), each, name))
                row.append(made)
                for what, mask in (("all", None), ("edges", edges(true))):
                    score = psnr(np.asarray(made, np.float32), true, mask)
                    scores.setdefault((f"{kind}, {what}", name), []).append(score)
        rows.append([*row, Image.fromarray(true.astype(np.uint8))])
    print(f"\nUpscaling ×2, PSNR in dB over {count} renders\n  {'':<32}" + "".join(
        f"{name:>16}" for name in sides))  # fmt: skip
    for line in dict.fromkeys(line for line, _ in scores):
        print(f"  {line:<32}" + "".join(f"{np.mean(scores[line, name]):>16.2f}" for name in sides))
    if sheet is not None:
        shown = rows[:6]
        whole = Image.new("RGB", (256 * len(shown[0]), 256 * len(shown)))
        for y, row in enumerate(shown):
            for x, picture in enumerate(row):
                whole.paste(picture, (256 * x, 256 * y))
        whole.save(sheet)


def round_trip(vae: PatchAutoencoder, pixels: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(pixels / 127.5 - 1).movedim(-1, 0)[None]
    with torch.inference_mode():
        return ((vae(x).sample[0] + 1) * 127.5).movedim(0, -1).numpy()


def edges(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: the tenth of the pixels whose colours change most."""
    grey = picture.mean(-1)
    change = np.hypot(*np.gradient(grey))
    return change >= np.quantile(change, 0.9)


def psnr(made: np.ndarray, true: np.ndarray, mask: np.ndarray | None) -> float:
    error = (made - true) ** 2
    error = error if mask is None else error[mask]
    return float(10 * np.log10(255**2 / error.mean()))


def finish(steps) -> Image.Image:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@contextmanager
def starter() -> Iterator:
    """``paint(**settings)`` by the studio's own engine, with the starter."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        loader = Loader(Catalog(home), home, offline=True, budget_bytes=2**34)
        cache = ModelCache(loader.load, "cpu", 2**34, home=home, offline=True)

        def paint(**settings) -> list[Picture]:
            asked = {
                **{"prompt": PROMPT, "model": "starter", "steps": 20, "seed": 1},
                **{"sampler": "DPM++ 2M", **settings},
            }
            events = text_to_image.run(TextToImageRequest(**asked), cache, threading.Event())
            return [event for event in events if isinstance(event, Picture)]

        try:
            yield paint
        finally:
            cache.clear()


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown processor"


if __name__ == "__main__":
    main()
