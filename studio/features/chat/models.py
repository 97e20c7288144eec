"""Which language models an owner sees and may ask: everybody's, and those made by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.chat.catalog import ChatCatalog
from pipelines.chat.entries import OWN, ChatEntry
from pipelines.core.errors import NotFound
from studio.core.accounts.accounts import Accounts, Owner, is_guest
from studio.core.jobs.submission import download_refusal

if TYPE_CHECKING:
    from pipelines.chat.requests import Generation


class ChatModels:
    """The catalog of one home, for one owner at a time.

    Args:
        catalog: everybody's models, and own ones.
        accounts: knows who is a host.
    """

    def __init__(self, catalog: ChatCatalog, accounts: Accounts) -> None:
        self._catalog, self._accounts = catalog, accounts

    def of(self, owner: Owner) -> list[ChatEntry]:
        """Those that can be used: the catalog's, then one's own, newest first.

        What would have to be downloaded is among them for the host alone.
        """
        shared = [
            entry
            for entry in self._catalog.models()
            if entry.refused is None and (owner.is_host or self._catalog.is_here(entry))
        ]
        return [*shared, *self._catalog.models_of(owner.id)]

    def entry(self, owner: Owner, name: str) -> ChatEntry:
        """The model called ``name``, which the owner may use.

        Raises:
            NotFound: there is none, or it is somebody else's.
            Refused: its file cannot be used, or it would have to be downloaded first, which only
                the host may do.
        """
        if name.startswith(OWN):
            own = {entry.name: entry for entry in self._catalog.models_of(owner.id)}
            if name not in own:
                raise NotFound(
                    "There is no model called {model}. See the list of models.", model=name[:100]
                )
            return own[name]
        entry = self._catalog.get(name)
        if not owner.is_host and not self._catalog.is_here(entry):
            raise download_refusal(entry.title)
        return entry

    def check(self, owner_id: str, request: Generation) -> None:
        """Whether an owner may ask for this; raises as :meth:`entry` does.

        Raises:
            NotLoggedIn: the owner has no account any more.
        """
        self.entry(self._owner(owner_id), request.model)

    def _owner(self, id: str) -> Owner:
        return Owner(id, id, is_host=False) if is_guest(id) else self._accounts.owner_of_key(id)
