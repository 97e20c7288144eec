"""Everybody's conversations: trees of messages, kept in the database, side by side in groups.

A message is never written over. Editing a turn adds another message beside it, and answering
again adds another answer; ``leaf`` says which branch is shown. The conversations of a group share
what the person says and differ in the model that answers.

Every change names the revision that the page has seen. Where the conversation has gone on
meanwhile, :class:`Stale` is raised and nothing is changed.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import BadRequest
from studio.core.gallery.gallery import search_words
from studio.core.quota import Keeper
from studio.features.chat import rows, tree
from studio.features.chat.checks import (
    check_room,
    check_sampling,
    check_size,
    checked_message,
    checked_prompt,
    checked_title,
)
from studio.features.chat.conversation_record import (
    Conversation,
    StoredMessage,
    check_ended,
    conversation_of,
    message_of,
    stale,
    title_of,
)

if TYPE_CHECKING:
    from studio.core.settings import StoredSettings
    from studio.core.store import Store

MAX_LANES = 3
READ_SECONDS = 60.0  # for the words of a conversation as long as a quota allows, on a slow disk


class Conversations(Keeper):
    """Keeps, finds and changes conversations; each method works for one owner only.

    Every method that is given an id raises NotFound when there is none, or it is another's.

    Args:
        store: the database.
        settings: how much a guest may keep.
    """

    def __init__(self, store: Store, settings: StoredSettings) -> None:
        self.store, self._settings = store, settings

    # --- looking ----------------------------------------------------------------------------

    def get(self, owner: str, conversation_id: str) -> Conversation:
        with self.store.snapshot() as connection:
            return rows.one(connection, owner, conversation_id)

    def lanes(self, owner: str, conversation_id: str) -> list[Conversation]:
        """All conversations of a group, this one among them, in their order."""
        with self.store.snapshot() as connection:
            return rows.lanes(connection, rows.one(connection, owner, conversation_id))

    def list(self, owner: str, limit: int = 50, before: str | None = None) -> list[Conversation]:
        """The owner's conversations, newest first; see :meth:`search`."""
        return self.search(owner, "", limit, before)

    def search(
        self, owner: str, text: str = "", limit: int = 50, before: str | None = None
    ) -> list[Conversation]:
        """The owner's conversations, last changed first, one of each group.

        Args:
            text: words that title and messages must all hold, in any order and case.
            limit: how many at most.
            before: the cursor of a conversation; only those that come after it in the list.

        Raises:
            BadRequest: ``before`` is no cursor.
            Busy: so many words in so long conversations are not found in time.
        """
        with self.store.search_connection() as connection:
            return search_conversations(connection, owner, text, limit, before)

    def path(self, owner: str, conversation_id: str) -> list[StoredMessage]:
        """The messages that are shown, first to last."""
        with self.store.snapshot() as connection:
            conversation = rows.one(connection, owner, conversation_id)
            return tree.path_to(connection, conversation.id, conversation.leaf)

    def path_to(self, owner: str, message_id: str) -> list[StoredMessage]:
        """The messages from a first one to this, whichever branch is shown."""
        with self.store.snapshot() as connection:
            message = tree.message_at(connection, owner, message_id)
            return tree.path_to(connection, message.conversation, message.id)

    def message(self, owner: str, message_id: str) -> StoredMessage:
        with self.store.snapshot() as connection:
            return tree.message_at(connection, owner, message_id)

    def latest(
        self, owner: str, conversation_id: str, latest: int
    ) -> tuple[list[StoredMessage], list[dict[str, Any]]]:
        """The last messages that are shown, and the facts of all that are, first to last.

        The words of a long conversation take long to read: nobody else waits for that.
        """
        with self.store.search_connection(READ_SECONDS) as connection:
            conversation = rows.one(connection, owner, conversation_id)
            shown = tree.path_to(connection, conversation.id, conversation.leaf, latest)
            return shown, tree.facts_to(connection, conversation.id, conversation.leaf)

    def neighbour(self, owner: str, message_id: str, step: int) -> str | None:
        """The id of the message before (−1) or after (1) this one in its place, or None."""
        with self.store.snapshot() as connection:
            message = tree.message_at(connection, owner, message_id)
            return tree.neighbour(connection, message, step)

    def siblings(self, owner: str, message_id: str) -> list[StoredMessage]:
        """All messages in the place of this one, oldest first."""
        with self.store.snapshot() as connection:
            message = tree.message_at(connection, owner, message_id)
            values = (message.conversation, message.parent)
            return [message_of(row) for row in connection.execute(tree.SIBLINGS, values)]

    # --- conversations ----------------------------------------------------------------------

    def new(
        self,
        owner: str,
        model: str,
        *,
        beside: Sequence[str] = (),
        system_prompt: str = "",
        sampling: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Begins a conversation with ``model``, and others with the models ``beside`` it.

        Args:
            sampling: fields of :class:`~pipelines.chat.requests.Generation`; those left out are
                as the model's file says.

        Returns:
            The first; :meth:`lanes` has the others.

        Raises:
            BadRequest: a value out of bounds.
            Busy: a guest has as many as are allowed.
        """
        models = (model, *beside)
        _check_lanes(len(models))
        prompt = checked_prompt(system_prompt)
        group = secrets.token_urlsafe(12)
        with self.store.transaction() as connection:
            check_room(connection, owner, self._settings.current)
            ids = [
                rows.insert(
                    connection,
                    owner=owner,
                    group_id=group,
                    lane=lane,
                    title="",
                    model=name,
                    system_prompt=prompt,
                    sampling=check_sampling(sampling or {}, name),
                )
                for lane, name in enumerate(models)
            ]
            return rows.one(connection, owner, ids[0])

    def configure(
        self,
        owner: str,
        conversation_id: str,
        revision: int,
        *,
        model: str | None = None,
        system_prompt: str | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Sets what is given, of this lane alone; ``sampling`` as a whole.

        Raises:
            BadRequest: a value out of bounds.
            Stale: see above.
        """
        with self._change(owner, conversation_id, revision) as (connection, now):
            name = now.model if model is None else model
            prompt = now.system_prompt if system_prompt is None else system_prompt
            choices = check_sampling(now.sampling if sampling is None else sampling, name)
            connection.execute(
                "UPDATE conversations SET model = ?, system_prompt = ?, sampling = ? WHERE id = ?",
                (name, checked_prompt(prompt), json.dumps(choices), now.id),
            )
        return self.get(owner, conversation_id)

    def rename(self, owner: str, conversation_id: str, title: str, revision: int) -> Conversation:
        """Gives the conversation, and those beside it, another title.

        Raises:
            BadRequest: the title is empty or too long.
            Stale: see above.
        """
        title = checked_title(title)
        with self._change(owner, conversation_id, revision) as (connection, now):
            rows.set_title(connection, now.group_id, title)
        return self.get(owner, conversation_id)

    def add_lane(self, owner: str, conversation_id: str, model: str, revision: int) -> Conversation:
        """Puts a conversation with ``model`` beside this one, with a copy of what is shown.

        Raises:
            BadRequest: there are three already, or no model has that name.
            Busy: an answer is being written.
            Stale: see above.
        """
        with self._change(owner, conversation_id, revision) as (connection, now):
            lanes = rows.lanes(connection, now)
            _check_lanes(len(lanes) + 1)
            copy = rows.insert(
                connection,
                owner=owner,
                group_id=now.group_id,
                lane=len(lanes),
                title=now.title,
                model=model,
                system_prompt=now.system_prompt,
                sampling=check_sampling(now.sampling, model),
                revision=now.revision,
            )
            parent = None
            for each in tree.path_to(connection, now.id, now.leaf):
                check_ended(each)
                parent = tree.insert(
                    connection, copy, parent, each.role, each.content,
                    twin=each.twin, state=each.state, model=each.model, facts=each.facts,
                    error=each.error, created=each.created, counted=True,
                )  # fmt: skip
            rows.set_leaf(connection, copy, parent)
        return self.get(owner, copy)

    def drop_lane(self, owner: str, conversation_id: str, revision: int) -> list[Conversation]:
        """Deletes this one of several that stand side by side; returns those that stay.

        Raises:
            BadRequest: it stands alone.
            Stale: see above.
        """
        with self._change(owner, conversation_id, revision) as (connection, now):
            others = [each for each in rows.lanes(connection, now) if each.id != now.id]
            if not others:
                raise BadRequest("This conversation stands alone. Delete it as a whole.")
            rows.delete(connection, [now.id])
            connection.executemany(
                "UPDATE conversations SET lane = ? WHERE id = ?",
                [(lane, each.id) for lane, each in enumerate(others)],
            )
        return self.lanes(owner, others[0].id)

    def delete(self, owner: str, conversation_id: str, revision: int | None = None) -> None:
        """Deletes a conversation and those beside it, with all their messages.

        Args:
            revision: what the page has seen; None deletes whatever has happened meanwhile.

        Raises:
            Stale: see above.
        """
        with self.store.transaction() as connection:
            now = rows.one(connection, owner, conversation_id)
            if revision is not None and revision != now.revision:
                raise stale()
            rows.delete(connection, [each.id for each in rows.lanes(connection, now)])

    def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's conversations; returns how many the list had."""
        with self.store.transaction() as connection:
            found = connection.execute(
                "SELECT id, lane FROM conversations WHERE owner = ?", (owner,)
            ).fetchall()
            rows.delete(connection, [row["id"] for row in found])
        return sum(row["lane"] == 0 for row in found)

    # --- messages ---------------------------------------------------------------------------

    def say(
        self, owner: str, conversation_id: str, text: str, revision: int
    ) -> list[StoredMessage]:
        """Adds a message of the person's after what is shown, in each lane.

        Returns:
            The message of each lane, to be answered by
            :meth:`studio.features.chat.answers.answers.Answers.start`.

        Raises:
            BadRequest: the message is empty or too long.
            Busy: an answer is being written, or a guest keeps as much as is allowed.
            Stale: see above.
        """
        text = checked_message(text)
        with self._change(owner, conversation_id, revision, now_said=True) as (connection, now):
            check_size(connection, owner, self._settings.current)
            twin = secrets.token_urlsafe(12)
            added = []
            for lane in rows.lanes(connection, now):
                if lane.leaf is not None:
                    check_ended(tree.message_at(connection, owner, lane.leaf))
                added.append(tree.insert(connection, lane.id, lane.leaf, "user", text, twin=twin))
                rows.set_leaf(connection, lane.id, added[-1])
            if not now.title:
                rows.set_title(connection, now.group_id, title_of(text))
            return [tree.message_at(connection, owner, each) for each in added]

    def edit(self, owner: str, message_id: str, text: str, revision: int) -> list[StoredMessage]:
        """Puts another message beside an earlier one and shows it; the old one stays.

        What the person said is edited in each lane that has it, an answer in its own lane.

        Returns:
            The new message of each lane.

        Raises:
            BadRequest, Busy, Stale: as for :meth:`say`.
        """
        text = checked_message(text)
        message = self.message(owner, message_id)
        with self._change(owner, message.conversation, revision, now_said=True) as (
            connection,
            now,
        ):
            check_size(connection, owner, self._settings.current)
            twin = secrets.token_urlsafe(12)
            added = []
            for lane, old in _twins(connection, now, message):
                added.append(
                    tree.insert(connection, lane.id, old.parent, old.role, text, twin=twin)
                )
                rows.set_leaf(connection, lane.id, added[-1])
            return [tree.message_at(connection, owner, each) for each in added]

    def choose(self, owner: str, message_id: str, revision: int) -> list[Conversation]:
        """Shows the branch that goes through a message, to its newest end.

        For a message of the person's, in each lane that has it.

        Raises:
            Stale: see above.
        """
        message = self.message(owner, message_id)
        with self._change(owner, message.conversation, revision) as (connection, now):
            for lane, each in _twins(connection, now, message):
                rows.set_leaf(connection, lane.id, tree.deepest(connection, each))
        return self.lanes(owner, message.conversation)

    def check_size(self, owner: str) -> None:
        """Raises Busy when a guest keeps as many words as are allowed."""
        with self.store.snapshot() as connection:
            check_size(connection, owner, self._settings.current)

    @contextlib.contextmanager
    def _change(
        self, owner: str, conversation_id: str, revision: int, now_said: bool = False
    ) -> Iterator[tuple[sqlite3.Connection, Conversation]]:
        """A transaction that raises the group's revision, if it is the one that was seen."""
        with self.store.transaction() as connection:
            now = rows.one(connection, owner, conversation_id)
            if now.revision != revision:
                raise stale()
            yield connection, now
            rows.raise_revision(connection, now.group_id, now_said)


def _check_lanes(count: int) -> None:
    if count > MAX_LANES:
        raise BadRequest(
            "{count} models side by side are too many; at most {limit} fit.",
            count=count,
            limit=MAX_LANES,
        )


def _twins(
    connection: sqlite3.Connection, now: Conversation, message: StoredMessage
) -> list[tuple[Conversation, StoredMessage]]:
    """A message with its conversation; what the person said, in each lane that has it."""
    if message.role != "user":
        return [(now, message)]
    found = []
    for lane in rows.lanes(connection, now):
        values = (lane.id, message.twin)
        found += [(lane, message_of(row)) for row in connection.execute(tree.TWIN, values)]
    return found


# Each word must be in the title, or in a message of any lane.
_SEARCH = """
SELECT * FROM conversations c
WHERE owner = :owner AND lane = 0
AND (:updated IS NULL OR (updated, number) < (:updated, :number))
AND NOT EXISTS (
    SELECT 1 FROM json_each(:words) AS word
    WHERE NOT instr(c.words, word.value) AND NOT EXISTS (
        SELECT 1 FROM conversations l JOIN chat_messages m ON m.conversation = l.id
        WHERE l.group_id = c.group_id AND instr(m.words, word.value)))
ORDER BY updated DESC, number DESC LIMIT :limit
"""


def search_conversations(
    connection: sqlite3.Connection, owner: str, text: str, limit: int, before: str | None
) -> list[Conversation]:
    """See :meth:`studio.features.chat.conversations.Conversations.search`."""
    updated, number = _place(before)
    values = {
        "owner": owner,
        "words": search_words(text),
        "updated": updated,
        "number": number,
        "limit": limit,
    }
    return [conversation_of(row) for row in connection.execute(_SEARCH, values)]


def _place(cursor: str | None) -> tuple[float | None, int]:
    if cursor is None:
        return None, 0
    updated, _, number = cursor.partition("/")
    try:
        return float(updated), min(int(number), 2**62)
    except ValueError:
        raise BadRequest("{cursor} is no place in the list.", cursor=cursor[:60]) from None
