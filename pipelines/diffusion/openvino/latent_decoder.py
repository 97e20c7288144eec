"""Stands in for the decoder of an autoencoder on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from pipelines.diffusion.openvino.rows import RowNetwork, computes_here
from pipelines.diffusion.openvino.steering import TRACED_SIDE, ToConvert

SMALLEST_BYTES = 4 * 2**20
"""Of the decoder's weights; smaller ones are left to PyTorch: converting them would not pay."""


class OpenVINODecoder:
    """The decoder of an ``AutoencoderKL`` or ``AutoencoderTiny``, a row at a time on all cores.

    Args:
        vae: the autoencoder, float32, on the CPU.
        folder, precision, on_converting: as :class:`RowNetwork` takes them.
    """

    def __init__(
        self,
        vae: AutoencoderKL | AutoencoderTiny,
        folder: Path,
        precision: str | None = None,
        on_converting: Callable[[], None] = lambda: None,
    ) -> None:
        module, example, facts = decoder_to_convert(vae)
        self._network = RowNetwork(
            module, example, facts, folder, precision, on_converting, streams=1, sizes=2
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all compiled copies of the weights."""
        return self._network.nbytes

    def is_ready(self, shape: Sequence[int]) -> bool:
        """Whether it has been compiled for latents of a row of this shape (C, h, w)."""
        return self._network.is_ready(shape)

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, h, w) in the autoencoder's own scale → pixels in −1 … 1, float32."""
        return self._network(latents)[0]


class _Decoder(torch.nn.Module):
    def __init__(self, vae: AutoencoderKL | AutoencoderTiny) -> None:
        super().__init__()
        self.before = getattr(vae, "post_quant_conv", None) or torch.nn.Identity()
        self.decoder = vae.decoder

    def forward(self, latents):
        return self.decoder(self.before(latents))


def decoder_to_convert(vae: AutoencoderKL | AutoencoderTiny) -> ToConvert:
    """The decoder alone: the weights of the encoder are no part of the network."""
    example = (torch.zeros(1, vae.config.latent_channels, TRACED_SIDE, TRACED_SIDE),)
    return _Decoder(vae), example, {"kind": type(vae).__name__, **vae.config}


def can_decode(vae: torch.nn.Module, device: str) -> bool:
    """Whether this autoencoder should decode through OpenVINO."""
    return (
        device == "cpu"
        and isinstance(vae, (AutoencoderKL, AutoencoderTiny))
        and vae.dtype == torch.float32
        and sum(parameter.nbytes for parameter in vae.decoder.parameters()) >= SMALLEST_BYTES
        and computes_here()
    )
