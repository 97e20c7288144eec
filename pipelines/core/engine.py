"""What an engine is, and what it is asked with.

None of an engine's heavy libraries is imported before it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from pipelines.core.events import Picture, Progress, Result

if TYPE_CHECKING:
    from pipelines.core.cache import ModelCache


# diffusers and transformers fill themselves in while they are imported: a second thread that
# imports them meanwhile finds them half made.
IMPORTING = threading.RLock()


class Use(NamedTuple):
    """One stored thing that a request names.

    Attributes:
        kind: ``input`` (a brought-in picture), ``lora`` (a LoRA, a learned word or a whole model of
            one's own), ``subject``, ``training``, ``chat_model`` (one's own), ``pruning`` or
            ``data`` (to cluster); a feature may bring kinds of its own.
        item: its id.
    """

    kind: str
    item: str


class StrictModel(BaseModel):
    """Values that stay as they were checked: none is unknown, and every number is finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Request(StrictModel):
    """What an engine is asked with."""

    def uses(self) -> Iterator[Use]:
        """Every stored thing that the request names; one may come twice."""
        yield from ()


def uses_of(request: BaseModel) -> tuple[Use, ...]:
    """What a request names, each once; a model that is no :class:`Request` names nothing."""
    return tuple(dict.fromkeys(request.uses())) if isinstance(request, Request) else ()


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of work.

    Attributes:
        kind: its name in jobs and in the HTTP API.
        request_class: what it is asked with.
        module: where its ``run`` is.
        resumes: whether it goes on where it was when it is run again after a crash.
        light: whether it does without torch, and so need not wait until that is imported.
        by_owner: whether its ``run`` is told whose job it is, so that owners' data stay apart.
    """

    kind: str
    request_class: type[BaseModel]
    module: str
    resumes: bool = False
    light: bool = False
    by_owner: bool = False

    def load(self) -> None:
        """Import what :meth:`run` needs: torch, diffusers and the rest, seconds the first time."""
        with nullcontext() if self.light else IMPORTING:
            import_module(self.module)

    def run(
        self, request: Any, cache: ModelCache, stop: threading.Event, owner: str = ""
    ) -> Iterator[Progress | Picture | Result]:
        """Do the work; see :mod:`pipelines.core.events`.

        Args:
            owner: whose job it is, by an id.
        """
        self.load()
        more = {"owner": owner} if self.by_owner else {}
        return import_module(self.module).run(request, cache, stop, **more)
