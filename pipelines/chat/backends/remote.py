"""Models on another server that speaks OpenAI's protocol: vLLM, llama-server, Ollama, FastChat …

Where address and key come from is the owner's file in ``<home>/chat/``, never a request. This is
how one outgrows the machine: tensor parallelism and distribution are that server's business.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from pipelines.chat.backends.cancel import open_stream
from pipelines.chat.backends.remote_answers import (
    SHOWN,
    AnswerReader,
    complaint_in,
    error_in,
    objects,
    parse_json,
    words_of,
)
from pipelines.chat.backends.remote_fields import NEEDED, body_for
from pipelines.chat.backends.retry_after import seconds_to_wait
from pipelines.chat.backends.server_sent_events import DONE, MAX_EVENT_BYTES, TooLong, read_events
from pipelines.chat.backends.unpacking import ASKED, UnknownCoding, unpack
from pipelines.chat.context import ContextExceeded
from pipelines.chat.entries import ChatEntry
from pipelines.chat.events import Finished, Reading, Words
from pipelines.chat.requests import ChatRequest, CompletionRequest
from pipelines.core.errors import (
    Busy,
    Refused,
    Stopped,
    Unavailable,
    UserError,
    tells_of_a_fault,
)
from pipelines.core.messages import Message
from pipelines.core.sizes import duration, format_bytes

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
END_SECONDS = 5.0  # for what comes behind the reason why an answer ended, such as counts
MAX_ERROR_BYTES = 100_000  # of what a server says where it refuses
_WHOLE = (b"{", b"[", b"<")  # what begins with these is no stream of events
_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data", b"event", b"id", b"retry")  # of events, of which one begins a stream
_CONTEXT = ("context_length_exceeded", "exceed_context_size", "maximum context length")

# In the events of Anthropic's, Gemini's, TGI's and MiniMax' protocols, and OpenAI's Responses.
_FOREIGN = frozenset({"type", "candidates", "message", "response", "token", "base_resp"})


class Remote:
    """A client of one model on another server.

    Args:
        entry: of the backend ``remote``.
    """

    def __init__(self, entry: ChatEntry) -> None:
        self.entry = entry

    def answer(
        self, request: ChatRequest | CompletionRequest, stop: threading.Event
    ) -> Iterator[Reading | Words | Finished]:
        """Asks the server; the last event is :class:`Finished`.

        Raises:
            Stopped: ``stop`` was set; the connection is closed then.
            ContextExceeded, Refused, Busy, Unavailable: what the server says, or that it cannot be
                reached, does not answer in time, or breaks off.
        """
        chat = isinstance(request, ChatRequest)
        path = "/chat/completions" if chat else "/completions"
        body, reader = body_for(request, self.entry), AnswerReader()
        start, first = time.monotonic(), None
        with (
            self._explain_failures(stop, reader),
            self._client() as client,
            open_stream(client, stop, path, body) as (response, close_after),
        ):
            if not response.is_success or response.status_code == httpx.codes.NO_CONTENT:
                refusal = self._refusal(response, body)
                raise Stopped if stop.is_set() else refusal
            reader.answers = True
            with reader.ends_as_it_says():
                for data in self._objects(response, reader, stop):
                    for words in reader.read(data):  # there may be some beside an error
                        first = first or time.monotonic()
                        yield words
                    if (error := error_in(data)) is not None:
                        raise self._error(error, 500)
                    if reader.complete:
                        close_after(END_SECONDS)
        if stop.is_set():
            raise Stopped
        if reader.reason is None:
            raise self._broke_off(reader)
        if not reader.began and reader.reason == "tool_calls":
            raise Unavailable(
                "{model} asks for a tool in the place of an answer, and there are none here. Ask "
                "again, for words.",
                model=self.entry.title,
            )
        end = time.monotonic()
        yield Finished(
            # Of an answer that has words, the calls are told as left out.
            "stop" if reader.reason == "tool_calls" else reader.reason,
            prompt_tokens=reader.prompt_tokens,
            cached_tokens=reader.cached_tokens,
            tokens=reader.tokens,
            prompt_seconds=(first or end) - start,
            seconds=end - (first or end),
            left_out=tuple(reader.left_out),
        )

    # --- the connection ---------------------------------------------------------------------

    def _client(self) -> httpx.Client:
        key = (self.entry.key or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise Refused(
                "The key of {model} holds characters that cannot be sent. Correct api_key in the "
                "model's file.",
                model=self.entry.title,
            )
        headers = {"Accept-Encoding": ASKED} | ({"Authorization": f"Bearer {key}"} if key else {})
        timeout = httpx.Timeout(self.entry.timeout, connect=CONNECT_SECONDS)
        return httpx.Client(
            base_url=self.entry.url,
            headers=headers,
            timeout=timeout,
            event_hooks={"response": [_put_location_aside]},
        )

    @contextlib.contextmanager
    def _explain_failures(self, stop: threading.Event, reader: AnswerReader) -> Iterator[None]:
        """Says what is wrong with the connection."""
        try:
            yield
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            if stop.is_set():
                raise Stopped from error
            if isinstance(error, httpx.ReadTimeout):
                raise Unavailable(
                    "The server of {model} has said nothing for {seconds} seconds. It may be "
                    "overloaded; try again, or raise timeout in the model's file.",
                    model=self.entry.title,
                    seconds=round(self.entry.timeout),
                ) from error
            if reader.answers:
                raise self._broke_off(reader) from error
            raise Unavailable(
                "The server of {model} cannot be reached ({reason}). Start it, or correct the url "
                "in the model's file.",
                model=self.entry.title,
                reason=_reason(error),
            ) from error
        except TooLong as error:
            raise Unavailable(
                "The server of {model} has sent more than {limit} in one piece, which is not read.",
                model=self.entry.title,
                limit=format_bytes(MAX_EVENT_BYTES),
            ) from error
        except UnknownCoding as error:
            raise Unavailable(
                "The server of {model} packs its answer in a way that was not asked for: {coding}. "
                "Have it, or the proxy before it, send answers as they are.",
                model=self.entry.title,
                coding=str(error)[:SHOWN],
            ) from error

    def _objects(
        self, response: httpx.Response, reader: AnswerReader, stop: threading.Event
    ) -> Iterator[Mapping[str, Any]]:
        """The objects of a stream of events, or of an answer that a server sends as a whole."""
        chunks = _until(stop, unpack(response))
        begin = _begin(chunks)
        chunks = itertools.chain([begin], chunks)
        if begin.startswith(_WHOLE):
            text = _read_text(chunks, MAX_EVENT_BYTES)
            is_json, data = parse_json(text)
            if not is_json or not objects(data):
                raise self._not_the_protocol(text)
            found = objects(data)
            if not any(_has_choices(each) or error_in(each) for each in found):
                raise self._no_answer(text)
            yield from found
            reader.reason = reader.reason or "stop"
            return
        foreign = ""  # the first object of another protocol, as long as none of this one came
        known = told = False
        for event in read_events(chunks):
            told = True
            text = event.data.strip()
            if not text or event.kind == "ping":
                continue
            if text == DONE:
                if foreign and not known:
                    raise self._no_answer(foreign)
                reader.reason = reader.reason or "stop"
                return
            is_json, data = parse_json(text)
            if event.kind == "error":
                raise self._error(data if is_json else text, 500)
            if not is_json:
                if not event.whole:
                    return  # it was cut
                raise self._not_the_protocol(text)
            known = known or any(map(_has_choices, objects(data)))
            foreign = foreign or (text if any(map(_is_foreign, objects(data))) else "")
            yield from objects(data)
        if foreign and not known and not stop.is_set():
            raise self._no_answer(foreign)
        if begin and not told and not _begins_events(begin):
            raise self._not_the_protocol(begin[:MAX_ERROR_BYTES].decode("utf-8", "replace"))

    # --- what is wrong ----------------------------------------------------------------------

    def _broke_off(self, reader: AnswerReader) -> Unavailable:
        if reader.began:
            return Unavailable(
                "{model} broke off in the middle of its answer. Send the message again, or "
                "continue the answer.",
                model=self.entry.title,
            )
        return Unavailable(
            "{model} broke off before its answer began. Send the message again.",
            model=self.entry.title,
        )

    def _no_answer(self, text: str) -> UserError:
        """What JSON without an answer says: what it complains of, or whose protocol it is."""
        for data in objects(parse_json(text)[1]):
            if (complaint := complaint_in(data)) is not None:
                return self._error(complaint, 500)
        return self._not_the_protocol(text)

    def _not_the_protocol(self, text: str) -> Unavailable:
        shown = self._without_key(" ".join(text.split()))
        return Unavailable(
            "{model} broke off with what is no answer of OpenAI's protocol: {shown} Correct the "
            "url in the model's file if no such server is there.",
            model=self.entry.title,
            shown=shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 1]}…",
        )

    def _refusal(self, response: httpx.Response, body: Mapping[str, Any]) -> UserError:
        """What a status other than 200 says."""
        status = response.status_code
        if location := response.extensions.get("location"):
            return Unavailable(
                "The server of {model} sends its clients on to {address}. Correct the url in the "
                "model's file.",
                model=self.entry.title,
                address=_address(location),
            )
        text = _read_text(_as_far_as_it_comes(unpack(response)), MAX_ERROR_BYTES)
        is_json, data = parse_json(text)
        wait = seconds_to_wait(response.headers.get("retry-after", ""))
        return self._error(data if is_json else text, status, body, wait)

    def _error(
        self,
        error: Any,
        status: int,
        body: Mapping[str, Any] | None = None,
        wait: int | None = None,
    ) -> UserError:
        """The server's refusal, in its own words.

        Args:
            body: what it was sent, where it refuses that.
            wait: seconds after which it wants to be asked again.
        """
        reason = self._without_key(words_of(error))
        reason = reason or ("no reason given" if body is None else f"HTTP {status}")
        if tells_of_a_fault(reason):
            _log.warning("the server of %s has failed: %s", self.entry.name, reason)
            reason = Message("a fault of its own, which its log tells of")
        while isinstance(error, dict) and isinstance(error.get("error"), dict):
            error = error["error"]
        fields = error if isinstance(error, dict) else {}
        code = fields.get("code")
        if isinstance(code, int | str) and re.fullmatch(r"[45]\d\d", str(code)):
            status = int(code)
        kinds = f"{code} {fields.get('type')} {reason}".lower()
        values = {"model": self.entry.title, "reason": reason}
        if any(each in kinds for each in _CONTEXT):
            return ContextExceeded("{model} refuses the prompt: {reason}.", **values)
        if status == 401 or (status == 403 and "key" in kinds):
            return self._key_refused(values)
        if status in (429, 503) and wait is not None:
            return Busy(
                "The server of {model} is busy: {reason}. Try again in {wait}.",
                wait=duration(wait),
                **values,
            )
        if status == 429:
            return Busy("The server of {model} is busy: {reason}. Try again later.", **values)
        mentioned = set(re.findall(r"[a-z_]+", str(reason))) & (body or {}).keys() - {*NEEDED}
        if status in (400, 422) and mentioned:
            return Unavailable(
                "The server of {model} could not answer: {reason}. If it does not take {fields}, "
                "say so under omit_fields or rename_fields in the model's file.",
                fields=", ".join(sorted(mentioned)),
                **values,
            )
        return Unavailable("The server of {model} could not answer: {reason}.", **values)

    def _without_key(self, text: str) -> str:
        """A server's words without the key, which some repeat; it is nobody's but the host's."""
        key = (self.entry.key or "").strip()
        return text.replace(key, "…") if key else text

    def _key_refused(self, values: Mapping[str, str]) -> Refused:
        if self.entry.key:
            return Refused(
                "The server of {model} does not take the key ({reason}). Correct api_key in the "
                "model's file.",
                **values,
            )
        if (name := self.entry.api_key_env) and not os.environ.get(name):
            return Refused(
                "The server of {model} wants a key ({reason}), and the environment variable "
                "{name} is not set. Set it and start the studio again.",
                name=name,
                **values,
            )
        return Refused(
            "The server of {model} wants a key ({reason}). Give it as api_key in the model's file.",
            **values,
        )


def _is_foreign(data: Mapping[str, Any]) -> bool:
    """Whether an object is no part of an answer: beside those, some say a usage or a ping."""
    return not _has_choices(data) and (
        bool(data.keys() & _FOREIGN) or complaint_in(data) is not None
    )


def _has_choices(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("choices"), list | dict)


def _until(stop: threading.Event, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces that come before a stop: what is there already is read from no connection."""
    for chunk in chunks:
        if stop.is_set():
            raise Stopped
        yield chunk


def _begin(chunks: Iterator[bytes]) -> bytes:
    """The first piece that has more than blanks, without those and the mark before it.

    Servers send blanks for as long as they read the prompt; they need not be kept.
    """
    begin = b""
    for chunk in chunks:
        begin = (begin + chunk).lstrip().removeprefix(_BOM).lstrip()
        if begin and not _BOM.startswith(begin):
            break
    return begin


def _begins_events(begin: bytes) -> bool:
    """Whether a stream of events may begin so, be it cut in the middle of its first word."""
    word = re.match(rb"[^\s:]*", begin)[0]
    if word == begin:
        return any(each.startswith(word) for each in (*_FIELDS, _BOM))
    return word in _FIELDS or begin.startswith(b":")


def _as_far_as_it_comes(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What comes until the connection fails: the status has been said before it."""
    with contextlib.suppress(httpx.HTTPError, httpx.StreamError, OSError, UnknownCoding):
        yield from chunks


def _read_text(chunks: Iterable[bytes], limit: int) -> str:
    """The beginning of what comes, as a text."""
    found, size = [], 0
    for chunk in chunks:
        found.append(chunk)
        if (size := size + len(chunk)) >= limit:
            break
    return b"".join(found)[:limit].decode("utf-8", "replace").removeprefix("\ufeff")


def _reason(error: Exception) -> Message | str:
    """Why a connection failed, as the system or the other side says it."""
    if isinstance(error, httpx.TimeoutException):
        return Message(
            "it did not take the connection within {seconds} seconds",
            seconds=round(CONNECT_SECONDS),
        )
    if isinstance(error, httpx.RemoteProtocolError):
        return Message("it hung up, or does not speak HTTP")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            # Of TLS: "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: … (_ssl.c:1006)"
            return re.sub(r"^\[[^\]]*+\] | \(_ssl\.c:\d+\)$", "", cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return Message("the connection failed")


def _put_location_aside(response: httpx.Response) -> None:
    """Has httpx not read where a redirection leads: it fails for what is no address."""
    if response.is_redirect:
        response.extensions["location"] = response.headers.pop("location", "")


def _address(location: str) -> str:
    """Where a redirection leads, without what may be secret in it."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return "another address"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"[:200] if host else parts.path[:200] or "nowhere"
