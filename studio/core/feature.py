"""What a feature brings to the studio: engines, services, checks, tabs, routes, what it keeps.

The page, the API, the queue's checks and the cleaning go through the features that there are, and
name none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.core.engines import Engine

if TYPE_CHECKING:
    from fastapi import APIRouter
    from pydantic import BaseModel

    from studio.core.accounts.accounts import Owner

# The studio is Any here: its services know what a feature is, and what they are is known to all.
Service = Callable[[Any], Any]
Fill = Callable[[Any, "Owner", dict[str, Any]], dict[str, Any]]
Check = Callable[[Any, "Owner", Any], Any]


class Tab(Protocol):
    """One tab of the page, made as ``Tab(studio)`` each time that a page is built.

    Attributes:
        id: its name in the page's address, ``?tab=…``.
        label: what it is called, in English.
        group: under which label it stands with others; "": at the top.
        hidden: whether it is not shown until its own listeners show it.
        styles: the files in CSS that it needs.
    """

    id: str
    label: str
    group: str
    hidden: bool
    styles: tuple[Path, ...]

    def draw(self) -> None:
        """Makes the components, within those of the page."""

    def listen(self, opening: Any, exchange: Any) -> None:
        """Connects them with one another and with the jobs.

        Args:
            opening: the tab's first sight, a :class:`studio.page.opening.Opening`.
            exchange: what the tabs send to one another.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """Something that the studio can do.

    Attributes:
        name: that of its folder or package.
        engines: its kinds of work.
        services: the attributes of the studio that it brings, each with what makes one of the
            studio; they may use those of other features, whichever come first.
        fills: kind of job → ``fill(studio, owner, data)``, the data with what is not said in it.
        checks: class of request → ``check(studio, owner, request)``, which gives the request that
            is queued and raises a UserError where it cannot be; subclasses are checked by it too.
        tabs: classes of tabs, in their order.
        routes: routers below ``/api/v1``, made as ``routes(studio)``.
        keepers: those of its services that hold data of owners, in the order of cleaning:
            see :class:`studio.core.cleaning.Keeper`.
        texts: folder of its sentences in other languages, such as ``zh.yaml``.
    """

    name: str
    engines: tuple[Engine, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    fills: Mapping[str, Fill] = field(default_factory=dict)
    checks: Mapping[type[BaseModel], Check] = field(default_factory=dict)
    tabs: tuple[type[Tab], ...] = ()
    routes: tuple[Callable[[Any], APIRouter], ...] = ()
    keepers: tuple[str, ...] = ()
    texts: Path | None = None
