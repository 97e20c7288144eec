"""Trainings: the jobs that learn a subject, with what they report while they run and afterwards.

A training is a folder in ``trainings/<id>/`` (see :mod:`pipelines.dreambooth.folder`) and one job,
or several where it was resumed. It belongs to whoever's jobs name it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, NotFound, UserError, validate, validate_stored
from pipelines.core.limits import available_cores
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.dreambooth.data import class_pictures
from pipelines.dreambooth.data.subjects import note_made
from pipelines.dreambooth.folder import FOLDER, TrainingFolder, trainings_in
from pipelines.dreambooth.preflight import Preflight, check, preflight
from pipelines.dreambooth.requests import TrainingRequest
from studio.core.home import clear_folders, ownerless_folders
from studio.core.jobs.record import DONE, Job
from studio.core.quota import Keeper
from studio.features.training.subjects import KIND

if TYPE_CHECKING:
    from pipelines.dreambooth.data.subjects import Subject
    from pipelines.models.catalog import ModelEntry
    from studio.core.jobs.queue import Jobs
    from studio.core.lazy_device import Device
    from studio.features.training.subjects import Subjects

_NAMES = ("subject", "training", "owner", "name")
_SAMPLE = re.compile(r"\d{1,9}-\d{1,3}\.png")


@dataclass(frozen=True, slots=True)
class Training:
    """One training, by its newest job.

    Attributes:
        id: of its folder.
        job: the newest one that runs or ran it.
        request: what is learnt, and how.
    """

    id: str
    job: Job
    request: TrainingRequest

    @property
    def name(self) -> str:
        return self.request.name

    @property
    def ended(self) -> bool:
        return self.job.ended


class BaseModels(Protocol):
    """Everybody's and each owner's own models that can be trained."""

    def entry(self, owner: str, name: str) -> ModelEntry: ...


class Trainings(Keeper):
    """Finds, prepares, resumes and deletes trainings; each method works for one owner only.

    Args:
        home: the home folder.
        loras: whose library has base models of one's own.
        device: that trains.
        subjects: whose photos are learnt.
        jobs: that run it.
    """

    def __init__(
        self, home: Path, loras: BaseModels, device: Device, subjects: Subjects, jobs: Jobs
    ) -> None:
        self._home, self._loras, self._device = home, loras, device
        self._subjects, self._jobs = subjects, jobs

    # --- before it starts -------------------------------------------------------------------

    def fill_in(self, owner: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """A request's fields with those that only the server decides.

        Without ``training`` it is a new one; with the id of one's own it goes on.

        Raises:
            NotFound: the training is not the owner's.
        """
        given = data.get("training")
        training = secrets.token_hex(16) if given is None else self.get(owner, str(given)).id
        return {**data, "owner": owner, "training": training}

    def check(self, owner: str, request: TrainingRequest) -> None:
        """Refuses what cannot work before it is queued.

        Raises:
            NotFound: the subject is not the owner's.
            BadRequest: the settings cannot work, or the training is at work already.
            Unavailable: the device lacks what was asked for.
        """
        self._entry_and_subject(owner, request)
        for training in self.list(owner):
            if training.id == request.training and not training.job.ended:
                raise BadRequest("{name} is being trained already.", name=training.name)

    def preflight(self, owner: str, data: Mapping[str, Any]) -> Preflight:
        """What a training would take; raises as :meth:`check` does, or Refused."""
        request = validate(TrainingRequest, {**data, "owner": owner, "training": "0" * 32})
        entry, photos = self._entry_and_subject(owner, request)
        cores = available_cores()
        return preflight(request, entry, photos, self._home, self.device, cores)

    @property
    def device(self) -> str:
        """The device that will train; ``cpu`` as long as it is not known."""
        return self._device.status().get("device", "cpu")

    @property
    def memory(self) -> int:
        """Bytes of the device's memory; 0 as long as it is not known."""
        return self._device.status().get("memory_total", 0)

    def _entry_and_subject(
        self, owner: str, request: TrainingRequest
    ) -> tuple[ModelEntry, Subject]:
        entry = self._loras.entry(owner, request.model)
        subject = self._subjects.get(owner, request.subject)
        check(request, entry, subject, self.device)
        return entry, subject

    # --- while it runs and afterwards -------------------------------------------------------

    def list(self, owner: str) -> list[Training]:
        """The owner's, those started or resumed last first."""
        newest = self._jobs.newest_by_item(KIND, "training", owner)
        requests = ((id, job, _read(job.request)) for id, job in newest.items())
        return [Training(id, job, request) for id, job, request in requests if request is not None]

    def get(self, owner: str, id: str) -> Training:
        """Raises NotFound when there is none, or it is another's."""
        for training in self.list(owner):
            if training.id == id:
                return training
        raise NotFound("You have no training {id}.", id=id[:60])

    def progress(self, owner: str, id: str, start: int = 0) -> tuple[list[dict[str, Any]], int]:
        """What the trainer has reported from byte ``start`` on, and where the rest will begin.

        Raises:
            NotFound: there is no such training, or it is another's.
        """
        return TrainingFolder(self._home, self.get(owner, id).id).progress(start)

    def lora(self, owner: str, id: str) -> str | None:
        """The id of what it made in the library, or None."""
        return TrainingFolder(self._home, self.get(owner, id).id).library_id

    def sample(self, owner: str, id: str, file: str) -> Path:
        """A sample picture's path, for serving it.

        Raises:
            NotFound: there is none, or it is another's.
        """
        folder = TrainingFolder(self._home, self.get(owner, id).id).samples
        if not _SAMPLE.fullmatch(file) or not (folder / file).is_file():
            raise NotFound("There is no sample picture {file}.", file=file[:60])
        return folder / file

    def resume(self, owner: str, id: str) -> Job:
        """Goes on from the last checkpoint, as a new job.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: it is at work already, or the settings no longer work.
            Busy: the owner's queue is full.
        """
        training = self.get(owner, id)
        self.check(owner, training.request)
        return self._jobs.retry(owner, training.job.id)

    def delete(self, owner: str, id: str) -> None:
        """Deletes what it has kept to go on from: checkpoint, samples, logs. Its LoRA stays.

        Raises:
            NotFound: there is none, or it is another's.
            BadRequest: it is at work.
        """
        training = self.get(owner, id)
        self._delete(owner, training.id, training.job)

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's, those that no job tells of any more too; returns how many
        there were. Raises BadRequest as :meth:`delete` does."""
        jobs: dict[str, Job | None] = {
            each.id: None for each in trainings_in(self._home) if each.owner == owner
        } | self._jobs.newest_by_item(KIND, "training", owner)
        for id, job in jobs.items():
            self._delete(owner, id, job)
        return len(jobs)

    def _delete(self, owner: str, id: str, job: Job | None) -> None:
        folder = TrainingFolder(self._home, id)
        if folder.is_running or (job is not None and not job.ended):
            name = job.request.get("name", id) if job is not None else id
            raise BadRequest("{name} is being trained. Stop it first.", name=name)
        if (subject := folder.subject) and (made := folder.library_id):
            note_made(self._home, subject, made)
        shutil.rmtree(folder.path, ignore_errors=True)
        self._jobs.delete_jobs_using(owner, KIND, Use("training", id))

    # --- the room they take -----------------------------------------------------------------

    def bytes_used(self, owner: str) -> int:
        """Bytes of an owner's folders."""
        return sum(each.bytes for each in trainings_in(self._home) if each.owner == owner)

    def clean_up(self, dry_run: bool = False) -> Iterator[int]:
        """Deletes class pictures that no training uses, trainings of nobody, and what only going
        on would need of those that are done; yields the bytes of each."""
        newest = self._jobs.newest_by_item(KIND, "training")
        used = {folder.name for job in newest.values() if (folder := self._class_pictures_of(job))}
        pictures = ownerless_folders(self._home / class_pictures.FOLDER, used)
        unused = ownerless_folders(self._home / FOLDER, newest)
        idle = (each for each in unused if not TrainingFolder(self._home, each.name).is_running)
        yield from clear_folders([*pictures, *idle], dry_run)
        for id, job in newest.items():
            if job.state == DONE:
                yield self._forget_weights(id, dry_run)

    def _class_pictures_of(self, job: Job) -> Path | None:
        request = _read(job.request)
        if request is None or not request.prior_preservation:
            return None
        with contextlib.suppress(UserError):  # of a model that there no longer is
            entry = self._loras.entry(job.owner, request.model)
            return class_pictures.folder_of(request, entry, self._home)
        return None

    def _forget_weights(self, id: str, dry_run: bool) -> int:
        """Of a training that is done, if it is in the library: earlier versions have kept them."""
        folder = TrainingFolder(self._home, id)
        try:
            LoraLibrary(self._home).by_id(folder.library_id or "")
        except NotFound:
            return 0
        freed = folder.spare_bytes
        if not dry_run:
            folder.forget_weights(done=True)
        return freed


def _read(request: Mapping[str, Any]) -> TrainingRequest | None:
    """A stored request; by its names alone where an earlier version's settings cannot be read, and
    None where not even those can."""
    names = {name: request[name] for name in _NAMES if name in request}
    for fields in (request, names):
        with contextlib.suppress(BadRequest):
            return validate_stored(TrainingRequest, fields)
    return None
