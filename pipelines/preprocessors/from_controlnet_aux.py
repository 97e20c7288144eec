"""Preprocessors of the package controlnet-aux: its networks and its way from output to map.

The networks are built and filled here rather than by its ``from_pretrained``, which leaves it to a
default whether opening a weights file may run code.
"""

from __future__ import annotations

import contextlib
import io
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipelines.core.engine import IMPORTING
from pipelines.preprocessors import parameters as ask
from pipelines.preprocessors.networks import Networks, tensors
from pipelines.preprocessors.skeletons import draw_body, draw_face, draw_hand
from pipelines.preprocessors.working_size import as_map, read_at

Built = tuple[Any, list[torch.nn.Module]]


def load(name: str, folder: Path, files: tuple[str, ...], device: str) -> Networks:
    """The detector ``name`` with the weights in ``folder``."""
    with IMPORTING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what its other preprocessors lack
        import controlnet_aux  # noqa: F401
    # Some of its networks print while they are made.
    with contextlib.redirect_stdout(io.StringIO()):
        detector, modules = _BUILDERS[name](*(folder / file for file in files))
    return Networks(detector, modules, device)


@torch.inference_mode()
def annotate(picture: Image.Image, parameters: ask.Parameters, weights: Networks) -> Image.Image:
    """The map of ``picture`` (RGB), RGB and of the same size; the parameters' class says which."""
    with weights.one_at_a_time:  # some keep what they have seen of a picture within themselves
        return _map(picture, parameters, weights)


def _map(picture: Image.Image, parameters: ask.Parameters, weights: Networks) -> Image.Image:
    pixels = read_at(picture, parameters.resolution)
    if isinstance(parameters, ask.SegmentAnything):
        return as_map(_segments(weights.reader, pixels, parameters), picture.size, True)
    if isinstance(parameters, ask.Openpose):
        return as_map(_draw_skeletons(weights.reader, pixels, parameters), picture.size)
    options = _OPTIONS[type(parameters)](parameters)
    side = min(pixels.shape[:2])  # it is scaled already
    made = weights.reader(
        pixels, detect_resolution=side, image_resolution=side, output_type="np", **options
    )
    sized = as_map(made, picture.size)
    if isinstance(parameters, ask.SketchNetwork):  # scaling has made greys again
        return sized.point(lambda value: 255 if value > 127 else 0)
    return sized


_OPTIONS: dict[type, Callable[[Any], dict[str, Any]]] = {
    ask.SoftEdge: lambda asked: {"safe": asked.safe},
    ask.ScribbleNetwork: lambda asked: {"scribble": True},
    ask.SketchNetwork: lambda asked: {"apply_filter": True},
    ask.LineArtNetwork: lambda asked: {"coarse": asked.coarse},
    ask.LineArtAnime: lambda asked: {},
    ask.Midas: lambda asked: {},
    ask.Leres: lambda asked: {"thr_a": asked.near, "thr_b": asked.far},
    ask.NormalBae: lambda asked: {},
}


def _draw_skeletons(detector: Any, pixels: np.ndarray, parameters: ask.Openpose) -> np.ndarray:
    """Skeletons on black. Drawn here: the package's own drawing asks for matplotlib."""
    canvas = np.zeros_like(pixels)
    for pose in detector.detect_poses(pixels, parameters.hands, parameters.face):
        draw_body(canvas, _points(pose.body.keypoints, canvas))
        for hand in (pose.left_hand, pose.right_hand):
            if hand:
                draw_hand(canvas, _points(hand, canvas))
        if pose.face:
            draw_face(canvas, _points(pose.face, canvas))
    return canvas


def _points(keypoints: list[Any], canvas: np.ndarray) -> np.ndarray:
    """(N, 2) in pixels from keypoints in 0 … 1; NaN where one was not found."""
    found = [(k.x, k.y) if k and k.x > 0 and k.y > 0 else (np.nan, np.nan) for k in keypoints]
    return np.array(found) * (canvas.shape[1], canvas.shape[0])


def _segments(network: Any, pixels: np.ndarray, parameters: ask.SegmentAnything) -> np.ndarray:
    from controlnet_aux.segment_anything import SamAutomaticMaskGenerator

    generator = SamAutomaticMaskGenerator(network, points_per_side=parameters.points)
    return _colour(generator.generate(pixels), pixels)


def _colour(masks: list[dict[str, Any]], pixels: np.ndarray) -> np.ndarray:
    """Each segment in a colour of its own, smaller ones over larger ones, the same every time."""
    canvas = np.zeros_like(pixels)
    colours = np.random.default_rng(0)
    for mask in sorted(masks, key=lambda mask: mask["area"], reverse=True):
        canvas[mask["segmentation"]] = colours.integers(32, 256, 3)
    return canvas


def _hed(path: Path) -> Built:
    from controlnet_aux.hed import ControlNetHED_Apache2, HEDdetector

    network = ControlNetHED_Apache2()
    network.load_state_dict(tensors(path))
    return HEDdetector(network), [network]


def _pidinet(path: Path) -> Built:
    from controlnet_aux.pidi import PidiNetDetector, pidinet

    network = pidinet()
    network.load_state_dict(tensors(path, "state_dict"))
    return PidiNetDetector(network), [network]


def _lineart(fine: Path, coarse: Path) -> Built:
    from controlnet_aux.lineart import Generator, LineartDetector

    networks = []
    for path in (fine, coarse):
        network = Generator(3, 1, 3)
        network.load_state_dict(tensors(path))
        networks.append(network)
    return LineartDetector(*networks), networks


def _lineart_anime(path: Path) -> Built:
    from functools import partial

    from controlnet_aux.lineart_anime import LineartAnimeDetector, UnetGenerator

    norm = partial(torch.nn.InstanceNorm2d, affine=False, track_running_stats=False)
    network = UnetGenerator(3, 1, 8, 64, norm_layer=norm, use_dropout=False)
    network.load_state_dict(tensors(path))
    return LineartAnimeDetector(network), [network]


def _midas(path: Path) -> Built:
    from controlnet_aux.midas import MidasDetector
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    network = DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True)
    network.load_state_dict(tensors(path))
    return MidasDetector(network), [network]


def _leres(path: Path) -> Built:
    from controlnet_aux.leres import LeresDetector, RelDepthModel

    network = RelDepthModel(backbone="resnext101")
    network.load_state_dict(tensors(path, "depth_model"))
    return LeresDetector(network, None), [network]  # None: its second network, for boosting


def _normal_bae(path: Path) -> Built:
    from controlnet_aux.normalbae import NNET, NormalBaeDetector

    settings = types.SimpleNamespace(
        mode="client", architecture="BN", sampling_ratio=0.4, importance_ratio=0.7
    )
    network = NNET(settings)
    network.load_state_dict(tensors(path, "model"))
    return NormalBaeDetector(network), [network]


def _openpose(body: Path, hand: Path, face: Path) -> Built:
    from controlnet_aux.open_pose import OpenposeDetector
    from controlnet_aux.open_pose.body import Body
    from controlnet_aux.open_pose.face import Face, FaceNet
    from controlnet_aux.open_pose.face import params as of_face
    from controlnet_aux.open_pose.hand import Hand
    from controlnet_aux.open_pose.model import bodypose_model, handpose_model
    from controlnet_aux.open_pose.util import transfer

    def part(kind: type, network: torch.nn.Module, **attributes: Any) -> Any:
        made = kind.__new__(kind)  # its constructor would open the weights itself
        made.model = network
        vars(made).update(attributes)
        return made

    networks = [bodypose_model(), handpose_model(), FaceNet()]
    for network, path in zip(networks[:2], (body, hand), strict=True):
        network.load_state_dict(transfer(network, tensors(path)))
    networks[2].load_state_dict(tensors(face))
    detector = OpenposeDetector(
        part(Body, networks[0]),
        part(Hand, networks[1]),
        part(
            Face,
            networks[2],
            inference_size=of_face["inference_img_size"],
            sigma=of_face["gaussian_sigma"],
            threshold=of_face["heatmap_peak_thresh"],
        ),
    )
    return detector, networks


def _sam(path: Path) -> Built:
    from controlnet_aux.segment_anything import sam_model_registry

    network = sam_model_registry["vit_t"]()
    network.load_state_dict(tensors(path))
    return network, [network]


_BUILDERS: dict[str, Callable[..., Built]] = {
    "hed": _hed,
    "pidinet": _pidinet,
    "lineart": _lineart,
    "lineart_anime": _lineart_anime,
    "midas": _midas,
    "leres": _leres,
    "normal_bae": _normal_bae,
    "openpose": _openpose,
    "sam": _sam,
}
