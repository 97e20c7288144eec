"""Pictures inside bodies: base64, with or without ``data:`` before it. Nothing is ever fetched."""

from __future__ import annotations

import base64
import binascii
import io
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import BadRequest

if TYPE_CHECKING:
    from PIL import Image

    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.inputs import Input
    from studio.core.services import Studio


def decode(text: Any, name: str) -> bytes:
    """The bytes of a picture's file.

    Args:
        name: of the field it was sent in.

    Raises:
        BadRequest: it is no base64.
    """
    data = text.partition(",")[2] if str(text).startswith("data:") else text
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (AttributeError, ValueError, binascii.Error):
        raise BadRequest(
            "{field} must be a picture in base64: pictures are not fetched from addresses.",
            field=name,
        ) from None


def bring(studio: Studio, owner: Owner, text: Any, name: str, is_mask: bool = False) -> Input:
    """Keeps a picture of a body, as those that are uploaded on the page.

    Raises:
        BadRequest: it is no picture.
        Busy, DiskFull: there is no room.
    """
    return studio.inputs.bring(owner.id, decode(text, name), is_mask=is_mask)


def encode(data: bytes) -> str:
    """A file in base64."""
    return base64.b64encode(data).decode()


def encode_png(picture: Image.Image) -> str:
    """A picture as PNG in base64."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    return encode(file.getvalue())
