"""Renders on disk: shards of some hundred scenes, made once, read by every training.

A shard is four files: ``00012.npy``, uint8 pictures (N, H, W, 3), ``00012.depth``, uint8 depth maps
(N, H, W), and ``00012.mask``, uint8 masks (N, H, W), in NumPy's format too, and ``00012.json``, the
scenes with their boxes. Making is resumable and deterministic: scene ``i`` depends on ``i`` alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from pipelines.toybox.render.renderer import render
from pipelines.toybox.scenes import Scene, Thing, training_scene

SHARD = 1000
"""Scenes a shard at 128×128 pixels; at other sizes as many as make files of the same length."""

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
    threads: int | None = None,
) -> Iterator[Path]:
    """Renders until ``folder`` holds ``count`` scenes; yields each shard that is complete.

    Args:
        folder: where the shards lie; made if missing.
        count: scenes, rounded up to whole shards.
        kinds: kinds to draw from.
        size: side of the square pictures in pixels.
        threads: rendering threads; the renderer holds no interpreter lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    length = scenes_a_shard(size)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for shard in range(-(-count // length)):
            path = folder / f"{shard:05d}.npy"
            if not all(path.with_suffix(ending).exists() for ending in (".npy", ".depth", ".mask")):
                first = FIRST_SEED + shard * length
                scenes = [training_scene(first + i, kinds) for i in range(length)]
                renders = list(pool.map(lambda scene: render(scene, size, size), scenes))
                facts = [
                    {"scene": scene_to_json(scene), "boxes": r.boxes.tolist()}
                    for scene, r in zip(scenes, renders, strict=True)
                ]
                path.with_suffix(".json").write_text(json.dumps(facts))
                _save(path.with_suffix(".depth"), [inverse_depth(r.depth) for r in renders])
                _save(path.with_suffix(".mask"), [r.mask for r in renders])
                _save(path, [r.image for r in renders])  # last: a shard is there when it is whole
            yield path


def scenes_a_shard(size: int) -> int:
    """How many square renders of ``size`` pixels a shard holds."""
    return max(1, SHARD * 128**2 // size**2)


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

    Args:
        folder: where they lie.
        size: side of the pictures, depth maps and boxes that are asked for, in pixels; renders that
            are larger are brought to it, each pixel the mean of those in its place. Left out, they
            are as they are stored. Masks always are.
    """

    def __init__(self, folder: Path, size: int | None = None) -> None:
        self.folder, self.size = folder, size
        self.images: list[np.ndarray] = []  # memory maps (N, H, W, 3) uint8, N the same in all
        self._maps: dict[str, list[np.ndarray | None]] = {".depth": [], ".mask": []}  # (N, H, W)
        self.scenes: list[Scene] = []
        self.boxes: list[np.ndarray] = []  # (N, 4) float32, pixels
        self.refresh()

    def refresh(self) -> int:
        """Opens shards that are new; returns the number of scenes."""
        for path in sorted(self.folder.glob("*.npy"))[len(self.images) :]:
            self.images.append(np.load(path, mmap_mode="r"))
            scale = self.size / self.images[-1].shape[1] if self.size else 1.0
            for ending, maps in self._maps.items():
                file = path.with_suffix(ending)
                maps.append(np.load(file, mmap_mode="r") if file.exists() else None)
            for fact in json.loads(path.with_suffix(".json").read_text()):
                self.scenes.append(scene_from_json(fact["scene"]))
                self.boxes.append(scale * np.array(fact["boxes"], np.float32))
        return len(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        length = len(self.images[0])
        return self._resize(self.images[index // length][index % length])

    def depth(self, index: int) -> np.ndarray:
        """(H, W) uint8, near is bright; see :func:`inverse_depth`."""
        return self._resize(self._map(".depth", index))

    def mask(self, index: int) -> np.ndarray:
        """(H, W) uint8, 0 for the background, i + 1 for the scene's i-th toy."""
        return self._map(".mask", index)

    def _resize(self, picture: np.ndarray) -> np.ndarray:
        if self.size is None or len(picture) == self.size:
            return picture
        return cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def _map(self, ending: str, index: int) -> np.ndarray:
        length = len(self.images[0])
        maps = self._maps[ending][index // length]
        if maps is None:
            raise FileNotFoundError(
                f"No {ending[1:]} maps in {self.folder}: run the command 'renders' to make them."
            )
        return maps[index % length]
