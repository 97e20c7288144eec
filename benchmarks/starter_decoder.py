"""How the starter's decoder for 256 pixels does beside enlarged pictures of the one for 128.

    python -m benchmarks.starter_decoder [--state FILE | --vae FOLDER] [--sheet sheet.png]

Held-out renders of 256 pixels are encoded, and decoded again from those latents, or from what the
base paints of them from timesteps 100 to 400 on: there an outline is a little off, and PSNR asks
for the mean of all that it could have been, so look at sharpness and at the sheet too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from pipelines.core.paths import ASSETS
from pipelines.diffusion.autoencoder import PatchAutoencoder, enlarge, halve
from pipelines.toybox.measure import psnr, sharpness
from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import Scene, held_out_scene
from pipelines.toybox.train.starter_decoder import paint_again
from pipelines.toybox.vocabulary import FIRST_RELEASE

SIDE = 256
BEGINNINGS = (100, 250, 400)  # timesteps
SEED = 900_000


class HeldOut:
    """Renders and their latents, in the way that :func:`paint_again` asks for them."""

    def __init__(self, count: int, encoder: PatchAutoencoder) -> None:
        self.scenes = [held_out_scene(SEED + i, FIRST_RELEASE, 1 + i % 2) for i in range(count)]
        self.images = [render(scene, SIDE, SIDE).image for scene in self.scenes]
        x = torch.from_numpy(np.stack(self.images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.latents = torch.cat([encoder.encode(each).latent_dist.mode() for each in x.split(8)])

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        return self.latents[list(indices)]

    def scene(self, index: int) -> Scene:
        return self.scenes[index]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starter", type=Path, default=ASSETS / "starter")
    parser.add_argument("--vae", type=Path, help="folder of the autoencoder for 256 pixels")
    parser.add_argument("--state", type=Path, help="instead: state.pt of its training")
    parser.add_argument("--count", type=int, default=48, help="renders")
    parser.add_argument("--sheet", type=Path, help="write a row each of eight renders here")
    options = parser.parse_args()
    base = options.starter / "base"
    larger = _load(base, options.vae, options.state).eval()
    smaller = halve(larger)
    held_out = HeldOut(options.count, larger)
    unet = UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float32).eval()
    text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder", dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    decoders = {
        "128, bilinear": lambda z: _enlarge(_decode(smaller, z), cv2.INTER_LINEAR),
        "128, Lanczos": lambda z: _enlarge(_decode(smaller, z), cv2.INTER_LANCZOS4),
        "256": lambda z: _decode(larger, z),
    }
    print(f"{options.count} held-out renders of {SIDE} pixels; {torch.get_num_threads()} threads")
    print(f"{'latents':<18}{'decoder':<16}{'PSNR dB':>9}{'edges':>8}{'flats':>8}{'ms':>7}")
    columns: list[list[np.ndarray]] = [held_out.images[:8]]
    for begin in (0, *BEGINNINGS):
        z = held_out.latents
        if begin:
            torch.manual_seed(begin)
            rng, rows = np.random.default_rng(begin), np.arange(options.count)
            args = (held_out, unet, tokenizer, text_encoder)
            parts = [
                paint_again(*args, part, begin, rng)
                for part in np.array_split(rows, max(1, options.count // 16))
            ]
            z = torch.cat(parts).float()
        for name, decode in decoders.items():
            seconds, pictures = _time_decoding(decode, z)
            noise = [psnr(*pair) for pair in zip(pictures, held_out.images, strict=True)]
            sharp = [sharpness(*pair) for pair in zip(pictures, held_out.images, strict=True)]
            edges, flats = np.mean(sharp, 0)
            what = f"painted from {begin}" if begin else "of the render"
            print(f"{what:<18}{name:<16}{np.mean(noise):>9.2f}{edges:>8.3f}{flats:>8.3f}", end="")
            print(f"{1000 * seconds:>7.0f}", flush=True)
            if name != "128, Lanczos" and begin in (0, BEGINNINGS[1]):
                columns.append(pictures[:8])
    if options.sheet:
        sheet = np.concatenate([np.concatenate(list(row), 1) for row in columns])
        Image.fromarray(sheet).save(options.sheet)
        print(f"{options.sheet}: renders; of their latents 128 enlarged, 256; painted again: both")


def _load(base: Path, folder: Path | None, state: Path | None) -> PatchAutoencoder:
    if folder:
        return PatchAutoencoder.from_pretrained(folder).float()
    larger = enlarge(PatchAutoencoder.from_pretrained(base / "vae").float())
    if state:
        larger.load_state_dict(torch.load(state, weights_only=True)["model"])
    return larger


def _decode(model: PatchAutoencoder, z: torch.Tensor) -> np.ndarray:
    picture = model.decode(z[None]).sample[0].permute(1, 2, 0).numpy()
    return np.round(np.clip(picture * 127.5 + 127.5, 0, 255)).astype(np.uint8)


def _enlarge(picture: np.ndarray, how: int) -> np.ndarray:
    return cv2.resize(picture, (SIDE, SIDE), interpolation=how)


def _time_decoding(decode, latents: torch.Tensor) -> tuple[float, list[np.ndarray]]:
    """The median time of a picture in seconds, and the pictures."""
    times, pictures = [], []
    for z in latents:
        start = time.perf_counter()
        pictures.append(decode(z))
        times.append(time.perf_counter() - start)
    return float(np.median(times)), pictures


if __name__ == "__main__":
    main()
