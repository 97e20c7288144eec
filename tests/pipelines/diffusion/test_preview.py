"""The cheap way from latents to a small picture."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from pipelines.core.pictures.contact_sheet import tile
from pipelines.diffusion.latents.coding import decode
from pipelines.diffusion.latents.preview import LatentPreview, preview_for


class LinearVae:
    """Decodes each latent to an 8 × 8 patch of one colour: 0.1 · latents · matrix."""

    matrix = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.5, 0.5, -0.5]])

    def __init__(self):
        from types import SimpleNamespace

        self.config = SimpleNamespace(latent_channels=4, scaling_factor=0.5)
        self.dtype = torch.float32

    def decode(self, latents):
        from types import SimpleNamespace

        colours = torch.einsum("bchw,cr->brhw", latents, 0.1 * self.matrix)
        return SimpleNamespace(sample=colours.repeat_interleave(8, -1).repeat_interleave(8, -2))


def linear_model():
    from types import SimpleNamespace

    return SimpleNamespace(
        pipe=SimpleNamespace(vae=LinearVae()),
        factor=8,
        device="cpu",
        home=None,
        decoder_of=lambda vae: None,
    )


def test_a_linear_decoder_is_found_exactly():
    model = linear_model()
    latents = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    seen = LatentPreview.fit(model).rgb(latents)  # (2, 6, 5, 3)
    decoded = decode(model, latents)[:, :, ::8, ::8].movedim(1, -1)
    assert seen.shape == decoded.shape
    assert np.allclose(seen, decoded, atol=1e-4)


def test_a_batch_is_shown_in_tiles_of_the_pictures_shape():
    preview = LatentPreview(torch.zeros(5, 3), factor=8)
    assert preview(torch.zeros(1, 4, 8, 12)).size == (96, 64)
    assert preview(torch.zeros(3, 4, 8, 12)).size == (192, 128)
    assert preview(torch.zeros(1, 4, 256, 128)).size == (256, 512)


def test_latents_that_overflowed_still_show_something():
    preview = LatentPreview(torch.ones(5, 3), factor=8)
    assert preview(torch.full((1, 4, 8, 8), torch.nan)).getextrema() == ((0, 0),) * 3


def test_the_map_is_fitted_once_for_each_model(cache):
    with cache.lease("tiny-sd1") as model:
        assert preview_for(model) is preview_for(model)


def test_a_preview_costs_next_to_nothing():
    """Less than 300 million multiplications, of which a step of the starter has some ten times as
    many, take on the same machine and in the same minute.
    """
    preview = LatentPreview(torch.rand(5, 3), factor=8)
    latents, matrix = torch.randn(1, 4, 16, 16), torch.rand(680, 680)

    def take_time(work: Callable[[], object]) -> float:
        """Seconds of the fastest of many: what else the machine does only ever adds."""
        times = []
        for _ in range(30):
            began = time.thread_time()
            work()
            times.append(time.thread_time() - began)
        return min(times)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert take_time(lambda: preview(latents)) < take_time(lambda: matrix @ matrix) / 3
    finally:
        torch.set_num_threads(threads)


def test_tiles_leave_a_single_picture_alone_and_lay_others_in_rows():
    red, green, blue = (Image.new("RGB", (4, 2), colour) for colour in ("red", "green", "blue"))
    assert tile([red]) is red
    sheet = tile([red, green, blue])
    assert sheet.size == (8, 4)
    assert [sheet.getpixel(p) for p in ((0, 0), (4, 0), (0, 2), (4, 2))] == [
        (255, 0, 0),
        (0, 128, 0),
        (0, 0, 255),
        (255, 255, 255),
    ]
