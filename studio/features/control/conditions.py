"""The maps that steer, made for the page and the API while people still draw.

Maps that need no weights take milliseconds, and everybody may have as many as they like. Those that
a network makes share the device with the jobs, so one is made at a time. Owners take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import NotFound, Refused, validate
from pipelines.core.events import Progress
from pipelines.core.pictures.fitting import Box
from pipelines.diffusion.control.conditions import condition_map
from pipelines.diffusion.control.requests import ConditionRequest, ControlUnit
from pipelines.diffusion.from_picture.requests import FromPicture
from pipelines.preprocessors import registry, weights
from studio.core.jobs.slots import FairSlots

if TYPE_CHECKING:
    from PIL import Image

    from studio.core.accounts.accounts import Owner
    from studio.core.gallery.gallery import Gallery
    from studio.core.gallery.inputs import Inputs

AT_ONCE = 4  # maps without weights: as many as keep a small processor busy
EACH_AT_ONCE = 2  # of these one owner's
EACH_ASKED = 8  # one owner's at work or waiting: sliders that are moved ask for many
WAIT_SECONDS = 60.0  # for a place, before saying that there is none
_BUSY = "Other maps are being made. Ask for this one again in a moment."


class Conditions:
    """Checks what a map is asked with, and makes it; for one owner at a time.

    Args:
        home: the home folder, where maps are kept.
        cache: the model cache.
        inputs: whose pictures may be read.
    """

    def __init__(self, home: Path, cache: Any, inputs: Inputs) -> None:
        self._home, self._cache, self._inputs = home, cache, inputs
        self._with_weights = FairSlots(1, asked=EACH_ASKED, busy=_BUSY)
        self._without_weights = FairSlots(AT_ONCE, each=EACH_AT_ONCE, asked=EACH_ASKED, busy=_BUSY)

    def check(self, owner: Owner, request: ConditionRequest) -> registry.Preprocessor:
        """The preprocessor that the request asks for, when all of it can be had.

        Raises:
            NotFound: the picture is not the owner's, or there is no such preprocessor.
            BadRequest: a parameter is out of bounds; the sentence names it.
            Refused: its weights would have to be downloaded, which only the host may do.
        """
        self._inputs.get(owner.id, request.picture)
        preprocessor = registry.get(request.preprocessor)
        validate(preprocessor.parameters, request.parameters)
        if not owner.is_host and not self.is_here(preprocessor):
            raise Refused(
                "{model} has not been downloaded yet, and only the host may do that. "
                "Choose another way to read the picture.",
                model=preprocessor.title,
            )
        return preprocessor

    def is_here(self, preprocessor: registry.Preprocessor) -> bool:
        """Whether all its weights are on this machine."""
        return preprocessor.weights is None or weights.is_here(preprocessor.weights, self._home)

    def map(
        self,
        owner: Owner,
        request: ConditionRequest,
        size: tuple[int, int],
        tell: Callable[[Progress], None] = lambda progress: None,
        part: tuple[Box, tuple[int, int]] | tuple[()] = (),
    ) -> Image.Image:
        """The map of ``size`` (width, height), RGB.

        Args:
            tell: told the progress of loading and reading.
            part: the part of the picture that is read, and the size of the picture that it is a
                part of; none: all of it.

        Raises:
            BadRequest, NotFound, Refused: as for :meth:`check`, or nothing is drawn.
            Unavailable: the preprocessor lacks a package or its weights.
            Busy: others' maps took all places for a minute, or too many of the owner's wait.
        """
        preprocessor = self.check(owner, request)
        slots = self._with_weights if preprocessor.weights else self._without_weights
        with slots.take(owner.id, WAIT_SECONDS):
            made = condition_map(request, size, self._home, self._cache, threading.Event(), *part)
            for event in made:
                if isinstance(event, Progress):
                    tell(event)
            return event

    def of_picture(
        self, owner: Owner, gallery: Gallery, picture_id: str, number: int
    ) -> Image.Image:
        """The map that a finished picture of the owner's gallery followed.

        Args:
            number: of the unit, from 0.

        Raises:
            NotFound: there is no such picture or unit, or what it followed has been deleted.
        """
        picture = gallery.get(owner.id, picture_id)
        units = picture.request.get("units") or []
        if not 0 <= number < len(units):
            raise NotFound(
                "Picture {id} followed {count} maps; there is no number {number}.",
                id=picture.id,
                count=len(units),
                number=number,
            )
        fields = {
            name: units[number][name] for name in ControlUnit.model_fields if name in units[number]
        }
        unit, asked = validate(ControlUnit, fields), picture.request.get("from_picture")
        if asked and unit.follows_along(FromPicture.model_construct(**asked)):
            unit = unit.model_copy(update={"resize_mode": asked["fit"]})
        return self.map(owner, unit, (picture.width, picture.height))
