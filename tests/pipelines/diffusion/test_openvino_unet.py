"""The accelerated UNet against the PyTorch UNet that it was made from."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from pipelines.core.paths import ROOT
from pipelines.diffusion.denoise import GuidedUNet
from pipelines.diffusion.openvino import topology
from pipelines.diffusion.openvino import unet as openvino_unet
from pipelines.diffusion.openvino.rows import RowNetwork, convert_or_load
from pipelines.diffusion.openvino.unet import OpenVINOUNet, worth_it
from pipelines.diffusion.prompts import PromptEmbeds
from tests.patience import PATIENCE

pytestmark = pytest.mark.openvino


@pytest.fixture(scope="module")
def unet(small_unet) -> UNet2DConditionModel:
    return small_unet


@pytest.fixture(scope="module")
def fast(unet, networks) -> OpenVINOUNet:
    return OpenVINOUNet(unet, networks)


@pytest.fixture(scope="module")
def exact(unet, networks) -> OpenVINOUNet:
    return OpenVINOUNet(unet, networks, precision="f32")


def _inputs(rows=4, height=8, width=8):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(rows, 4, height, width, generator=generator)
    return sample, torch.tensor(321), torch.randn(rows, 77, 24, generator=generator)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 16), (10, 6)])
def test_in_float32_it_predicts_what_pytorch_predicts(unet, exact, height, width):
    sample, timestep, text = _inputs(2, height, width)
    with torch.inference_mode():
        expected = unet(sample, timestep, text, return_dict=False)[0]
    torch.testing.assert_close(exact(sample, timestep, text)[0], expected, atol=1e-4, rtol=1e-4)


def test_at_its_fastest_it_is_off_by_bf16_rounding_at_most(unet, fast):
    sample, timestep, text = _inputs(2)
    with torch.inference_mode():
        expected = unet(sample, timestep, text, return_dict=False)[0]
    error = (fast(sample, timestep, text)[0] - expected).square().mean().sqrt()
    assert error < 0.05 * expected.square().mean().sqrt()


def test_sizes_at_which_the_unet_pads_go_to_pytorch(unet, fast):
    sample, timestep, text = _inputs(1, 7, 9)
    with torch.inference_mode():
        assert torch.equal(
            fast(sample, timestep, text)[0], unet(sample, timestep, text, return_dict=False)[0]
        )


def test_a_row_is_the_same_alone_and_in_a_batch(fast):
    sample, timestep, text = _inputs(4)
    (together,) = fast(sample, timestep, text)
    for i in range(4):
        (alone,) = fast(sample[i : i + 1], timestep, text[i : i + 1])
        assert torch.equal(alone[0], together[i])


def test_conditions_that_it_was_not_made_for_go_to_pytorch(unet, fast):
    sample, timestep, text = _inputs(1)
    seen = {}
    fast.unet = lambda *arguments, **named: seen.update(named) or (sample,)
    try:
        fast(sample, timestep, text, timestep_cond=torch.ones(1))
    finally:
        fast.unet = unet
    assert "timestep_cond" in seen


def test_a_converted_network_is_kept_and_told_apart_by_weights_and_facts(tmp_path):
    """A single layer is a network like any other, and converted in a moment."""

    def convert(layer: torch.nn.Linear, **facts: str) -> dict[str, int]:
        convert_or_load(layer, (torch.zeros(1, 2),), facts, tmp_path)
        return {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.xml")}

    layer = torch.nn.Linear(2, 2)
    first = convert(layer)
    assert len(first) == 1
    assert convert(layer) == first
    other = torch.nn.Linear(2, 2)
    both = convert(other)
    assert len(both) == 2
    assert first.items() < both.items()
    assert len(convert(other, kind="another")) == 3


def test_only_small_plain_unets_on_a_cpu_are_taken(unet, monkeypatch):
    assert not worth_it(unet, "cpu"), "this one is too small to be worth converting"
    monkeypatch.setattr(openvino_unet, "SMALLEST_BYTES", 0)
    assert worth_it(unet, "cpu")
    assert not worth_it(unet, "cuda")
    assert not worth_it(torch.nn.Linear(2, 2), "cpu")
    monkeypatch.setattr(openvino_unet, "LARGEST_BYTES", 1000)
    assert not worth_it(unet, "cpu")


def test_openvino_reports_nothing_to_anybody(tmp_path):
    """Its converter would send statistics, and keep an id of the person in the home folder."""
    script = """
import urllib.request
urllib.request.urlopen = lambda *a, **k: print("asked for", a[0])
import torch
from pathlib import Path
from pipelines.diffusion.openvino.rows import convert_or_load
convert_or_load(torch.nn.Linear(2, 2), (torch.zeros(1, 2),), {}, Path("networks"))
"""
    place = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path,
        env=place,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    assert "asked for" not in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["networks"]


def test_prompts_that_change_between_steps_make_no_network_anew(unet, fast, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randn(1, 77, 24, generator=generator) for _ in range(3)]
    guided = GuidedUNet(
        fast, unet.config, [PromptEmbeds(each, texts[0]) for each in texts], guidance=3.0,
        rescale=0.0, batch_size=1, size=(64, 64), dtype=torch.float32, device="cpu",
    )  # fmt: skip
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    network, compiled = fast._plain, []
    core = network._core

    def compile_model(*arguments):
        compiled.append(arguments)
        return core.compile_model(*arguments)

    monkeypatch.setattr(network, "_core", SimpleNamespace(compile_model=compile_model))
    monkeypatch.setattr(network, "_compiled", {})
    outcomes = [guided(latents, torch.tensor(500)) for _ in texts]
    assert len(compiled) == 1
    assert not torch.allclose(outcomes[1], outcomes[2])


def test_a_kept_network_that_is_damaged_is_made_again(tmp_path):
    layer, row = torch.nn.Linear(200, 300), torch.ones(1, 200)
    expected = RowNetwork(layer, (row,), {}, tmp_path, "f32")(row)[0]
    assert torch.allclose(expected, layer(row), atol=1e-4)
    for kept in sorted(tmp_path.iterdir()):
        whole = kept.read_bytes()
        kept.write_bytes(whole[: len(whole) // 2])
        assert torch.equal(RowNetwork(layer, (row,), {}, tmp_path, "f32")(row)[0], expected)
        assert len(kept.read_bytes()) > 0.9 * len(whole)


def test_a_network_that_cannot_be_kept_serves_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    layer, row = torch.nn.Linear(2, 2), torch.ones(1, 2)
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.diffusion.openvino.rows.os.replace", full)
        made = RowNetwork(layer, (row,), {}, tmp_path, "f32")(row)[0]
    assert torch.allclose(made, layer(row), atol=1e-5)
    assert list(tmp_path.iterdir()) == []


# --- networks whose topology is there already -----------------------------------------------------


class TwoLayers(torch.nn.Module):
    """Has weights of the same shape, a constant that is none, and one weight twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

    def forward(self, x):
        x = self.second(torch.sin(self.first(x)))
        return torch.cos(x) * 2.5 + self.first(x)


def test_other_weights_of_a_shape_need_no_conversion(tmp_path, monkeypatch):
    example, facts = (torch.zeros(1, 3),), {"kind": "two layers"}
    shipped = tmp_path / "shipped"
    topology.make_topology(TwoLayers(), example, facts, shipped)
    monkeypatch.setattr(topology, "SHIPPED", shipped)
    asked, x = [], torch.randn(1, 3)
    for _ in range(2):
        module = TwoLayers()
        network = RowNetwork(
            module, example, {**facts, "_name_or_path": "elsewhere"}, tmp_path / "home", "f32",
            on_converting=lambda: asked.append("converted"),
        )  # fmt: skip
        torch.testing.assert_close(network(x)[0], module(x), atol=1e-5, rtol=1e-5)
    assert not asked
    RowNetwork(TwoLayers(), example, {"kind": "another"}, tmp_path / "home", "f32",
               on_converting=lambda: asked.append("converted"))  # fmt: skip
    assert asked == ["converted"]


def test_no_topology_is_kept_of_a_network_with_what_was_computed_from_weights(tmp_path):
    class Folded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3, 3))

        def forward(self, x):
            return x @ self.weight @ (2 * self.weight)

    module = Folded().requires_grad_(False)
    with pytest.raises(ValueError, match="computed from the module's weights"):
        topology.make_topology(module, (torch.zeros(1, 3),), {}, tmp_path)
    assert not list(tmp_path.iterdir())
