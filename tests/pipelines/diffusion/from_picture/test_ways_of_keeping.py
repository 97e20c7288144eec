"""The benchmark of inpainting replaces parts of the loop, which have to be where it looks."""

from __future__ import annotations

import pytest

from benchmarks.inpaint import WAYS, keep_outside
from pipelines.diffusion import denoise as loop
from pipelines.diffusion import text_to_image
from pipelines.diffusion.hires import passes


@pytest.mark.parametrize("way", WAYS)
def test_each_way_replaces_what_the_loop_calls(way):
    def parts():
        return passes.denoise, loop.keep_picture, text_to_image.latents_below

    usual = parts()
    with keep_outside(way):
        replaced = [one is not other for one, other in zip(parts(), usual, strict=True)]
    assert replaced == [way in ("overwrite", "both"), way == "overwrite", way == "untraced"]
    assert parts() == usual
