"""Conversations as files: Markdown to read, JSON to bring in again, here or elsewhere.

Files of other programs are read by :mod:`studio.features.chat.files.reading`.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from pipelines.chat.requests import STARTER
from pipelines.core.errors import BadRequest, Busy
from pipelines.core.messages import Message
from studio.features.chat import rows, tree
from studio.features.chat.checks import check_room, check_sampling, check_size
from studio.features.chat.conversation_record import (
    INTERRUPTED,
    STREAMING,
    Conversation,
    StoredMessage,
    no_conversation,
    title_of,
)
from studio.features.chat.files import foreign_tree
from studio.features.chat.files.conversation_file import (
    FORMAT,
    ConversationFile,
    LaneInFile,
    MessageInFile,
    json_pieces,
)
from studio.features.chat.files.foreign import PAUSE_MINUTES
from studio.features.chat.files.foreign_tree import Found
from studio.features.chat.files.reading import MAX_FILE as MAX_FILE
from studio.features.chat.files.reading import read_file

if TYPE_CHECKING:
    from studio.core.settings import StoredSettings
    from studio.core.store import Store

_AT_ONCE = 20  # messages that are read from the database at a time


@dataclass(frozen=True, slots=True)
class Brought:
    """What has come in from a file.

    Attributes:
        first: the conversation that was said something in last.
        count: how many there were.
        remarks: what was left out of them.
    """

    first: Conversation
    count: int
    remarks: tuple[Message, ...]


class Exchange:
    """Writes and reads the files of conversations.

    Args:
        store: the database.
        settings: how much a guest may keep.
    """

    def __init__(self, store: Store, settings: StoredSettings) -> None:
        self._store, self._settings = store, settings

    # --- out --------------------------------------------------------------------------------

    def markdown_pieces(self, owner: str, conversation_id: str) -> Iterator[str]:
        """What is shown of a conversation and of those beside it, message by message.

        Nobody waits for it meanwhile.

        Raises:
            NotFound: there is none, or it is another's.
        """
        lanes = self._lanes(owner, conversation_id)
        gap = ""
        if lanes[0].title:
            yield f"# {lanes[0].title}"
            gap = "\n\n"
        for lane in lanes:
            if len(lanes) > 1:
                yield f"{gap}# {lane.model}"
                gap = "\n\n"
            if lane.system_prompt:
                yield f"{gap}## system\n\n{lane.system_prompt}"
                gap = "\n\n"
            with self._store.snapshot() as connection:
                numbers = tree.numbers_to(connection, lane.id, lane.leaf)
            for each in self._messages(lane, numbers):
                who = f"{each.role} ({each.model})" if each.model else each.role
                yield f"{gap}## {who}\n\n{each.content}"
                gap = "\n\n"
        yield "\n"

    def json_pieces(self, owner: str, conversation_id: str) -> Iterator[str]:
        """All branches of a conversation and of those beside it, message by message.

        Nobody waits for it meanwhile.

        Raises:
            NotFound: there is none, or it is another's.
        """
        lanes = self._lanes(owner, conversation_id)
        yield from json_pieces(
            lanes[0].title, ((_lane(lane), self._all_messages(lane)) for lane in lanes)
        )

    def _lanes(self, owner: str, conversation_id: str) -> list[Conversation]:
        with self._store.snapshot() as connection:
            return rows.lanes(connection, rows.one(connection, owner, conversation_id))

    def _all_messages(self, lane: Conversation) -> Iterator[StoredMessage]:
        with self._store.snapshot() as connection:
            numbers = tree.all_numbers(connection, lane.id)
        return self._messages(lane, numbers)

    def _messages(self, lane: Conversation, numbers: Sequence[int]) -> Iterator[StoredMessage]:
        """Messages by their numbers; the database is free between two handfuls.

        Raises:
            NotFound: they have been deleted meanwhile.
        """
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            with self._store.snapshot() as connection:
                found = tree.by_number(connection, some)
            if len(found) < len(some):
                raise no_conversation(lane.id)
            yield from found

    # --- in ---------------------------------------------------------------------------------

    def bring(self, owner: str, file: IO[bytes], size: int, model: str = STARTER) -> Brought:
        """Brings all conversations of a file in, as the owner's own.

        Args:
            file: what :meth:`json_pieces` has written, or what another program has; see
                :func:`studio.features.chat.files.reading.read_file`.
            size: its bytes.
            model: who goes on with conversations of other programs.

        Raises:
            BadRequest: nothing in it can be read; says what is wrong, or which forms are taken.
            Busy: a guest keeps as much as is allowed, and nothing was brought in.
        """
        ids: list[str] = []
        left_out: Counter[str] = Counter()
        refused: Busy | None = None
        broken: BadRequest | None = None
        entries = read_file(owner, file, size)
        while True:
            try:
                entry = next(entries)
            except StopIteration:
                break
            except BadRequest as error:  # what came before it is here already
                broken = error
                break
            if isinstance(entry, int):
                left_out["unreadable"] += entry
                continue
            if isinstance(entry, Found):
                left_out += entry.left_out
                if not entry.said:
                    continue
            if refused is not None:
                left_out["room"] += 1
                continue
            try:
                ids.append(self._bring_one(owner, entry, model))
            except Busy as error:
                refused = error
                left_out["room"] += 1
        if not ids:
            raise broken or refused or _nothing(left_out)
        with self._store.snapshot() as connection:
            found = [rows.one(connection, owner, each) for each in ids]
        first = max(found, key=lambda each: (each.updated, -each.number))
        remarks = _remarks(left_out)
        return Brought(first, len(ids), (*remarks, broken.message) if broken else remarks)

    def _bring_one(self, owner: str, entry: Found | ConversationFile, model: str) -> str:
        """Adds one conversation and returns its id."""
        created = updated = None
        if isinstance(entry, Found):
            file, now = _as_file(entry, model), time.time()
            updated = min(entry.updated or entry.created or now, now)
            created = min(entry.created or updated, updated)
        else:
            file = entry
        sampling = [check_sampling(lane.sampling, lane.model) for lane in file.lanes]
        group, twins = secrets.token_urlsafe(12), {}
        # Everybody else waits while a transaction runs: what can be made before, is.
        lanes = [_rows(lane, twins) for lane in file.lanes]
        size = sum(row["bytes"] for added, _ in lanes for row in added)
        with self._store.transaction() as connection:
            check_room(connection, owner, self._settings.current)
            check_size(connection, owner, self._settings.current, size)
            ids = []
            for number, lane in enumerate(file.lanes):
                ids.append(
                    rows.insert(
                        connection,
                        owner=owner,
                        group_id=group,
                        lane=number,
                        title=" ".join(file.title.split()),
                        model=lane.model,
                        system_prompt=lane.system_prompt,
                        sampling=sampling[number],
                        created=created,
                        updated=updated,
                    )
                )
                added, leaf = lanes[number]
                tree.insert_rows(connection, ids[-1], added)
                rows.set_leaf(connection, ids[-1], leaf)
        return ids[0]


def _lane(lane: Conversation) -> LaneInFile:
    return LaneInFile.model_construct(
        model=lane.model,
        system_prompt=lane.system_prompt,
        sampling=lane.sampling,
        leaf=lane.leaf,
    )


def _rows(lane: LaneInFile, twins: dict[str, str]) -> tuple[list[dict[str, Any]], str | None]:
    """A lane's messages under new ids, and the id of the last one that is shown.

    Errors stay behind: a template is no one's to send.
    """
    ids: dict[str | None, str | None] = {None: None}
    added = []
    for each in lane.messages:
        row = tree.new_row(
            ids[each.parent],
            each.role,
            each.content,
            twin=twins.setdefault(each.twin, secrets.token_urlsafe(12)),
            state=INTERRUPTED if each.state == STREAMING else each.state,
            model=each.model,
            facts=each.facts,
            created=each.created,
        )
        ids[each.id] = row["id"]
        added.append(row)
    return added, ids[lane.leaf]


# --- files of others ------------------------------------------------------------------------------


def _as_file(found: Found, model: str) -> ConversationFile:
    """A conversation of another program's in our form; its values are known to be in bounds."""
    now = time.time()
    messages = tuple(
        MessageInFile.model_construct(
            id=each.id,
            twin=each.id,
            parent=each.parent,
            role=each.role,
            content=each.content,
            model=each.model,
            created=each.created or found.created or now,
        )
        for each in found.said
    )
    lane = LaneInFile.model_construct(
        model=model, system_prompt=found.system_prompt, leaf=found.leaf, messages=messages
    )
    said = next((each.content for each in found.said if each.role == "user"), "")
    return ConversationFile.model_construct(
        format=FORMAT, version=1, title=found.title or title_of(said), lanes=(lane,)
    )


def _nothing(left_out: Counter[str]) -> BadRequest:
    if left_out[foreign_tree.LONG]:
        return BadRequest(
            "The conversation has more than {limit} messages, all branches counted; so many are "
            "not kept.",
            limit=tree.MAX_TREE,
        )
    return BadRequest(
        "No message in the file has the role user or assistant and words as its content."
    )


def _remarks(left_out: Counter[str]) -> tuple[Message, ...]:
    """What was left out, a sentence each."""
    sentences = {
        foreign_tree.FILES: Message("Left out: {count} pictures and other files.", count=0),
        foreign_tree.TOOLS: Message("Left out: {count} calls and answers of tools.", count=0),
        foreign_tree.THOUGHTS: Message(
            "Left out: {count} passages of a model's thinking.", count=0
        ),
        foreign_tree.EMPTY: Message("Left out: {count} messages without words.", count=0),
        foreign_tree.OTHERS: Message(
            "Left out: {count} messages that are said to be neither a person's nor a model's.",
            count=0,
        ),
        foreign_tree.ERRORS: Message(
            "Left out: {count} errors in the place of an answer.", count=0
        ),
        foreign_tree.ACTIONS: Message(
            "Left out: {count} entries of the list of activities that are no prompts.", count=0
        ),
        foreign_tree.JOINED: Message(
            "{count} conversations were put together from a list of prompts that does not say what "
            "belongs together: after a pause of {minutes} minutes another one begins.",
            count=0,
            minutes=PAUSE_MINUTES,
        ),
        foreign_tree.SYSTEM: Message(
            "{count} later messages of the system now stand at the end of the system prompt.",
            count=0,
        ),
        foreign_tree.CUT: Message("{count} very long texts were cut.", count=0),
        foreign_tree.LONG: Message(
            "Left out: {count} conversations of more than {limit} messages.",
            count=0,
            limit=tree.MAX_TREE,
        ),
        "unreadable": Message("Left out: {count} entries that are no conversations.", count=0),
        "room": Message(
            "Left out: {count} conversations, for which there is no room. Delete some first.",
            count=0,
        ),
    }
    return tuple(
        Message(sentence.template, **{**sentence.values, "count": left_out[kind]})
        for kind, sentence in sentences.items()
        if left_out[kind]
    )
