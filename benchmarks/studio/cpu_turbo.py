"""A few-step model of full size on a processor: random weights of SD-Turbo's shape.

    python -m benchmarks.studio.cpu_turbo [--size 512] [--steps 1] [--rounds 1] [--by-hand]

Three sides in turn, each in a process of its own, whose peak of memory is printed beside its times:
the model in PyTorch, decoded whole (the studio before it had fast decoders); the studio as it is,
once it has converted the U-Net in the background; and, with ``--by-hand``, OpenVINO for U-Net and
TAESD driven by a short loop, which is what FastSD CPU does. Its network is converted in a process
before, once: about a minute, and 8 GB of memory. Counted is a whole picture: words, steps, pixels;
the first one of a process loads, prepares and compiles, the second is what each further one takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common.machine import processor
from pipelines.core.devices import peak_memory
from pipelines.core.events import Picture
from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion.latents.decoders import decoder_of

NAME = "turbo-shape"
PROMPT = "a red mug on a wooden floor"
UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
TEXT = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}
AUTOENCODER = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
NETWORK = "by-hand.xml"


def write_model(home: Path) -> None:
    """SD-Turbo's shape and TAESD's in fp16, as they lie in a home folder after their downloads."""
    from diffusers import (
        AutoencoderKL,
        AutoencoderTiny,
        EulerDiscreteScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    from pipelines.diffusion.single_file import clip_tokenizer

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL(**AUTOENCODER),
        text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
        tokenizer=clip_tokenizer(),
        unet=UNet2DConditionModel(**UNET),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(home / "models" / NAME, safe_serialization=True)
    entry = decoder_of("sd2")
    AutoencoderTiny().save_pretrained(home / HUB_FOLDER / entry.source.replace("/", "--"))


def studio(home: Path, size: int, steps: int, today: bool) -> Callable[[], None]:
    """Paints a picture as the studio does; ``today``: all of it in PyTorch, decoded whole."""
    from pipelines.core.cache import ModelCache
    from pipelines.diffusion import loading
    from pipelines.diffusion.loading import DiffusionModel, load
    from pipelines.diffusion.requests import TextToImageRequest
    from pipelines.diffusion.text_to_image import run
    from pipelines.models.catalog import Catalog

    catalog = Catalog(home)
    if today:
        loading._large_unet = lambda *_: None
        DiffusionModel.accelerate = lambda self, folder, notes: None

    def load_by_name(name, device, notes):
        return load(catalog.get(name), device, notes, offline=True, home=home)

    cache = ModelCache(load_by_name, "cpu", 2**40, home=home, offline=True)
    request = TextToImageRequest(
        prompt=PROMPT, model=NAME, width=size, height=size, steps=steps, guidance=1, seed=1,
        sampler="Euler", schedule="SGM Uniform", decoder="full" if today else "auto",
    )  # fmt: skip

    def paint() -> None:
        events = run(request, cache, threading.Event())
        (picture,) = [event for event in events if isinstance(event, Picture)]
        assert picture.request.decoder == ("full" if today else "fast")

    return paint


def convert_by_hand(home: Path) -> None:
    """The U-Net as an OpenVINO network with fp16 weights."""
    from diffusers import UNet2DConditionModel

    from pipelines.core.quiet_openvino import openvino
    from pipelines.diffusion.openvino.topology import convert
    from pipelines.diffusion.openvino.unet import unet_to_convert

    unet = UNet2DConditionModel.from_pretrained(
        home / "models" / NAME / "unet", dtype=torch.float32
    )
    module, example, _ = unet_to_convert(unet.eval())
    openvino.save_model(convert(module, example), home / NETWORK, compress_to_fp16=True)


def convert_for_studio(home: Path) -> None:
    """What the studio's own process does in the background, here without giving way to others."""
    from pipelines.diffusion import loading
    from pipelines.diffusion.openvino.large import write_large_network

    networks = home / "models" / ".openvino"
    large = loading._large_unet(home / "models" / NAME, "cpu", home, networks)
    if large.mapped is None:
        write_large_network(large.folder, large.variant, large.network)


def by_hand(home: Path, size: int, steps: int) -> Callable[[], None]:
    """OpenVINO and TAESD in the shortest loop; sizes are fixed before compiling."""
    from diffusers import AutoencoderTiny, EulerDiscreteScheduler
    from transformers import CLIPTextModel, CLIPTokenizer

    from pipelines.core.quiet_openvino import openvino
    from pipelines.diffusion.openvino.latent_decoder import decoder_to_convert
    from pipelines.diffusion.openvino.topology import convert

    folder, side = home / "models" / NAME, size // 8
    core = openvino.Core()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
    tiny = AutoencoderTiny.from_pretrained(
        home / HUB_FOLDER / decoder_of("sd2").source.replace("/", "--"), dtype=torch.float32
    )
    module, example, _ = decoder_to_convert(tiny.eval())
    decoder = convert(module, example)
    decoder.reshape({0: [1, 4, side, side]})
    decoder = core.compile_model(decoder, "CPU")
    unet = core.read_model(home / NETWORK)
    unet.reshape({0: [1, 4, side, side], 1: [], 2: [1, 77, TEXT["hidden_size"]]})
    unet = core.compile_model(unet, "CPU")
    scheduler = EulerDiscreteScheduler.from_pretrained(folder / "scheduler")

    @torch.inference_mode()
    def paint() -> None:
        ids = tokenizer(
            PROMPT, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        embeds = text(ids)[0].numpy()
        scheduler.set_timesteps(steps)
        generator = torch.Generator().manual_seed(1)
        latents = torch.randn(1, 4, side, side, generator=generator) * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            sample = scheduler.scale_model_input(latents, timestep)
            predicted = unet([sample.numpy(), timestep.float().numpy(), embeds])[0]
            latents = scheduler.step(torch.from_numpy(predicted), timestep, latents).prev_sample
        decoder([latents.numpy()])

    return paint


SIDES: dict[str, Callable[[Path, int, int], Callable[[], None]]] = {
    "PyTorch, decoded whole": lambda *options: studio(*options, today=True),
    "Atelier": lambda *options: studio(*options, today=False),
    "by hand": by_hand,
}


CONVERTING = {"convert for the studio": convert_for_studio, "convert by hand": convert_by_hand}


def measure(side: str, options: argparse.Namespace) -> None:
    """Prints the seconds of a first and a second picture, and the peak of memory, as JSON."""
    started = time.perf_counter()
    paint = SIDES[side](options.home, options.size, options.steps)
    times = [time.perf_counter() - started]
    for _ in range(2):
        started = time.perf_counter()
        paint()
        times.append(time.perf_counter() - started)
    print(json.dumps([times[0] + times[1], times[2], peak_memory("cpu")]))


def in_process(what: str, options: argparse.Namespace) -> list[str]:
    """The lines that this script prints in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.studio.cpu_turbo", "--part", what,
               "--home", str(options.home), "--size", str(options.size),
               "--steps", str(options.steps)]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--by-hand", action="store_true")
    parser.add_argument("--home", type=Path, help="keeps the model for the next run")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "write":
        return write_model(options.home)
    if options.part in CONVERTING:
        CONVERTING[options.part](options.home)
        return print(peak_memory("cpu"))
    if options.part:
        return measure(options.part, options)
    with tempfile.TemporaryDirectory() as folder:
        options.home = options.home or Path(folder)
        compare(options)


def compare(options: argparse.Namespace) -> None:
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
          f"{options.size}×{options.size}, {options.steps} steps")  # fmt: skip
    if not (options.home / "models" / NAME).exists():
        in_process("write", options)
    converting = {"convert for the studio": "what the studio does once, in the background"}
    if options.by_hand and not (options.home / NETWORK).exists():
        converting["convert by hand"] = "by hand"
    for what, words in converting.items():
        started = time.perf_counter()
        (peak,) = in_process(what, options)
        seconds = time.perf_counter() - started
        print(f"converting the U-Net, {words}: {seconds:.0f} s, {int(peak) / 1e9:.1f} GB")
    sides = list(SIDES) if options.by_hand else list(SIDES)[:2]
    taken: dict[str, list[list[float]]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            taken[side].append(json.loads(in_process(side, options)[-1]))
            print(f"  {side}: {taken[side][-1]}, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{'seconds a picture':<28}{'first':>8}{'further':>9}{'ratio':>8}{'peak GB':>9}")
    base = statistics.median(each[1] for each in taken[sides[0]])
    for side, each in taken.items():
        first, further, peak = (statistics.median(column) for column in zip(*each, strict=True))
        print(f"{side:<28}{first:>8.1f}{further:>9.1f}{further / base:>8.2f}{peak / 1e9:>9.1f}")
    print("targets: Atelier ≤ 0.35× of PyTorch, decoded whole, and ≤ 1.0× of by hand")


if __name__ == "__main__":
    main()
