"""The real networks of controlnet-aux, with random weights from a hub on the loopback."""

from __future__ import annotations

import gc
import hashlib
import io
import re
import sys
import types
import warnings
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import Unavailable
from pipelines.preprocessors.registry import PREPROCESSORS
from pipelines.preprocessors.weights import WEIGHTS, is_here
from tests.hub import serve_hub
from tests.pipelines.preprocessors.conftest import cache_in

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import controlnet_aux


def hed():
    from controlnet_aux.hed import ControlNetHED_Apache2

    return [ControlNetHED_Apache2()]


def pidinet():
    from controlnet_aux.pidi import pidinet

    return [pidinet()]


def lineart():
    from controlnet_aux.lineart import Generator

    return [Generator(3, 1, 3), Generator(3, 1, 3)]


def lineart_anime():
    from controlnet_aux.lineart_anime import UnetGenerator

    return [UnetGenerator(3, 1, 8, 64, norm_layer=partial(torch.nn.InstanceNorm2d, affine=False))]


def midas():
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    return [DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True)]


def leres():
    from controlnet_aux.leres import RelDepthModel

    return [RelDepthModel(backbone="resnext101")]


def normal_bae():
    from controlnet_aux.normalbae import NNET

    asked = {"architecture": "BN", "sampling_ratio": 0.4, "importance_ratio": 0.7}
    return [NNET(types.SimpleNamespace(**asked))]


def openpose():
    from controlnet_aux.open_pose.face import FaceNet
    from controlnet_aux.open_pose.model import bodypose_model, handpose_model

    return [bodypose_model(), handpose_model(), FaceNet()]


def sam():
    from controlnet_aux.segment_anything import sam_model_registry

    return [sam_model_registry["vit_t"]()]


def random_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the right shapes whose rows are all the same: they fill little of a file."""
    torch.manual_seed(0)
    state = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            state[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        elif tensor.ndim > 1:
            row = torch.randn(tensor.shape[1:]) * (2 / tensor[0].numel()) ** 0.5
            state[name] = row.expand(tensor.shape)
        else:
            state[name] = torch.rand(tensor.shape) * 0.5 + (0.5 if "var" in name else 0.0)
    return state


def file_of(name: str, state: dict[str, torch.Tensor], number: int) -> bytes:
    """A checkpoint as its makers have laid it out."""
    if name == "pidinet":
        state = {"state_dict": {f"module.{key}": value for key, value in state.items()}}
    elif name == "leres":
        state = {"depth_model": {f"module.{key}": value for key, value in state.items()}}
    elif name == "normal_bae":
        state = {"model": state}
    elif name == "openpose" and number < 2:  # from Caffe: without the first part of the names
        state = {key.partition(".")[2]: value for key, value in state.items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch):
    """``hub(name)``: a hub that serves weights for an entry; what they have to hash to is known."""
    with serve_hub({"someone/empty": {}}, monkeypatch) as server:

        def serve(name: str) -> None:
            build, entry = globals()[name], WEIGHTS[name]
            # SAM asks its tensors for values while it is built; the others need no memory here.
            with torch.device("cpu" if name == "sam" else "meta"):
                networks = build()
            contents = {
                file: file_of(name, random_state(network), number)
                for number, (file, network) in enumerate(zip(entry.files, networks, strict=True))
            }
            server.repos[entry.repo] = contents
            known = {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
            monkeypatch.setitem(WEIGHTS, name, replace(entry, files=known))

        yield serve


AUX = [a for a in PREPROCESSORS.values() if a.module.endswith("controlnet_aux")]
LARGE = (  # seconds to make at random
    *("seg_sam", "openpose", "depth_midas", "depth_leres", "normal_bae", "lineart_anime"),
    *("scribble_hed", "sketch_pidinet"),  # of the same networks as two of the others
)


@pytest.mark.parametrize(
    "preprocessor",
    [
        pytest.param(each, marks=[pytest.mark.deep] * (each.name in LARGE), id=each.name)
        for each in AUX
    ],
)
def test_the_real_network_makes_a_map_of_the_pictures_size(
    annotate, hub, photo, tmp_path, preprocessor, capsys
):
    hub(preprocessor.weights)
    capsys.readouterr()
    cache, parameters = cache_in(tmp_path), {"resolution": 64}
    if preprocessor.weights == "sam":
        parameters["points"] = 2
    made = annotate(preprocessor.name, photo, cache, **parameters)
    assert (made.size, made.mode) == (photo.size, "RGB")
    assert is_here(preprocessor.weights, tmp_path)
    assert annotate(preprocessor.name, photo, cache, **parameters).tobytes() == made.tobytes()
    (entry,) = cache.list_loaded()
    assert entry.bytes > 10**5
    with cache.lease(entry.name) as networks:
        kept = weakref.ref(networks)
    del networks
    cache.clear()
    gc.collect()
    assert kept() is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "detector", "options", "parameters"),
    [
        ("softedge_hed", "HEDdetector", {}, {}),
        ("softedge_hed", "HEDdetector", {"safe": True}, {"safe": True}),
        ("scribble_hed", "HEDdetector", {"scribble": True}, {}),
        ("softedge_pidinet", "PidiNetDetector", {}, {}),
        ("sketch_pidinet", "PidiNetDetector", {"apply_filter": True}, {}),
        ("lineart_hub", "LineartDetector", {"coarse": True}, {"coarse": True}),
    ],
)
def test_the_map_is_that_of_the_packages_own_way(
    annotate, hub, tmp_path, name, detector, options, parameters
):
    weights = PREPROCESSORS[name].weights
    hub(weights)
    noise = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    made = annotate(name, Image.fromarray(noise), cache_in(tmp_path), resolution=64, **parameters)
    folder = tmp_path / "models" / ".hub" / WEIGHTS[weights].repo.replace("/", "--")
    own = getattr(controlnet_aux, detector).from_pretrained(str(folder))
    expected = own(noise, detect_resolution=64, image_resolution=64, output_type="np", **options)
    assert (np.asarray(made) == expected).all()


def test_a_sketch_is_black_and_white_at_every_size(annotate, hub, photo, tmp_path):
    hub("pidinet")
    made = np.asarray(annotate("sketch_pidinet", photo, cache_in(tmp_path), resolution=64))
    assert set(np.unique(made)) <= {0, 255}
    assert (made == made[..., :1]).all()


def test_segments_are_coloured_from_large_to_small():
    from pipelines.preprocessors.from_controlnet_aux import _colour

    large, small = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    large[:, :4], small[1:3, 1:3] = True, True
    masks = [{"area": each.sum(), "segmentation": each} for each in (small, large)]
    canvas = _colour(masks, np.zeros((4, 6, 3), np.uint8))
    assert len(np.unique(canvas.reshape(-1, 3), axis=0)) == 3
    assert (canvas[:, 4:] == 0).all()
    assert (canvas[1:3, 1:3] == canvas[1, 1]).all()
    assert (canvas == _colour(masks[::-1], canvas)).all()


def test_skeletons_are_drawn_as_the_package_draws_them():
    from controlnet_aux.open_pose.body import Keypoint
    from controlnet_aux.open_pose.util import draw_bodypose, draw_facepose

    from pipelines.preprocessors.skeletons import draw_body, draw_face

    points = np.random.default_rng(4).uniform(0.1, 0.9, (18, 2))
    keypoints = [Keypoint(x, y) for x, y in points]
    ours, theirs = np.zeros((2, 200, 300, 3), np.uint8)
    draw_body(ours, points * (300, 200))
    assert (ours == draw_bodypose(theirs, keypoints)).all()
    draw_face(ours, points * (300, 200))
    assert (ours == draw_facepose(theirs, keypoints)).all()


def test_points_that_were_not_found_are_left_out():
    from pipelines.preprocessors.skeletons import draw_body, draw_hand

    points = np.full((18, 2), np.nan)
    points[[1, 2]] = (20, 30), (60, 30)  # neck and right shoulder
    canvas = np.zeros((64, 96, 3), np.uint8)
    draw_body(canvas, points)
    assert tuple(canvas[30, 40]) == (153, 0, 0)
    assert (canvas[:20] == 0).all()
    canvas[:] = 0
    draw_hand(canvas, np.full((21, 2), np.nan))
    assert (canvas == 0).all()


def test_a_pickle_that_would_run_code_is_not_opened(annotate, hub, photo, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    hub("pidinet")
    folder = tmp_path / "models" / ".hub" / "lllyasviel--Annotators"
    folder.mkdir(parents=True)
    torch.save({"state_dict": {}, "more": Evil()}, folder / "table5_pidinet.pth")
    with pytest.raises(Unavailable, match="holds something else than weights and was not opened"):
        annotate("softedge_pidinet", photo, cache_in(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_that_holds_even_where_the_default_is_turned_off(
    annotate, hub, photo, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    test_a_pickle_that_would_run_code_is_not_opened(annotate, hub, photo, tmp_path)


def test_without_the_package_one_sentence_and_the_others_work(
    annotate, hub, photo, tmp_path, monkeypatch
):
    hub("pidinet")
    monkeypatch.setitem(sys.modules, "controlnet_aux", None)
    with pytest.raises(Unavailable) as caught:
        annotate("softedge_pidinet", photo, cache_in(tmp_path))
    assert re.search(r"PiDiNet cannot run here \(.*controlnet_aux.*pip install", str(caught.value))
    assert annotate("scribble", photo).size == photo.size


def test_another_file_under_a_known_name_is_not_loaded(annotate, hub, photo, tmp_path, monkeypatch):
    hub("pidinet")
    known = {"table5_pidinet.pth": "0" * 64}
    monkeypatch.setitem(WEIGHTS, "pidinet", replace(WEIGHTS["pidinet"], files=known))
    with pytest.raises(Unavailable, match=r"table5_pidinet\.pth in .* is not the file"):
        annotate("softedge_pidinet", photo, cache_in(tmp_path))
    assert not is_here("pidinet", tmp_path)
