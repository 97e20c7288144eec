"""What each strength does to a picture, and what beginning from one costs.

    python -m benchmarks.from_picture [--count 100] [--keep folder] [--write]

Held-out scenes are rendered, and each is painted on with the words of the same scene in another
colour, at strengths from 0 to 1. The judge says how often the new colour, the kind and the place
are read; edges (F1 at 2 pixels) and depths (correlation) say how much of the picture is left. At
strength 0 these are the renders themselves. ``--keep`` keeps what is painted, so that a run that
was broken off goes on; ``--write`` writes the curves that the page draws behind the slider.

Then, both sides in one process: image-to-image beside diffusers' pipeline with the same weights and
evaluations, and what a mask adds to a step.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image

from benchmarks.common.machine import processor
from benchmarks.text_to_image import STARTER as BASE
from benchmarks.text_to_image import in_turn, table
from pipelines.core.cache import ModelCache
from pipelines.core.devices import pick_device
from pipelines.core.events import Picture
from pipelines.core.paths import ASSETS
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.diffusion.denoise import Beginning, change_at, keep_picture
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import samplers_in
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from pipelines.toybox.captions import caption
from pipelines.toybox.depth import DepthEstimator
from pipelines.toybox.judge import load_judge
from pipelines.toybox.measure import correlation, edge_f1, measuring_scenes, score
from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import Scene
from pipelines.toybox.vocabulary import COLOURS, FIRST_RELEASE

STARTER = BASE.parent
LOW, HIGH = 100, 200  # Canny's thresholds
GOALS = {"colour": 93, "object": 97, "place": 95}  # percent, at one strength at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="pictures a strength")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--keep", type=Path, help="keep what is painted here, paint none twice")
    parser.add_argument("--write", action="store_true", help="write the page's curves")
    parser.add_argument("--rounds", type=int, default=7, help="of the speeds; 0 leaves them out")
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        loader = Loader(Catalog(home), home, offline=True, budget_bytes=8 * 2**30)
        cache = ModelCache(loader.load, pick_device(None), budget_bytes=8 * 2**30)
        if options.count:
            curves(cache, home, options)
        if options.rounds:
            speeds(cache, home, options.rounds, options.steps)


def curves(cache: ModelCache, home: Path, options: argparse.Namespace) -> None:
    """Prints a row for each strength."""
    scenes = measuring_scenes(options.count, 1, FIRST_RELEASE)
    asked = [recolour(scene, index) for index, scene in enumerate(scenes)]
    renders = [render(scene).image for scene in scenes]
    judge = load_judge(STARTER / "judge")
    estimator = DepthEstimator.from_pretrained(STARTER / "depth", dtype=torch.float32).eval()
    print(f"\n{options.count} pictures a strength, {options.steps} steps")
    heads = ("colour %", "object %", "place %", "edge F1", "depth")
    print(f"{'strength':<10}" + "".join(f"{head:>10}" for head in heads))
    rows = []
    for tenths in range(11):
        strength = tenths / 10
        pictures = paint(cache, home, renders, asked, strength, options)
        shares = score(asked, judge.read(pictures))
        row = {name: shares[name].percent for name in ("colour", "object", "place")}
        row["edges"] = float(np.mean([
            edge_f1(cv2.Canny(made, LOW, HIGH), cv2.Canny(old, LOW, HIGH))
            for made, old in zip(pictures, renders, strict=True)
        ]))  # fmt: skip
        row["depth"] = float(np.mean([
            correlation(depth_of(estimator, made), depth_of(estimator, old))
            for made, old in zip(pictures, renders, strict=True)
        ]))  # fmt: skip
        rows.append({"strength": strength, **row})
        percents = "".join(f"{row[name]:>10.1f}" for name in ("colour", "object", "place"))
        print(f"{strength:<10}{percents}{row['edges']:>10.3f}{row['depth']:>10.3f}", flush=True)
    reached = [row["strength"] for row in rows
               if all(row[name] >= goal for name, goal in GOALS.items())]  # fmt: skip
    goals = ", ".join(f"{name} {goal} %" for name, goal in GOALS.items())
    print(f"{goals}: reached at {', '.join(map(str, reached)) or 'no strength'}")
    if options.write:
        digits = [{name: round(value, 3) for name, value in row.items()} for row in rows]
        facts = {"pictures": options.count, "steps": options.steps, "processor": processor()}
        path = ASSETS / str(Catalog(home).get("starter").strengths)
        path.write_text(json.dumps({**facts, "rows": digits}, indent=1) + "\n")
        print(f"{path} written")


def recolour(scene: Scene, index: int) -> Scene:
    """The same toy at the same place in another colour."""
    (thing,) = scene.things
    others = [colour for colour in COLOURS if colour != thing.colour]
    return replace(scene, things=(replace(thing, colour=others[index % len(others)]),))


def paint(
    cache: ModelCache,
    home: Path,
    renders: Sequence[np.ndarray],
    asked: Sequence[Scene],
    strength: float,
    options: argparse.Namespace,
) -> np.ndarray:
    """(N, H, W, 3) uint8, by the studio's own engine."""
    pictures = []
    for seed, (old, scene) in enumerate(zip(renders, asked, strict=True)):
        kept = options.keep and options.keep / f"{strength:.1f} {options.steps} {seed:04}.png"
        if kept and kept.exists():
            pictures.append(np.asarray(Image.open(kept)))
            continue
        begin = {
            "picture": keep_input(home, "local", Image.fromarray(old)),
            "strength": strength,
            "all_steps": False,
        }
        request = TextToImageRequest(
            prompt=caption(scene, 0, plain=True),
            model="starter",
            steps=options.steps,
            seed=seed,
            from_picture=begin,
        )
        for event in text_to_image.run(request, cache, threading.Event()):
            if isinstance(event, Picture):
                pictures.append(np.asarray(event.image))
                if kept:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    event.image.save(kept)
    return np.stack(pictures)


def depth_of(estimator: DepthEstimator, picture: np.ndarray) -> np.ndarray:
    """(H, W) relative inverse depth of (H, W, 3) uint8."""
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        return estimator(x)[0, 0].numpy()


def speeds(cache: ModelCache, home: Path, rounds: int, steps: int) -> None:
    """Image-to-image beside diffusers' own, and a mask's part of a step."""
    strength = 0.6
    (scene,) = measuring_scenes(1, 1, FIRST_RELEASE)
    picture = Image.fromarray(render(scene).image)
    begin = {"picture": keep_input(home, "local", picture), "strength": strength}
    prompt = caption(recolour(scene, 0), 0, plain=True)
    request = TextToImageRequest(
        prompt=prompt,
        model="starter",
        steps=steps,
        seed=1,
        sampler="DPM++ 2M",
        from_picture=begin,
    )
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(
        BASE,
        vae=PatchAutoencoder.from_pretrained(BASE / "vae", dtype=torch.float32),
        safety_checker=None,
        dtype=torch.float32,
        local_files_only=True,
    )
    pipe.set_progress_bar_config(disable=True)
    for _ in cache.warm("starter", threading.Event()):
        pass
    with cache.lease("starter") as model:
        settings = resolve(request, model.entry, samplers_in(home))
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(
            pipe.scheduler.config, use_karras_sigmas=settings.schedule == "Karras"
        )

        def diffusers() -> None:
            pipe(
                prompt,
                picture,
                strength=strength,
                num_inference_steps=steps,
                guidance_scale=settings.guidance,
                generator=torch.Generator().manual_seed(1),
                output_type="np",
            )

        def atelier() -> None:
            for _ in text_to_image.paint(model, settings, threading.Event()):
                pass

        seconds = in_turn({"diffusers, float32": diffusers, "Atelier": atelier}, rounds)
        run = int(steps * strength + 1e-6)
        title = f"image-to-image, {run} of {steps} steps, {model.device}"
        table(title, seconds, "Atelier ≤ 0.5×")
        step = seconds["Atelier"] / run
        channels = model.pipe.unet.config.in_channels
        side = settings.width // model.factor
    latents, change = torch.randn(1, channels, side, side), torch.rand(1, 1, side, side)
    beginning = Beginning(latents, 0, change, gradual=True)
    timesteps = torch.arange(999, 0, -40)
    turns, started = 2000, time.perf_counter()
    for _ in range(turns):
        at = change_at(beginning, timesteps[5], timesteps)
        keep_picture(latents, at, "v_prediction", (0.6, 0.8), latents, latents)
    share = (time.perf_counter() - started) / turns / step
    print(f"  a mask adds {share:.2%} to a step of {step * 1000:.1f} ms  (target ≤ 3 %)")


if __name__ == "__main__":
    main()
