"""Trains the starter models: ``python -m pipelines.toybox.train base --minutes 60``.

Everything is resumable: state and logs lie in the work folder (``--work``), renders are made once
and read by every training, and a second call goes on where the first one ended. ``export`` writes
the finished weights to ``assets/starter``, and the decoder for 256 pixels beside it.

    renders      make the training pictures, of 128 pixels or with --size 256
    autoencoder  pictures to latents and back
    text         tokenizer and text encoder
    base         the UNet, at --size 64 first and then at --size 128
    decoder      the autoencoder's decoder once more, on what the trained base paints; with
                 --size 256 what enlarges its pictures to that size
    judge        the reader that measures
    segmenter    what cuts toys out to measure their shape, on renders of 256 pixels
    depth        the depth estimator
    upscaler     what makes pictures twice as large, on renders of 256 pixels
    controlnet   a ControlNet on the trained base, for --condition sketch or depth
    adapter      a T2I-Adapter, likewise
    consistency  the sketch ControlNet once more, on what it paints itself
    student      a LoRA of four steps without guidance, by --method consistency or matching
    export       write all of it as diffusers folders, with a model card
    card         write the model card again, with the scores beside it
    topologies   note anew how OpenVINO sees networks of the shipped shapes, after other shapes or
                 other versions of the libraries
    adopt        begin a new work folder with the shipped weights, to train them on
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import ControlNetModel, T2IAdapter

from pipelines.diffusion.autoencoder import PatchAutoencoder, enlarge
from pipelines.diffusion.openvino.starter_topologies import write_topologies
from pipelines.toybox.depth import DepthEstimator
from pipelines.toybox.judge import load_judge, with_all_kinds
from pipelines.toybox.segmenter import load_segmenter
from pipelines.toybox.train import autoencoder as train_autoencoder
from pipelines.toybox.train import consistency as train_consistency
from pipelines.toybox.train import control as train_control
from pipelines.toybox.train import depth as train_depth
from pipelines.toybox.train import judge as train_judge
from pipelines.toybox.train import segmenter as train_segmenter
from pipelines.toybox.train import starter_decoder as train_decoder
from pipelines.toybox.train import text_encoder as train_text
from pipelines.toybox.train import unet as train_unet
from pipelines.toybox.train import upscaler as train_upscaler
from pipelines.toybox.train.model_card import SCORES, larger_folder, write_card
from pipelines.toybox.train.render_shards import FIRST_SEED, Shards, make_shards
from pipelines.toybox.train.run import Run
from pipelines.toybox.train.student import distribution_matching, few_steps, latent_consistency
from pipelines.toybox.vocabulary import FIRST_RELEASE, TRAINED

RUNS = ("autoencoder", "text", "base", "judge")
CONTROLS = {  # work folder → method and condition
    f"{method}-{condition}": (method, condition)
    for method in ("controlnet", "adapter")
    for condition in train_control.CONDITIONS
}
UPSCALER = Path("upscalers", "Toybox 2x.safetensors")
STUDENT = "turbo"
RENDERS = {128: "renders", 256: "renders-256"}  # size → folder
STUDENTS = {
    "consistency": latent_consistency,
    "matching": distribution_matching,
}
KINDS = {"first": FIRST_RELEASE, "all": TRAINED}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.toybox.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=sorted(COMMANDS))
    parser.add_argument(
        "--minutes", type=float, default=60, help="how long to train; decoder: 0 to paint only"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/toybox"), help="state and renders")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--kinds", choices=sorted(KINDS), default="first", help="which toys")
    parser.add_argument("--count", type=int, default=24_000, help="renders: how many scenes")
    parser.add_argument(
        "--size",
        type=int,
        default=128,
        choices=(64, 128, 256),
        help="base: pixels, 64 or 128; renders, decoder: 128 or 256",
    )
    parser.add_argument(
        "--halve", action="store_true", help="train on renders of 256 pixels, halved"
    )
    parser.add_argument(
        "--paint",
        type=float,
        help="decoder: paint renders again for so many minutes first; half of the time if there "
        "are none yet",
    )
    parser.add_argument("--batch", type=int, default=64, help="samples a step")
    parser.add_argument(
        "--condition", choices=train_control.CONDITIONS, default="sketch", help="of control models"
    )
    parser.add_argument(
        "--method",
        choices=sorted(STUDENTS),
        default="consistency",
        help="student, export: how the student learns",
    )
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate")
    parser.add_argument(
        "--anneal", type=float, default=0.15, help="share of the time with falling rate"
    )
    parser.add_argument(
        "--strength", type=float, default=5.0, help="consistency: weight of the edge loss"
    )
    parser.add_argument(
        "--share", type=float, default=0.55, help="consistency: how much of the change is kept"
    )
    parser.add_argument("--compile", action="store_true", help="base: use torch.compile")
    parser.add_argument("--decoder-only", action="store_true", help="autoencoder: keep the latents")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--machine", default="not noted", help="export: what it was trained on")
    parser.add_argument(
        "--starter",
        type=Path,
        default=Path("assets/starter"),
        help="export, adopt, upscaler: folder",
    )
    options = parser.parse_args(arguments)
    sizes = {"base": (64, 128), "renders": (128, 256), "decoder": (128, 256)}
    if options.size not in sizes.get(options.what, (options.size,)):
        parser.error(
            f"{options.what} takes --size {sizes[options.what][0]} or {sizes[options.what][1]}"
        )
    if options.threads:
        torch.set_num_threads(options.threads)
    COMMANDS[options.what](options)


def _renders(options) -> None:
    kinds = KINDS[options.kinds]
    folder = options.work / RENDERS[options.size]
    for path in make_shards(folder, options.count, kinds, options.size, threads=options.threads):
        print(path, flush=True)


def _autoencoder(options) -> None:
    run = Run(options.work / "autoencoder", options.device)
    shards = _shards(options)
    for line in train_autoencoder.train(run, shards, options.minutes, options.decoder_only):
        _print(line)


def _text(options) -> None:
    folder = options.work / "tokenizer"
    if not folder.exists():
        train_text.make_tokenizer(folder)
    run = Run(options.work / "text", options.device)
    for line in train_text.train(run, _tokenizer(options), options.minutes):
        _print(line)


def _base(options) -> None:
    tokenizer, text_encoder, latents = _trained_parts(options)
    run = Run(options.work / "base", options.device)
    for line in train_unet.train(
        run,
        latents,
        tokenizer,
        text_encoder,
        options.minutes,
        options.batch,
        options.lr,
        options.anneal,
        options.compile,
    ):
        _print(line)


def _decoder(options) -> None:
    large = options.size == 256
    tokenizer, text_encoder, latents = _trained_parts(options, _shards(options, options.size))
    run = Run(options.work / ("decoder-256" if large else "decoder"), options.device)
    paint, train = options.paint, options.minutes
    if paint is None and not (run.folder / "painted.npz").exists():
        paint = train = options.minutes / 2
    if paint:
        unet = train_unet.load_average(Run(options.work / "base")).to(options.device)
        text_encoder = text_encoder.to(options.device)
        count = train_decoder.make_painted(run, latents, unet, tokenizer, text_encoder, paint)
        print(f"{count:,} renders painted again", flush=True)
    if not train:
        return
    for line in train_decoder.train(
        run, latents, train, _larger(options) if large else latents.vae
    ):
        _print(line)


def _larger(options) -> PatchAutoencoder:
    """An autoencoder for 256 pixels around the finished one for 128."""
    finished = PatchAutoencoder()
    Run(options.work / "decoder").load(model=finished)
    return enlarge(finished)


def _trained_parts(options, shards: Shards | None = None):
    """Tokenizer, text encoder and the latents of all renders, which later trainings begin with."""
    shards = shards or _shards(options)
    tokenizer = _tokenizer(options)
    text_encoder = train_text.make_text_encoder(tokenizer)
    Run(options.work / "text").load(model=text_encoder)
    vae = PatchAutoencoder().requires_grad_(False)
    Run(options.work / "autoencoder").load(model=vae)
    size = min(options.size, 128)  # the latents are always those of 128 pixels at most
    latents = train_unet.Latents(shards, vae.to(options.device), size)
    return tokenizer, text_encoder, latents


def _control(options) -> None:
    tokenizer, text_encoder, latents = _trained_parts(options)
    run = Run(options.work / f"{options.what}-{options.condition}", options.device)
    for line in train_control.train(
        run,
        options.what,
        options.condition,
        train_unet.load_average(Run(options.work / "base")),
        latents,
        tokenizer,
        text_encoder,
        options.minutes,
        options.batch,
        options.lr,
        options.anneal,
    ):
        _print(line)


def _consistency(options) -> None:
    if options.condition != "sketch":
        raise SystemExit("Edges are read back from pictures, so it takes --condition sketch.")
    tokenizer, text_encoder, latents = _trained_parts(options)
    finished = PatchAutoencoder()
    Run(options.work / "decoder").load(model=finished)
    run = Run(options.work / "controlnet-sketch", options.device)
    for line in train_consistency.train(
        run,
        train_unet.load_average(Run(options.work / "base")),
        latents,
        finished,
        tokenizer,
        text_encoder,
        options.minutes,
        options.batch,
        options.lr,
        options.anneal,
        options.strength,
        options.share,
    ):
        _print(line)


def _student(options) -> None:
    tokenizer, text_encoder, latents = _trained_parts(options)
    run = Run(options.work / f"student-{options.method}", options.device)
    base = train_unet.load_average(Run(options.work / "base"))
    further = {}
    if options.method == "matching" and (options.work / "student-consistency").exists():
        further["begin"] = Run(options.work / "student-consistency")
    for line in STUDENTS[options.method].train(
        run,
        base,
        latents,
        tokenizer,
        text_encoder,
        options.minutes,
        options.batch,
        options.lr,
        options.anneal,
        **further,
    ):
        _print(line)
    base = train_unet.load_average(Run(options.work / "base"))
    few_steps.save(Run(run.folder), base, run.folder)


def _depth(options) -> None:
    run = Run(options.work / "depth", options.device)
    for line in train_depth.train(run, _shards(options), options.minutes, options.lr):
        _print(line)


def _judge(options) -> None:
    run = Run(options.work / "judge", options.device)
    for line in train_judge.train(run, _shards(options), options.minutes):
        _print(line)


def _segmenter(options) -> None:
    run = Run(options.work / "segmenter", options.device)
    for line in train_segmenter.train(run, _shards(options, 256), options.minutes):
        _print(line)


def _upscaler(options) -> None:
    run = Run(options.work / "upscaler", options.device)
    autoencoder = PatchAutoencoder.from_pretrained(options.starter / "base" / "vae").float()
    for line in train_upscaler.train(run, _shards(options, 256), autoencoder, options.minutes):
        _print(line)


def _export(options) -> None:
    base = options.starter / "base"
    train_text.save(Run(options.work / "text"), _tokenizer(options), base)
    decoder = Run(options.work / "decoder")
    finished = decoder if decoder.samples else Run(options.work / "autoencoder")
    train_autoencoder.save(finished, base / "vae")
    if (large := Run(options.work / "decoder-256")).samples:
        train_autoencoder.save(large, larger_folder(options.starter), _larger(options))
    train_unet.save(Run(options.work / "base"), base)
    if (judge := Run(options.work / "judge")).samples:
        train_judge.save(judge, options.starter / "judge")
    if (segmenter := Run(options.work / "segmenter")).samples:
        train_segmenter.save(segmenter, options.starter / "segmenter")
    if (depth := Run(options.work / "depth")).samples:
        train_depth.save(depth, options.starter / "depth")
    if (upscaler := Run(options.work / "upscaler")).samples:
        train_upscaler.save(upscaler, options.starter / UPSCALER)
    unet = train_unet.load_average(Run(options.work / "base"))
    for name, (method, _) in CONTROLS.items():
        if (control := Run(options.work / name)).samples:
            train_control.save(control, method, unet, options.starter / name)
    if (student := Run(options.work / f"student-{options.method}")).samples:
        few_steps.save(student, unet, options.starter / STUDENT)
    before = options.starter / "training.json"
    known = json.loads(before.read_text()) if before.exists() else {}
    # Trainings that go on elsewhere may have made fewer again than the earlier ones had.
    made = [len(Shards(options.work / folder)) for folder in RENDERS.values()]
    renders = max(*made, known.get("renders", 0))
    facts = {"kinds": FIRST_RELEASE, "first_seed": FIRST_SEED, "renders": renders}
    logs = options.starter / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    further = ("decoder", "decoder-256", "segmenter", "depth", "upscaler", student.folder.name)
    for name in (*RUNS, *further, *CONTROLS):
        run = Run(options.work / name)
        if not run.samples:
            continue
        facts[name] = {"samples": run.samples, "hours": round(run.seconds / 3600, 2)}
        if painted := run.get("painted", 0):
            facts[name]["painted"] = painted
        if run.log_path.exists():
            shutil.copy(run.log_path, logs / f"{name}.jsonl")
    facts["machine"] = options.machine
    for scores, parts in SCORES.items():
        if any(known.get(part) != facts.get(part) for part in parts):
            (options.starter / scores).unlink(missing_ok=True)  # of other weights
    before.write_text(json.dumps(facts, indent=2) + "\n")
    write_card(options.starter)
    print(f"{options.starter}: base model after {facts['base']['samples']:,} samples")


def _topologies(options) -> None:
    for path in write_topologies(options.starter):
        print(path)


def _adopt(options) -> None:
    base = options.starter / "base"
    if any((options.work / name).exists() for name in RUNS):
        raise SystemExit(f"{options.work} holds a training already: choose another --work.")
    shutil.copytree(base / "tokenizer", options.work / "tokenizer")
    text_encoder = train_text.CLIPTextModel.from_pretrained(base / "text_encoder").float()
    unet = train_unet.UNet2DConditionModel.from_pretrained(base / "unet").float()
    parts = {
        "autoencoder": {"model": PatchAutoencoder.from_pretrained(base / "vae").float()},
        "text": {"model": text_encoder},
        "base": {"unet": unet, "ema": unet},
        "judge": {"model": with_all_kinds(load_judge(options.starter / "judge"))},
    }
    if (depth := options.starter / "depth").exists():
        parts["depth"] = {"model": DepthEstimator.from_pretrained(depth).float()}
    if (large := larger_folder(options.starter)).exists():
        parts["decoder-256"] = {"model": PatchAutoencoder.from_pretrained(large).float()}
    if (segmenter := options.starter / "segmenter").exists():
        parts["segmenter"] = {"model": load_segmenter(segmenter)}
    for name, (method, _) in CONTROLS.items():
        if (folder := options.starter / name).exists():
            kind = ControlNetModel if method == "controlnet" else T2IAdapter
            network = kind.from_pretrained(folder).float()
            parts[name] = {"network": network, "ema": network}
    facts = json.loads((options.starter / "training.json").read_text())
    for method in STUDENTS:
        if (name := f"student-{method}") in facts:
            student = few_steps.load(unet, options.starter / STUDENT)
            parts[name] = {"student": student, "ema": student}
    if "decoder" in facts:  # which had the last word on the autoencoder's weights
        parts["decoder"] = parts["autoencoder"]
    for name, modules in parts.items():
        run = Run(options.work / name, options.device)
        done = facts[name]
        run.samples, run.seconds = done["samples"], done["hours"] * 3600
        run.save({"painted": done.get("painted", 0)}, **modules)
        if (log := options.starter / "logs" / f"{name}.jsonl").exists():
            shutil.copy(log, run.log_path)


def _shards(options, size: int = 128) -> Shards:
    """The renders to train on, as pictures of ``size`` pixels."""
    stored = 256 if options.halve else size
    shards = Shards(options.work / RENDERS[stored], size)
    if not len(shards):
        how = "" if stored == 128 else f" with --size {stored}"
        raise SystemExit(f"No renders in {shards.folder}: run the command 'renders'{how} first.")
    return shards


def _tokenizer(options):
    folder = options.work / "tokenizer"
    if not folder.exists():
        raise SystemExit(f"No tokenizer in {folder}: run the command 'text' first.")
    return train_text.CLIPTokenizer.from_pretrained(folder)


def _print(line: dict) -> None:
    print(json.dumps(line), flush=True)


COMMANDS = {
    "renders": _renders,
    "autoencoder": _autoencoder,
    "text": _text,
    "base": _base,
    "decoder": _decoder,
    "judge": _judge,
    "segmenter": _segmenter,
    "depth": _depth,
    "upscaler": _upscaler,
    "controlnet": _control,
    "adapter": _control,
    "consistency": _consistency,
    "student": _student,
    "export": _export,
    "card": lambda options: print(write_card(options.starter)),
    "topologies": _topologies,
    "adopt": _adopt,
}
