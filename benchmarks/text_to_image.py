"""Atelier beside plain diffusers: same weights, prompt, seed and sampler, in turn in one process.

    python -m benchmarks.text_to_image [--rounds 7] [--steps 20]

On a CPU the starter model is measured: seconds a picture, likeness to float32, what the HTTP API
and the preview add, what a model switch costs. On CUDA Stable Diffusion 1.5's full-size UNet with
random weights is measured besides: evaluations a second at 512×512.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from benchmarks.common.machine import processor
from pipelines.core.cache import ModelCache
from pipelines.core.devices import pick_device
from pipelines.core.events import Picture
from pipelines.core.paths import ASSETS, PRESETS
from pipelines.diffusion import text_to_image
from pipelines.diffusion.autoencoder import PatchAutoencoder
from pipelines.diffusion.denoise import GuidedUNet, denoise, noise_for
from pipelines.diffusion.hires import passes
from pipelines.diffusion.loading import load
from pipelines.diffusion.prompts import PromptEmbeds
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import samplers_in
from pipelines.models.catalog import Catalog

PAUSE_SECONDS = 0.5
PROMPT = "a red mug on a wooden floor"
STARTER = ASSETS / "starter" / "base"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        against_diffusers(home, options.rounds, options.steps)
        over_http(home, 5 * options.rounds, options.steps)  # a few ms are to be seen
        model_switch(home)
    if torch.cuda.is_available():
        full_size_unet(options.rounds)
    else:
        print("\nNo CUDA device: the full-size UNet of Stable Diffusion 1.5 is not measured.")


def in_turn(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; the sides take turns, after one unmeasured round.

    Each begins after a pause: torch's helper threads spin for a while when their work is done, and
    would take a core from whoever comes next. Another side goes first in each round, because who
    comes before leaves its traces in the caches as well.
    """
    names = list(sides)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter()
            sides[name]()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, seconds: dict[str, float], target: str = "") -> None:
    """Prints seconds and ratios to the first side."""
    base = next(iter(seconds.values()))
    print(f"\n{title}{f'  (target {target})' if target else ''}")
    for name, value in seconds.items():
        print(f"  {name:<44}{value * 1000:>9.0f} ms{value / base:>8.2f}×")


def against_diffusers(home: Path, rounds: int, steps: int) -> None:
    """The whole picture: encode the prompt, denoise, decode."""
    catalog = Catalog(home)
    model = load(catalog.get("starter"), pick_device(None), _quiet, offline=True, home=home)
    request = TextToImageRequest(
        prompt=PROMPT, model="starter", steps=steps, seed=1, sampler="DPM++ 2M"
    )
    settings = resolve(request, model.entry, samplers_in(home))
    pipe = StableDiffusionPipeline.from_pretrained(
        STARTER,
        vae=PatchAutoencoder.from_pretrained(STARTER / "vae", dtype=torch.float32),
        safety_checker=None,
        dtype=torch.float32,
        local_files_only=True,
    )
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, use_karras_sigmas=settings.schedule == "Karras"
    )
    pipe.set_progress_bar_config(disable=True)

    def diffusers() -> np.ndarray:
        picture = pipe(
            PROMPT,
            num_inference_steps=steps,
            guidance_scale=settings.guidance,
            width=settings.width,
            height=settings.height,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).images[0]
        return (picture * 255).round()

    def atelier() -> np.ndarray:
        for event in text_to_image.paint(model, settings, threading.Event()):
            if isinstance(event, Picture):
                return np.asarray(event.image, np.float32)
        raise RuntimeError("the engine gave no picture")

    def blind() -> None:
        seeing = passes.preview_for
        passes.preview_for = lambda model: lambda latents, frame: None
        try:
            atelier()
        finally:
            passes.preview_for = seeing

    sides = {"diffusers, float32": diffusers, "Atelier": atelier, "Atelier without previews": blind}
    seconds = in_turn(sides, rounds)
    table(f"one picture, {steps} steps, {model.device}", seconds, "Atelier ≤ 0.5×")
    cost = seconds["Atelier"] / seconds["Atelier without previews"] - 1
    print(f"  previews cost {cost:.1%}  (target ≤ 5 %)")
    error = np.square(diffusers() - atelier()).mean()
    decibels = 10 * math.log10(255**2 / error) if error else math.inf
    print(f"  PSNR of Atelier's picture against float32: {decibels:.1f} dB  (target ≥ 30)")
    model.close()


def over_http(home: Path, rounds: int, steps: int) -> None:
    """A job sent, watched to its end and its PNG fetched, beside the bare engine."""
    from studio.app import build_app, open_studio, warm_up
    from studio.core.services import Options
    from studio.serving import Server, listen

    studio = open_studio(Options(home, offline=True))
    listener = listen("127.0.0.1", None)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    started = threading.Event()
    server = Server(build_app(studio), started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    started.wait(60)
    warm_up(studio)
    body = {"prompt": PROMPT, "model": "starter", "steps": steps, "seed": 1}

    # In a thread of its own, as the studio's worker: torch keeps a pool of helpers per thread.
    worker = ThreadPoolExecutor(1)

    def run() -> None:
        for _ in text_to_image.run(TextToImageRequest(**body), studio.cache, threading.Event()):
            pass

    def bare() -> None:
        worker.submit(run).result()

    def http() -> None:
        request = urllib.request.Request(
            f"{address}/api/v1/jobs/text_to_image",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            job = json.load(answer)
        with urllib.request.urlopen(f"{address}/api/v1/jobs/{job['id']}/events") as events:
            lines = [line for line in events if line.startswith(b"data:")]
        job = json.loads(lines[-1].removeprefix(b"data:"))
        with urllib.request.urlopen(f"{address}/{job['pictures'][0]['url']}") as answer:
            answer.read()

    try:
        seconds = in_turn({"the bare engine": bare, "over HTTP, PNG and all": http}, rounds)
        table(f"one request, {steps} steps", seconds, "≤ 1.05×")
    finally:
        server.stop()
        thread.join(30)
        worker.shutdown()


def model_switch(home: Path) -> None:
    """What it costs to come back to a model: still on the device, and loaded anew."""
    shutil.copytree(STARTER, home / "models" / "second")
    catalog = Catalog(home)
    cache = ModelCache(
        lambda name, device, notes: load(catalog.get(name), device, notes, offline=True, home=home),
        pick_device(None),
        4 * 2**30,
    )

    def lease(name: str) -> float:
        start = time.perf_counter()
        with cache.lease(name):
            return time.perf_counter() - start

    first = lease("starter")
    lease("second")
    table(
        "model switch",
        {"loaded from the disk": first, "still in memory": lease("starter")},
    )
    cache.clear()


def full_size_unet(rounds: int, device: str = "cuda") -> None:
    """Evaluations a second of SD 1.5's UNet, guided (batch 2), 512×512, random weights."""
    config = json.loads((PRESETS / "single_file/sd1/unet/config.json").read_text())
    eager = UNet2DConditionModel.from_config(config).to(device, torch.float16).eval()
    compiled = torch.compile(eager, mode="max-autotune", fullgraph=True)
    text = torch.randn(1, 77, config["cross_attention_dim"])
    embeds = PromptEmbeds(prompt=text, negative=torch.randn_like(text))
    noise = noise_for((4, 64, 64), [torch.Generator().manual_seed(0)]).to(device)

    def calls(network: Callable) -> Callable[[], None]:
        rows = torch.cat([embeds.negative, embeds.prompt]).to(device, torch.float16)
        sample = torch.cat([noise, noise]).half()
        timestep = torch.tensor(500, device=device)

        @torch.inference_mode()
        def ten() -> None:
            for _ in range(10):
                network(sample, timestep, rows, return_dict=False)
            torch.cuda.synchronize()

        return ten

    def loop() -> None:
        """Atelier's whole loop: guidance and sampler included."""
        scheduler = DPMSolverMultistepScheduler(beta_schedule="scaled_linear")
        scheduler.set_timesteps(10)
        predict = GuidedUNet(
            eager, eager.config, embeds, 7.0, 0.0, 1, (512, 512), torch.float16, device
        )
        for _ in denoise(predict, scheduler, noise, {}):
            pass
        torch.cuda.synchronize()

    sides = {"eager fp16": calls(eager), "torch.compile": calls(compiled), "Atelier": loop}
    seconds = in_turn(sides, rounds)
    table("SD 1.5 UNet, ten evaluations", seconds)
    for name, value in seconds.items():
        print(f"  {name:<44}{10 / value:>9.1f} it/s")


def _quiet(message, share) -> None:
    """The benchmark says nothing while it loads."""


if __name__ == "__main__":
    main()
