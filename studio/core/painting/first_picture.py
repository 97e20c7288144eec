"""What makes the first picture wait is done beforehand, while nobody needs the device."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from pipelines.core.errors import Stopped, UserError
from pipelines.diffusion.requests import TextToImageRequest

if TYPE_CHECKING:
    from studio.core.services import Studio

KIND = "text_to_image"
LARGEST_SHARE = 0.15
"""Of what models may take: more is left to whoever asks for a model."""
STEPS = 2  # the least that every sampler takes; the first one compiles the network
_log = logging.getLogger(__name__)


def prepare_first_picture(studio: Studio) -> bool:
    """Loads the model that the page opens with, and paints a picture that nobody sees.

    It loads, reads or makes the converted networks, compiles them for the model's own size, and
    fits the map of previews. Only a model that ships with Atelier is loaded without having been
    asked for, where memory is plenty and no job waits. A job that comes meanwhile finds what is
    loaded, and waits for one step at most.

    Returns:
        Whether the picture was painted.
    """
    model = model_to_prepare(studio)
    if model is None or any(studio.jobs.counts().values()):
        return False
    try:
        # A job that needs it too joins the loading, and would begin it anew if it were stopped.
        for _ in studio.cache.warm(model, threading.Event()):
            pass
        stop = threading.Event()
        with studio.jobs.lend_device(stop, 0) as is_lent:
            if not is_lent:
                return False
            request = TextToImageRequest(prompt="", model=model, steps=STEPS, seed=0)
            engine = studio.features.engines()[KIND]
            for _ in engine.run(request, studio.cache, stop):
                pass
    except Stopped:
        return False
    except UserError as error:  # whoever asks for a picture is told
        _log.debug("the first picture is not prepared: %s", error)
        return False
    return True


def model_to_prepare(studio: Studio) -> str | None:
    """The name of the model that the page opens with, where it may be loaded beforehand."""
    if KIND not in studio.features.engines():
        return None
    default = TextToImageRequest.model_fields["model"].default
    last = studio.jobs.newest_request(KIND) or {}
    try:
        entry = studio.catalog.get(last.get("model", default))
    except UserError:  # it is gone
        return None
    if entry.source.asset is None:
        return None
    cache = studio.device.prepare()
    fits = cache.expected_bytes(entry.name) <= LARGEST_SHARE * cache.budget_bytes
    return entry.name if fits else None
