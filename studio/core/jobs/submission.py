"""The way of a request into the queue. Page and API both enter here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.core.engine import uses_of
from pipelines.core.errors import NotFound, Refused, validate
from pipelines.diffusion.resolving import with_seed

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipelines.core.engine import Engine
    from studio.core.accounts.accounts import Owner
    from studio.core.feature import Features
    from studio.core.jobs.queue import Job, Jobs


class Submissions:
    """Checks what someone asks for, as far as that goes before it runs, and queues it.

    Args:
        studio: whose services the checks use.
        features: whose engines and checks there are.
        jobs: the queue.
    """

    def __init__(self, studio: Any, features: Features, jobs: Jobs) -> None:
        self._studio, self._features, self._jobs = studio, features, jobs

    def engine(self, kind: str) -> Engine:
        """The engine of a kind of job.

        Raises:
            NotFound: there is none.
        """
        engines = self._features.engines()
        if kind not in engines:
            raise NotFound(
                "There are no jobs of the kind {kind}. Choose one of {kinds}.",
                kind=kind[:100],
                kinds=", ".join(engines),
            )
        return engines[kind]

    def submit(self, owner: Owner, kind: str, data: dict[str, Any]) -> Job:
        """Queues what ``data`` asks for.

        Raises:
            BadRequest, NotFound: the request cannot be run.
            Refused: it needs what only the host may do.
            Busy: a limit is reached.
        """
        return self._jobs.submit(owner.id, kind, with_seed(self.check(owner, kind, data)))

    def retry(self, owner: Owner, job_id: str) -> Job:
        """Queues the request of an ended job again, as a new job, after the same checks.

        What was allowed once may have been deleted or forbidden since.

        Raises:
            NotFound: there is no such job of the owner's.
            UserError: as :meth:`submit` does, or it has not ended yet.
        """
        job = self._jobs.get(owner.id, job_id)
        if job.ended:
            self.check(owner, job.kind, job.request)
        return self._jobs.retry(owner.id, job_id)

    def check(self, owner: Owner, kind: str, data: dict[str, Any]) -> BaseModel:
        """The request in ``data`` as its engine takes it; nothing is queued.

        Raises:
            BadRequest, NotFound, Refused: as :meth:`submit` does.
        """
        engine = self.engine(kind)
        for feature in self._features:
            if (fill := feature.fills.get(kind)) is not None:
                data = fill(self._studio, owner, data)
        request = validate(engine.request_class, data)
        for check in self._features.checks_of(engine.request_class):
            request = check(self._studio, owner, request)
        for use in uses_of(request):
            if use.kind == "input":  # another's is not found
                self._studio.inputs.get(owner.id, use.item)
        return request


def download_refusal(model: str) -> Refused:
    """The error of a guest who asks for a model that only the host may download."""
    return Refused(
        "{model} has not been downloaded yet, and only the host may do that. "
        "Choose a model that is here.",
        model=model,
    )
