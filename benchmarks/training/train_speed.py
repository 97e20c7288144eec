"""How fast the trainer is, against a plain loop as diffusers' train_dreambooth_lora.py has it.

    python -m benchmarks.training.train_speed [--model starter|sd15-random] [--seconds 30]
        [--batch 4]

The plain loop decodes each photo and class picture, encodes it by the autoencoder and its caption
by the text encoder at every step, with the library's attention and without caches; the trainer
does what it always does. The same LoRA, batch, precision, optimiser and prior preservation, in
turn, each in a process of its own so that peak memory is its own. Photos are of the size that an
upload from a phone is kept at (``--photo-side 2048``) and of the model's own, the least there is.
``sd15-random`` is Stable Diffusion 1.5's full-size UNet, text encoder and autoencoder with random
weights, 512², for machines with a GPU.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = 10
STEPS_MOST = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="starter", choices=("starter", "sd15-random"))
    parser.add_argument("--seconds", type=float, default=30, help="of training, for each of them")
    parser.add_argument("--batch", type=int, nargs="+", default=[4])
    parser.add_argument(
        "--photo-side",
        type=int,
        nargs="+",
        default=[2048, 0],
        help="pixels of the photos' longer side; 0: as large as the model paints",
    )
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--targets", default="attention")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--text-encoder", action="store_true", help="it learns too")
    parser.add_argument("--no-prior", action="store_true")
    parser.add_argument("--rounds", type=int, default=2, help="how often each of them has its turn")
    parser.add_argument("--only", choices=("plain", "trainer"), help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print("RESULT " + json.dumps(measure(options, options.batch[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        if options.model == "sd15-random":
            make_sd15(home)
        print(f"{'photos':>7}{'batch':>6}  {'loop':<8}{'steps/s':>9}{'peak memory':>13}")
        for side in options.photo_side:
            for batch in options.batch:
                compare(options, side, batch, home)


def compare(options: argparse.Namespace, side: int, batch: int, home: Path) -> None:
    best: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for only in ("plain", "trainer"):
            found = in_a_process(options, only, side, batch, home)
            known = best.setdefault(only, found)
            if found["steps_per_second"] > known["steps_per_second"]:
                best[only] = found
    for only, found in best.items():
        print(f"{side or 'own':>7}{batch:>6}  {only:<8}{found['steps_per_second']:>9.2f}"
              f"{found['peak_bytes'] / 1e9:>10.2f} GB")  # fmt: skip
    ratio = best["trainer"]["steps_per_second"] / best["plain"]["steps_per_second"]
    print(f"{'':>15}{ratio:.2f} times as fast (target 1.5)", flush=True)


def in_a_process(
    options: argparse.Namespace, only: str, side: int, batch: int, home: Path
) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training.train_speed", "--only", only]
    for name in ("model", "seconds", "rank", "targets", "precision"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--text-encoder"] if options.text_encoder else []
    command += ["--no-prior"] if options.no_prior else []
    command += ["--home", str(home), "--batch", str(batch), "--photo-side", str(side)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{only} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(lines[0][len("RESULT ") :])


def measure(options: argparse.Namespace, batch: int) -> dict[str, float]:
    from pipelines.core.devices import pick_device

    device = pick_device(None)
    steps = (trainer_steps if options.only == "trainer" else plain_steps)(options, batch, device)
    count, started = 0, 0.0
    for count, _ in enumerate(steps, start=-3):  # the first steps are slower
        now = wait(device)
        if count == 0:
            started = now
        elif count > 0 and now - started > options.seconds:
            break
    from pipelines.core.devices import peak_memory

    return {
        "steps_per_second": count / (wait(device) - started),
        "peak_bytes": peak_memory(device),
    }


def wait(device: str) -> float:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def request_for(options: argparse.Namespace, batch: int, home: Path):
    from pipelines.core.errors import validate
    from pipelines.dreambooth.requests import TrainingRequest

    return validate(
        TrainingRequest,
        {
            "subject": make_photos(home, options.photo_side[0] or native_size(options)),
            "training": secrets.token_hex(16),
            "model": options.model,
            "name": "speed",
            "class_word": "toy",
            "rank": options.rank,
            "target_modules": options.targets,
            "train_text_encoder": options.text_encoder,
            "steps": STEPS_MOST,
            "batch_size": batch,
            "prior_preservation": not options.no_prior,
            "class_pictures": 10,
            "mixed_precision": options.precision,
            "save_every": 0,
        },
    )


def native_size(options: argparse.Namespace) -> int:
    return 512 if options.model == "sd15-random" else 128


def make_photos(home: Path, side: int) -> str:
    """A subject with photos of coloured blobs, 4:3 where they are large; returns its id."""
    import numpy as np

    from pipelines.dreambooth.data.subjects import Subject

    subject = Subject.create(home, "speed", "sks", "toy")
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        blobs = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
        buffer = BytesIO()
        size = (side, side if side <= 512 else side * 3 // 4)
        blobs.resize(size, Image.Resampling.BICUBIC).save(buffer, format="PNG")
        subject.add(f"{number}.png", buffer.getvalue())
    return subject.id


def fill_class_pictures(request, entry, home: Path) -> None:
    """With the photos themselves: how long painting takes is no part of this."""
    from pipelines.dreambooth.data import class_pictures

    folder = class_pictures.folder_of(request, entry, home)
    folder.mkdir(parents=True, exist_ok=True)
    photos = files_of(request, home)
    for number in class_pictures.list_missing(folder, request.class_pictures):
        picture = Image.open(photos[number % len(photos)]).resize((entry.native_size,) * 2)
        picture.save(folder / f"{number:04d}.png")


def files_of(request, home: Path) -> list[Path]:
    """The photos as the files that a camera would have written."""
    from pipelines.dreambooth.data.subjects import Subject

    files = []
    for number, photo in enumerate(Subject.open(home, request.subject).photos):
        files.append(home / f"{request.subject}-{number}.jpg")
        photo.open().save(files[-1], quality=92)
    return files


def trainer_steps(options: argparse.Namespace, batch: int, device: str):
    from pipelines.dreambooth.base import precision_for
    from pipelines.dreambooth.data.subjects import Subject
    from pipelines.dreambooth.folder import TrainingFolder
    from pipelines.dreambooth.trainer import Trainer, make_accelerator
    from pipelines.models.catalog import Catalog

    home = options.home
    request = request_for(options, batch, home)
    entry = Catalog(home).get(request.model)
    fill_class_pictures(request, entry, home)
    folder = TrainingFolder(home, request.training)
    folder.begin(request)
    accelerator = make_accelerator(precision_for(options.precision, device), device, False)
    photos = Subject.open(home, request.subject).photos
    trainer = Trainer(folder, request, entry, photos, accelerator)
    trainer.prepare()
    return trainer.steps()


def plain_steps(options: argparse.Namespace, batch: int, device: str):
    """diffusers' examples/dreambooth/train_dreambooth_lora.py, its loop and nothing else."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from peft import LoraConfig
    from torchvision import transforms

    from pipelines.diffusion.loading import open_pipeline
    from pipelines.dreambooth.base import precision_for
    from pipelines.dreambooth.data import class_pictures
    from pipelines.dreambooth.learners import TARGETS, TEXT_TARGETS
    from pipelines.models.catalog import Catalog

    precision = precision_for(options.precision, device)
    dtype = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    accelerator = Accelerator(mixed_precision=precision, cpu=device == "cpu")
    home = options.home
    request = request_for(options, batch, home)
    entry = Catalog(home).get(request.model)
    pipe = open_pipeline(entry, torch.float32, lambda *_: None, True, home)
    unet, vae, text_encoder, tokenizer = pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    for module in (unet, vae, text_encoder):
        module.requires_grad_(False)
        module.to(device, dtype=dtype)

    def lora(targets):
        return LoraConfig(r=options.rank, lora_alpha=options.rank, target_modules=list(targets),
                          init_lora_weights="gaussian")  # fmt: skip

    unet.add_adapter(lora(TARGETS[options.targets]))
    learning = [unet]
    if options.text_encoder:
        text_encoder.add_adapter(lora(TEXT_TARGETS))
        learning.append(text_encoder)
    parameters = [p for module in learning for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=1e-2)
    size = entry.native_size
    prepare = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.RandomCrop(size),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    fill_class_pictures(request, entry, home)
    photos = files_of(request, home)
    others = sorted(class_pictures.folder_of(request, entry, home).glob("*.png"))

    class Photos(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(photos)

        def __getitem__(self, index: int):
            picture = prepare(Image.open(photos[index]).convert("RGB"))
            ids = [
                tokenizer(text, truncation=True, padding="max_length",
                          max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
                for text in (f"a {request.trigger}", request.class_prompt(0))
            ]  # fmt: skip
            if not request.prior_preservation:
                return picture, None, *ids
            return picture, prepare(Image.open(others[index]).convert("RGB")), *ids

    def collate(examples):
        pictures = [example[0] for example in examples]
        ids = [example[2] for example in examples]
        if request.prior_preservation:
            pictures += [example[1] for example in examples]
            ids += [example[3] for example in examples]
        return torch.stack(pictures), torch.cat(ids)

    loader = torch.utils.data.DataLoader(
        Photos(), batch_size=batch, shuffle=True, collate_fn=collate, drop_last=True
    )
    if options.text_encoder:
        unet, text_encoder, optimizer, loader = accelerator.prepare(
            unet, text_encoder, optimizer, loader
        )
    else:
        unet, optimizer, loader = accelerator.prepare(unet, optimizer, loader)
    unet.train()
    while True:
        for pictures, ids in loader:
            latents = vae.encode(pictures.to(dtype=dtype)).latent_dist.sample()
            latents = latents * vae.config.scaling_factor
            noise = torch.randn_like(latents)
            t = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),),
                              device=latents.device)  # fmt: skip
            noised = scheduler.add_noise(latents, noise, t)
            with torch.set_grad_enabled(options.text_encoder):
                hidden = text_encoder(ids)[0]
            prediction = unet(noised, t, hidden, return_dict=False)[0]
            target = noise
            if scheduler.config.prediction_type == "v_prediction":
                target = scheduler.get_velocity(latents, noise, t)
            if request.prior_preservation:
                (prediction, prior), (target, prior_target) = (
                    prediction.chunk(2),
                    target.chunk(2),
                )
                loss = F.mse_loss(prediction.float(), target.float())
                loss = loss + F.mse_loss(prior.float(), prior_target.float())
            else:
                loss = F.mse_loss(prediction.float(), target.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.detach().item()  # the script shows it at every step
            yield


def make_sd15(home: Path) -> None:
    """Stable Diffusion 1.5 in full size with random weights, in ``<home>/models/sd15-random``."""
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    from pipelines.diffusion.single_file import CONFIGS, clip_tokenizer

    folder = home / "models" / "sd15-random"
    if folder.is_dir():
        return
    torch.manual_seed(0)
    configs = CONFIGS / "sd1"
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_config(AutoencoderKL.load_config(configs / "vae")),
        text_encoder=CLIPTextModel(CLIPTextConfig.from_pretrained(configs / "text_encoder")),
        tokenizer=clip_tokenizer(),
        unet=UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(configs / "unet")),
        scheduler=PNDMScheduler.from_config(PNDMScheduler.load_config(configs / "scheduler")),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(folder)


if __name__ == "__main__":
    main()
