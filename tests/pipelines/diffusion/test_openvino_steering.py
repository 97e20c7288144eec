"""Networks joined of a UNet, ControlNets and adapters' maps against PyTorch's, one by one."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter

from pipelines.diffusion.control.requests import ControlUnit
from pipelines.diffusion.control.steering import Steering, WorkingUnit
from pipelines.diffusion.openvino.steering import OpenVINOControlNet
from pipelines.diffusion.openvino.unet import OpenVINOUNet

pytestmark = pytest.mark.openvino

ROWS, HEIGHT, WIDTH = 4, 8, 16
TOTAL = 4  # evaluations


@pytest.fixture(scope="module")
def exact(small_unet, networks) -> OpenVINOUNet:
    return OpenVINOUNet(small_unet, networks, precision="f32")


def _controlnet(unet, seed: int) -> ControlNetModel:
    """Random, its zero convolutions awake, its hint encoder taken off."""
    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
    for layer in [*net.controlnet_down_blocks, net.controlnet_mid_block]:
        torch.nn.init.normal_(layer.weight, std=0.2)
    net.controlnet_cond_embedding = torch.nn.Identity()
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def nets(small_unet) -> list[ControlNetModel]:
    return [_controlnet(small_unet, seed) for seed in (2, 3)]


@pytest.fixture(scope="module")
def fast_nets(nets, networks) -> list[OpenVINOControlNet]:
    return [OpenVINOControlNet(net, networks, precision="f32") for net in nets]


def _inputs(height=HEIGHT, width=WIDTH):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(ROWS, 4, height, width, generator=generator)
    return sample, torch.tensor(321), torch.randn(ROWS, 77, 24, generator=generator)


def _unit(method: str, net, features, **settings) -> WorkingUnit:
    config = SimpleNamespace(global_pool_conditions=False)
    entry = SimpleNamespace(method=method)
    model = SimpleNamespace(
        entry=entry, net=net, config=config, dtype=torch.float32, adds_nothing=False
    )
    unit = ControlUnit(picture="0" * 32, model="random", **settings)
    return WorkingUnit(unit, model, features)


def _control_unit(net, seed=5, size=(HEIGHT, WIDTH), **settings) -> WorkingUnit:
    hint = torch.randn(1, 16, *size, generator=torch.Generator().manual_seed(seed))
    return _unit("controlnet", net, hint, **settings)


@torch.inference_mode()
def _adapter_unit(small_unet, **settings) -> WorkingUnit:
    torch.manual_seed(6)
    adapter = T2IAdapter(3, [16, 32], num_res_blocks=1, downscale_factor=8)
    return _unit("t2i_adapter", None, adapter(torch.rand(1, 3, 8 * HEIGHT, 8 * WIDTH)), **settings)


@torch.inference_mode()
def _predictions(unet, units, inputs=None) -> list[torch.Tensor]:
    """Of every evaluation of a guided picture."""
    sample, timestep, text = inputs or _inputs()
    steering = Steering(units, TOTAL, unet)
    arguments = {"encoder_hidden_states": text}
    return [
        unet(sample, timestep, **arguments, **steering(sample, timestep, arguments, True),
             return_dict=False)[0]
        for _ in range(TOTAL)
    ]  # fmt: skip


CASES = {
    "one": ([{"weight": 0.7}], None),
    "two": ([{"weight": 0.7}, {"weight": 1.3}], None),
    "one of two for half of the steps": ([{"weight": 1.0}, {"start": 0.25, "end": 0.5}], None),
    "guess mode": ([{"control_mode": "control"}], None),
    "prompt first": ([{"control_mode": "prompt"}], None),
    "adapter": ([], {"weight": 0.8}),
    "adapter that ends early": ([{"weight": 0.5}], {"end": 0.5}),
    "both": ([{"weight": 0.5}], {"weight": 1.5}),
}


# Each holds parts of several of the others, which are compiled, too.
QUICK = ("one of two for half of the steps", "guess mode", "both")


@pytest.mark.parametrize(
    "case", [pytest.param(e, marks=() if e in QUICK else pytest.mark.deep) for e in CASES]
)
def test_steered_evaluations_predict_what_pytorch_predicts(
    case, small_unet, exact, nets, fast_nets
):
    controls, adapter = CASES[case]
    adapters = [] if adapter is None else [_adapter_unit(small_unet, **adapter)]

    def units(models):
        return [
            _control_unit(model, seed=5 + i, **settings)
            for i, (model, settings) in enumerate(zip(models, controls, strict=False))
        ] + adapters

    expected = _predictions(small_unet, units(nets))
    ours = _predictions(exact, units(fast_nets))
    plain = _predictions(small_unet, [])
    for step in range(TOTAL):
        torch.testing.assert_close(ours[step], expected[step], atol=2e-4, rtol=1e-3)
    assert max((a - b).abs().max() for a, b in zip(expected, plain, strict=True)) > 0.01


@pytest.mark.deep
def test_one_controlnet_may_follow_two_maps(small_unet, exact, nets, fast_nets):
    expected = _predictions(small_unet, [_control_unit(nets[0], seed) for seed in (5, 6)])
    ours = _predictions(exact, [_control_unit(fast_nets[0], seed) for seed in (5, 6)])
    torch.testing.assert_close(ours[0], expected[0], atol=2e-4, rtol=1e-3)


def test_a_controlnet_beside_a_pytorch_unet_gives_what_pytorch_gives(small_unet, nets, fast_nets):
    expected = _predictions(small_unet, [_control_unit(nets[0])])
    ours = _predictions(small_unet, [_control_unit(fast_nets[0])])
    torch.testing.assert_close(ours[0], expected[0], atol=1e-4, rtol=1e-3)


def test_a_controlnet_of_pytorch_beside_a_fast_unet_gives_what_pytorch_gives(
    small_unet, exact, nets
):
    expected = _predictions(small_unet, [_control_unit(nets[0])])
    ours = _predictions(exact, [_control_unit(nets[0])])
    torch.testing.assert_close(ours[0], expected[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "levels",
    [
        pytest.param((0,), id="one map", marks=pytest.mark.deep),
        pytest.param((0, 1, 1), id="a map for the middle"),
    ],
)
def test_adapters_with_another_number_of_maps_give_what_pytorch_gives(
    levels, small_unet, exact, fast_nets, nets
):
    generator = torch.Generator().manual_seed(8)
    maps = [
        torch.randn(1, 16 << level, HEIGHT >> level, WIDTH >> level, generator=generator)
        for level in levels
    ]
    adapters = [_adapter_unit(small_unet), _unit("t2i_adapter", None, maps)]
    for count in (0, 1):
        ours = _predictions(exact, [*map(_control_unit, fast_nets[:count]), *adapters])
        expected = _predictions(small_unet, [*map(_control_unit, nets[:count]), *adapters])
        torch.testing.assert_close(ours[0], expected[0], atol=2e-4, rtol=1e-3)
    alone = _predictions(exact, adapters[1:])
    torch.testing.assert_close(alone[0], _predictions(small_unet, adapters[1:])[0])
    assert (alone[0] - _predictions(small_unet, [])[0]).abs().max() > 0.01


def test_sizes_at_which_the_unet_pads_go_to_pytorch(small_unet, exact, nets, fast_nets):
    size = (7, 9)
    inputs = _inputs(*size)
    expected = _predictions(small_unet, [_control_unit(nets[0], size=size)], inputs)
    ours = _predictions(exact, [_control_unit(fast_nets[0], size=size)], inputs)
    torch.testing.assert_close(ours[0], expected[0], atol=1e-5, rtol=1e-5)


def test_a_row_is_the_same_alone_and_in_a_batch(small_unet, networks, fast_nets):
    fast = OpenVINOUNet(small_unet, networks)
    sample, timestep, text = _inputs()
    steering = Steering([_control_unit(fast_nets[0])], TOTAL, fast)
    arguments = {"encoder_hidden_states": text}
    (together,) = fast(
        sample, timestep, **arguments, **steering(sample, timestep, arguments, False)
    )
    for i in range(ROWS):
        steering = Steering([_control_unit(fast_nets[0])], TOTAL, fast)
        one = sample[i : i + 1], timestep
        (alone,) = fast(
            *one,
            encoder_hidden_states=text[i : i + 1],
            **steering(one[0], timestep, {"encoder_hidden_states": text[i : i + 1]}, False),
        )
        assert torch.equal(alone[0], together[i])


def test_networks_joined_with_a_controlnet_go_when_it_goes(small_unet, nets, networks):
    fast = OpenVINOUNet(small_unet, networks, precision="f32")
    before = fast.nbytes
    net = OpenVINOControlNet(nets[0], networks, precision="f32")
    _predictions(fast, [_control_unit(net)])
    assert fast.nbytes > before
    del net
    gc.collect()
    assert fast.nbytes == before
