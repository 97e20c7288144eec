"""What steering costs: time and memory of a picture with ControlNet, T2I-Adapter and both.

    python -m benchmarks.control [--rounds 7] [--steps 20]

The sides paint in turn in one process, through the studio's own engine, with the starter's own
control models; on a CPU each paints once more in a process of its own, whose memory is told. On
CUDA the same at Stable Diffusion 1.5's full size with random weights.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from PIL import Image, ImageDraw

from benchmarks.text_to_image import in_turn, table
from pipelines.core.cache import ModelCache
from pipelines.core.devices import pick_device
from pipelines.core.paths import PRESETS
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.control import paint
from pipelines.diffusion.control.loading import ControlModel
from pipelines.diffusion.control.requests import ControlRequest, ControlUnit
from pipelines.diffusion.control.steering import Steering, WorkingUnit
from pipelines.diffusion.denoise import GuidedUNet, denoise, noise_for
from pipelines.diffusion.prompts import PromptEmbeds
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.samplers import make_scheduler, samplers_in
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog

PROMPT = "a red mug on a wooden floor"
TARGET = "ControlNet ≤ 1.35×, adapter ≤ 1.03×"
SIDES = {  # and the control models of the starter
    "base": (),
    "+ ControlNet": ("starter-controlnet-sketch",),
    "+ T2I-Adapter": ("starter-adapter-sketch",),
    "+ both": ("starter-controlnet-sketch", "starter-adapter-sketch"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", choices=SIDES, help="paint this side once and tell the memory")
    parser.add_argument("--home", type=Path, help="of --only: keeps the converted networks")
    options = parser.parse_args()
    if options.only:
        _painter(options.home, _cache(options.home), options.only, options.steps)()
        print(_largest())
        return
    with tempfile.TemporaryDirectory() as folder:
        # First: a process counts what its parent held when it began.
        peaks = memory(Path(folder), options.steps) if pick_device(None) == "cpu" else {}
        starter(Path(folder), options.rounds, options.steps)
        for name, peak in peaks.items():
            print(f"  {name + ', a process of its own':<44}{peak:>9.0f} MB at its largest")
    if torch.cuda.is_available():
        full_size(options.rounds, options.steps)
    else:
        print("\nNo CUDA device: the full size of Stable Diffusion 1.5 is not measured.")


def memory(home: Path, steps: int) -> dict[str, float]:
    """MB of each side's process at its largest, where all networks have been converted before."""
    command = [sys.executable, "-m", "benchmarks.control", "--home", str(home)]
    command += ["--steps", str(steps), "--only"]

    def paint_once(name: str) -> float:
        done = subprocess.run([*command, name], check=True, stdout=subprocess.PIPE, text=True)
        return float(done.stdout.split()[-1])

    paint_once("+ both")  # converts what any side needs
    return {name: paint_once(name) for name in SIDES}


def starter(home: Path, rounds: int, steps: int) -> None:
    """Whole requests on the starter, from the prompt to the picture."""
    cache = _cache(home)
    seconds = in_turn({name: _painter(home, cache, name, steps) for name in SIDES}, rounds)
    table(f"one picture, {steps} steps, {cache.device}", seconds, TARGET)
    for entry in cache.list_loaded():
        print(f"  {entry.name:<44}{entry.bytes / 1e6:>9.0f} MB")
    print(f"  {'the whole process at its largest':<44}{_largest():>9.0f} MB")


def _painter(home: Path, cache: ModelCache, name: str, steps: int) -> Callable[[], None]:
    """What paints one picture of a side."""
    picture = keep_input(home, "local", draw_scribble())
    request = TextToImageRequest(prompt=PROMPT, model="starter", steps=steps, seed=1)
    units = tuple(ControlUnit(picture=picture, model=model) for model in SIDES[name])

    def run() -> None:
        if not units:
            events = text_to_image.run(request, cache, threading.Event())
        else:
            steered = ControlRequest(**request.model_dump(), units=units)
            events = paint.run(steered, cache, threading.Event())
        for _ in events:
            pass

    return run


def _largest() -> float:
    """MB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def draw_scribble() -> Image.Image:
    """White strokes on black, as a scribble map has them."""
    picture = Image.new("RGB", (256, 256))
    ImageDraw.Draw(picture).rounded_rectangle((70, 80, 190, 220), 20, outline="white", width=6)
    return picture


def full_size(rounds: int, steps: int, device: str = "cuda") -> None:
    """The denoising loop of SD 1.5 at 512×512, guided, random weights, fp16."""
    config = UNet2DConditionModel.load_config(PRESETS / "single_file" / "sd1" / "unet")
    unet = UNet2DConditionModel.from_config(config).to(device, torch.float16).eval()
    net = ControlNetModel.from_unet(unet).to(torch.float16)
    torch.nn.init.normal_(net.controlnet_mid_block.weight, std=1e-3)  # a fresh one is left out
    adapter = T2IAdapter(channels=[320, 640, 1280, 1280], num_res_blocks=2, downscale_factor=8)
    text = torch.randn(1, 77, unet.config.cross_attention_dim)
    embeds = PromptEmbeds(prompt=text, negative=torch.randn_like(text))
    noise = noise_for((4, 64, 64), [torch.Generator().manual_seed(0)]).to(device)
    map_ = torch.rand(1, 3, 512, 512)
    models = {
        method: ControlModel(_entry(method), network.to(device, torch.float16), device)
        for method, network in (("controlnet", net), ("t2i_adapter", adapter))
    }
    samplers = samplers_in(None)
    sampler, schedule = samplers.get("DPM++ 2M"), samplers.schedule("Karras")
    scheduler_config = {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
    peaks: dict[str, float] = {}

    def side(name: str, *methods: str):
        @torch.inference_mode()
        def run() -> None:
            torch.cuda.reset_peak_memory_stats()
            unit = ControlUnit(picture="0" * 32, model="random")
            units = [
                WorkingUnit(unit, models[method], models[method].features(map_))
                for method in methods
            ]
            scheduler = make_scheduler(scheduler_config, sampler, schedule, [0])
            scheduler.set_timesteps(steps)
            predict = GuidedUNet(
                unet, unet.config, embeds, 7.0, 0.0, 1, (512, 512), torch.float16, device
            )
            predict.steer = Steering(units, steps, unet)
            for _ in denoise(predict, scheduler, noise, {}):
                pass
            torch.cuda.synchronize()
            peaks[name] = torch.cuda.max_memory_allocated() / 1e6

        return run

    names = {
        "base": (),
        "+ ControlNet": ("controlnet",),
        "+ T2I-Adapter": ("t2i_adapter",),
        "+ both": ("controlnet", "t2i_adapter"),
    }
    seconds = in_turn({name: side(name, *methods) for name, methods in names.items()}, rounds)
    table(f"SD 1.5 at 512×512, {steps} steps, fp16", seconds, TARGET)
    for name, peak in peaks.items():
        print(f"  {name:<44}{peak:>9.0f} MB at its largest")


def _entry(method: str):
    from pipelines.diffusion.control.catalog import ControlEntry
    from pipelines.models.catalog import Source

    source = Source(asset="none")
    return ControlEntry(name=method, title=method, method=method, family="sd1", source=source)


def _cache(home: Path) -> ModelCache:
    loader = Loader(Catalog(home), home, offline=True, budget_bytes=8 * 2**30)
    return ModelCache(loader.load, pick_device(None), budget_bytes=8 * 2**30)


if __name__ == "__main__":
    main()
