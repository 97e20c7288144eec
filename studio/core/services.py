"""The services of one running studio. The page, the HTTP API and the server are built from them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.chat.catalog import ChatCatalog
from pipelines.chat.engine import run as run_chat
from pipelines.chat.entries import ChatEntry
from pipelines.chat.pruning.requests import ScoreRequest
from pipelines.chat.shelf import ChatShelf
from pipelines.clustering.requests import OnData
from pipelines.core.engines import Engine
from pipelines.core.errors import NotFound, Refused, validated
from pipelines.core.paths import HUB_FOLDER
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.control.requests import ControlRequest
from pipelines.diffusion.lora.requests import MergeRequest
from pipelines.diffusion.lora.shelf import LoraShelf
from pipelines.diffusion.requests import CompareSamplersRequest, TextToImageRequest
from pipelines.diffusion.resolving import resolve, with_seed
from pipelines.diffusion.samplers import samplers_in
from pipelines.dreambooth.before_after_requests import BeforeAfterRequest
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.models.catalog import OWN, Catalog, ModelEntry
from pipelines.registry import ENGINES
from studio.core.accounts.accounts import Account, Accounts, Owner, is_guest
from studio.core.accounts.keys import Keys
from studio.core.accounts.passwords import load_secret
from studio.core.accounts.sessions import EndedSessions
from studio.core.cleaning import Cleaner
from studio.core.cleaning_job import KIND as CLEANING
from studio.core.cleaning_job import CleaningEngine, Cleanings
from studio.core.gallery.gallery import Gallery
from studio.core.gallery.inputs import Inputs
from studio.core.gallery.picture_deletion import KIND as DELETING
from studio.core.gallery.picture_deletion import DeletionEngine, PictureDeletions
from studio.core.home import HomeLock, prepare_home
from studio.core.jobs.queue import Job, Jobs, Unfinished
from studio.core.machine import CacheOnDemand, Machine
from studio.core.settings import StoredSettings
from studio.core.store import Store
from studio.features.chat.answers import Answers
from studio.features.chat.conversations import Conversations
from studio.features.chat.exchange import Exchange
from studio.features.chat.models import ChatModels
from studio.features.clustering.data import ClusterData
from studio.features.clustering.results import Clusterings
from studio.features.control.conditions import Conditions
from studio.features.labs.inspect import Inside
from studio.features.labs.prunings import SHORTEN, Prunings
from studio.features.library.loras import Loras
from studio.features.training.subjects import KIND as LEARNING
from studio.features.training.subjects import Subjects
from studio.features.training.trainings import Trainings


@dataclass(frozen=True)
class Options:
    """What the command line chooses.

    Attributes:
        home: the home folder.
        accounts: who may come in; none: everybody at this machine is ``local``.
        device, budget, offline: as :class:`studio.core.machine.Machine`.
        allowed_origins: other origins whose pages may use the API.
        root_path: below which a proxy serves the studio, such as ``/atelier``; "": at its root.
    """

    home: Path
    accounts: tuple[Account, ...] = ()
    device: str | None = None
    budget: int | None = None
    offline: bool = False
    allowed_origins: tuple[str, ...] = ()
    root_path: str = ""


class Studio:
    """All services of one running studio; the page and the API work on these.

    Attributes:
        home, store, settings, catalog, control, chat_models, chat_shelf, usable_chat_models, cache,
            gallery, inputs, conditions, cluster_data, inside, shelf, loras, subjects, jobs,
            trainings, clusterings, picture_deletions, cleaner, cleanings, prunings, conversations,
            exchange, answers, keys, accounts: the services.
        machine: the device, once it is known.
        unfinished: what goes on at the next start, once it is closed.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.unfinished = Unfinished(None, 0)
        self.home = prepare_home(options.home)
        with contextlib.ExitStack() as parts:  # closed in reverse order
            parts.enter_context(HomeLock(self.home))
            self.store = Store(self.home)
            parts.callback(self.store.close)
            self.settings = StoredSettings(self.store)
            self.shelf = LoraShelf(self.home)
            self.catalog = Catalog(self.home, own=self.shelf)
            self.control = ControlCatalog(self.home)
            self.chat_shelf = ChatShelf(self.home)
            self.chat_models = ChatCatalog(self.home, own=self.chat_shelf)
            self.machine = Machine(
                self.catalog, self.home, options.device, options.budget, options.offline
            )
            # Where a job is not over yet the process is about to end, and in a hurry.
            parts.callback(lambda: self.machine.close(collect=not self.jobs.busy))
            self.cache: CacheOnDemand = self.machine.cache
            self.gallery = Gallery(self.store, self.home, self.settings)
            self.inputs = Inputs(self.store, self.home, self.gallery)
            self.conditions = Conditions(self.home, self.cache, self.inputs)
            self.cluster_data = ClusterData(
                self.store, self.home, self.gallery, self.inputs, self.cache
            )
            self.inside = Inside(self.chat_models, self.cache, self.chat_models.made_by)
            self.loras = Loras(self.store, self.shelf, self.catalog, self.gallery)
            self.subjects = Subjects(self.store, self.home, self.gallery, self.shelf)
            self.accounts = Accounts(
                load_secret(self.home), options.accounts, EndedSessions(self.store)
            )
            self.cleaner = Cleaner(self.home)
            chores = {
                DELETING: DeletionEngine(self.gallery, self.inputs),
                CLEANING: CleaningEngine(self.cleaner.cleaning),
            }
            self.jobs = Jobs(self.store, self.cache, ENGINES, self.gallery, self.settings, chores)
            self.picture_deletions = PictureDeletions(self.jobs, self.gallery, self.inputs)
            self.cleanings = Cleanings(self.jobs)
            self.trainings = Trainings(
                self.home, self.loras, self.machine, self.subjects, self.jobs
            )
            self.clusterings = Clusterings(self.home, self.jobs, self.cluster_data, self.inputs)
            self.usable_chat_models = ChatModels(self.chat_models, self.accounts)
            self.prunings = Prunings(
                self.home, self.usable_chat_models, self.chat_shelf, self.cache, self.jobs
            )
            self.cleaner.keepers = (
                *(self.gallery, self.cluster_data, self.inputs, self.subjects),
                *(self.trainings, self.prunings, self.clusterings),
            )
            self.conversations = Conversations(self.store, self.settings)
            self.exchange = Exchange(self.store, self.settings)
            self.answers = Answers(
                self.conversations, run_chat, self.cache, self.usable_chat_models.check
            )
            parts.callback(self.answers.close)
            self.keys = Keys(self.store, self.settings)
            self._parts = parts.pop_all()

    def engine(self, kind: str) -> Engine:
        """The engine of a kind of job.

        Raises:
            NotFound: there is none.
        """
        if kind not in ENGINES:
            raise NotFound(
                "There are no jobs of the kind {kind}. Choose one of {kinds}.",
                kind=kind[:100],
                kinds=", ".join(ENGINES),
            )
        return ENGINES[kind]

    def submit(self, owner: Owner, kind: str, data: dict[str, Any]) -> Job:
        """Checks what someone asks for, as far as that goes before it runs, and queues it.

        Page and API both enter here.

        Raises:
            BadRequest, NotFound: the request cannot be run.
            Refused: it needs what only the host may do.
            Busy: a limit is reached.
        """
        request = self._checked(owner, kind, data)
        return self.jobs.submit(owner.id, kind, with_seed(request))

    def retry(self, owner: Owner, job_id: str) -> Job:
        """Queues the request of an ended job again, as a new job, after the same checks.

        What was allowed once may have been deleted or forbidden since.

        Raises:
            NotFound: there is no such job of the owner's.
            UserError: as :meth:`submit` does, or it has not ended yet.
        """
        job = self.jobs.get(owner.id, job_id)
        if job.ended:
            self._checked(owner, job.kind, job.request)
        return self.jobs.retry(owner.id, job_id)

    def _checked(self, owner: Owner, kind: str, data: dict[str, Any]) -> BaseModel:
        """The request in ``data`` as its engine takes it; raises as :meth:`submit` does."""
        engine = self.engine(kind)
        if kind == LEARNING:
            data = self.trainings.filled(owner.id, data)
        elif kind == SHORTEN:
            data = self.prunings.filled(owner.id, data)
        request = self.loras.filled(owner.id, validated(engine.request_class, data))
        if isinstance(request, TrainingRequest):
            self._check_training(owner, request)
        if isinstance(request, OnData):
            self.cluster_data.get(owner.id, request.data)
        if isinstance(request, ScoreRequest):
            request = self.prunings.check(owner, request)
        if isinstance(request, BeforeAfterRequest):
            request = self._of_own_shelf(owner, request)
        for each in _paintings(request):
            entry = self.catalog.get(each.model)
            resolve(each, entry, samplers_in(self.home))
            if not owner.is_host and not _is_here(entry, self.home):
                raise _not_here(entry.title)
            if isinstance(each, ControlRequest):
                self._check_units(owner, each, entry)
        return request

    def _check_training(self, owner: Owner, request: TrainingRequest) -> None:
        self.trainings.check(owner.id, request)
        entry = self.catalog.get(request.model)
        if not owner.is_host and not _is_here(entry, self.home):
            raise _not_here(entry.title)

    def _of_own_shelf(self, owner: Owner, request: BeforeAfterRequest) -> BeforeAfterRequest:
        """With the id of what was learnt, which must be on the owner's shelf."""
        if request.lora is not None:
            about = self.shelf.get(owner.id, request.lora.name)
            return request.model_copy(
                update={"lora": request.lora.model_copy(update={"id": about.id})}
            )
        own = {f"{OWN}{about.id}" for about in self.shelf.own(owner.id) if about.kind == "model"}
        if request.model not in own:
            raise NotFound(
                "There is no trained model {model} on your shelf.", model=str(request.model)[:60]
            )
        return request

    def _check_units(self, owner: Owner, request: ControlRequest, base: ModelEntry) -> None:
        for unit in request.units:
            self.conditions.check(owner, unit)
            entry = self.control.get(unit.model)
            self.control.check_fit(entry, base)
            if not owner.is_host and not entry.is_here(self.home):
                raise _not_here(entry.title)

    def chat_models_of(self, owner: Owner) -> list[ChatEntry]:
        """The language models that an owner can ask, own ones included; what would have to be
        downloaded is among them for the host alone."""
        return self.usable_chat_models.of(owner)

    def upload_room(self, owner: Owner) -> int | None:
        """Bytes that an owner may still bring in; None without a limit of the owner's own."""
        return self.gallery.room(owner.id, is_guest(owner.id))

    def is_here(self, entry: ModelEntry) -> bool:
        """Whether a base model's files are on this machine."""
        return _is_here(entry, self.home)

    def warm_up(self) -> None:
        """Loads what the first job needs (torch and the engines), so that it need not wait.

        The host's own samplers are tried meanwhile; broken ones are not offered any more.

        Raises:
            UserError: the device that was asked for is not there.
        """
        self.machine.prepare()
        for engine in ENGINES.values():
            engine.load()
        samplers_in(self.home).check_own()  # imports diffusers, which the engines have done

    def close(self) -> None:
        """Stops the workers (a running job goes back to the queue) and lets go of everything."""
        self.store.stop_waiting()
        self.unfinished = self.jobs.close()
        self._parts.close()


def _paintings(request: BaseModel) -> Iterator[TextToImageRequest]:
    """The settings that a request will paint with, for checking."""
    if isinstance(request, CompareSamplersRequest):
        for sampler, steps in itertools.product(request.samplers, request.steps):
            yield request.base.model_copy(update={"sampler": sampler, "steps": steps})
    elif isinstance(request, BeforeAfterRequest):
        for row in request.rows():
            yield row[0]
    elif isinstance(request, TextToImageRequest):
        yield request
    elif isinstance(request, MergeRequest) and request.model is not None:
        yield TextToImageRequest(prompt="", model=request.model)


def _not_here(model: str) -> Refused:
    return Refused(
        "{model} has not been downloaded yet, and only the host may do that. "
        "Choose a model that is here.",
        model=model,
    )


def _is_here(entry: ModelEntry, home: Path) -> bool:
    """Whether a model's files are on this machine."""
    if entry.source.hub is None:
        return True
    from pipelines.models.downloads import find_model

    return find_model(entry.source.hub, home / HUB_FOLDER) is not None
