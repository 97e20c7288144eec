"""Settings hidden in the lowest bit of a picture's transparency, which sites leave when they strip
texts: NovelAI writes them, and an extension of A1111's ("stealth PNG info").

The bits run down the columns: 15 letters of a signature, 32 bits with the number of bits that
follow, and the text in UTF-8, plain or packed by gzip. Source: ``nai_meta.py`` in NovelAI's
novelai-image-metadata.
"""

from __future__ import annotations

import json
import zlib

import numpy as np
from PIL import Image

PLAIN, PACKED = b"stealth_pnginfo", b"stealth_pngcomp"
MAX_BYTES = 2_000_000  # unpacked
_HEAD = len(PLAIN) + 4  # bytes of signature and length


def hidden_texts(picture: Image.Image) -> dict[str, str]:
    """The texts in a decoded picture's transparency, by their keywords; often none."""
    if picture.mode != "RGBA":
        return {}
    alpha = np.asarray(picture.getchannel("A"))
    head = _bytes_in(alpha, 0, _HEAD)
    signature = head[: len(PLAIN)]
    if signature not in (PLAIN, PACKED) or len(head) < _HEAD:
        return {}
    count = int.from_bytes(head[len(PLAIN) :], "big") // 8
    content = _bytes_in(alpha, _HEAD, min(count, MAX_BYTES))
    if signature == PACKED:
        try:
            content = zlib.decompressobj(31).decompress(content, MAX_BYTES)
        except zlib.error:
            return {}
    text = content.decode("utf-8", errors="replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {"parameters": text}
    if not isinstance(document, dict):
        return {}
    if "Comment" not in document:
        return {"parameters": text}
    return {name: value for name, value in document.items() if isinstance(value, str)}


def _bytes_in(alpha: np.ndarray, start: int, count: int) -> bytes:
    """``count`` bytes from ``start`` on, out of the lowest bits of (H, W) values, column by column.

    Only the columns that hold them are looked at.
    """
    height, width = alpha.shape
    first, last = 8 * start // height, min(width, -(-8 * (start + count) // height))
    bits = (alpha[:, first:last] & 1).T.ravel()[8 * start - first * height :][: 8 * count]
    return np.packbits(bits[: len(bits) // 8 * 8]).tobytes()
