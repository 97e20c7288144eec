"""What a feature brings to the studio: engines, services, checks, tabs, routes, what it keeps.

The page, the API, the queue's checks and the cleaning go through the features that there are, and
name none of them. A feature that fails is left out, and the rest goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.core.engine import Engine
from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.models.catalog import OWN
from studio.core.exchange import Exchange, Target
from studio.i18n import add_texts

if TYPE_CHECKING:
    from fastapi import APIRouter
    from pydantic import BaseModel
    from starlette.responses import Response

    from pipelines.core.errors import UserError
    from studio.core.accounts.accounts import Owner

_log = logging.getLogger(__name__)

# The studio is Any here: its services know what a feature is, so this cannot know the services.
Service = Callable[[Any], Any]
Fill = Callable[[Any, "Owner", dict[str, Any]], dict[str, Any]]
Check = Callable[[Any, "Owner", Any], Any]


class Tab:
    """One tab of the page; there is one for each page that is built.

    Args:
        studio: whose services it uses.

    Attributes:
        id: its name in the page's address, ``?tab=…``.
        label: what it is called, in English.
        group: what the tabs are called that stand together behind one of the page's; "": it has a
            place of its own.
        former_ids: the names that it had in addresses before.
        styles: the files in CSS that it needs.
        takes: what others may send it; see :mod:`studio.core.exchange`.
    """

    id: ClassVar[str]
    label: ClassVar[str]
    group: ClassVar[str] = ""
    former_ids: ClassVar[tuple[str, ...]] = ()
    styles: ClassVar[tuple[Path, ...]] = ()
    takes: ClassVar[tuple[Target, ...]] = ()

    def __init__(self, studio: Any) -> None:
        self.studio = studio

    def draw(self) -> None:
        """Makes the components, within those of the page."""

    def listen(self, events: Any, exchange: Exchange) -> None:
        """Connects them with one another and with the jobs.

        Args:
            events: the tab's, a :class:`studio.page.tab_events.TabEvents`.
            exchange: what the tabs send to one another.
        """


@dataclass(frozen=True, slots=True)
class Place:
    """One place in the page's bar: a tab, or several of one group.

    Attributes:
        id: of the tab, or of the group.
        label: what stands in the bar, in English.
        tabs: name of a feature and a tab of it, in their order.
    """

    id: str
    label: str
    tabs: tuple[tuple[str, type[Tab]], ...]


class Upload(Enum):
    """How large a body is taken, where more than JSON is sent: a file, or one that is streamed."""

    FILE, LARGE = range(2)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignApi:
    """A part of the HTTP API for programs that speak a protocol of their own; they send API keys.

    Attributes:
        door: what the host calls it, to close it by ``--without``.
        prefix: of its paths, such as ``/v1/``; without a slash at the end it is one of them.
        routes: its router, with whole paths.
        refuse: ``refuse(error, language)``, the answer for an error.
        stranger: what is said to who comes without a key and a login.
        max_bytes: of a body.
        uploads: pattern of a path below the prefix → what larger body is taken there.
    """

    door: str
    prefix: str
    routes: APIRouter
    refuse: Callable[[UserError, str], Response]
    stranger: str
    max_bytes: int
    uploads: Mapping[str, Upload | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """Something that the studio can do.

    Attributes:
        name: that of its folder or package.
        engines: its kinds of work.
        services: the attributes of the studio that it brings, each with what makes one of the
            studio; they may use those of other features, whichever come first. Where one is left
            out, so are those whose services need it; others ask by
            :meth:`studio.core.services.Studio.find`.
        fills: kind of job → ``fill(studio, owner, data)``, the data with what is not said in it.
        checks: class of request → ``check(studio, owner, request)``, which gives the request that
            is queued and raises a UserError where it cannot be; subclasses are checked by it too.
        titles: ``titles(studio, owner id)``, names in the model cache with what the owner may read
            instead.
        own_models: how the names in the model cache begin of what somebody has made here, and
            nobody else may read.
        tabs: classes of tabs, in their order.
        labels: what its presets are called, by languages; the page shows them as they are.
        routes: its router below ``/api/v1``. A handler finds its studio and who asks by
            :mod:`studio.api.dependencies`; a module's router serves all studios of a process.
        uploads: pattern of a path below ``/api/v1`` → the bytes that are taken there.
        foreign_apis: what speaks other protocols.
        scripts: the page's path → the folder whose scripts are served there; features may share it.
        keepers: those of its services that hold data of owners, in the order of cleaning and of
            deleting: see :class:`studio.core.quota.Keeper`.
        texts: folder of its sentences in other languages, such as ``zh.yaml``.
    """

    name: str
    engines: tuple[Engine, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    fills: Mapping[str, Fill] = field(default_factory=dict)
    checks: Mapping[type[BaseModel], Check] = field(default_factory=dict)
    titles: Callable[[Any, str], Mapping[str, str]] | None = None
    own_models: tuple[str, ...] = ()
    tabs: tuple[type[Tab], ...] = ()
    labels: Callable[[], Iterable[Mapping[str, str]]] = tuple
    routes: APIRouter | None = None
    uploads: Mapping[str, Upload | int] = field(default_factory=dict)
    foreign_apis: tuple[ForeignApi, ...] = ()
    scripts: Mapping[str, Path] = field(default_factory=dict)
    keepers: tuple[str, ...] = ()
    texts: Path | None = None


class Features:
    """The features of one studio, and what has failed of others.

    Attributes:
        platform_checks: class of request → the studio's own check, before those of features.
        failures: name → why it is left out.
    """

    def __init__(self, features: Iterable[Feature] = ()) -> None:
        self._features = {each.name: each for each in features}
        self.platform_checks: Mapping[type[BaseModel], Check] = {}
        self.failures: dict[str, Message] = {}

    @classmethod
    def load(cls, entries: Iterable[EntryPoint]) -> Features:
        """Loads the features that entry points name, in their order; what fails is left out."""
        features = cls()
        for entry in entries:
            try:
                features._add(entry.load())
            except Exception as error:
                features.leave_out(entry.name, error)
        return features

    def _add(self, feature: Any) -> None:
        if not isinstance(feature, Feature):
            raise TypeError(f"{feature!r:.200} is no Feature")
        for what, names in _names(feature).items():
            for other in self:
                if taken := names & _names(other)[what]:
                    raise ValueError(f"{other.name} has the {what} {', '.join(sorted(taken))}")
        if feature.texts is not None:
            add_texts(feature.texts)
        self._features[feature.name] = feature

    def leave_out(self, name: str, error: Exception) -> None:
        """Goes on without a feature, and says so in the log."""
        _log.error("the feature %s is left out", name, exc_info=error)
        self._features.pop(name, None)
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        self.failures[name] = Message(
            "The feature {name} is left out, because it has failed: {error}. The log has more "
            "about it.",
            name=name,
            error=reason[:400].rstrip("."),
        )

    def __iter__(self) -> Iterator[Feature]:
        return iter(tuple(self._features.values()))

    def tabs(self) -> list[type[Tab]]:
        """The tabs of all features, in the features' order."""
        return [tab for each in self for tab in each.tabs]

    def places(self) -> list[Place]:
        """The places of all tabs, each group's where its first tab is."""
        found: dict[str, list[tuple[str, type[Tab]]]] = {}
        for each in self:
            for tab in each.tabs:
                found.setdefault((tab.group and f"of {tab.group}") or tab.id, []).append(
                    (each.name, tab)
                )
        return [_place(tabs) for tabs in found.values()]

    def tab_names(self) -> set[str]:
        """The names that an address may have for a tab or a group, former ones included."""
        tabs = self.tabs()
        return {each.id for each in [*tabs, *self.places()]} | {
            former for tab in tabs for former in tab.former_ids
        }

    def engines(self) -> dict[str, Engine]:
        """Kind of job → its engine."""
        return {engine.kind: engine for each in self for engine in each.engines}

    def titles(self, studio: Any, owner: str) -> dict[str, str]:
        """Names in the model cache → what the owner may read instead."""
        shown: dict[str, str] = {}
        for each in self:
            shown |= each.titles(studio, owner) if each.titles is not None else {}
        return shown

    def is_own(self, name: str) -> bool:
        """Whether a name in the model cache is that of a model that somebody has made here."""
        return name.startswith((OWN, *(start for each in self for start in each.own_models)))

    def doors(self) -> list[str]:
        """What the APIs for other programs are called, in the features' order."""
        return [api.door for each in self for api in each.foreign_apis]

    def close_doors(self, doors: Iterable[str]) -> None:
        """Goes on without some of the APIs for other programs.

        Raises:
            BadRequest: there is none of that name.
        """
        closed, known = set(doors), self.doors()
        for name in sorted(closed - set(known)):
            raise BadRequest(
                "There is no {name} to go without. --without takes: {known}.",
                name=name[:60],
                known=", ".join(known),
            )
        for feature in self:
            kept = tuple(api for api in feature.foreign_apis if api.door not in closed)
            self._features[feature.name] = replace(feature, foreign_apis=kept)

    def foreign_api(self, path: str) -> ForeignApi | None:
        """The API for other programs that a path belongs to; None: there is none."""
        apis = (api for each in self for api in each.foreign_apis)
        return next((api for api in apis if _lies_below(path, api.prefix)), None)

    def checks_of(self, request_class: type[BaseModel]) -> list[Check]:
        """The checks for a class of requests, those of its bases first."""
        return [
            check
            for base in reversed(request_class.__mro__)
            for checks in (self.platform_checks, *(feature.checks for feature in self))
            for kind, check in checks.items()
            if kind is base
        ]


def _lies_below(path: str, prefix: str) -> bool:
    if prefix.endswith("/"):
        return path.startswith(prefix)
    return path == prefix or path.startswith(f"{prefix}/")


def _place(tabs: Sequence[tuple[str, type[Tab]]]) -> Place:
    first = tabs[0][1]
    if not first.group or len(tabs) == 1:
        return Place(first.id, first.group or first.label, tuple(tabs))
    return Place(re.sub(r"\W+", "-", first.group.lower()), first.group, tuple(tabs))


def _names(feature: Feature) -> dict[str, set[str]]:
    """What no two features may call alike."""
    return {
        "name": {feature.name},
        "kind of job": {engine.kind for engine in feature.engines},
        "service": set(feature.services),
        "tab": {tab.id for tab in feature.tabs},
    }
