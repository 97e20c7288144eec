"""What must hold before something is painted."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.diffusion.resolving import resolve
from pipelines.diffusion.samplers import samplers_in
from pipelines.diffusion.wording.template import Wording
from pipelines.diffusion.wording.wildcards import Wildcards
from pipelines.models.catalog import ModelEntry
from studio.core.jobs.submission import not_downloaded

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


class Paintings:
    """Checks settings to paint with, for this feature and for others that paint.

    Args:
        studio: whose models and samplers.
    """

    def __init__(self, studio: Studio) -> None:
        self._home, self._catalog = studio.home, studio.catalog

    def check(self, owner: Owner, request: TextToImageRequest) -> None:
        """Refuses settings that cannot be painted with.

        Raises:
            BadRequest, NotFound: they do not fit together, or there is no such model.
            Refused: the model would have to be downloaded, which only the host may do.
        """
        entry = self._catalog.get(request.model)
        settings = resolve(request, entry, samplers_in(self._home))
        Wording(settings, Wildcards(self._home))
        self.check_model(owner, entry)

    def check_model(self, owner: Owner, entry: ModelEntry) -> None:
        """Raises Refused where ``owner`` may not load a model, because it is not here."""
        if not owner.is_host and not self.is_here(entry):
            raise not_downloaded(entry.title)

    def is_here(self, entry: ModelEntry) -> bool:
        """Whether a base model's files are on this machine."""
        if entry.source.hub is None:
            return True
        from pipelines.models.downloads import find_model  # the hub's client takes its time

        return find_model(entry.source.hub, self._home / HUB_FOLDER) is not None


def check_painting(studio: Studio, owner: Owner, request: TextToImageRequest) -> TextToImageRequest:
    """The request with the ids of its LoRAs."""
    request = studio.loras.filled(owner.id, request)
    studio.paintings.check(owner, request)
    return request


def check_comparison(
    studio: Studio, owner: Owner, request: CompareSamplersRequest
) -> CompareSamplersRequest:
    """The same for a sheet, each of whose pictures is checked."""
    request = studio.loras.filled(owner.id, request)
    for sampler, steps in itertools.product(request.samplers, request.steps):
        cell = request.base.model_copy(update={"sampler": sampler, "steps": steps})
        studio.paintings.check(owner, cell)
    return request
