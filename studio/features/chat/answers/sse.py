"""Answers told to a page while they are written: each time only what has changed.

Server-sent events, at most twenty a second for each answer. An answer is drawn here
(:class:`studio.features.chat.markdown.html.IncrementalHtml`), so that page and server
each touch every word about once, however long the answer gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync

from pipelines.core.messages import Message
from studio.api import sse
from studio.features.chat.markdown.html import IncrementalHtml
from studio.i18n import translate

if TYPE_CHECKING:
    from studio.features.chat.answers.answers import Answers
    from studio.features.chat.answers.progress import AnswerView

UPDATE_SECONDS = 0.05  # between two looks


class Follower:
    """Tells of one answer from its beginning.

    Args:
        answers: those that are being written.
        owner: whose the message is.
        language: of the notes.

    Attributes:
        id: of the message.
        over: true after the last news.
    """

    def __init__(self, answers: Answers, owner: str, message_id: str, language: str) -> None:
        self._answers, self._owner, self.id = answers, owner, message_id
        self._language = language
        self._growing, self._characters, self._version = IncrementalHtml(owner), 0, -1
        self._told: dict[str, Any] = {}
        self.over = False

    def look(self) -> dict[str, Any] | None:
        """What is new, or None.

        ``blocks`` are HTML to add, ``tail`` is the open block anew, ``words`` are text to put
        behind it. The other values stay as they were told last.
        """
        live = self._answers.live(self._owner, self.id)
        if live is None or live.ended:
            self.over = True
            return {"id": self.id, "phase": "ended"}
        view = live.view(self._characters)
        if view.version == self._version:
            return None
        self._version, self._characters = view.version, view.characters
        facts = self._facts(view)
        news = {name: value for name, value in facts.items() if self._told.get(name) != value}
        if view.phase != self._told.get("phase"):
            news["seconds"] = round(view.phase_seconds, 2)
        self._told = facts
        if (grown := self._growing.feed(view.text)) is not None:
            news |= {"blocks": grown.blocks} if grown.blocks else {}
            news |= {"words": grown.words} if grown.tail is None else {"tail": grown.tail}
        return {"id": self.id, **news} if news else None

    def _facts(self, view: AnswerView) -> dict[str, Any]:
        rate, first = view.tokens_per_second, view.first_token_seconds
        return {
            "phase": view.phase,
            "note": self._sentences(view.note),
            "step": view.step,
            "total": view.total,
            "read": view.read,
            "to_read": view.to_read,
            "tokens": view.tokens,
            "rate": None if rate is None else round(rate, 1),
            "first": None if first is None else round(first, 3),
        }

    def _sentences(self, note: Message | None) -> str | None:
        return note and translate(note, self._language)


async def events(followers: list[Follower]) -> AsyncGenerator[str, None]:
    """The stream of several answers; ends when all have ended."""

    def look() -> list[dict[str, Any]]:
        looked = [each.look() for each in followers if not each.over]
        return [news for news in looked if news is not None]

    while not all(each.over for each in followers):
        news = await run_sync(look)
        if news:
            yield sse.event(news)
        await asyncio.sleep(UPDATE_SECONDS)
    # The database has it all now.
    yield sse.event({}, "end")
