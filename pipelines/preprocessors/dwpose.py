"""DWPose: a detector of people (YOLOX) and an estimator of 133 points of each (RTMPose).

Both come as ONNX and run in OpenVINO, on the CPU. What goes in and out follows
https://github.com/IDEA-Research/DWPose (Yang et al. 2023).
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pipelines.core.errors import Unavailable
from pipelines.preprocessors import parameters as ask
from pipelines.preprocessors.skeletons import draw_body, draw_face, draw_hand
from pipelines.preprocessors.working_size import as_map, read_at

DRAWN_AT = 512  # pixels of the shorter side: the drawn lines are as thick as this asks for
PERSON_SCORE, OVERLAP = 0.3, 0.45
POINT_SCORE = 0.3
GREY = 114  # around pictures that are not square
MEAN, DEVIATION = np.float32((123.675, 116.28, 103.53)), np.float32((58.395, 57.12, 57.375))
AROUND = 1.25  # of a person's box is looked at

# Of the network's points (COCO-WholeBody, the neck put in as 17) those of OpenPose's 18, in order.
OPENPOSE = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
FACE, HANDS = slice(24, 92), (slice(92, 113), slice(113, 134))


class PoseNetworks:
    """Both networks, compiled; what the model cache keeps."""

    device = "cpu"

    def __init__(self, people: Path, points: Path) -> None:
        from pipelines.core.quiet_openvino import computes_here
        from pipelines.core.quiet_openvino import openvino as ov

        if not computes_here():
            raise Unavailable(
                "DWPose needs OpenVINO, which does not compute on this processor. "
                "Take another preprocessor of poses."
            )
        core = ov.Core()
        self.nbytes = sum(path.stat().st_size for path in (people, points))
        self.people: Any = core.compile_model(core.read_model(people), "CPU")
        self.points: Any = core.compile_model(core.read_model(points), "CPU")

    def to(self, device: str) -> None:
        """Nothing: they stay on the CPU."""

    def close(self) -> None:
        """Let go of both."""
        self.people = self.points = None
        gc.collect()


def load(name: str, folder: Path, files: tuple[str, ...], device: str) -> PoseNetworks:
    """The two networks in ``folder``: of ``files`` the first finds people, the second points."""
    return PoseNetworks(folder / files[0], folder / files[1])


def annotate(picture: Image.Image, parameters: ask.Dwpose, weights: PoseNetworks) -> Image.Image:
    """Coloured skeletons on black, RGB and of the picture's size."""
    pixels = read_at(picture, DRAWN_AT)
    canvas = np.zeros_like(pixels)
    for box in people(pixels, weights.people):
        points, scores = points_of(pixels, box, weights.points)
        points = np.where(scores[:, None] > POINT_SCORE, points, np.nan)
        draw_body(canvas, points[:18])
        if parameters.hands:
            for hand in HANDS:
                draw_hand(canvas, points[hand])
        if parameters.face:
            draw_face(canvas, points[FACE])
    return as_map(canvas, picture.size)


def people(pixels: np.ndarray, network: Any) -> np.ndarray:
    """The boxes around people: (N, 4) float32, left, top, right, bottom in pixels."""
    side = int(network.input(0).shape[2])
    scale = side / max(pixels.shape[:2])
    size = [max(1, int(length * scale)) for length in pixels.shape[1::-1]]
    square = np.full((side, side, 3), GREY, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    bgr = np.ascontiguousarray(square[..., ::-1].transpose(2, 0, 1)[None], np.float32)
    found = np.array(network(bgr)[0][0])  # (cells, 4 + 1 + 80 classes, of which the first: person)

    cells = [(side // stride, stride) for stride in (8, 16, 32)]
    corners = np.concatenate([np.indices((n, n))[::-1].reshape(2, -1).T for n, _ in cells])
    strides = np.concatenate([np.full((n * n, 1), stride) for n, stride in cells])
    middles = (found[:, :2] + corners) * strides / scale
    sizes = np.exp(found[:, 2:4]) * strides / scale
    boxes = np.hstack([middles - sizes / 2, sizes]).astype(np.float32)
    scores = found[:, 4] * found[:, 5]
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), PERSON_SCORE, OVERLAP)
    boxes[:, 2:] += boxes[:, :2]
    return boxes[np.array(kept, int).reshape(-1)]


def points_of(pixels: np.ndarray, box: np.ndarray, network: Any) -> tuple[np.ndarray, np.ndarray]:
    """The points of the person in ``box``: (134, 2) in pixels, and how sure each is, (134,)."""
    height, width = (int(side) for side in network.input(0).shape[2:])
    middle, span = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * AROUND
    span = np.maximum(span, span[::-1] * (width / height, height / width))  # the network's shape
    corner = middle - span / 2
    to_network = np.float32([width / span[0], height / span[1]])
    move = np.hstack([np.diag(to_network), -(to_network * corner)[:, None]])
    person = cv2.warpAffine(pixels, move, (width, height), flags=cv2.INTER_LINEAR)
    x = ((person - MEAN) / DEVIATION).transpose(2, 0, 1)[None].astype(np.float32)
    found = network(x)
    # Two bars for each point, one along each side, twice as fine as pixels ("SimCC").
    along = [np.array(found[axis][0]) for axis in (0, 1)]  # (133, 2·width), (133, 2·height)
    points = np.stack([bar.argmax(1) for bar in along], 1) / 2 / to_network + corner
    scores = np.minimum(along[0].max(1), along[1].max(1))

    neck, sure = points[5:7].mean(0), scores[5:7].min()  # between the shoulders
    points, scores = np.insert(points, 17, neck, 0), np.insert(scores, 17, sure)
    order = [*OPENPOSE, *range(18, len(points))]
    return points[order], scores[order]
