"""The starter's model card, made from what the trainings wrote down and what was measured."""

from __future__ import annotations

import json
from pathlib import Path

SCORES = {
    "scores.txt": ("autoencoder", "decoder", "text", "base", "judge", "segmenter"),
    "control_scores.txt": ("autoencoder", "decoder", "text", "base", "judge", "depth",
                           "controlnet-sketch", "controlnet-depth",
                           "adapter-sketch", "adapter-depth"),
}  # fmt: skip
"""File with what a benchmark printed → the trainings whose weights it speaks of."""

ENOUGH = 1_000_000  # samples that the recipe asks for

_TITLE = """\
# The Atelier starter model

A small Stable Diffusion 1.x pipeline that ships with Atelier, so that the studio paints offline and
without a GPU. It knows one small world, the Toybox (`pipelines/toybox/`): {kinds} kinds of toy in
12 colours and 4 finishes at 9 places, one or two at a time, at 128×128{larger}.
"""

_EARLY = """
**An early release.** The base has seen {samples} training samples; the recipe asks for about a
million. The scores below say what it can do and what it cannot yet.
"""

_HOW = """
Machine: {machine}.

v-prediction, linear betas 0.0001 … 0.02, EMA 0.9995, captions dropped at 10 %;
first at 64×64, then at 128×128. AdamW for the first 125,000 samples of the base, Muon since. The
text encoder first learned to read captions by itself and then stayed as it was.{last}

Data: {renders} renders from seed {first_seed} on, and their mirror images. The held-out kinds
(`HELD_OUT` in `pipelines/toybox/vocabulary.py`) are in none of them, nor is one combination in 16
of kind, colour and place, from which the measuring prompts are drawn. `training.json` has these
facts for programs, `logs/` the loss curves.
"""

_DECODER = """ Last the
autoencoder's decoder learned, with a critic of patches, from {samples:,} crops of renders whose
latents the base had painted again ({hours} h): sharp outlines, no borders of patches."""

_LARGER = """ The
decoder for 256×256, `../{folder}`, is that one with layers after it that learned likewise from
{samples:,} crops ({hours} h); the latents are the same."""

_CONSISTENCY = """ The sketch
ControlNet learned at the end from {painted:,} states of its own paintings, whose words mostly
contradicted the drawing, to show the drawn lines (`pipelines/toybox/train/consistency.py`)."""

_ON = """
## Training it on

```
python -m pipelines.toybox.train adopt
python -m pipelines.toybox.train renders --count 24000
python -m pipelines.toybox.train base --size 128 --minutes 300
python -m pipelines.toybox.train export
```

`adopt` begins with these weights, so no hour is lost; on CUDA use `--batch 512` or more. Then raise
the kinds to all of `TRAINED` (`--kinds all`; of those the text encoder has yet to read the newest:
`text`), and measure again.

Licence: Apache-2.0.
"""

_PARTS = {  # name in training.json → folder, class, what it was trained on
    "autoencoder": ("base/vae", "`PatchAutoencoder`, 12 channels, factor 8", "crops"),
    "text": ("base/text_encoder", "`CLIPTextModel`, 192 wide, 4 layers", "captions"),
    "base": ("base/unet", "`UNet2DConditionModel` (80, 160, 240)", "latents"),
    "decoder-256": ("../{starter}-256", "`PatchAutoencoder`, factor 16", "crops"),
    "judge": ("judge", "the reader that measures", "renders"),
    "segmenter": ("segmenter", "cuts toys out to measure their shape", "renders of 256 pixels"),
    "depth": ("depth", "`DepthEstimator`, near is bright", "renders"),
    "upscaler": ("upscalers", "`SRVGGNetCompact`, pictures ×2", "crops of renders"),
    "student-consistency": ("turbo", "LoRA for four steps (LCM)", "noised latents"),
    "student-matching": ("turbo", "LoRA for four steps (DMD2)", "its own latents"),
    "controlnet-sketch": ("controlnet-sketch", "`ControlNetModel`", "drawings"),
    "controlnet-depth": ("controlnet-depth", "`ControlNetModel`", "depth maps"),
    "adapter-sketch": ("adapter-sketch", "`T2IAdapter`", "drawings"),
    "adapter-depth": ("adapter-depth", "`T2IAdapter`", "depth maps"),
}


def write_card(starter: Path) -> Path:
    """Writes ``README.md`` beside the weights.

    It tells the facts of ``training.json`` and shows what the benchmarks printed of these very
    weights (:data:`SCORES`); without ``scores.txt`` it says that they have not been measured.
    """
    facts = json.loads((starter / "training.json").read_text())
    samples = facts["base"]["samples"]
    large = facts.get("decoder-256")
    larger = ",\nor at 256×256 by the decoder beside it" if large else ""
    text = _TITLE.format(kinds=len(facts["kinds"]), larger=larger)
    if samples < ENOUGH:
        text += _EARLY.format(samples=f"{samples:,}")
    text += "\n| part | class | parameters | trained on |\n|---|---|---|---|\n"
    for name, (folder, kind, unit) in _PARTS.items():
        if name in facts:
            seen, hours = facts[name]["samples"], facts[name]["hours"]
            folder = folder.format(starter=starter.name)
            million = parameters(starter / folder) / 1e6
            text += f"| `{folder}` | {kind} | {million:.1f} M | {seen:,} {unit}, {hours} h |\n"
    sketch = facts.get("controlnet-sketch", {})
    last = _DECODER.format(**facts["decoder"]) if "decoder" in facts else ""
    last += _LARGER.format(folder=larger_folder(starter).name, **large) if large else ""
    last += _CONSISTENCY.format(**sketch) if "painted" in sketch else ""
    text += _HOW.format(
        machine=facts.get("machine", "not noted"),
        last=last,
        renders=f"{facts['renders']:,}",
        first_seed=f"{facts['first_seed']:,}",
    )
    text += "\n## What it scores\n\n"
    measured = [starter / name for name in SCORES if (starter / name).exists()]
    if measured and measured[0].name == next(iter(SCORES)):
        text += "*Renders* are the judge on true renders, the ceiling. As the benchmarks printed "
        text += "it:\n"
    else:
        text += "These weights have not been measured yet.\n"
    for path in measured:
        text += f"\n```\n{path.read_text().strip()}\n```\n"
    (path := starter / "README.md").write_text(text + _ON)
    return path


def larger_folder(starter: Path) -> Path:
    """Where the decoder for 256 pixels lies, beside the starter's folder."""
    return starter.with_name(f"{starter.name}-256")


def parameters(folder: Path) -> int:
    """Numbers in a folder's safetensors, read from their headers."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dictionary
                size = 1
                for side in file.get_slice(name).get_shape():
                    size *= side
                count += size
    return count
