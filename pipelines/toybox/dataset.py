"""Renders on disk: shards of a thousand scenes, made once, read by every training.

A shard is three files: ``00012.npy``, uint8 pictures (1000, H, W, 3), ``00012.depth``, uint8 depth
maps (1000, H, W) in NumPy's format too, and ``00012.json``, the scenes with their boxes. Making is
resumable and deterministic: scene ``i`` depends on ``i`` alone.
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
            if not path.exists() or not path.with_suffix(".depth").exists():
                first = FIRST_SEED + shard * SHARD
                scenes = [training_scene(first + i, kinds, max_things) for i in range(SHARD)]
                renders = list(pool.map(lambda scene: render(scene, size, size), scenes))
                facts = [
                    {"scene": scene_to_json(scene), "boxes": r.boxes.tolist()}
                    for scene, r in zip(scenes, renders, strict=True)
                ]
                path.with_suffix(".json").write_text(json.dumps(facts))
                _save(path.with_suffix(".depth"), [inverse_depth(r.depth) for r in renders])
                _save(path, [r.image for r in renders])  # last: a shard is there when it is whole
            yield path


def _save(path: Path, arrays: Sequence[np.ndarray]) -> None:
    with open(part := path.with_suffix(".part"), "wb") as file:
        np.save(file, np.stack(arrays))
    os.replace(part, path)


def inverse_depth(depth: np.ndarray) -> np.ndarray:
    """A depth map as MiDaS-style estimators give them: near is bright, and only order is known.

    Args:
        depth: (H, W) distances, infinite in the sky.

    Returns:
        (H, W) uint8: 1/distance, from 0 at the farthest to 255 at the nearest.
    """
    inverse = 1 / depth
    low, high = float(inverse.min()), float(inverse.max())
    return np.round((inverse - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


class Shards:
    """The complete shards of a folder as one sequence of pictures and scenes.

    New shards that appear while a training runs are taken up by :meth:`refresh`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: list[np.ndarray] = []  # memory maps (1000, H, W, 3) uint8
        self.depths: list[np.ndarray | None] = []  # memory maps (1000, H, W) uint8
        self.scenes: list[Scene] = []
        self.boxes: list[np.ndarray] = []  # (N, 4) float32, pixels
        self.refresh()

    def refresh(self) -> int:
        """Opens shards that are new; returns the number of scenes."""
        for path in sorted(self.folder.glob("*.npy"))[len(self.images) :]:
            self.images.append(np.load(path, mmap_mode="r"))
            depth = path.with_suffix(".depth")
            self.depths.append(np.load(depth, mmap_mode="r") if depth.exists() else None)
            for fact in json.loads(path.with_suffix(".json").read_text()):
                self.scenes.append(scene_from_json(fact["scene"]))
                self.boxes.append(np.array(fact["boxes"], np.float32))
        return len(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        return self.images[index // SHARD][index % SHARD]

    def depth(self, index: int) -> np.ndarray:
        """(H, W) uint8, near is bright; see :func:`inverse_depth`."""
        depths = self.depths[index // SHARD]
        if depths is None:
            raise FileNotFoundError(
                f"No depth maps in {self.folder}: run the command 'renders' to make them."
            )
        return depths[index % SHARD]
