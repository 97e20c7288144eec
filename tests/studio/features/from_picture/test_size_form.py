"""What is said of a size that was taken from a picture."""

from __future__ import annotations

import pytest

from pipelines.diffusion.from_picture.sizes import scaled_size
from studio.features.from_picture.size_form import _remark


@pytest.mark.parametrize(
    ("picture", "scale", "said"),
    [
        ((640, 480), 1, "It is 640×480 now."),
        ((640, 480), 1.5, "It is 960×720 now."),
        (
            (4000, 3000),
            1,
            "4000×3000 pixels are not painted: a side has 64 to 2048. It is 2048×1536 now.",
        ),
        (
            (128, 96),
            0.25,
            "32×24 pixels are not painted: a side has 64 to 2048. It is 88×64 now.",
        ),
        ((101, 67), 4, "Of 404×268 pixels it is 400×272: sides are multiples of 8."),
    ],
)
def test_a_size_is_said_and_why_it_is_another_one_where_it_cannot_be_had(picture, scale, said):
    size, bounded = scaled_size(picture, scale)
    assert str(_remark(picture, scale, size, bounded, 8)) == said
