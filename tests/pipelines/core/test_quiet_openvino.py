"""OpenVINO on processors that it refuses: PyTorch computes there, and nobody reads an exception."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from pipelines.core import quiet_openvino
from pipelines.core.errors import Unavailable
from pipelines.core.paths import ROOT
from pipelines.diffusion.openvino import large, latent_decoder, unet
from pipelines.preprocessors import dwpose
from tests.conftest import TINY


@pytest.fixture
def without_openvino(monkeypatch):
    monkeypatch.setattr(quiet_openvino, "computes_here", lambda: False)
    for module in (unet, latent_decoder):
        monkeypatch.setattr(module, "SMALLEST_BYTES", 0)


def test_an_instruction_set_that_it_has_no_kernels_for_is_found_out_before_anything_is_made():
    ask = "from pipelines.core.quiet_openvino import computes_here; print(computes_here())"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "SSE41"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "False", done.stderr
    assert "OpenVINO cannot compute on this processor, PyTorch does" in done.stderr


def test_the_trial_itself_is_right_where_it_computes():
    expected = torch.nn.functional.conv2d(
        torch.ones(1, 4, 8, 8), torch.ones(4, 4, 3, 3), padding=1
    ) @ torch.ones(8, 8)
    assert float(expected[0, 0, 4, 4]) == 2 * 24 + 6 * 36


def test_pytorch_paints_where_it_is_refused(
    cache, networks, monkeypatch, small_unet, without_openvino
):
    assert not unet.worth_it(small_unet, "cpu")
    monkeypatch.setattr(large, "LARGEST_BYTES", 0)
    assert not large.is_large(small_unet, "cpu")
    with cache.lease(TINY) as model:
        monkeypatch.setattr(model, "_networks", networks)
        assert model.decoder_of(model.pipe.vae) is None
        assert not model.prepares_decoding(model.pipe.vae)
        model.accelerate(networks, lambda *_: None)
        assert model.unet is model.pipe.unet


def test_poses_that_need_it_say_so(tmp_path, without_openvino):
    with pytest.raises(Unavailable, match="DWPose needs OpenVINO"):
        dwpose.PoseNetworks(tmp_path / "people.onnx", tmp_path / "points.onnx")
