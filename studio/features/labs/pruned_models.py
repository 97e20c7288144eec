"""Shortened language models: the jobs that make them, and what has come of them.

A pruning is a folder in ``prunings/<id>/`` (see :mod:`pipelines.chat.pruning.folder`), one job, or
several where it was resumed, and the model in the library. It belongs to whoever's jobs and model
name it.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.chat.entries import CACHE_PREFIX, INSPECT_PREFIX, ChatEntry
from pipelines.chat.model_library import MadeModel, ModelLibrary
from pipelines.chat.pruning.folder import FOLDER, PruneFolder, prunings_in
from pipelines.chat.pruning.requests import PruneRequest, ScoreRequest
from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, Busy, NotFound, Refused, validate_stored
from studio.core.home import clear_folders, ownerless_folders
from studio.core.jobs.record import DONE, Job
from studio.core.quota import Keeper

if TYPE_CHECKING:
    from studio.core.accounts.accounts import Owner
    from studio.core.jobs.queue import Jobs
    from studio.core.lazy_device import CacheOnDemand

SCORE, SHORTEN, CURVE = "score_blocks", "shorten", "shorten_curve"  # kinds of jobs


@dataclass(frozen=True, slots=True)
class Shortening:
    """One pruning, by its newest job and its model.

    Attributes:
        id: of its folder, and of the model.
        name: of the model.
        job: the newest one that runs or ran it; None where no job is known any more.
        request: what that was asked; None without a job.
        made: the model, once there is one.
    """

    id: str
    name: str
    job: Job | None
    request: PruneRequest | None
    made: MadeModel | None

    @property
    def ended(self) -> bool:
        return self.job is None or self.job.ended

    @property
    def made_from(self) -> str:
        """Name of the original."""
        return self.request.model if self.request else self.made.made_from if self.made else ""

    @property
    def facts(self) -> dict[str, Any] | None:
        """What was taken out and measured; None before there is a model."""
        if self.made is not None:
            return self.made.facts
        return self.job.result if self.job is not None and self.job.state == DONE else None


class Models(Protocol):
    """The language models of each owner."""

    def of(self, owner: Owner) -> list[ChatEntry]: ...

    def entry(self, owner: Owner, name: str) -> ChatEntry: ...


class Prunings(Keeper):
    """Checks, finds, resumes and deletes shortenings; each method works for one owner only.

    Args:
        home: the home folder.
        models: which models an owner may use.
        library: where the models are.
        cache: lets go of a model that is deleted.
        jobs: that shorten.
    """

    def __init__(
        self, home: Path, models: Models, library: ModelLibrary, cache: CacheOnDemand, jobs: Jobs
    ) -> None:
        self._home, self._models, self._library = home, models, library
        self._cache, self._jobs = cache, jobs

    # --- before it starts -------------------------------------------------------------------

    def models(self, owner: Owner) -> list[ChatEntry]:
        """Those that the owner can shorten, as far as their entries say."""
        return [entry for entry in self._models.of(owner) if _why_not(entry) is None]

    def fill_in(self, owner: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """A request's fields with those that only the server decides.

        Without ``pruning`` it is a new one; with the id of one's own it goes on.

        Raises:
            NotFound: the pruning is not the owner's.
        """
        given = data.get("pruning")
        pruning = secrets.token_hex(16) if given is None else self.get(owner, str(given)).id
        return {**data, "owner": owner, "pruning": pruning}

    def check(self, owner: Owner, request: ScoreRequest) -> ScoreRequest:
        """The request by its model's own name; refuses what cannot work before it is queued.

        Raises:
            NotFound, Refused: the model is not there, or not for this owner.
            BadRequest: it cannot be shortened, or this pruning is at work already.
        """
        entry = self._models.entry(owner, request.model)
        if (reason := _why_not(entry)) is not None:
            raise reason
        if isinstance(request, PruneRequest):
            for known in self.list(owner.id):
                if known.id == request.pruning and not known.ended:
                    raise BadRequest("{name} is being made already.", name=known.name)
        return request.model_copy(update={"model": entry.name})

    # --- while it runs and afterwards -------------------------------------------------------

    def list(self, owner: str) -> list[Shortening]:
        """The owner's, those started or resumed last first."""
        made = {each.id: each for each in self._library.models_of(owner)}
        found: dict[str, Shortening] = {}
        for id, job in self._jobs.newest_by_item(SHORTEN, "pruning", owner).items():
            with contextlib.suppress(BadRequest):  # an earlier version's, unreadable by now
                request = validate_stored(PruneRequest, job.request)
                found[id] = Shortening(id, request.name, job, request, made.get(id))
        rest = [each for id, each in made.items() if id not in found]
        return [*found.values(), *(Shortening(m.id, m.name, None, None, m) for m in rest)]

    def get(self, owner: str, id: str) -> Shortening:
        """Raises NotFound when there is none, or it is another's."""
        for known in self.list(owner):
            if known.id == id:
                return known
        raise NotFound("You have no shortened model {id}.", id=id[:60])

    def both(self, owner: str, id: str) -> tuple[str, str]:
        """Names of the original and the shortened model, for chatting with both.

        Raises:
            NotFound: there is none, it is another's, or it is not made yet.
        """
        known = self.get(owner, id)
        if known.made is None:
            raise NotFound("You have no shortened model {id}.", id=id[:60])
        return known.made.made_from, known.made.model

    def resume(self, owner: Owner, id: str) -> Job:
        """Goes on from what was done, as a new job.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: it is at work already, or nothing is known of how it was begun.
            Busy: the owner's queue is full.
        """
        known = self.get(owner.id, id)
        if known.job is None or known.request is None:
            raise BadRequest("{name} is finished; there is nothing to go on with.", name=known.name)
        self.check(owner, known.request)
        return self._jobs.retry(owner.id, known.job.id)

    def delete(self, owner: str, id: str) -> None:
        """Deletes the model and all that its making has kept.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: it is at work.
        """
        self._delete(owner, self.get(owner, id))

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's, those that no job tells of any more too; returns how many
        there were. Raises BadRequest as :meth:`delete` does."""
        known = self.list(owner)
        for each in known:
            self._delete(owner, each)
        rest = [each.path for each in prunings_in(self._home) if each.owner == owner]
        for path in rest:
            shutil.rmtree(path, ignore_errors=True)
        return len(known) + len(rest)

    def _delete(self, owner: str, known: Shortening) -> None:
        folder = PruneFolder(self._home, known.id)
        if not known.ended or folder.is_running:
            raise BadRequest("{name} is being made. Stop it first.", name=known.name)
        if known.made is not None:
            self._library.delete(owner, known.id)
            names = {prefix + known.made.model for prefix in (CACHE_PREFIX, INSPECT_PREFIX)}
            for name in names & {entry.name for entry in self._cache.list_loaded()}:
                with contextlib.suppress(Busy):  # whoever uses it still is the last one
                    self._cache.release(name)
        shutil.rmtree(folder.path, ignore_errors=True)
        self._jobs.delete_jobs_using(owner, SHORTEN, Use("pruning", known.id))

    # --- the room they take -----------------------------------------------------------------

    def bytes_used(self, owner: str) -> int:
        """Bytes of an owner's models and folders."""
        folders = sum(each.bytes for each in prunings_in(self._home) if each.owner == owner)
        return folders + sum(made.bytes for made in self._library.models_of(owner))

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes prunings of nobody; yields the bytes of each."""
        used = self._jobs.newest_by_item(SHORTEN, "pruning")
        unused = ownerless_folders(self._home / FOLDER, used)
        idle = (each for each in unused if not PruneFolder(self._home, each.name).is_running)
        yield from clear_folders(idle, dry_run)


def _why_not(entry: ChatEntry) -> BadRequest | Refused | None:
    """Why a model cannot be shortened, as far as its entry says."""
    if entry.backend == "remote":
        return Refused(
            "{model} runs on another server, so it cannot be shortened here. Choose a model that "
            "runs here.",
            model=entry.title,
        )
    if entry.quantisation != "none":
        return BadRequest(
            "The weights of this model are quantised here and cannot be pruned. Choose it without "
            "quantisation."
        )
    if entry.lora:
        return BadRequest(
            "{model} has a LoRA on top, which would be lost. Choose its base model.",
            model=entry.title,
        )
    return None
