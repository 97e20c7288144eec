"""The services of one running studio. The page, the HTTP API and the server are built from them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.sandbox import keep_private
from pipelines.diffusion.control.catalog import ControlCatalog
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.models.catalog import Catalog
from studio.core.accounts.accounts import Account, Accounts
from studio.core.accounts.deletion import KIND as EVERYTHING
from studio.core.accounts.deletion import OwnerDeletion
from studio.core.accounts.keys import Keys
from studio.core.accounts.passwords import load_secret
from studio.core.accounts.sessions import EndedSessions
from studio.core.cleaning import KIND as CLEANING
from studio.core.cleaning import Cleaner, CleaningEngine, Cleanings
from studio.core.feature import Feature, Features
from studio.core.gallery.gallery import Gallery
from studio.core.gallery.inputs import Inputs
from studio.core.gallery.picture_deletion import KIND as DELETING
from studio.core.gallery.picture_deletion import DeletionEngine, PictureDeletions
from studio.core.home import HomeLock, prepare_home
from studio.core.jobs.live import LivePainting
from studio.core.jobs.queue import Jobs, Unfinished
from studio.core.jobs.submission import Submissions
from studio.core.lazy_device import CacheOnDemand, Device
from studio.core.painting.checks import Paintings, check_painting
from studio.core.painting.own_loras import Loras
from studio.core.quota import Keeper, Quota
from studio.core.settings import StoredSettings
from studio.core.store import Store


@dataclass(frozen=True)
class Options:
    """What the command line chooses.

    Attributes:
        home: the home folder.
        accounts: who may come in; none: everybody at this machine is ``local``.
        device, budget, offline: as :class:`studio.core.lazy_device.Device`.
        allowed_origins: other origins whose pages may use the API.
        root_path: below which a proxy serves the studio, such as ``/atelier``; "": at its root.
        closed_doors: APIs for other programs that it goes without.
    """

    home: Path
    accounts: tuple[Account, ...] = ()
    device: str | None = None
    budget: int | None = None
    offline: bool = False
    allowed_origins: tuple[str, ...] = ()
    root_path: str = ""
    closed_doors: tuple[str, ...] = ()


class Studio:
    """All services of one running studio; the page and the API work on these.

    Args:
        options: what the command line chooses.
        features: what it can do. Each of their services is an attribute too, made when it is first
            used; a feature whose services cannot be made is left out.

    Attributes:
        home, store, settings, catalog, library, control, cache, gallery, quota, inputs, jobs,
            submissions, loras, paintings, live, picture_deletions, cleaner, cleanings, keys,
            accounts: the platform's services, which are there whatever features are left out.
        keepers: all services that keep things of owners, in the order of cleaning and deleting.
        device: of the models, once it is known.
        unfinished: what goes on at the next start, once it is closed.
    """

    def __init__(self, options: Options, features: Features) -> None:
        self.options, self.features = options, features
        self.unfinished = Unfinished(None, 0)
        self.home = prepare_home(options.home)
        keep_private(self.home)
        with contextlib.ExitStack() as parts:  # closed in reverse order
            self._parts = parts
            parts.enter_context(HomeLock(self.home))
            self.store = Store(self.home)
            parts.callback(self.store.close)
            self.store.reserve.fill()
            self.settings = StoredSettings(self.store)
            self.library = LoraLibrary(self.home)
            self.catalog = Catalog(self.home, own=self.library)
            self.control = ControlCatalog(self.home)
            self.device = Device(
                self.catalog, self.home, options.device, options.budget, options.offline
            )
            # Where a job is not over yet the process is about to end, and in a hurry.
            parts.callback(lambda: self.device.close(collect=not self.jobs.busy))
            self.cache: CacheOnDemand = self.device.cache
            self.gallery = Gallery(self.store, self.home, self.settings)
            self.keepers: list[Keeper] = []
            self.quota = Quota(self.settings, self.keepers)
            self.inputs = Inputs(self.store, self.home, self.gallery, self.quota)
            self.accounts = Accounts(
                load_secret(self.home), options.accounts, EndedSessions(self.store)
            )
            self.keys = Keys(self.store, self.settings)
            self.cleaner = Cleaner(self.home, self.keepers)
            chores = {
                DELETING: DeletionEngine(self.gallery, self.inputs),
                CLEANING: CleaningEngine(self.cleaner.clean_up),
                EVERYTHING: OwnerDeletion(self.keepers, lambda owner: self.jobs.cancel_all(owner)),
            }
            self.jobs = Jobs(
                self.store,
                self.cache,
                features.engines(),
                self.gallery,
                self.settings,
                self.quota,
                chores,
            )
            self.loras = Loras(self.store, self.library, self.catalog, self.quota)
            self.paintings = Paintings(self.home, self.catalog, self.gallery)
            features.platform_checks = {TextToImageRequest: check_painting}
            self.submissions = Submissions(self, features, self.jobs)
            self.live = LivePainting(self.submissions, self.jobs, self.cache)
            parts.callback(self.live.close)
            self.picture_deletions = PictureDeletions(self.jobs, self.gallery, self.inputs)
            self.cleanings = Cleanings(self.jobs)
            platform = frozenset(self.__dict__)
            kept = [keeper for feature in features for keeper in self._make(feature, platform)]
            # What is made of brought-in pictures goes before them; what tells of a thing, after it.
            self.keepers += [self.gallery, *kept, self.loras, self.inputs, self.jobs]
            self._parts = parts.pop_all()

    def _make(self, feature: Feature, platform: frozenset[str]) -> list[Keeper]:
        """Makes a feature's services; returns those that keep data of owners."""
        try:
            if taken := platform & feature.services.keys():
                raise ValueError(f"the studio has the service {', '.join(sorted(taken))}")
            services = {name: getattr(self, name) for name in feature.services}
            return [services[name] for name in feature.keepers]
        except Exception as error:
            self.features.leave_out(feature.name, error)
            return []

    def __getattr__(self, name: str) -> Any:
        """A feature's service, which is made now."""
        for feature in self.__dict__.get("features", ()):
            if name in feature.services:
                service = feature.services[name](self)
                self.__dict__[name] = service
                if (close := getattr(service, "close", None)) is not None:
                    self._parts.callback(close)
                return service
        raise AttributeError(f"the studio has no service {name}", name=name, obj=self)

    def find(self, name: str) -> Any:
        """A feature's service for another feature that can do without it; None: it is left out."""
        brought = any(name in feature.services for feature in self.features)
        return getattr(self, name) if brought else None

    def close(self) -> None:
        """Stops the workers (a running job goes back to the queue) and lets go of everything."""
        self.store.stop_waiting()
        self.unfinished = self.jobs.close()
        self._parts.close()
