"""How well the starter repaints a part of a picture, and which way of keeping the rest is best.

    python -m benchmarks.inpaint [--count 200] [--only clamp overwrite …] [--results file.jsonl]
    python -m benchmarks.inpaint --removed [--count 200]

Held-out scenes are rendered with one toy; the mask is the box around that toy and the one that the
prompt asks for instead, known from the renderer. Of each picture it is measured whether the judge
reads the new toy in the mask, and its colour, whether all pixels outside of the blurred mask are
what they were, and how much of a seam there is: the gradient in a band of two pixels along the
mask's edge, against the same band in a render of what was asked for.

``clamp`` is what Atelier does: x̂0 is kept at the picture outside of the mask. ``overwrite`` puts
the noised picture back after each step, as diffusers does; ``both`` does both, as A1111 and ComfyUI
do. ``untraced`` is ``clamp`` that begins with noise alone at full strength. ``gradual`` lets fewer
steps change what the blur has made grey (Differential Diffusion), ``mixed`` mixes the latents
there. With ``--results`` each picture's figures are kept in a file, and a run goes on where it was
stopped.

Measured with the starter, 25 steps of DPM++ 2M Karras, strength 1, on two shared cores of a CPU:

====================================  ======  ========  ========  ===========  =====
                                      scenes  object %  colour %  untouched %   seam
====================================  ======  ========  ========  ===========  =====
clamp, blur 4, mixed (the default)       200      97.0      98.0          100   1.04
clamp, blur 4, gradual                   200      97.5      98.0          100   1.33
both, blur 4, mixed                      100      96.0     100.0          100   0.88
overwrite, blur 4, mixed                 100      96.0     100.0          100   0.93
clamp, blur 0                            100      98.0     100.0          100   2.76
------------------------------------  ------  --------  --------  -----------  -----
untraced, blur 4, mixed                  200      96.5      98.0          100   1.19
untraced, blur 4, gradual                200      97.0      98.0          100   1.36
both, blur 4, mixed                      100      95.0     100.0          100   1.08
overwrite, blur 4, mixed                  40      92.5     100.0          100   1.13
overwrite, blur 4, gradual                40      92.5     100.0          100   1.38
both, blur 4, gradual                     40      92.5     100.0          100   1.38
clamp, blur 0                             74      95.9     100.0          100   2.82
clamp, blur 2, mixed                      40      92.5     100.0          100   1.59
clamp, blur 8, gradual                    40      92.5     100.0          100   1.22
clamp, blur 8, mixed                      40      87.5     100.0          100   0.97
====================================  ======  ========  ========  ===========  =====

Rows of as many scenes have the same ones, and the first 40 are the hardest: all rows read 92.5 %
of them, but for the one of blur 8. All rows below the line were measured untraced. Rows above it
but the first were measured on one core under load, and with fewer scenes where that took too long.

What decides is how a run begins. With noise alone, what is new comes out greyer than bright
surroundings, as in snow, and its edge shows. With the picture's trace in the first noise, and the
surroundings' colours below the mask, the seam falls from 1.19 to 1.04 and one more toy is read; of
the six that are not, no row reads five, though renders of all are read. Where in the run gradual
edges hand over to mixed ones decides nothing: at 0.3 and 0.5 of it, on 13 of the hardest scenes,
the same toys were read and the seam moved by 0.02.

With gradual edges, clamping and overwriting give nearly the same picture (the gradient along the
edge differs by at most 0.13 of 255): a solver that is told a constant x̂0 follows the picture with
the same noise. So clamping decides: it needs no noise of its own and works with every sampler.
Gradual edges had a seam of 1.36 where mixed ones had 1.19, so mixing is the default; with the
picture's trace they have 1.33 and 1.04. Overwriting, alone or as well, then brings it
below that of renders, and no more toys are read.

With ``--removed`` one of two toys is to go, and the prompt names the other: the PSNR of the hole
against the render without it, and where as few toys are read in the hole as in that render. Of 8
scenes, on one core of an AMD EPYC with AVX-512 under load:

==========================  =========  =========  =========
begin with, at strength           0.3       0.75          1
==========================  =========  =========  =========
the picture                 16.0, 12%  15.5, 38%  15.3, 38%
the surroundings            25.8 100%  15.5, 38%  15.3, 38%
noise                       13.7, 12%  15.4, 38%  15.3, 38%
nothing                     17.6, 38%  15.5, 38%  15.3, 38%
==========================  =========  =========  =========

The picture as it was has 15.8 dB, and the surroundings' colours alone 24.6. The starter paints the
toy of the prompt into a hole that strength leaves it; what is to go goes with the surroundings'
colours and little strength.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.common.machine import processor
from pipelines.core.cache import ModelCache
from pipelines.core.devices import pick_device
from pipelines.core.events import Picture
from pipelines.core.paths import ASSETS
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import denoise as loop
from pipelines.diffusion import text_to_image
from pipelines.diffusion.from_picture.mask import fill_masked
from pipelines.diffusion.from_picture.repainting import open_repainting
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.diffusion.hires import passes
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from pipelines.toybox.captions import caption
from pipelines.toybox.judge import Judge, Verdict, load_judge
from pipelines.toybox.measure import measuring_scenes
from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import Scene
from pipelines.toybox.vocabulary import COLOURS, FIRST_RELEASE

SIDE, MARGIN = 128, 5  # pixels of a picture, and around the toys in a mask
VISIBLE = 8  # of 255: by how much more a toy, or its shadow, changes a pixel
WAYS = ("clamp", "untraced", "overwrite", "both")


@dataclass(frozen=True)
class Row:
    """One way of repainting; ``asked`` are fields of a :class:`FromPicture`."""

    name: str
    way: str
    asked: dict[str, Any]


def rows() -> list[Row]:
    edges = {
        "blur 4, gradual": {"mask_blur": 4, "gradual": True},
        "blur 4, mixed": {"mask_blur": 4, "gradual": False},
        "blur 0": {"mask_blur": 0},
    }
    made = [
        Row(f"{way}, {edge}", way, {"strength": 1.0, **fields})
        for edge, fields in edges.items()
        for way in WAYS
    ]
    for strength in (0.75, 0.9):
        made += [
            Row(f"clamp, blur 4, strength {strength}, {content}", "clamp",
                {"strength": strength, "masked_content": content})
            for content in ("original", "fill", "noise", "nothing")
        ]  # fmt: skip
    made += [
        Row(
            f"clamp, blur {blur}, {edge}",
            "clamp",
            {"strength": 1.0, "mask_blur": blur, "gradual": edge == "gradual"},
        )
        for blur in (2, 8)
        for edge in ("gradual", "mixed")
    ]
    return made


@dataclass(frozen=True)
class Task:
    """A picture, the mask in it and what is to come there.

    Attributes:
        before, truth: (128, 128, 3) uint8, renders of the scene as it is and as it is asked for.
        mask: (128, 128) bool.
    """

    asked: Scene
    before: np.ndarray
    truth: np.ndarray
    mask: np.ndarray


def tasks(count: int) -> list[Task]:
    made = []
    for index, scene in enumerate(measuring_scenes(count, 1, FIRST_RELEASE)):
        toy = scene.things[0]
        kinds = [kind for kind in FIRST_RELEASE if kind != toy.kind]
        colours = [colour for colour in COLOURS if colour != toy.colour]
        other = replace(toy, kind=kinds[7 * index % len(kinds)],
                        colour=colours[5 * index % len(colours)])  # fmt: skip
        asked = replace(scene, things=(other,))
        old, new = render(scene), render(asked)
        y, x = np.nonzero((old.mask > 0) | (new.mask > 0))
        mask = np.zeros((SIDE, SIDE), bool)
        mask[max(0, y.min() - MARGIN) : y.max() + MARGIN + 1,
             max(0, x.min() - MARGIN) : x.max() + MARGIN + 1] = True  # fmt: skip
        made.append(Task(asked, old.image, new.image, mask))
    return made


def removals(count: int) -> list[Task]:
    """Of two toys one is to go: the mask is the box around all that its going changes."""
    made = []
    for scene in measuring_scenes(count, 2, FIRST_RELEASE):
        asked = replace(scene, things=scene.things[:1], relation=None)
        old, new = render(scene).image, render(asked).image
        y, x = np.nonzero(np.abs(old.astype(int) - new).max(axis=-1) > VISIBLE)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[max(0, y.min() - MARGIN) : y.max() + MARGIN + 1,
             max(0, x.min() - MARGIN) : x.max() + MARGIN + 1] = True  # fmt: skip
        made.append(Task(asked, old, new, mask))
    return made


def refill(painter: Painter, count: int, known: dict, results: Path | None) -> None:
    """PSNR of the hole against the render without the toy, of each fill before and after."""
    work = removals(count)
    print(f"\n{'A toy is taken away':<42}{'PSNR, dB':>9}{'gone %':>9}")
    for content in ("original", "fill", "noise", "nothing"):
        for strength in (0.3, 0.75, 1.0):
            fields = {"strength": strength, "mask_blur": 4, "masked_content": content}
            row = Row(f"removed, {content}, strength {strength}", "clamp", fields)
            found = []
            for seed, task in enumerate(work):
                key = f"{row.name} {painter.steps} {seed}"
                if key not in known:
                    _, made = painter.measure(row, task, seed)
                    there, wanted = painter.judge.read(np.stack([made, task.truth]))
                    gone = len(_inside(there, task)) <= len(_inside(wanted, task))
                    known[key] = {"psnr": psnr(made, task), "gone": gone}
                    append(results, key, known[key])
                found.append(known[key])
            psnrs, gone = ([each[name] for each in found] for name in ("psnr", "gone"))
            print(f"{row.name:<42}{np.mean(psnrs):>9.1f}{100 * np.mean(gone):>9.1f}", flush=True)
    before = np.mean([psnr(task.before, task) for task in work])
    fill = np.mean([psnr(np.asarray(fill_masked(Image.fromarray(task.before),
                                                task.mask.astype(np.uint8) * 255)), task)
                    for task in work])  # fmt: skip
    print(f"{'the picture as it was':<42}{before:>9.1f}\n{'the fill alone':<42}{fill:>9.1f}")


def psnr(made: np.ndarray, task: Task) -> float:
    """Of the hole against the render of what is asked for, in dB."""
    error = (made.astype(float) - task.truth)[task.mask]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


@contextmanager
def keep_outside(way: str) -> Iterator[None]:
    """Within, the loop keeps what is outside of a mask in one of three ways."""
    if way == "clamp":
        yield
        return
    if way == "untraced":
        with patch.object(text_to_image, "latents_below", lambda *values: None):
            yield
        return
    real = loop.denoise

    def denoise(predict, scheduler, noise, arguments, beginning=None):
        overwrite(scheduler, noise, beginning)
        return real(predict, scheduler, noise, arguments, beginning)

    with patch.object(passes, "denoise", denoise):
        if way == "both":
            yield
        else:
            with patch.object(loop, "keep_picture", lambda *values: values[4]):  # as predicted
                yield


def overwrite(scheduler: Any, noise: torch.Tensor, beginning: loop.Beginning) -> None:
    """Lets each step of ``scheduler`` end with the noised picture outside of the mask."""
    timesteps = loop.timesteps_from(scheduler, beginning.start)
    step, picture = scheduler.step, beginning.latents.expand_as(noise)
    done = iter(range(1, len(timesteps) + 1))

    def step_and_keep(*values: Any, **options: Any) -> tuple[torch.Tensor]:
        latents = step(*values, **options)[0]
        at = next(done)
        if at < len(timesteps):
            kept = scheduler.add_noise(picture, noise, timesteps[at : at + 1].expand(len(noise)))
            change = loop.change_at(beginning, timesteps[at], timesteps)
            latents = torch.lerp(kept, latents, change)
        return (latents,)

    scheduler.step = step_and_keep


def figures(task: Task, repainted: np.ndarray, kept: np.ndarray, verdict: Verdict) -> dict:
    """What is measured of one picture; ``kept``: (128, 128) bool, the pixels that must stay."""
    thing = task.asked.things[0]
    seen = max(_inside(verdict, task), key=lambda toy: toy.score, default=None)
    band = along(task.mask)  # none where all is masked: such a picture has no seam
    return {
        "object": bool(seen and seen.kind == thing.kind),
        "colour": bool(seen and seen.colour == thing.colour),
        "untouched": bool(np.array_equal(repainted[kept], task.before[kept])),
        "energy": float(gradient(repainted)[band].mean()),
        "true energy": float(gradient(task.truth)[band].mean()),
    }


def _inside(verdict: Verdict, task: Task) -> list[Any]:
    """The toys that the judge sees below the mask."""
    return [toy for toy in verdict.toys if task.mask[_middle(toy.box)]]


def _middle(box: tuple[float, float, float, float]) -> tuple[int, int]:
    left, top, right, bottom = (min(max(side, 0), SIDE - 1) for side in box)
    return int((top + bottom) / 2), int((left + right) / 2)


def along(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: one pixel on each side of the mask's edge, but for the picture's own edges."""
    band = np.zeros_like(mask)
    for axis in (0, 1):
        edge = np.diff(mask.astype(np.int8), axis=axis) != 0
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        band[tuple(first)] |= edge
        band[tuple(second)] |= edge
    return band


def gradient(picture: np.ndarray) -> np.ndarray:
    """(H, W): the length of the brightness's gradient."""
    down, across = np.gradient(picture.astype(np.float32).mean(axis=-1))
    return np.hypot(down, across)


class Painter:
    """Repaints by the studio's own engine."""

    def __init__(self, home: Path, steps: int, judge: Judge) -> None:
        self.home, self.steps, self.judge = home, steps, judge
        loader = Loader(Catalog(home), home, offline=True, budget_bytes=8 * 2**30)
        self.cache = ModelCache(loader.load, pick_device(None), budget_bytes=8 * 2**30)

    def measure(self, row: Row, task: Task, seed: int) -> tuple[dict, np.ndarray]:
        """The figures of one picture, and the picture."""
        white = Image.fromarray(np.where(task.mask, 255, 0).astype(np.uint8)).convert("RGB")
        asked = FromPicture(
            picture=keep_input(self.home, "local", Image.fromarray(task.before)),
            mask=keep_input(self.home, "local", white),
            **row.asked,
        )
        request = TextToImageRequest(
            prompt=caption(task.asked, 0, plain=True), model="starter", steps=self.steps, seed=seed,
            width=SIDE, height=SIDE, from_picture=asked,
        )  # fmt: skip
        with keep_outside(row.way):
            events = text_to_image.run(request, self.cache, threading.Event())
            (made,) = [np.asarray(e.image) for e in events if isinstance(e, Picture)]
        kept = open_repainting(asked, (SIDE, SIDE), self.home).mask == 0
        (verdict,) = self.judge.read(made[None])
        return figures(task, made, kept, verdict), made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="scenes a row")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the rows' names")
    parser.add_argument("--results", type=Path, help="where each picture's figures are kept")
    parser.add_argument("--sheet", type=Path, help="write some pictures of each row as a PNG")
    parser.add_argument("--removed", action="store_true", help="take a toy away, and nothing else")
    options = parser.parse_args()
    known = read(options.results)
    if options.removed:
        with tempfile.TemporaryDirectory() as folder:
            judge = load_judge(ASSETS / "starter" / "judge")
            painter = Painter(Path(folder), options.steps, judge)
            refill(painter, options.count, known, options.results)
        return
    chosen = [row for row in rows() if any(part in row.name for part in options.only)]
    work = tasks(options.count)
    sheets = []
    print(f"{options.count} scenes, {options.steps} steps, {processor()}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    print(f"{'':<42}{'object %':>9}{'colour %':>9}{'untouched %':>12}{'seam':>7}")
    _print("a render of what is asked for", [_of_renders(work)])
    with tempfile.TemporaryDirectory() as folder:
        painter = Painter(Path(folder), options.steps, load_judge(ASSETS / "starter" / "judge"))
        for row in chosen:
            found, shown = [], []
            for seed, task in enumerate(work):
                key = f"{row.name} {options.steps} {seed}"
                if key not in known or (options.sheet and seed < 8):
                    known[key], made = painter.measure(row, task, seed)
                    shown.append(made)
                    append(options.results, key, known[key])
                found.append(known[key])
            _print(row.name, found)
            if options.sheet:
                sheets.append(np.concatenate(shown[:8], axis=1))
    if options.sheet:
        before = np.concatenate([task.before for task in work[:8]], axis=1)
        Image.fromarray(np.concatenate([before, *sheets])).save(options.sheet)


def _of_renders(work: list[Task]) -> dict:
    judge = load_judge(ASSETS / "starter" / "judge")
    verdicts = judge.read(np.stack([task.truth for task in work]))
    nothing = np.zeros((SIDE, SIDE), bool)
    found = [figures(t, t.truth, nothing, v) for t, v in zip(work, verdicts, strict=True)]
    return {name: np.mean([each[name] for each in found]) for name in found[0]}


def _print(name: str, found: list[dict]) -> None:
    def mean(key: str) -> float:
        return float(np.nanmean([each[key] for each in found]))

    print(f"{name:<42}{100 * mean('object'):>9.1f}{100 * mean('colour'):>9.1f}"
          f"{100 * mean('untouched'):>12.1f}{mean('energy') / mean('true energy'):>7.2f}",
          flush=True)  # fmt: skip


def read(path: Path | None) -> dict[str, dict]:
    """What a run before has measured."""
    if path is None or not path.exists():
        return {}
    return dict(json.loads(line) for line in path.read_text().splitlines())


def append(path: Path | None, key: str, found: dict) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps([key, found]) + "\n")


if __name__ == "__main__":
    main()
