"""PNGs that lie in the home folder: they were whole once, and a disk may have lost some of it."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from PIL import Image

DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises of a PNG that is none, is cut short, or holds something else than pixels."""

_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of every whole PNG


def read_png(path: Path) -> Image.Image:
    """A PNG as RGB; raises FileNotFoundError, or another of :data:`DAMAGED`."""
    with Image.open(path, formats=("PNG",)) as picture:
        return picture.convert("RGB")


def is_whole(path: Path) -> bool:
    """Whether a PNG is there to its end; what lies between is not looked at."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:  # it is shorter than that, or not there
        return False
