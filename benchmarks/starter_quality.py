"""How often the starter's pictures show what was asked, and how well shaped their toys are.

    python -m benchmarks.starter_quality [--count 500] [--guidance 4] [--alike] [--sheet sheet.png]

First the judge on held-out renders: its ceiling. Then pictures painted by the studio's own engine
from held-out prompts (kinds, colours and places that no training scene combined), and beside the
numbers a sheet of 64 pictures from prompts in a person's own words.

Then the shape of each toy, which does not saturate as the judge's reading does: the segmenter cuts
it out, its silhouette is held against 500 poses of the asked kind. "IoU" is with the best of them,
"rough" how much rougher its outline is than that pose's; both again of true renders, the floor.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.devices import pick_device
from pipelines.core.events import Picture
from pipelines.core.paths import ASSETS
from pipelines.diffusion import loading
from pipelines.diffusion.loading import load
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.text_to_image import run
from pipelines.models.catalog import Catalog
from pipelines.toybox.captions import caption
from pipelines.toybox.judge import load_judge
from pipelines.toybox.measure import Share, measuring_scenes, score
from pipelines.toybox.render.renderer import render
from pipelines.toybox.render.silhouettes import Shape, measure, together, worst
from pipelines.toybox.segmenter import load_segmenter
from pipelines.toybox.vocabulary import FIRST_RELEASE

GOALS = {  # in percent
    "object": 97,
    "colour": 98,
    "both objects": 95,
    "both colours": None,
    "left/right": 95,
    "count": 90,
    "their colour": None,
    "place": 98,
}
OWN_WORDS = (
    "a red mug on a wooden floor",
    "a crimson automobile on the lawn",
    "my little green cactus at night",
    "a shiny blue rocket in the snow",
    "a yellow duck on the beach",
    "an orange cat in the garden, sunny day",
    "purple mushroom in the mist",
    "two toys: a pink house and a black tree at sunset",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="pictures a row")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, nargs="+", default=[4.0])
    parser.add_argument("--samplers", nargs="+", default=[None], help="the model's own if left out")
    parser.add_argument("--toys", type=int, nargs="+", default=[1, 2], help="rows: toys a picture")
    parser.add_argument(
        "--alike", action="store_true", help="one row more: two toys that look the same"
    )
    parser.add_argument(
        "--student", type=Path, help="folder of a LoRA that the starter paints with, see train"
    )
    parser.add_argument(
        "--float32", action="store_true", help="on a CPU: plain torch instead of OpenVINO"
    )
    parser.add_argument("--starter", type=Path, default=ASSETS / "starter")
    parser.add_argument(
        "--keep", type=Path, help="keep what is painted in this folder, and paint none of it twice"
    )
    parser.add_argument("--sheet", type=Path, help="write 64 pictures from people's words here")
    options = parser.parse_args()
    if options.float32:
        loading.worth_it = lambda *_: False
    judge = load_judge(options.starter / "judge")
    rows = {
        str(things): measuring_scenes(options.count, things, FIRST_RELEASE)
        for things in options.toys
    }
    if options.alike:
        rows["2 alike"] = measuring_scenes(options.count, 2, FIRST_RELEASE, alike=True)
    renders = {
        toys: np.stack([render(scene).image for scene in scenes]) for toys, scenes in rows.items()
    }
    ceilings = {toys: score(scenes, judge.read(renders[toys])) for toys, scenes in rows.items()}
    folder = options.starter / "segmenter"
    segmenter = load_segmenter(folder) if folder.exists() else None
    floors = {
        toys: measure(segmenter, scenes, renders[toys]) if segmenter else {}
        for toys, scenes in rows.items()
    }
    with tempfile.TemporaryDirectory() as home:
        catalog = Catalog(Path(home))
        student = options.student and str(options.student.resolve())
        cache = ModelCache(
            lambda name, device, notes: load(
                catalog.get(name).model_copy(update={"lora": student}),
                device,
                notes,
                offline=True,
                home=Path(home),
            ),
            device=pick_device(None),
            budget_bytes=4 * 2**30,
        )

        def paint(
            prompts: Sequence[str], guidance: float, sampler: str | None = None
        ) -> np.ndarray:
            images = []
            for seed, prompt in enumerate(prompts):
                name = f"{prompt} {seed} {guidance:g} {options.steps} {sampler or ''}".rstrip()
                kept = options.keep and options.keep / f"{name}.png"
                if kept and kept.exists():
                    images.append(np.asarray(Image.open(kept)))
                    continue
                request = TextToImageRequest(
                    prompt=prompt,
                    model="starter",
                    steps=options.steps,
                    guidance=guidance,
                    sampler=sampler,
                    seed=seed,
                )
                for event in run(request, cache, threading.Event()):
                    if isinstance(event, Picture):
                        images.append(np.asarray(event.image))
                        if kept:
                            kept.parent.mkdir(parents=True, exist_ok=True)
                            event.image.save(kept)
            return np.stack(images)

        for guidance, sampler in itertools.product(options.guidance, options.samplers):
            print(
                f"\n{sampler or 'its own sampler'}, guidance {guidance:g}, {options.steps} steps, "
                f"{options.count} pictures a row{', float32' if options.float32 else ''}"
            )
            print(f"{'toys':<9}{'what':<14}{'renders %':>10}{'painted %':>10}{'goal %':>8}")
            painted = {}
            for toys, scenes in rows.items():
                prompts = [caption(scene, 0, plain=True) for scene in scenes]
                painted[toys] = paint(prompts, guidance, sampler)
                shares = score(scenes, judge.read(painted[toys]))
                _print_rows(toys, ceilings[toys], shares)
            for toys, scenes in rows.items() if segmenter else ():
                shapes = measure(segmenter, scenes, painted[toys])
                _print_shapes(toys, floors[toys], shapes)
        if options.sheet:
            guidance = options.guidance[0]
            pictures = paint([prompt for prompt in OWN_WORDS for _ in range(8)], guidance)
            _sheet(pictures).save(options.sheet)
            print(f"\n{options.sheet}: a row each of " + "; ".join(OWN_WORDS))


def _print_rows(toys: str, ceilings: dict[str, Share], shares: dict[str, Share]) -> None:
    for name, goal in GOALS.items():
        if name in shares:
            print(
                f"{toys:<9}{name:<14}{ceilings[name].percent:>10.1f}"
                f"{shares[name].percent:>10.1f}{goal or '–':>8}",
                flush=True,
            )


def _print_shapes(toys: str, floor: dict[str, Shape], shapes: dict[str, Shape]) -> None:
    print(
        f"\n{'toys':<9}{'shape of':<14}{'number':>8}{'IoU: renders':>14}{'painted':>9}{'gap':>8}",
        end="",
    )
    print(f"{'rough: renders':>16}{'painted':>9}")
    lines = {"all": (together(floor), together(shapes))}
    lines |= {kind: (floor[kind], shapes[kind]) for kind in sorted(shapes)}
    for name, (true, seen) in lines.items():
        print(f"{toys:<9}{name:<14}{len(seen.ious):>8}{true.iou:>14.3f}{seen.iou:>9.3f}", end="")
        print(f"{true.iou - seen.iou:>8.3f}{true.roughness:>16.2f}{seen.roughness:>9.2f}")
    print(f"worst: {', '.join(worst(shapes, floor))}", flush=True)


def _sheet(pictures: np.ndarray, columns: int = 8) -> Image.Image:
    count, height, width, _ = pictures.shape
    rows = pictures.reshape(count // columns, columns, height, width, 3).swapaxes(1, 2)
    return Image.fromarray(rows.reshape(count // columns * height, columns * width, 3))


if __name__ == "__main__":
    main()
