"""Answers as they are written: a thread each, beside the device's queue and not in it.

A chat goes on while a picture is painted. What is written is kept in the database a few times a
second, so that a killed studio loses less than half a second of words.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.chat.requests import ChatRequest, CompletionRequest, Generation
from pipelines.core.errors import Stopped, UserError, unforeseen
from pipelines.core.events import Result
from pipelines.core.messages import Message
from studio.features.chat.answers.progress import AnswerProgress
from studio.features.chat.answers.requests import add_up, request_for
from studio.features.chat.answers.rows import AnswerRows
from studio.features.chat.answers.slots import AnswerSlots
from studio.features.chat.answers.streams import Run, Stream
from studio.features.chat.conversation_record import (
    DONE,
    FAILED,
    INTERRUPTED,
    STOPPED,
    no_message,
)

if TYPE_CHECKING:
    from studio.features.chat.conversations import Conversations

KEEP_SECONDS = 0.25  # between two writes of new words
RETRY_SECONDS = 2.0  # between two tries to write to a database that refuses it
_log = logging.getLogger(__name__)


class _Running:
    """An answer that is being written."""

    def __init__(self, owner: str, message_id: str, begun: str, facts: dict[str, Any]) -> None:
        self.owner, self.message_id, self.facts = owner, message_id, facts
        self.live = AnswerProgress(begun)
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None


class Answers:
    """Runs the answers to conversations, and the API's, within limits.

    Args:
        conversations: where answers are kept. What an earlier studio has left half written
            there is marked as interrupted.
        run: the engine.
        cache: the model cache, handed to the engine.
        check: ``check(owner, request)`` raises what forbids the owner this request.
    """

    def __init__(
        self,
        conversations: Conversations,
        run: Run,
        cache: Any,
        check: Callable[[str, Generation], None] = lambda owner, request: None,
    ) -> None:
        self._conversations, self._run, self._cache = conversations, run, cache
        self._check = check
        self._written = AnswerRows(conversations.store)
        self._places = AnswerSlots()
        self._lock = threading.Condition()  # guards the next three
        self._running: dict[str, _Running] = {}
        self._stops: set[threading.Event] = set()  # of the API's
        self._closing = False
        self._keeping = threading.Lock()  # no piece is written while its answer is put together
        self._closed = threading.Event()
        self._written.interrupt_all()
        self._keeper = threading.Thread(target=self._keep_on, name="chat keeper", daemon=True)
        self._keeper.start()

    def close(self, seconds: float = 1.0) -> None:
        """Stops all answers and waits a little for their last words; they can be gone on with."""
        self._places.close()
        with self._lock:
            self._closing = True
            running = list(self._running.values())
            stops = [*self._stops, *(each.stop for each in running)]
            self._lock.notify_all()
        for stop in stops:
            stop.set()
        end = time.monotonic() + seconds
        for each in running:
            if each.thread is not None:
                each.thread.join(max(0.0, end - time.monotonic()))
        self._closed.set()
        self._keeper.join(max(1.0, end - time.monotonic()))

    # --- what owners do ---------------------------------------------------------------------

    def start(
        self,
        owner: str,
        conversation_id: str,
        parent: str,
        overrides: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> str:
        """Begins an answer to the message ``parent`` and shows it; returns the answer's id.

        Another answer to a message that has one is put beside it.

        Args:
            overrides: see :func:`studio.features.chat.answers.requests.request_for`.
            revision: what the page has seen; without it, ``parent`` must be the message that is
                shown last, or the one that this answers.

        Raises:
            NotFound: there is no such conversation or message of the owner's.
            Stale: the conversation has gone on.
            BadRequest: a value out of bounds.
            Busy: too many answers are being written, or this one is already.
        """
        conversation = self._conversations.get(owner, conversation_id)
        path = self._conversations.path_to(owner, parent)
        request, left_out = request_for(conversation, path, overrides or {})
        self._check(owner, request)
        self._conversations.check_size(owner)
        with self._places.take_or_give_back(owner):
            answer = self._written.begin(owner, conversation_id, parent, revision, request.model)
            return self._launch(_Running(owner, answer, "", {}), request, left_out)

    def continue_(self, owner: str, message_id: str, revision: int | None = None) -> str:
        """Goes on with an answer that was stopped, interrupted or cut; returns its id.

        Raises:
            NotFound: there is no such message of the owner's.
            Stale: it is not what is shown last.
            BadRequest: it is no answer, or complete.
            Busy: too many answers are being written.
        """
        path = self._conversations.path_to(owner, message_id)
        conversation = self._conversations.get(owner, path[-1].conversation)
        request, left_out = request_for(conversation, path, {}, path[-1].model)
        self._check(owner, request)
        self._conversations.check_size(owner)
        with self._places.take_or_give_back(owner):
            before = self._written.resume(owner, message_id, revision)
            running = _Running(owner, message_id, before.content, before.facts)
            return self._launch(running, request, left_out)

    def stop(self, owner: str, message_id: str) -> None:
        """Stops an answer at its next token; no error if it has ended.

        Raises:
            NotFound: there is no such message of the owner's.
        """
        self._conversations.message(owner, message_id)
        with self._lock:
            if (running := self._running.get(message_id)) is not None:
                running.stop.set()

    def live(self, owner: str, message_id: str) -> AnswerProgress | None:
        """An answer that is being written, or None when it is not (any more).

        Raises:
            NotFound: it is another's.
        """
        with self._lock:
            running = self._running.get(message_id)
        if running is not None and running.owner != owner:
            raise no_message(message_id)
        return running.live if running is not None else None

    def stream(
        self, request: ChatRequest | CompletionRequest, owner: str, stop: threading.Event
    ) -> Stream:
        """Runs a request of the API's, of which nothing is kept; it counts from now on.

        Raises:
            Busy: too many answers are being written.
            UserError: the owner may not ask for this.
        """
        self._check(owner, request)
        self._places.take(owner)
        with self._lock:
            self._stops.add(stop)
            if self._closing:
                stop.set()

        def leave() -> None:
            with self._lock:
                self._stops.discard(stop)
            self._places.give_back(owner)

        return Stream(self._run(request, self._cache, stop), stop, leave)

    # --- threads ----------------------------------------------------------------------------

    def _launch(self, running: _Running, request: ChatRequest, left_out: int) -> str:
        running.thread = threading.Thread(
            target=self._write, args=(running, request, left_out), name="chat", daemon=True
        )
        with self._lock:
            self._running[running.message_id] = running
            if self._closing:
                running.stop.set()
            self._lock.notify_all()
        running.thread.start()
        return running.message_id

    def _write(self, running: _Running, request: ChatRequest, left_out: int) -> None:
        """Writes one answer to its end, whatever that is."""
        try:
            state, facts, error = self._outcome(running, request, left_out)
            self._end(running, state, add_up(running.facts, facts), error)
        except Exception:
            _log.exception("the end of an answer was not written")
        finally:
            with self._lock:
                # It may have been gone on with already, since its row says that it has ended.
                if self._running.get(running.message_id) is running:
                    del self._running[running.message_id]
            self._places.give_back(running.owner)
            running.live.end()

    def _outcome(
        self, running: _Running, request: ChatRequest, left_out: int
    ) -> tuple[str, dict[str, Any], Message | None]:
        try:
            facts = dict(self._iterate(running, request))
            if left_out:
                facts["dropped"] = facts.get("dropped", 0) + left_out
            return DONE, facts, None
        except Stopped:
            # A person stops one answer; the studio's closing interrupts it.
            state = INTERRUPTED if self._closing else STOPPED
            return state, running.live.facts(), None
        except UserError as error:
            return FAILED, running.live.facts(), error.message
        except Exception as error:
            _log.exception("an answer of %s failed", request.model)
            return FAILED, running.live.facts(), unforeseen(error)

    def _iterate(self, running: _Running, request: ChatRequest) -> dict[str, Any]:
        with contextlib.closing(self._run(request, self._cache, running.stop)) as events:
            for event in events:
                if isinstance(event, Result):
                    return event.data
                running.live.saw(event)
                if running.stop.is_set():
                    raise Stopped
        raise RuntimeError("the chat engine ended without a result")

    def _end(
        self, running: _Running, state: str, facts: dict[str, Any], error: Message | None
    ) -> None:
        """Writes until it is written, or the studio closes (then it is interrupted at its start).

        Without that, a disk that is full for a moment would leave an answer for ever unended.
        """
        while True:
            try:
                with self._keeping:
                    rest, pieces = running.live.list_unkept()
                    self._written.end(running.message_id, state, facts, error, rest)
                    running.live.mark_kept(pieces)
                return
            except (UserError, sqlite3.OperationalError):
                if self._closing:
                    raise
                _log.exception("the end of an answer could not be written; trying again")
                self._closed.wait(RETRY_SECONDS)

    def _keep_on(self) -> None:
        """Keeps the new words of all answers, as long as there are any."""
        while not self._closed.is_set():
            with self._lock:
                self._lock.wait_for(lambda: self._running or self._closing)
            self._closed.wait(KEEP_SECONDS)
            try:
                self._keep()
            except (UserError, sqlite3.Error):
                _log.exception("the words of answers could not be kept; trying again")

    def _keep(self) -> None:
        with self._keeping:
            with self._lock:
                running = dict(self._running)
            if not running:
                return
            unkept = {message_id: each.live.list_unkept() for message_id, each in running.items()}
            gone = self._written.add({key: text for key, (text, _) in unkept.items()})
            for message_id, (_, pieces) in unkept.items():
                running[message_id].live.mark_kept(pieces)
        for message_id in gone & running.keys():
            running[message_id].stop.set()  # its conversation was deleted
