"""Lists of words for dynamic prompts: everybody uses them, the host alone changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.errors import Refused
from pipelines.diffusion.wording.wildcards import MAX_BYTES, MAX_NAME, Wildcards
from studio.api.dependencies import CurrentOwner, CurrentStudio, body_as
from studio.core.home import room_for

if TYPE_CHECKING:
    from pathlib import Path

    from studio.core.accounts.accounts import Owner

Name = Annotated[str, Query(min_length=1, max_length=MAX_NAME)]


class WordList(BaseModel):
    """A list as it is sent."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        str,
        Field(
            max_length=MAX_NAME,
            title="Name of the list",
            description="In a prompt it stands between double underscores. A / in it makes a "
            "folder.",
        ),
    ]
    text: Annotated[
        str,
        Field(
            max_length=MAX_BYTES,
            title="Words",
            description="One word or phrase in a line. 2::red comes twice as often; # begins a "
            "comment.",
        ),
    ]


class WordLists:
    """The lists of one studio.

    Args:
        home: the home folder.
    """

    def __init__(self, home: Path) -> None:
        self._lists, self._home = Wildcards(home), home

    def names(self) -> list[str]:
        """What the lists are called."""
        return self._lists.names()

    def text(self, name: str) -> str:
        """A list as it is written; raises NotFound where there is none."""
        return self._lists.text(name)

    def write(self, owner: Owner, name: str, text: str) -> None:
        """Makes a list, or gives it other lines.

        Raises:
            Refused: ``owner`` is not the host.
            BadRequest: name or text cannot be taken.
            DiskFull: there is no room for it.
        """
        _check_host(owner)
        with room_for(len(text), self._home):
            self._lists.write(name, text)

    def delete(self, owner: Owner, name: str) -> None:
        """Deletes a list; raises Refused as :meth:`write` does, or NotFound."""
        _check_host(owner)
        self._lists.delete(name)


router = APIRouter(tags=["wildcards"])


@router.get("/wildcards")
def list_words(studio: CurrentStudio) -> dict[str, Any]:
    """What the lists are called. A prompt names one as ``__name__``."""
    return {"wildcards": studio.word_lists.names()}


@router.get("/wildcards/text")
def one(name: Name, studio: CurrentStudio) -> dict[str, Any]:
    """A list as it is written."""
    return {"name": name, "text": studio.word_lists.text(name)}


@router.put("/wildcards")
def write(
    studio: CurrentStudio, owner: CurrentOwner, sent: Annotated[WordList, body_as(WordList)]
) -> dict[str, Any]:
    """Makes a list or gives it other lines: ``{"name": …, "text": …}``. For the host alone."""
    studio.word_lists.write(owner, sent.name, sent.text)
    return {"name": sent.name}


@router.delete("/wildcards", status_code=204)
def delete(name: Name, studio: CurrentStudio, owner: CurrentOwner) -> None:
    """Deletes a list. For the host alone."""
    studio.word_lists.delete(owner, name)


def _check_host(owner: Owner) -> None:
    if not owner.is_host:
        raise Refused("Only the host may change lists of words.")
