"""What must hold before a picture is painted that follows others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pipelines.diffusion.control.conditions import check_proportions
from pipelines.diffusion.control.requests import ControlRequest, SteeredChangesRequest
from studio.core.jobs.submission import download_refusal

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.services import Studio


RequestT = TypeVar("RequestT", ControlRequest, SteeredChangesRequest)


def check_units(studio: Studio, owner: Owner, request: RequestT) -> RequestT:
    """Refuses units whose picture, preprocessor or model cannot be had, or does not fit the base.

    Raises:
        BadRequest, NotFound: a unit cannot be followed.
        Refused: its model would have to be downloaded, which only the host may do.
    """
    base, asked = studio.catalog.get(request.model), request.from_picture
    further = getattr(request, "pictures", ())
    for unit in request.units:
        studio.conditions.check(owner, unit)
        if unit.crop_along and asked is not None and asked.paints_a_part:
            own = studio.inputs.get(owner.id, unit.picture)
            # What follows the picture to begin from follows each of several in its turn.
            others = () if unit.picture == asked.picture else further
            for id in (asked.picture, *others):
                painted = studio.inputs.get(owner.id, id)
                check_proportions((own.width, own.height), (painted.width, painted.height))
        entry = studio.control.get(unit.model)
        studio.control.check_fit(entry, base)
        if request.hires is not None and request.hires.model is not None:
            studio.control.check_fit(entry, studio.catalog.get(request.hires.model))
        if not owner.is_host and not entry.is_here(studio.home):
            raise download_refusal(entry.title)
    return request
