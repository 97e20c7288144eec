"""Pictures that people bring in: kept re-encoded in the home folder, asked for by id.

An id is made of the owner and the pixels: the same picture of the same owner is kept once, and no
id can be guessed without having the picture. Whose it is, the studio knows; engines only open it.

A picture with transparent parts is kept on white, as every reader sees it; how opaque it was lies
in a chunk of the PNG of its own, so that it can be put on another colour.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path
from typing import Annotated

from PIL import Image, ImageChops, ImageColor
from PIL.PngImagePlugin import PngInfo
from pydantic import StringConstraints

from pipelines.core.errors import NotFound, Unavailable
from pipelines.core.files import write_whole
from pipelines.core.pictures.png_files import DAMAGED, is_whole, read_png

FOLDER = "inputs"
WHITE = "#ffffff"
_ALPHA = b"alPh"  # private, and safe to copy: 8 bits a pixel, row by row, deflated
InputId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


def input_id(owner: str, picture: Image.Image, alpha: Image.Image | None = None) -> str:
    """The id of ``picture`` (RGB) when ``owner`` brings it in; see :func:`keep_input`."""
    digest = hashlib.sha256(f"{owner}\0{picture.size}\0".encode())
    digest.update(picture.tobytes())
    if alpha is not None:
        digest.update(alpha.tobytes())
    return digest.hexdigest()[:32]


def input_path(home: Path, id: str) -> Path:
    """Where the picture lies. ``id`` is an :data:`InputId`: hexadecimal digits and nothing else."""
    return home / FOLDER / f"{id}.png"


def keep_input(
    home: Path, owner: str, picture: Image.Image, alpha: Image.Image | None = None
) -> str:
    """Writes ``picture`` (RGB, nothing but pixels) unless it is there whole; returns its id.

    Args:
        alpha: how opaque it was before it was put on white, L and of the same size; None: wholly.
    """
    id = input_id(owner, picture, alpha)
    path = input_path(home, id)
    if not is_whole(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer, info = io.BytesIO(), PngInfo()
        if alpha is not None:
            info.add(_ALPHA, zlib.compress(alpha.tobytes()))
        picture.save(buffer, format="PNG", pnginfo=info)
        write_whole(path, buffer.getvalue())
    return id


def open_input(home: Path, id: str, background: str = WHITE) -> Image.Image:
    """The picture as RGB.

    Args:
        background: "#rrggbb", what lies behind its transparent parts.

    Raises:
        NotFound: it has been deleted.
        Unavailable: its file is damaged.
    """
    try:
        path = input_path(home, id)
        picture = read_png(path)
        alpha = None if background == WHITE else _read_alpha(path, picture.size)
    except FileNotFoundError:
        raise NotFound("The picture {id} is no longer here. Bring it in again.", id=id) from None
    except DAMAGED as error:
        raise Unavailable(
            "The file of the picture {id} is damaged or cannot be read. Bring it in again.", id=id
        ) from error
    return picture if alpha is None else _put_on(picture, alpha, ImageColor.getrgb(background))


def _read_alpha(path: Path, size: tuple[int, int]) -> Image.Image | None:
    """How opaque a kept picture was; None: wholly."""
    with Image.open(path, formats=("PNG",)) as picture:
        chunks = dict(picture.private_chunks)
    if _ALPHA not in chunks:
        return None
    return Image.frombytes("L", size, zlib.decompress(chunks[_ALPHA]))


def _put_on(picture: Image.Image, alpha: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    """A picture that lies on white, put on another colour: only what is seen through changes."""
    channels = []
    for channel, value in zip(picture.split(), colour, strict=True):
        missing = [round((255 - opaque) * (255 - value) / 255) for opaque in range(256)]
        channels.append(ImageChops.subtract(channel, alpha.point(missing)))
    return Image.merge("RGB", channels)
