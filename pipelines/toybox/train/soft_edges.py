"""Canny's edges with gradients: how far a picture is from showing the drawn lines and no others.

Up to its thresholds Canny's detector is differentiable almost everywhere: Sobel's derivatives, the
colour channel that changes most, |dx| + |dy|, and of the ridge across an edge only the crest
(Canny, "A Computational Approach to Edge Detection", 1986; the details as OpenCV has them, so that
what is trained is what :func:`pipelines.toybox.measure.edge_f1` counts). Here a line that is too
faint and an edge where nothing is drawn cost the more the farther they are from the threshold,
instead of all or nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

CLEAR = 200.0  # strength at which a line is surely found: the upper threshold of the measurement
DOUBTFUL = 150.0  # strength at which an edge is as likely found as not: between the thresholds
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_TAN_22, _TAN_67 = 2**0.5 - 1, 2**0.5 + 1


def edge_strength(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How strongly each pixel changes, and where the crests of the changes are.

    Args:
        pictures: (B, 3, H, W) in −1 … 1.

    Returns:
        Strengths (B, 1, H, W) in Canny's units, 0 … 2040, with gradients, and crests (B, 1, H, W)
        bool: Canny with both thresholds at s finds the crests stronger than s.
    """
    x = (pictures.clamp(-1, 1) + 1) * 127.5
    sobel = torch.tensor(_SOBEL, dtype=x.dtype, device=x.device)
    kernels = torch.stack([sobel, sobel.T])[:, None].repeat(3, 1, 1, 1)  # (6, 1, 3, 3)
    change = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels, groups=3)
    change = change.unflatten(1, (3, 2))  # (B, 3, 2, H, W)
    strength, channel = change.abs().sum(2).max(1, keepdim=True)  # (B, 1, H, W)
    with torch.no_grad():
        of_channel = channel[:, :, None].expand(-1, -1, 2, -1, -1)
        dx, dy = change.gather(1, of_channel)[:, 0].split(1, 1)
        height = strength.round(decimals=2)  # of equals one is the crest, whatever floats add
        around = F.pad(height, (1, 1, 1, 1))

        def beside(down: int, right: int) -> torch.Tensor:
            rows, columns = height.shape[-2:]
            return around[..., 1 + down : 1 + down + rows, 1 + right : 1 + right + columns]

        level = (height > beside(0, -1)) & (height >= beside(0, 1))
        upright = (height > beside(-1, 0)) & (height >= beside(1, 0))
        falling = (height > beside(-1, -1)) & (height > beside(1, 1))
        rising = (height > beside(-1, 1)) & (height > beside(1, -1))
        slanted = torch.where((dx < 0) ^ (dy < 0), rising, falling)
        steep = dy.abs() > _TAN_67 * dx.abs()
        flat = dy.abs() < _TAN_22 * dx.abs()
        crests = torch.where(flat, level, torch.where(steep, upright, slanted))
    return strength, crests


def spread(values: torch.Tensor) -> torch.Tensor:
    """The largest value within 2 pixels, (B, 1, H, W): dilation by OpenCV's ellipse of 5×5."""
    wide = F.max_pool2d(values, (3, 5), stride=1, padding=(1, 2))
    return torch.maximum(wide, F.max_pool2d(values, (5, 1), stride=1, padding=(2, 0)))


def edge_loss(
    pictures: torch.Tensor, lines: torch.Tensor, allowed: torch.Tensor | None = None
) -> torch.Tensor:
    """(B,) 1 − F1 of the pictures' edges and the drawn lines, softened, 0 … about 1.

    With W drawn pixels and E edge pixels 1 − F1 is (W not met + E not drawn) / (W + E). A drawn
    pixel is met in part by the strongest change within 2 pixels; E in the denominator has no
    gradient, or doubled outlines would pay.

    Args:
        pictures: (B, 3, H, W) in −1 … 1.
        lines: (B, 1, H, W) bool, one pixel thin: where edges must be.
        allowed: (B, 1, H, W) bool: where edges may be; within 2 pixels of ``lines`` if left out.
    """
    strength, crests = edge_strength(pictures)
    if allowed is None:
        allowed = spread(lines.float()) > 0
    unmet = F.relu(1 - spread(strength) / CLEAR) * lines
    edges = strength.square() / (strength.square() + DOUBTFUL**2) * crests
    total = lines.sum((1, 2, 3)) + edges.detach().sum((1, 2, 3))
    return (unmet + edges * ~allowed).sum((1, 2, 3)) / total.clamp_min(1)
