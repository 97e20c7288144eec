"""HDR pictures brought to sRGB, and what a file says of the coding of its colours.

PQ (SMPTE ST 2084) codes light in cd/m² up to 10,000; HLG (ITU-R BT.2100) is shown as on a screen of
1,000 cd/m². White that is no light source has 203 cd/m² in both (BT.2408, 2.2) and becomes white
here. What is brighter is brought below it by the curve of BT.2390, 5.4, which leaves darker colours
as they are; it is applied to the greatest of red, green and blue, so that hues stay.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

WHITE = 203.0  # cd/m²
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # cd/m², and the exponent of such a screen
PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
_ROWS_PIXELS = 1 << 20  # that are computed at a time
_STEPS = 4096  # of the tone curve


class ColourCoding(NamedTuple):
    """Code points of ITU-T H.273, as cICP chunks and profiles have them.

    Attributes:
        full_range: False: black is 16 and white 235, as in films.
    """

    primaries: int
    transfer: int
    full_range: bool = True

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)


def coding_of_profile(profile: bytes) -> ColourCoding | None:
    """What the tag ``cicp`` of an ICC profile says (ICC.1:2022, 10.3); None where there is none."""
    if len(profile) < 132:
        return None
    (count,) = struct.unpack_from(">I", profile, 128)
    for number in range(min(count, 100)):
        at = 132 + 12 * number
        if at + 12 > len(profile):
            break
        name, start, size = struct.unpack_from(">4sII", profile, at)
        if name == b"cicp" and size >= 12 and start + 12 <= len(profile):
            primaries, transfer, _, full = profile[start + 8 : start + 12]
            return ColourCoding(primaries, transfer, bool(full))
    return None


def stretch(picture: Image.Image) -> Image.Image:
    """RGB of narrow range (16 … 235) as RGB of full range (0 … 255)."""
    return picture.point([round(min(max((v - 16) / 219, 0), 1) * 255) for v in range(256)] * 3)


def to_sdr(picture: Image.Image, coding: ColourCoding, to_srgb: np.ndarray) -> Image.Image:
    """An HDR picture in sRGB.

    Args:
        picture: RGB, 8 bits a channel, of full range.
        coding: of PQ or HLG.
        to_srgb: (3, 3): linear light of its primaries to linear sRGB.
    """
    codes = np.asarray(picture)  # (H, W, 3)
    light = _pq_light if coding.transfer == PQ else _hlg_light
    rows = max(1, _ROWS_PIXELS // max(1, picture.width))
    bands = [slice(at, at + rows) for at in range(0, picture.height, rows)]
    peak = max((float(light(codes[band]).max()) for band in bands), default=WHITE)
    gains = _gains(peak)
    made = np.empty_like(codes)
    for band in bands:
        linear = light(codes[band])  # cd/m²
        greatest = linear.max(-1, keepdims=True)
        at = np.clip(_pq_code(greatest) * (_STEPS - 1), 0, _STEPS - 1)
        linear *= np.interp(at, np.arange(_STEPS), gains).astype(np.float32) / WHITE
        made[band] = np.rint(255 * _srgb_code(linear @ to_srgb.T.astype(np.float32)))
    return Image.fromarray(made, "RGB")


def _gains(peak: float) -> np.ndarray:
    """By what light is multiplied, (_STEPS,), over the PQ code of the greatest channel."""
    codes = np.linspace(0, 1, _STEPS)
    if peak <= WHITE * 1.001:
        return np.ones(_STEPS)
    top = float(_pq_code(np.array(peak)))
    limit = float(_pq_code(np.array(WHITE))) / top
    knee = 1.5 * limit - 0.5
    scaled = np.minimum(codes / top, 1)
    t = np.clip((scaled - knee) / (1 - knee), 0, 1)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * limit
    )
    mapped = np.where(scaled < knee, scaled, spline) * top
    before = _pq_decode(codes)
    return np.where(before > 1e-4, _pq_decode(mapped) / np.maximum(before, 1e-4), 1.0)


# --- transfer functions ---------------------------------------------------------------------------

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128  # of ST 2084
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_decode(codes: np.ndarray) -> np.ndarray:
    """cd/m² of PQ codes from 0 to 1."""
    root = codes ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_code(light: np.ndarray) -> np.ndarray:
    """PQ codes of cd/m²."""
    root = (np.clip(light, 0, 10_000) / 10_000) ** _M1
    return ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2


def _hlg_decode(codes: np.ndarray) -> np.ndarray:
    """Light of the scene from 0 to 1 of HLG codes; BT.2100, table 5."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)


_LEVELS = np.linspace(0, 1, 256)
_PQ_TABLE = _pq_decode(_LEVELS).astype(np.float32)
_HLG_TABLE = _hlg_decode(_LEVELS).astype(np.float32)


def _pq_light(codes: np.ndarray) -> np.ndarray:
    return _PQ_TABLE[codes]


def _hlg_light(codes: np.ndarray) -> np.ndarray:
    """cd/m² on a screen: the light of the scene by the exponent of its luminance."""
    scene = _HLG_TABLE[codes]
    luminance = (scene @ _LUMINANCE)[..., None]
    return HLG_PEAK * scene * np.maximum(luminance, 1e-6) ** (HLG_GAMMA - 1)


def _srgb_code(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
