"""Points that stand for the pictures of a gallery.

Looking at 2,000 pictures takes about half a minute. It is done within the call,
for at most :data:`SECONDS`: what is not looked at by then is left out and said, and since pictures
that an earlier data set holds are not looked at again, asking once more goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipelines.clustering.data.embedding import COLUMNS, embed
from pipelines.clustering.data.npz_files import Stored
from pipelines.clustering.data.sample_data import Dataset
from pipelines.core.errors import BadRequest, UserError
from pipelines.core.messages import Message

if TYPE_CHECKING:
    from studio.core.gallery.gallery import Gallery

SECONDS = 60.0


def gallery_data(
    gallery: Gallery,
    owner: str,
    ids: Sequence[str],
    cache: Any,
    earlier: Stored | None,
    stop: threading.Event | None = None,
) -> tuple[Stored, tuple[Message, ...]]:
    """The points of the owner's pictures ``ids``, and what was left out.

    Args:
        cache: the model cache.
        earlier: a data set of this kind, whose pictures are not looked at again.

    Raises:
        BadRequest: there are no pictures.
        Stopped: ``stop`` was set.
    """
    if not ids:
        raise BadRequest("Your gallery is empty. Paint some pictures first, then cluster them.")
    known = _known_rows(earlier)
    end = time.monotonic() + SECONDS
    seen: list[str] = []
    damaged: list[str] = []

    def pictures() -> Iterator[Image.Image]:
        for id in ids:
            if id in known:
                continue
            if time.monotonic() > end:
                return
            try:
                path = gallery.thumbnail(owner, id)  # a plot of the gallery shows these too
                with Image.open(path, formats=("WEBP", "PNG")) as picture:
                    image = picture.convert("RGB")
            except (UserError, OSError, ValueError, SyntaxError):  # or deleted meanwhile
                damaged.append(id)
                continue
            seen.append(id)
            yield image

    looked = list(embed(pictures(), cache, stop)) if set(ids) - known.keys() else []
    if looked:
        known |= dict(zip(seen, np.concatenate(looked), strict=True))
    kept = tuple(id for id in ids if id in known)
    if not kept:
        raise BadRequest("None of your pictures can be read. Their files may be damaged.")
    X = np.ascontiguousarray([known[id] for id in kept], dtype=np.float64)
    notes = []
    if damaged:
        notes.append(
            Message("{count} pictures could not be read and are left out.", count=len(damaged))
        )
    if len(kept) + len(damaged) < len(ids):
        notes.append(
            Message(
                "{count} of {pictures} pictures were looked at within the time for it. Ask again "
                "to have more of them.",
                count=f"{len(kept):,}",
                pictures=f"{len(ids):,}",
            )
        )
    return Stored(Dataset(X, None, COLUMNS, "Pictures of your gallery"), None, kept), tuple(notes)


def _known_rows(earlier: Stored | None) -> dict[str, np.ndarray]:
    if earlier is None or earlier.pictures is None or earlier.data.columns != COLUMNS:
        return {}
    return dict(zip(earlier.pictures, earlier.data.X, strict=True))
