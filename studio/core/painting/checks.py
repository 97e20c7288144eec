"""What must hold before one picture is painted, whichever feature asks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import UserError, validate
from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion.from_picture.steps import work_of
from pipelines.diffusion.latents.decoders import decoder_of, find_decoder
from pipelines.diffusion.prompts import parse
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import UNET_FAMILIES, samplers_in
from pipelines.diffusion.wording.dynamic_prompts import Wording
from pipelines.diffusion.wording.wildcards import Wildcards
from pipelines.models.catalog import ModelEntry
from pipelines.upscaling.catalog import Upscalers
from studio.core.jobs.submission import download_refusal

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.models.catalog import Catalog
    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.gallery import Gallery, SavedPicture

_REMEMBERED = 60  # pictures that are looked at for how long one takes


class Paintings:
    """Checks settings to paint with, for all that paint.

    Args:
        home: the home folder, with the host's own samplers and upscalers.
        catalog: the models.
        gallery: tells how long pictures have taken.
    """

    def __init__(self, home: Path, catalog: Catalog, gallery: Gallery) -> None:
        self._home, self._catalog, self._gallery = home, catalog, gallery

    def check(self, owner: Owner, request: TextToImageRequest) -> None:
        """Refuses settings that cannot be painted with.

        Raises:
            BadRequest, NotFound: they do not fit together, or there is no such model.
            Refused: the model, or the fast decoder, would have to be downloaded, which only the
                host may do.
        """
        entry = self._catalog.get(request.model)
        if request.hires is not None and not request.hires.is_latent:
            Upscalers(self._home).get(request.hires.upscaler)
        second = None
        if request.hires is not None and request.hires.model is not None:
            second = self._catalog.get(request.hires.model)
            self.check_model(owner, second)
        settings = resolve(request, entry, samplers_in(self._home), second)
        wording = Wording(settings, Wildcards(self._home))
        if not wording.is_dynamic and entry.family in UNET_FAMILIES:  # others read no weights
            for text in (settings.prompt, settings.negative_prompt):
                parse(text)
        self.check_model(owner, entry)
        decoder = decoder_of(entry.family) if settings.decoder == "fast" else None
        if decoder is not None and not owner.is_host and find_decoder(decoder, self._home) is None:
            raise download_refusal(decoder.title)

    def foretell(self, owner: Owner, requests: Sequence[TextToImageRequest]) -> float | None:
        """About how many seconds some pictures take, as those took that ``owner`` has painted.

        Returns:
            None where no picture of one of the models is known.
        """
        paces: dict[str, list[float]] = {}  # by model, seconds of a step of a pixel
        for row in self._gallery.search(owner.id, limit=_REMEMBERED):
            made = _settings_of(row)
            if made is not None and row.seconds and (work := sum(work_of(made))):
                paces.setdefault(made.model, []).append(row.seconds / work)
        total = 0.0
        for request in requests:
            entry = self._catalog.get(request.model)
            if entry.name not in paces:
                return None
            whole = request.model_copy(
                update={
                    "steps": request.steps or entry.defaults.steps,
                    "width": request.width or entry.native_size,
                    "height": request.height or entry.native_size,
                }
            )
            halves = 1 if request.detail_fix is None else 2  # as the bar counts them
            pictures = request.batch_count * request.batch_size
            total += median(paces[entry.name]) * sum(work_of(whole)) * halves * pictures
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


def _settings_of(row: SavedPicture) -> TextToImageRequest | None:
    """The request of a picture whose steps tell how long they take; None of any other.

    Of one whose details were fixed nobody knows how many steps that took.
    """
    known = TextToImageRequest.model_fields
    try:
        fields = {name: value for name, value in row.request.items() if name in known}
        made = validate(TextToImageRequest, fields)
    except UserError:  # another kind of picture, or of another version
        return None
    if made.detail_fix is not None or None in (made.width, made.height, made.steps):
        return None
    asked = made.from_picture
    if asked is not None and asked.outpaint is not None and asked.area == "whole":
        return made.model_copy(update={"width": row.width, "height": row.height})
    return made


def check_painting(studio: Any, owner: Owner, request: TextToImageRequest) -> TextToImageRequest:
    """The request with the ids of its LoRAs."""
    request = studio.loras.fill_in(owner.id, request)
    studio.paintings.check(owner, request)
    return request
