"""Renders on disk: shards of a thousand scenes, made once, read by every training.

A shard is two files: ``00012.npy``, uint8 pictures (1000, H, W, 3), and ``00012.json``, the scenes
with their boxes. Making is resumable and deterministic: scene ``i`` depends on ``i`` alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipelines.toybox.render import render
from pipelines.toybox.scenes import Scene, Thing, training_scene

SHARD = 1000
FIRST_SEED = 1_000_000  # smaller seeds are for measuring


def scene_to_json(scene: Scene) -> dict:
    return asdict(scene)


def scene_from_json(data: dict) -> Scene:
    things = tuple(Thing(**thing) for thing in data["things"])
    return Scene(**{**data, "things": things, "sun": tuple(data["sun"])})


def make_shards(
    folder: Path,
    count: int,
    kinds: Sequence[str],
    size: int = 128,
    max_things: int = 2,
    threads: int | None = None,
) -> Iterator[Path]:
    """Renders until ``folder`` holds ``count`` scenes; yields each shard that is complete.

    Args:
        folder: where the shards lie; made if missing.
        count: scenes, rounded up to whole shards.
        kinds: kinds to draw from.
        size: side of the square pictures in pixels.
        max_things: toys in a scene at most.
        threads: rendering threads; the renderer holds no interpreter lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for shard in range(-(-count // SHARD)):
            path = folder / f"{shard:05d}.npy"
            if not path.exists():
                first = FIRST_SEED + shard * SHARD
                scenes = [training_scene(first + i, kinds, max_things) for i in range(SHARD)]
                renders = list(pool.map(lambda scene: render(scene, size, size), scenes))
                facts = [
                    {"scene": scene_to_json(scene), "boxes": r.boxes.tolist()}
                    for scene, r in zip(scenes, renders, strict=True)
                ]
                path.with_suffix(".json").write_text(json.dumps(facts))
                with open(part := path.with_suffix(".part"), "wb") as file:
                    np.save(file, np.stack([r.image for r in renders]))
                os.replace(part, path)
            yield path


class Shards:
    """The complete shards of a folder as one sequence of pictures and scenes.

    New shards that appear while a training runs are taken up by :meth:`refresh`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: list[np.ndarray] = []  # memory maps (1000, H, W, 3) uint8
        self.scenes: list[Scene] = []
        self.boxes: list[np.ndarray] = []  # (N, 4) float32, pixels
        self.refresh()

    def refresh(self) -> int:
        """Opens shards that are new; returns the number of scenes."""
        for path in sorted(self.folder.glob("*.npy"))[len(self.images) :]:
            self.images.append(np.load(path, mmap_mode="r"))
            for fact in json.loads(path.with_suffix(".json").read_text()):
                self.scenes.append(scene_from_json(fact["scene"]))
                self.boxes.append(np.array(fact["boxes"], np.float32))
        return len(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        return self.images[index // SHARD][index % SHARD]
