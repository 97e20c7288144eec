"""Upscaling networks, tiny and random: tiles, sizes, and files that cannot be used."""

from __future__ import annotations

import json
import re
import struct
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.SwinIR import SwinIR

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, NotFound, Refused, Stopped, Unavailable, UserError
from pipelines.core.events import Picture, Progress, Result
from pipelines.core.pictures.inputs import keep_input
from pipelines.upscaling import engine, networks
from pipelines.upscaling.catalog import CACHE_PREFIX, UpscalerEntry, Upscalers
from pipelines.upscaling.requests import UpscaleRequest


def keep(folder, name: str, model: torch.nn.Module) -> None:
    folder.mkdir(exist_ok=True)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a convolutional network ×2, one that folds its picture, a transformer ×2, and
    files that are of no use."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "upscalers"
    torch.manual_seed(0)
    keep(folder, "compact", Compact(num_feat=8, num_conv=3, upscale=2))
    keep(folder, "folding", ESRGAN(num_filters=8, num_blocks=1, scale=2, shuffle_factor=2))
    swin = SwinIR(img_size=16, window_size=4, depths=[2], embed_dim=8, num_heads=[2], mlp_ratio=2,
                  upscale=2, upsampler="pixelshuffledirect")  # fmt: skip
    keep(folder, "swin", swin)
    save_file({"unet.weight": torch.zeros(2, 2)}, folder / "lora.safetensors")
    (folder / "old.pth").write_bytes(b"\x80\x02.")
    (folder / "cut.safetensors").write_bytes((folder / "swin.safetensors").read_bytes()[:500])
    (folder / "notes.txt").write_text("no upscaler")
    return home


@pytest.fixture
def upscalers(home, tmp_path) -> Upscalers:
    return Upscalers(home, tmp_path / "none shipped")


def network(upscalers, name: str) -> networks.Network:
    return networks.load(upscalers.get(name), "cpu")


def picture(size=(70, 50)) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def result(steps) -> Image.Image:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, int)


@pytest.mark.parametrize("name", ["compact", "folding"])
def test_tiles_of_a_convolutional_network_make_the_untiled_picture(upscalers, name):
    net = network(upscalers, name)
    whole = pixels(result(net.upscale(picture(), tile=10_000)))
    assert whole.shape == (100, 140, 3)
    for tile in (16, 24):
        tiled = pixels(result(net.upscale(picture(), tile=tile)))
        assert abs(tiled - whole).max() <= 1, "up to rounding"
    net.reach = 0
    short = pixels(result(net.upscale(picture(), tile=16)))
    assert abs(short - whole).max() > 1, "with less around a tile there are seams"


def test_a_network_s_reach_is_one_for_each_convolution_and_measured_in_a_deep_one(
    upscalers, monkeypatch
):
    assert network(upscalers, "compact").reach == 5
    monkeypatch.setattr(networks, "_FARTHEST", 4)
    assert 2 <= network(upscalers, "compact").reach <= 5


def test_measuring_a_network_s_reach_keeps_nothing_for_gradients(upscalers):
    """Those of an ESRGAN of the usual size took 17 GB, and the studio with them."""
    descriptor = network(upscalers, "compact")._descriptor

    def keep_nothing(tensor):
        raise AssertionError("this is kept for a gradient")

    with torch.autograd.graph.saved_tensors_hooks(keep_nothing, lambda kept: kept):
        assert networks._measured_reach(descriptor, 1) > 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "ran out of memory at 70"),
        (RuntimeError("size mismatch"), "do not fit together. Choose another upscaler"),
    ],
)
def test_a_network_that_fails_at_work_says_so(upscalers, monkeypatch, error, sentence):
    net = network(upscalers, "compact")

    def fail(part):
        raise error

    monkeypatch.setattr(net, "_descriptor", fail)
    with pytest.raises(UserError, match=re.escape(sentence)):
        result(net.upscale(picture()))


@pytest.mark.parametrize(
    ("blocks", "gain"),
    [
        (4, 1),
        pytest.param(23, 1, marks=pytest.mark.deep),
        pytest.param(23, 3, marks=pytest.mark.deep),
    ],
)
def test_tiles_of_a_deep_network_differ_by_one_of_255_at_most(tmp_path, blocks, gain):
    """Its reach is measured, not counted: of 23 blocks all convolutions together see 350 pixels.

    Of noise, which has more of the finest structure than any photo. With three times the weights
    of a fresh network, its pixels reach farther.
    """
    torch.manual_seed(0)
    model = ESRGAN(num_filters=8, num_blocks=blocks, scale=2)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if ".RDB" in name:
                weights.mul_(gain)
    keep(tmp_path / "upscalers", "deep", model)
    net = network(Upscalers(tmp_path, tmp_path / "none"), "deep")
    counted = sum(each.kernel_size[0] // 2 for each in net._descriptor.model.modules()
                  if isinstance(each, torch.nn.Conv2d))  # fmt: skip
    assert 4 < net.reach < 64 < counted
    small = picture((48, 30))
    whole = pixels(result(net.upscale(small, tile=10_000)))
    difference = abs(pixels(result(net.upscale(small, tile=24))) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002
    net.reach = 1
    assert abs(pixels(result(net.upscale(small, tile=24))) - whole).max() > 1


def test_tiles_of_a_transformer_go_into_one_another(upscalers):
    net = network(upscalers, "swin")
    assert net.reach is None
    smooth = Image.fromarray(np.linspace(0, 255, 90 * 60 * 3).reshape(60, 90, 3).astype(np.uint8))
    whole, tiled = (pixels(result(net.upscale(smooth, tile=tile))) for tile in (1000, 40))
    assert tiled.shape == (120, 180, 3)
    assert abs(tiled - whole).mean() < 4


def test_it_is_the_network_s_own_picture(upscalers):
    """Without tiles: what spandrel's module itself makes of the pixels."""
    net = network(upscalers, "compact")
    x = torch.from_numpy(np.asarray(picture(), np.float32) / 255).movedim(-1, 0)[None]
    with torch.no_grad():
        expected = (net._descriptor.model(x).clamp(0, 1) * 255).round()[0].movedim(0, -1).numpy()
    assert np.array_equal(pixels(result(net.upscale(picture()))), expected)


def test_a_result_that_would_be_too_large_is_averaged_as_it_is_made(home, tmp_path):
    """×8 of 4 megapixels took 12 GB, for whatever scale was asked."""
    torch.manual_seed(1)
    keep(tmp_path / "upscalers", "eight", Compact(num_feat=4, num_conv=1, upscale=8))
    net = network(Upscalers(tmp_path, tmp_path / "none"), "eight")
    small, tile = picture((40, 30)), 16
    whole = torch.from_numpy(pixels(result(net.upscale(small))) / 255.0).movedim(-1, 0)[None]
    for most, shrink in [(320 * 240, 1), (320 * 240 - 1, 2), (100, 4)]:
        made = pixels(result(net.upscale(small, tile=tile, most=most)))
        expected = torch.nn.functional.avg_pool2d(whole, shrink)[0].movedim(0, -1).numpy() * 255
        assert made.shape == expected.shape
        assert np.abs(made - expected).max() <= 1.5  # the whole one was rounded before


def test_a_network_goes_round_until_the_size_is_there_and_lanczos_makes_it_exact(upscalers):
    net = network(upscalers, "compact")
    larger = result(engine.enlarge(picture((20, 16)), (70, 50), net, "compact"))
    assert larger.size == (70, 50)
    plain = [result(engine.enlarge(picture((20, 16)), (70, 50), None, name))
             for name in ("None", "Lanczos")]  # fmt: skip
    assert np.array_equal(*map(pixels, plain)), "A1111's None resizes by Lanczos"
    same = picture((20, 16))
    assert result(engine.enlarge(same, (20, 16), net, "compact")) == same
    nearest = pixels(result(engine.enlarge(same, (40, 32), None, "Nearest")))
    assert np.array_equal(nearest, pixels(same).repeat(2, 0).repeat(2, 1))
    wide = result(engine.enlarge(picture((40, 20)), (40, 40), None, "Nearest"))
    assert np.array_equal(pixels(wide)[:, ::2], pixels(picture((40, 20)))[:, 10:30].repeat(2, 0))


def test_what_can_be_used_is_listed_and_why_the_rest_cannot(upscalers):
    assert [each.name for each in upscalers.list()] == [
        "compact", "folding", "swin", "Lanczos", "Nearest", "None",
    ]  # fmt: skip
    said = {str(reason).partition(" ")[0]: str(reason) for reason in upscalers.list_refusals()}
    assert said.keys() == {"cut.safetensors", "lora.safetensors", "old.pth"}
    assert "damaged or cut short" in said["cut.safetensors"]
    assert "no upscaler of a known architecture" in said["lora.safetensors"]
    assert "can run any code" in said["old.pth"]
    with pytest.raises(Refused, match="can run any code"):
        upscalers.get("old")
    with pytest.raises(NotFound, match=r"no upscaler called Lancos\. Closest are Lanczos"):
        upscalers.get("Lancos")


def write_header(folder, name: str, tensors: object) -> None:
    header = json.dumps(tensors).encode()
    (folder / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.mark.parametrize(
    "shape", [{}, {"shape": None}, {"shape": ["a"]}, {"shape": {}}, {"shape": [1e400]}]
)
def test_a_header_without_shapes_hides_no_other_upscaler(home, tmp_path, shape):
    folder = tmp_path / "upscalers"
    keep(folder, "good", Compact(num_feat=4, num_conv=1, upscale=2))
    write_header(folder, "odd", {"body.0.weight": {"dtype": "F32", "data_offsets": [0, 0]} | shape})
    listed = Upscalers(tmp_path, tmp_path / "none")
    assert [entry.name for entry in listed.list()] == ["good", "Lanczos", "Nearest", "None"]
    (reason,) = map(str, listed.list_refusals())
    assert reason.startswith("odd.safetensors is ")


def test_networks_that_cannot_make_a_picture_are_refused_with_the_reason(tmp_path):
    folder = tmp_path / "upscalers"
    model = Compact(num_feat=4, num_conv=1, upscale=2)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    keep(folder, "plain", model)
    weights = state["body.0.weight"]
    weights[0, 0, 0, 0] = float("nan")
    save_file(state, folder / "nan.safetensors")
    weights.fill_(3e38)
    save_file(state, folder / "overflowing.safetensors")
    last = [key for key in state if key.startswith("body.4")]
    odd = {key: torch.zeros(7, *value.shape[1:]) if key in last else value
           for key, value in state.items()}  # fmt: skip
    save_file(odd, folder / "channels.safetensors")
    keep(folder, "huge", Compact(num_feat=2, num_conv=1, upscale=64))
    listed = Upscalers(tmp_path, tmp_path / "none")
    for name, sentence in [
        ("nan", "values that are no numbers"),
        ("channels", "cannot be loaded"),
        ("huge", "64 times as large; networks up to 16 times"),
    ]:
        with pytest.raises(Unavailable, match=sentence):
            network(listed, name)
    with pytest.raises(Unavailable, match="numbers overflowed"):
        result(network(listed, "overflowing").upscale(picture()))


@pytest.mark.parametrize("group", ["params_ema.", "params.", "state_dict.params_ema."])
def test_weights_that_lie_in_a_group_are_found(tmp_path, group):
    """As scripts write them that turn a trainer's .pth into safetensors."""
    torch.manual_seed(2)
    model = Compact(num_feat=4, num_conv=1, upscale=2)
    folder = tmp_path / "upscalers"
    keep(folder, "plain", model)
    grouped = {group + key: value for key, value in model.state_dict().items()}
    if group == "params_ema.":  # beside the weights that it is the running mean of
        grouped |= {f"params.{key}": value * 2 for key, value in model.state_dict().items()}
    save_file(grouped, folder / "grouped.safetensors")
    listed = Upscalers(tmp_path, tmp_path / "none")
    made = [result(network(listed, name).upscale(picture())) for name in ("plain", "grouped")]
    assert (pixels(made[0]) == pixels(made[1])).all()


def test_a_file_that_only_looks_like_an_upscaler_is_refused_when_it_is_loaded(home, tmp_path):
    state = networks.load_file(home / "upscalers" / "compact.safetensors")
    state["body.0.weight"] = state["body.0.weight"][:3].clone()
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(Unavailable, match=r"bad\.safetensors cannot be loaded"):
        networks.load(UpscalerEntry("bad", tmp_path / "bad.safetensors"), "cpu")


@pytest.fixture
def cache(home, upscalers, monkeypatch) -> ModelCache:
    monkeypatch.setattr(engine, "Upscalers", lambda home: upscalers)

    def load(name, device, notes):
        return networks.load(upscalers.get(name.removeprefix(CACHE_PREFIX)), device)

    return ModelCache(load, "cpu", 2**30, home=home)


def test_an_uploaded_picture_comes_out_larger_step_by_step(cache, home):
    id = keep_input(home, "ada", picture())
    request = UpscaleRequest(picture=id, upscaler="COMPACT", scale=1.5, about="a mug")
    *progress, made, end = engine.run(request, cache, threading.Event())
    assert isinstance(made, Picture)
    assert isinstance(end, Result)
    assert made.image.size == (105, 75)
    assert made.request.upscaler == "compact"
    assert [(each.step, each.total) for each in progress if each.note is None] == [(0, 1), (1, 1)]


def test_it_stops_between_two_tiles(cache, home, monkeypatch):
    monkeypatch.setattr(networks.Network.upscale, "__defaults__", (16, None))
    id, stop = keep_input(home, "ada", picture()), threading.Event()
    events = engine.run(UpscaleRequest(picture=id, upscaler="compact"), cache, stop)
    assert next(each for each in events if isinstance(each, Progress) and each.step).total == 20
    stop.set()
    with pytest.raises(Stopped):
        next(events)


def test_more_pixels_than_can_be_had_are_refused_with_both_numbers(cache, home):
    id = keep_input(home, "ada", picture((800, 700)))
    with pytest.raises(BadRequest, match=r"35\.8 megapixels; at most 16\.8"):
        list(engine.run(UpscaleRequest(picture=id, scale=8), cache, threading.Event()))


def test_no_file_hides_another_upscaler_of_its_name(home, tmp_path):
    shipped, own = tmp_path / "shipped", tmp_path / "upscalers"
    for folder, names in ((shipped, ["x"]), (own, ["x", "lanczos", "Nearest"])):
        for name in names:
            keep(folder, name, Compact(num_feat=4, num_conv=1, upscale=2))
    (own / "x.SAFETENSORS").write_bytes((own / "x.safetensors").read_bytes())
    listed = {each.name: each.path for each in Upscalers(tmp_path, shipped).list()}
    assert listed == {
        "x": shipped / "x.safetensors",
        "Nearest (local)": own / "Nearest.safetensors",
        "lanczos (local)": own / "lanczos.safetensors",
        "x (local)": own / "x.SAFETENSORS",
        "x.safetensors (local)": own / "x.safetensors",
        "Lanczos": None,
        "Nearest": None,
        "None": None,
    }
    assert Upscalers(tmp_path, shipped).get("Lanczos").path is None
