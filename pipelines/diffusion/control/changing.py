"""Pictures that are changed and may follow others besides: each by the engine that it needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pipelines.core.cache import ModelCache
from pipelines.core.events import Picture, Progress, Result
from pipelines.diffusion.control.paint import paint_either
from pipelines.diffusion.control.requests import SteeredChangesRequest
from pipelines.diffusion.from_picture import several


def run(
    request: SteeredChangesRequest, cache: ModelCache, stop: threading.Event
) -> Iterator[Progress | Picture | Result]:
    """Change every picture of a request in the same way; as :func:`several.run` does.

    Raises:
        Stopped: ``stop`` was set; noticed within one step.
        UserError: no picture could be changed; why the first could not.
    """
    yield from several.run(request, cache, stop, paint_either)
