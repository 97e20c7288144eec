"""Pictures that people bring in: kept re-encoded in the home folder, asked for by id.

An id is made of the owner and the pixels: the same picture of the same owner is kept once, and no
id can be guessed without having the picture. Whose it is, the studio knows; engines only open it.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Annotated

from PIL import Image
from pydantic import StringConstraints

from pipelines.core.errors import NotFound, Unavailable
from pipelines.core.files import write_whole
from pipelines.core.pictures.stored import DAMAGED, is_whole, read_png

FOLDER = "inputs"
InputId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


def input_id(owner: str, picture: Image.Image) -> str:
    """The id of ``picture`` (RGB) when ``owner`` brings it in."""
    digest = hashlib.sha256(f"{owner}\0{picture.size}\0".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()[:32]


def input_path(home: Path, id: str) -> Path:
    """Where the picture lies. ``id`` is an :data:`InputId`: hexadecimal digits and nothing else."""
    return home / FOLDER / f"{id}.png"


def keep_input(home: Path, owner: str, picture: Image.Image) -> str:
    """Writes ``picture`` (RGB, nothing but pixels) unless it is there whole; returns its id."""
    id = input_id(owner, picture)
    path = input_path(home, id)
    if not is_whole(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        write_whole(path, buffer.getvalue())
    return id


def open_input(home: Path, id: str) -> Image.Image:
    """The picture as RGB.

    Raises:
        NotFound: it has been deleted.
        Unavailable: its file is damaged.
    """
    try:
        return read_png(input_path(home, id))
    except FileNotFoundError:
        raise NotFound("The picture {id} is no longer here. Bring it in again.", id=id) from None
    except DAMAGED as error:
        raise Unavailable(
            "The file of the picture {id} is damaged or cannot be read. Bring it in again.", id=id
        ) from error
