"""From a brought-in picture to the condition map of the result's size, made once and kept.

The picture is brought to the result's size first and read then, so that the lines of a map are as
fine as its pixels whatever was uploaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from pipelines.core.cache import ModelCache
from pipelines.core.errors import BadRequest, validate
from pipelines.core.events import Progress
from pipelines.core.pictures.fitting import Box, crop_beyond, fit, same_proportions
from pipelines.core.pictures.inputs import FOLDER, open_input
from pipelines.core.pictures.png_files import DAMAGED, read_png
from pipelines.diffusion.control.requests import ConditionRequest
from pipelines.preprocessors import registry

MAPS = ".maps"
KEPT_MAPS = 500  # files; the longest unused go first
FLAT = 8  # of 255: a picture whose tones lie closer together shows nothing
_log = logging.getLogger(__name__)


def condition_map(
    request: ConditionRequest,
    size: tuple[int, int],
    home: Path,
    cache: ModelCache,
    stop: threading.Event,
    box: Box | None = None,
    whole: tuple[int, int] | None = None,
) -> Iterator[Progress | Image.Image]:
    """The map that steers a picture of ``size`` (width, height): progress, and last the map, RGB.

    It is read once from a picture and its settings; another call finds it in the home folder.

    Args:
        box: the part of the picture that is read, as it is the part that is painted; None: all.
        whole: width and height of the picture that ``box`` is a part of; None: of this one.

    Raises:
        BadRequest: nothing is drawn on the picture or on what fits of it, there are no lines to be
            found, a parameter is out of bounds, or ``whole`` has other proportions.
        NotFound: the picture has been deleted, or there is no such preprocessor.
        Unavailable: the preprocessor lacks a package or its weights.
        Stopped: ``stop`` was set.
    """
    preprocessor = registry.get(request.preprocessor)
    parameters = validate(preprocessor.parameters, request.parameters).model_dump(mode="json")
    name = f"{request.picture}-{_digest(request, parameters, size, box, whole)}.png"
    path = home / FOLDER / MAPS / name
    if (kept := _load_kept(path)) is not None:
        yield kept
        return
    picture = open_input(home, request.picture)
    if box is not None:
        picture = _crop(picture, box, whole or picture.size)
    fitted, corner = fit(picture, size, request.resize_mode)
    check_drawn(picture, fitted, request.resize_mode)
    made = fitted
    for made in registry.annotate(preprocessor.name, fitted, parameters, cache, stop):
        if isinstance(made, Progress):
            yield made
    if preprocessor.makes in registry.LINES and _is_black(made):
        raise BadRequest(
            "{preprocessor} finds no lines in the picture at {width}×{height}. Draw stronger ones, "
            "lower a threshold under Fine-tune, or choose Pad or Stretch if cropping took them.",
            preprocessor=preprocessor.title,
            width=size[0],
            height=size[1],
        )
    if made.size != size:
        canvas = Image.new("RGB", size, preprocessor.neutral)
        canvas.paste(made, corner)
        made = canvas
    _keep(made, path)
    yield made


def check_proportions(own: tuple[int, int], painted: tuple[int, int]) -> None:
    """Raises BadRequest when a picture cannot be cropped along with the one that is painted."""
    if not same_proportions(own, painted):
        raise BadRequest(
            "The picture to follow has {own} pixels and the painted one {painted}: to be cropped "
            "along it must have the same proportions. Choose another one, or No for Crop along.",
            own="{}×{}".format(*own),
            painted="{}×{}".format(*painted),
        )


def _crop(picture: Image.Image, box: Box, whole: tuple[int, int]) -> Image.Image:
    """The part of a picture where ``box`` lies in one of the size ``whole``.

    The box stays in whole pixels: the picture is brought to ``whole``, or a multiple of it.
    """
    check_proportions(picture.size, whole)
    times = max(1, picture.width // whole[0])
    picture = picture.resize((whole[0] * times, whole[1] * times), Image.Resampling.LANCZOS)
    left, top, right, bottom = (edge * times for edge in box)
    return crop_beyond(picture, (left, top, right, bottom))


def check_drawn(picture: Image.Image, fitted: Image.Image, mode: str) -> None:
    """Raises BadRequest when all pixels are nearly the same: an empty canvas.

    Args:
        picture: the whole one.
        fitted, mode: what of it is read, as
            :func:`pipelines.core.pictures.fitting.fit` has made it.
    """
    empty = _is_flat(fitted)
    if _is_flat(picture) or (empty and mode != "crop"):
        raise BadRequest(
            "Nothing is drawn: the picture has one colour only. Draw some lines, or choose "
            "another picture."
        )
    if empty:
        raise BadRequest(
            "Nothing is drawn on what cropping to {width}×{height} leaves of the picture. Choose "
            "Pad or Stretch, or a size of the picture's proportions.",
            width=fitted.width,
            height=fitted.height,
        )


def forget_maps(home: Path, picture: str = "", dry_run: bool = False) -> int:
    """Deletes the maps made of a picture, or all; they are made again when they are asked for.

    Args:
        home: the home folder.
        picture: an :data:`pipelines.core.pictures.inputs.InputId`; empty: every picture.
        dry_run: delete nothing.

    Returns:
        The bytes that were freed, or with ``dry_run`` would be.
    """
    freed = 0
    for path in (home / FOLDER / MAPS).glob(f"{picture}*"):
        with contextlib.suppress(FileNotFoundError):  # another map has just pushed it out
            freed += path.stat().st_size
            if not dry_run:
                path.unlink()
    return freed


def _is_flat(picture: Image.Image) -> bool:
    return all(high - low < FLAT for low, high in picture.getextrema())


def _is_black(picture: Image.Image) -> bool:
    return all(high < FLAT for _, high in picture.getextrema())


def _load_kept(path: Path) -> Image.Image | None:
    """A map that was made before, RGB, or None; it may be deleted at any moment, or damaged."""
    try:
        os.utime(path)
        return read_png(path)
    except DAMAGED:  # it is made again
        return None


def _digest(
    request: ConditionRequest,
    parameters: dict,
    size: tuple[int, int],
    box: Box | None,
    whole: tuple[int, int] | None,
) -> str:
    facts = [registry.get(request.preprocessor).name, parameters, request.resize_mode, size]
    if box is not None:
        facts += [box, whole]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _keep(made: Image.Image, path: Path) -> None:
    """Keeps a map for the next time, where there is room; it does for this time without."""
    part = path.with_name(f"{path.stem}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(part, format="PNG", compress_level=1)
        os.replace(part, path)
    except OSError as error:
        _log.warning("a map is not kept: %s", error.strerror or error)
        with contextlib.suppress(OSError):
            part.unlink()
        return
    kept = sorted(path.parent.glob("*.png"), key=_age)
    for old in kept[:-KEPT_MAPS]:
        old.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # gone meanwhile, and first in the row of those to go
        return 0.0
