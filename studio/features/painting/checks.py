"""What must hold before something is painted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from pipelines.core.errors import BadRequest, Refused, UserError
from pipelines.core.matching import name_key
from pipelines.core.messages import Message
from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.prompts import parse
from pipelines.diffusion.requests import MAX_PIXELS, TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import UNET_FAMILIES, samplers_in
from pipelines.diffusion.wording.template import Wording
from pipelines.diffusion.wording.wildcards import Wildcards
from pipelines.grids.cells import cannot_be_painted
from pipelines.grids.requests import CompareSamplersRequest, GridRequest
from pipelines.models.catalog import ModelEntry
from pipelines.upscaling.catalog import Upscalers
from studio.core.jobs.submission import download_refusal

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


_REMEMBERED = 60  # pictures that are looked at for how long one takes


class Paintings:
    """Checks settings to paint with, for this feature and for others that paint.

    Args:
        studio: whose models and samplers.
    """

    def __init__(self, studio: Studio) -> None:
        self._home, self._catalog, self._gallery = studio.home, studio.catalog, studio.gallery

    def check(self, owner: Owner, request: TextToImageRequest) -> None:
        """Refuses settings that cannot be painted with.

        Raises:
            BadRequest, NotFound: they do not fit together, or there is no such model.
            Refused: the model would have to be downloaded, which only the host may do.
        """
        entry = self._catalog.get(request.model)
        if request.hires is not None and not request.hires.is_latent:
            Upscalers(self._home).get(request.hires.upscaler)
        settings = resolve(request, entry, samplers_in(self._home))
        wording = Wording(settings, Wildcards(self._home))
        if not wording.is_dynamic and entry.family in UNET_FAMILIES:  # others read no weights
            for text in (settings.prompt, settings.negative_prompt):
                parse(text)
        self.check_model(owner, entry)

    def foretell(self, owner: Owner, requests: Sequence[TextToImageRequest]) -> float | None:
        """About how many seconds some pictures take, as those took that ``owner`` has painted.

        Returns:
            None where no picture of one of the models is known.
        """
        paces: dict[str, list[float]] = {}  # by model, seconds of a step of a pixel
        for row in self._gallery.search(owner.id, limit=_REMEMBERED):
            made = row.request
            work = row.width * row.height * (made.get("steps") or 0)
            if work and row.seconds and isinstance(made.get("model"), str):
                paces.setdefault(made["model"], []).append(row.seconds / work)
        total = 0.0
        for request in requests:
            entry = self._catalog.get(request.model)
            if entry.name not in paces:
                return None
            side, steps = entry.native_size, request.steps or entry.defaults.steps
            work = (request.width or side) * (request.height or side) * steps
            total += median(paces[entry.name]) * work
        return total

    def check_model(self, owner: Owner, entry: ModelEntry) -> None:
        """Raises Refused where ``owner`` may not load a model, because it is not here."""
        if not owner.is_host and not self.is_here(entry):
            raise download_refusal(entry.title)

    def is_here(self, entry: ModelEntry) -> bool:
        """Whether a base model's files are on this machine."""
        if entry.source.hub is None:
            return True
        from pipelines.models.downloads import find_model  # the hub's client takes its time

        return find_model(entry.source.hub, self._home / HUB_FOLDER) is not None


def check_painting(studio: Studio, owner: Owner, request: TextToImageRequest) -> TextToImageRequest:
    """The request with the ids of its LoRAs."""
    request = studio.loras.fill_in(owner.id, request)
    studio.paintings.check(owner, request)
    return request


def check_grid(studio: Studio, owner: Owner, request: GridRequest) -> GridRequest:
    """The request with the ids of all LoRAs and the names of all models of its cells.

    Raises:
        BadRequest: cells cannot be painted, or there are too many or too large ones.
        Refused: a model would have to be downloaded.
    """
    request = studio.loras.fill_in(owner.id, request)
    request = request.model_copy(update={"loras": (), "models": {}})
    loras: dict[str, LoraUse] = {}
    models: dict[str, str] = {}
    reasons: dict[str, Message] = {}
    pixels = 0
    for cell in request.cells():
        checked = cell.request
        try:
            for check in studio.features.checks_of(type(checked)):
                checked = check(studio, owner, checked)
        except Refused:
            raise
        except UserError as error:
            reasons[cell.name] = error.message
            continue
        width, height = _size_of(studio, owner, checked)
        pixels += width * height
        loras |= {name_key(use.name): use for use in checked.loras}
        models[cell.request.model] = checked.model
    if reasons:
        raise cannot_be_painted(reasons)
    if pixels > MAX_PIXELS:
        raise BadRequest(
            "The pictures of the grid have {value} megapixels together; at most {limit} are "
            "painted. Take fewer or smaller ones.",
            value=round(pixels / 10**6),
            limit=MAX_PIXELS // 10**6,
        )
    known = {typed: name for typed, name in models.items() if typed != name}
    return request.model_copy(update={"loras": tuple(loras.values()), "models": known})


def _size_of(studio: Studio, owner: Owner, request: TextToImageRequest) -> tuple[int, int]:
    """Width and height of the picture that a request makes, or of what is painted for it if that
    is larger."""
    native = studio.catalog.get(request.model).native_size
    size = request.width or native, request.height or native
    if request.hires is not None:
        size = request.hires.size_for(*size)
    if (begun := request.from_picture) is None or not begun.paints_a_part:
        return size
    brought = studio.inputs.get(owner.id, begun.picture)
    whole = brought.width, brought.height
    if begun.outpaint is not None:
        left, top, right, bottom = begun.outpaint.pixels(whole)
        whole = whole[0] + left + right, whole[1] + top + bottom
    return max(size, whole, key=math.prod)


def check_comparison(
    studio: Studio, owner: Owner, request: CompareSamplersRequest
) -> CompareSamplersRequest:
    """The same for a comparison of samplers."""
    grid = check_grid(studio, owner, request.as_grid())
    return request.model_copy(update={"base": grid.base})
