"""Colours of a file's own profile brought to sRGB, which is what models, pages and files here mean.

Photos of iPhones are in Display P3, those of many cameras in Adobe RGB, scans and prints in other
spaces yet: read as sRGB, they come out up to a quarter of the range wrong.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageCms

SAME = 2  # of 255: colours that a profile changes by no more are left alone

# CIE 1931 chromaticities of red, green and blue.
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
BT_2020 = ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046))
D65 = (0.3127, 0.329)
_DCI_WHITE = (0.314, 0.351)
_PAL = ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))
_SMPTE_170M = ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07))
_EBU_3213 = ((0.63, 0.34), (0.295, 0.605), (0.155, 0.077))

_SRGB_GAMMA = 2.2  # which stands for sRGB's own curve
_NEAR_SRGB = 0.03  # a file that says 2.2 or 2.19995 means sRGB's curve
ADOBE_GAMMA = 563 / 256
_CODED_PRIMARIES = {
    1: (SRGB, D65),
    5: (_PAL, D65),
    6: (_SMPTE_170M, D65),
    7: (_SMPTE_170M, D65),
    9: (BT_2020, D65),
    11: (DISPLAY_P3, _DCI_WHITE),
    12: (DISPLAY_P3, D65),
    22: (_EBU_3213, D65),
}
# Codes of films (BT.709, BT.601, BT.2020 of 10 and 12 bits) are shown by sRGB's curve, as browsers
# do it.
_CODED_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, **dict.fromkeys((1, 6, 13, 14, 15), _SRGB_GAMMA)}

# ICC.1:2022, annex E: from the white of the source to D50.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D50 = np.array([0.9642, 1.0, 0.8249])
# IEC 61966-2-1 as an ICC parametric curve of type 3: gamma, a, b, c, d.
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

# ImportError: a Pillow that was built without Little CMS.
_UNREADABLE = (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError)
_BASE_MODES = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour space of a profile → Pillow's mode


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The colours of ``picture`` as RGB in sRGB, without its alpha.

    Args:
        picture: of 8 bits a channel.
        profile: ICC profile of its colours. One that is damaged, or of another colour space than
            the picture's, is not followed.

    Relative colorimetric with black point compensation, as image editors do it. Where nearly
    nothing would change, nothing is changed.
    """
    mode = _mode_of(profile) if profile else None
    base = _BASE_MODES.get(picture.mode, "RGB")
    if mode is None or (mode != base and not (mode == "RGB" and base == "L")):
        return picture.convert("RGB")
    try:
        transform = ImageCms.buildTransform(
            io.BytesIO(profile),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if _changes(transform, mode):
            return ImageCms.applyTransform(picture.convert(mode), transform)
    except _UNREADABLE:
        pass
    return picture.convert("RGB")


def _mode_of(profile: bytes) -> str | None:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return _MODES.get(opened.profile.xcolor_space.strip())
    except _UNREADABLE:
        return None


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform changes colours visibly, tried on a few hundred."""
    if mode == "CMYK":
        return True
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    if mode == "L":
        colours = levels[None, :]
    else:
        colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    probe = Image.fromarray(colours)
    before = np.asarray(probe.convert("RGB"), np.int16)
    after = np.asarray(ImageCms.applyTransform(probe, transform), np.int16)
    return bool(np.abs(after - before).max() > SAME)


# --- profiles of our own --------------------------------------------------------------------------


def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """The profile of a PNG's cICP chunk (ITU-T H.273 code points), or None if it is not known.

    HDR (PQ, HLG) has no profile that could be followed in 8 bits; see
    :mod:`pipelines.core.pictures.hdr`.
    """
    if primaries not in _CODED_PRIMARIES or transfer not in _CODED_GAMMAS:
        return None
    return matrix_profile(*_CODED_PRIMARIES[primaries], _CODED_GAMMAS[transfer])


def linear_to_srgb(primaries: int) -> np.ndarray:
    """(3, 3): linear light of coded primaries (ITU-T H.273) to linear sRGB.

    Those that are not known are taken for BT.2020's, which HDR nearly always has.
    """
    own, white = _CODED_PRIMARIES.get(primaries, (BT_2020, D65))
    return np.linalg.inv(_matrix_to_d50(SRGB, D65)) @ _matrix_to_d50(own, white)


@cache
def adobe_rgb_profile() -> bytes:
    """Adobe RGB (1998), which cameras name in EXIF instead of embedding a profile."""
    profile = matrix_profile(ADOBE_RGB, D65, ADOBE_GAMMA)
    assert profile is not None
    return profile


def matrix_profile(
    primaries: Sequence[tuple[float, float]] = SRGB,
    white: tuple[float, float] = D65,
    gamma: float = _SRGB_GAMMA,
) -> bytes | None:
    """An ICC profile (version 4, display) of an RGB space.

    Args:
        primaries: x, y of red, green and blue.
        white: x, y.
        gamma: exponent that decodes a value; 2.2 stands for sRGB's own curve.

    Returns:
        The profile, or None if there is no such space: three points on a line, or none at all.
    """
    if any(not 0 < y < 1 or not 0 <= x < 1 for x, y in (*primaries, white)):
        return None
    if (adapted := _matrix_to_d50(primaries, white)) is None:
        return None
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 8:
        return None
    if abs(gamma - _SRGB_GAMMA) < _NEAR_SRGB and tuple(primaries) != ADOBE_RGB:
        curve = b"para\0\0\0\0\0\3\0\0" + _s15_fixed16(*_SRGB_CURVE)
    else:
        curve = b"para\0\0\0\0\0\0\0\0" + _s15_fixed16(gamma)
    tags = {
        b"desc": b"mluc\0\0\0\0\0\0\0\0\0\0\0\x0c",
        b"wtpt": b"XYZ \0\0\0\0" + _s15_fixed16(*_D50),
        **{
            name: b"XYZ \0\0\0\0" + _s15_fixed16(*column)
            for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True)
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _icc_file(tags)


def _matrix_to_d50(
    primaries: Sequence[tuple[float, float]], white: tuple[float, float]
) -> np.ndarray | None:
    """(3, 3): linear RGB to XYZ under D50; None of three points on a line."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    target = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    if abs(np.linalg.det(columns)) < 1e-6:
        return None
    to_xyz = columns * np.linalg.solve(columns, target)
    cones = _BRADFORD @ _D50 / (_BRADFORD @ target)
    return np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ to_xyz


def _icc_file(tags: dict[bytes, bytes]) -> bytes:
    """Header, table and contents of a profile; ICC.1:2022, 7.2 and 7.3."""
    at = 128 + 4 + 12 * len(tags)
    table, contents = [struct.pack(">I", len(tags))], []
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table.append(struct.pack(">4sII", name, at, len(content)))
        contents.append(content)
        at += len(content)
    header = struct.pack(">I4sI4s4s4s", at, bytes(4), 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _s15_fixed16(*_D50)
    return header.ljust(128, b"\0") + b"".join(table) + b"".join(contents)


def _s15_fixed16(*values: float) -> bytes:
    """s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
