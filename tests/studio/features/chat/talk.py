"""A conversation between a person and a scripted model."""

from __future__ import annotations

from studio.features.chat.answers.rows import AnswerRows
from studio.features.chat.conversation_record import DONE, Conversation, StoredMessage
from studio.features.chat.conversations import Conversations

ANN, BEN = "ann", "ben"


class Talk:
    """Says things and answers them, each time with the newest revision."""

    def __init__(self, conversations: Conversations, owner: str = ANN, **settings) -> None:
        self.all, self.owner = conversations, owner
        self.written = AnswerRows(conversations.store)
        self.id = conversations.new(owner, settings.pop("model", "parrot"), **settings).id

    @property
    def now(self) -> Conversation:
        return self.all.get(self.owner, self.id)

    @property
    def revision(self) -> int:
        return self.now.revision

    @property
    def said(self) -> list[str]:
        """The contents of what is shown."""
        return [each.content for each in self.path()]

    def path(self) -> list[StoredMessage]:
        return self.all.path(self.owner, self.id)

    def say(self, text: str) -> StoredMessage:
        return self.all.say(self.owner, self.id, text, self.revision)[0]

    def answer(self, text: str, parent: str | None = None, **end) -> StoredMessage:
        """An answer to ``parent``, or to what was said last, that is written at once."""
        parent = parent or self.now.leaf
        row = self.written.begin(self.owner, self.id, parent, self.revision, self.now.model)
        self.written.add({row: text})
        self.written.end(row, **{"state": DONE, "facts": {}, **end})
        return self.all.message(self.owner, row)

    def turn(self, question: str, answer: str) -> tuple[StoredMessage, StoredMessage]:
        return self.say(question), self.answer(answer)
