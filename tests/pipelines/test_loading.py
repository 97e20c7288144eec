"""Every family's twin goes through the same loading code and paints."""

from __future__ import annotations


def test_a_local_folder_loads_by_name_and_paints(cache):
    with cache.lease("tiny-sd1") as model:
        images = model.pipe(
            "a red mug", num_inference_steps=2, width=64, height=64, output_type="np"
        ).images
    assert model.family == "sd1"
    assert images.shape == (1, 64, 64, 3)
