"""How closely the starter's pictures follow sketches and depth maps.

    python -m benchmarks.control_quality [--count 200] [--only controlnet-depth …] [--sheet folder]

Held-out scenes are rendered; their edges (Canny) and depths are the maps. Each is painted with the
prompt of its scene and with one that contradicts it in colour and place. What is read back from
the picture is compared with the map: edges by F1 at 2 pixels, depth by correlation. Renders read
back the same way are the ceiling, the base without control the floor. For prompts that contradict,
renders are the same scene in the other colour at the other place: wooden boards have edges that
snow has not, and a picture that draws them into the snow can agree better than the render. So edges
are also compared on and beside the toy alone, where a sketch and a prompt that contradicts it still
agree.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.devices import pick_device
from pipelines.core.events import Picture
from pipelines.core.paths import ASSETS
from pipelines.core.pictures.inputs import keep_input
from pipelines.diffusion import text_to_image
from pipelines.diffusion.control import paint
from pipelines.diffusion.control.requests import ControlRequest, ControlUnit
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.loading import Loader
from pipelines.models.catalog import Catalog
from pipelines.toybox.captions import caption
from pipelines.toybox.depth import DepthEstimator
from pipelines.toybox.judge import load_judge
from pipelines.toybox.measure import correlation, edge_f1, measuring_scenes, score
from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import Scene
from pipelines.toybox.train.depth import errors
from pipelines.toybox.train.render_shards import inverse_depth
from pipelines.toybox.vocabulary import COLOURS, FIRST_RELEASE, PLACES

STARTER = ASSETS / "starter"
GOALS = {
    "controlnet-sketch": 0.75,
    "controlnet-depth": 0.88,
    "adapter-sketch": 0.65,
    "adapter-depth": 0.78,
}
WEIGHTS = (0.0, 0.5, 1.0, 1.5)
LOW, HIGH = 100, 200  # Canny's thresholds
BESIDE = 4  # pixels around a toy that still count as being beside it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="scenes a row")
    parser.add_argument("--only", nargs="+", choices=sorted(GOALS), default=sorted(GOALS))
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--sheet", type=Path, help="write a sheet a model into this folder")
    options = parser.parse_args()
    scenes = measuring_scenes(options.count, 1, FIRST_RELEASE)
    renders = [render(scene) for scene in scenes]
    estimator = DepthEstimator.from_pretrained(STARTER / "depth", dtype=torch.float32).eval()
    error, share = errors(estimator, renders)
    print(f"depth estimator on {len(renders)} held-out renders: "
          f"scale-invariant error {error:.3f}, δ < 1.25 {share:.1%}")  # fmt: skip
    reader = Reader(estimator)
    with tempfile.TemporaryDirectory() as folder:
        painter = Painter(Path(folder), options.steps)
        for name in options.only:
            _measure(name, scenes, renders, reader, painter, options)


class Reader:
    """Reads maps back from pictures (H, W, 3) uint8."""

    def __init__(self, estimator: DepthEstimator) -> None:
        self.estimator = estimator
        self.judge = load_judge(STARTER / "judge")

    def agreement(
        self, name: str, picture: np.ndarray, wanted: np.ndarray, beside: np.ndarray
    ) -> tuple[float, float]:
        """Of the whole picture, and of edges where ``beside`` is set (of depths the same twice)."""
        if name.endswith("sketch"):
            edges = cv2.Canny(picture, LOW, HIGH)
            return edge_f1(edges, wanted), edge_f1(edges * beside, wanted * beside)
        x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            found = correlation(self.estimator(x)[0, 0].numpy(), wanted)
        return found, found


class Painter:
    """Paints by the studio's own engines."""

    def __init__(self, home: Path, steps: int) -> None:
        self.home, self.steps = home, steps
        self._plain: dict[tuple[str, ...], np.ndarray] = {}
        loader = Loader(Catalog(home), home, offline=True, budget_bytes=8 * 2**30)
        self.cache = ModelCache(loader.load, pick_device(None), budget_bytes=8 * 2**30)

    def base(self, prompts: Sequence[str]) -> np.ndarray:
        """Without control; the same for all control models, and so painted once."""
        known = self._plain.get(key := tuple(prompts))
        if known is None:
            known = self._plain[key] = self.paint(prompts, [None] * len(prompts), "", 0)
        return known

    def paint(
        self, prompts: Sequence[str], maps: Sequence[np.ndarray | None], name: str, weight: float
    ) -> np.ndarray:
        """A picture for each prompt, steered by its map; without control for an empty name."""
        pictures = []
        for seed, (prompt, each) in enumerate(zip(prompts, maps, strict=True)):
            plain = TextToImageRequest(prompt=prompt, model="starter", steps=self.steps, seed=seed)
            if not name:
                events = text_to_image.run(plain, self.cache, threading.Event())
            else:
                picture = keep_input(self.home, "local", Image.fromarray(each).convert("RGB"))
                unit = ControlUnit(picture=picture, model=f"starter-{name}", weight=weight)
                request = ControlRequest(**plain.model_dump(), units=(unit,))
                events = paint.run(request, self.cache, threading.Event())
            pictures += [np.asarray(e.image) for e in events if isinstance(e, Picture)]
        return np.stack(pictures)


def _measure(name, scenes, renders, reader: Reader, painter: Painter, options) -> None:
    if name.endswith("sketch"):
        maps = [cv2.Canny(each.image, LOW, HIGH) for each in renders]
    else:
        maps = [inverse_depth(each.depth) for each in renders]
    toys = [_beside(each.mask) for each in renders]
    contrary = [_contradict(scene, index) for index, scene in enumerate(scenes)]
    what, short = ("edge F1", "toy's") if name.endswith("sketch") else ("depth correlation", "")
    print(f"\n{name}, {what}, goal {GOALS[name]} at weight 1, {len(scenes)} scenes a row")
    print(
        f"{'':<27}{'weight':>7}{what:>19}{short:>7}{'object %':>10}{'colour %':>10}{'place %':>9}"
    )
    images = np.stack([each.image for each in renders])
    ceiling = {"prompt that matches": images}
    ceiling["that contradicts"] = np.stack([render(scene).image for scene in contrary])
    sheets = []
    for title, asked in (("prompt that matches", scenes), ("that contradicts", contrary)):
        prompts = [caption(scene, 0, plain=True) for scene in asked]
        _row(f"{title}: render", None, name, ceiling[title], asked, maps, toys, reader)
        plain = painter.base(prompts)
        _row(f"{title}: base", None, name, plain, asked, maps, toys, reader)
        for weight in options.weights:
            pictures = painter.paint(prompts, maps, name, weight)
            if weight == 0:
                same = "equals the base exactly" if np.array_equal(pictures, plain) else "DIFFERS"
                print(f"{title:<27}{weight:>7g}  {same}")
                continue
            _row(title, weight, name, pictures, asked, maps, toys, reader)
            if weight == 1:
                sheets.append(pictures)
    if options.sheet:
        options.sheet.mkdir(parents=True, exist_ok=True)
        shown = [np.repeat(np.stack(maps)[..., None], 3, 3), images, *sheets]
        rows = [np.concatenate(list(each[:12]), axis=1) for each in shown]
        Image.fromarray(np.concatenate(rows)).save(options.sheet / f"{name}.png")


def _beside(mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8: 1 on the toys and beside them."""
    side = 2 * BESIDE + 1
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.dilate((mask > 0).astype(np.uint8), brush)


def _row(title, weight, name, pictures, asked, maps, toys, reader: Reader) -> None:
    rows = zip(pictures, maps, toys, strict=True)
    agreement, beside = np.mean([reader.agreement(name, *row) for row in rows], axis=0)
    shares = score(asked, reader.judge.read(pictures))
    percents = (shares[key].percent for key in ("object", "colour", "place"))
    shown = "".join(
        f"{value:>{width}.1f}" for value, width in zip(percents, (10, 10, 9), strict=True)
    )
    at = "" if weight is None else f"{weight:g}"
    toy_s = f"{beside:>7.3f}" if name.endswith("sketch") else f"{'':>7}"
    print(f"{title:<27}{at:>7}{agreement:>19.3f}{toy_s}{shown}", flush=True)


def _contradict(scene: Scene, index: int) -> Scene:
    """The same toy in another colour and at another place."""

    def other(names: Sequence[str], own: str) -> str:
        left = [each for each in names if each != own]
        return left[index % len(left)]

    things = tuple(replace(t, colour=other(list(COLOURS), t.colour)) for t in scene.things)
    return replace(scene, things=things, place=other(list(PLACES), scene.place))


if __name__ == "__main__":
    main()
