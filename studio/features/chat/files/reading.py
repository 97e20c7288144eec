"""Files of conversations as they come: JSON, JSON lines or a zip with JSON in it.

A large file is read in a process of its own, with a limit on memory and time: parsing some
megabytes of JSON holds Python's interpreter for seconds, and nobody else would be served.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import IO, Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter
from typing_extensions import TypedDict  # pydantic takes Python's own from 3.12 on only

from pipelines.core.child_process import LineProcess, UnreadableAnswer, unreadable_answer
from pipelines.core.errors import BadRequest, validate
from pipelines.core.messages import Message
from pipelines.core.sandbox import Files
from pipelines.core.sizes import format_bytes
from studio.core.jobs.slots import FairSlots
from studio.features.chat.checks import check_sampling
from studio.features.chat.conversations import MAX_LANES
from studio.features.chat.files.conversation_file import (
    FORMAT,
    MAX_ANSWER,
    ConversationFile,
    MessageInFile,
)
from studio.features.chat.files.foreign import (
    is_activity,
    read_conversation,
    read_messages,
    split_by_pauses,
)
from studio.features.chat.files.foreign_tree import LONG, Found, Said
from studio.features.chat.tree import MAX_TREE

MAX_FILE = 20_000_000  # bytes of JSON
MAX_UNPACKED = 400_000_000  # bytes of JSON in a zip
MAX_ENTRIES = 10_000  # conversations of one file
MAX_HERE = 300_000  # bytes that are read in this process: some 20 ms
PROCESS_BYTES, PROCESS_SECONDS = 2 * 2**30, 120  # memory and computing of the other process
SILENT_SECONDS = 600.0  # until it is given up: computing takes longer beside other work
TURN_SECONDS = 30.0  # for others' files to be read first
MAX_LINE = 12 * MAX_ANSWER + 100_000  # bytes: of a character at most twelve
_CHUNK = 2**20
_LISTS = ("conversations", "chats")
_SPACE = re.compile(r"[ \t\r\n]*")
_BUSY = "Another file of conversations is being read. Try again in a minute."
_SLOTS = FairSlots(1, asked=None, busy=_BUSY)
_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"
_BEGINS = '[{"-0123456789tfn'  # what JSON begins with

_log = logging.getLogger(__name__)


class _Own(TypedDict):
    """A file of Atelier's own without the messages of its lanes."""

    format: str
    version: int
    title: str
    lanes: Annotated[list[dict[str, JsonValue]], Field(max_length=MAX_LANES)]


_LINE: TypeAdapter[tuple[str, Any]] = TypeAdapter(
    tuple[Literal["found"], Found]
    | tuple[Literal["said"], Said]
    | tuple[Literal["own"], _Own]
    | tuple[Literal["message"], tuple[int, MessageInFile]]
    | tuple[Literal["unreadable"], int]
    | tuple[Literal["error"], Message]
    | tuple[Literal["end"], None],
    config=ConfigDict(extra="forbid", allow_inf_nan=False),
)
"""A line of the other process."""
Entry = Found | ConversationFile | int
"""A conversation of another program's, one of Atelier's own, whose values are checked, or how many
entries could not be read."""


def read_file(owner: str, file: IO[bytes], size: int) -> Iterator[Entry]:
    """The conversations of a file, in their order.

    Args:
        owner: whose file it is, by an id.
        file: at its beginning.
        size: bytes.

    Raises:
        BadRequest: it holds none, or is too large; says which forms are taken.
    """
    packed = file.read(len(_ZIP)) == _ZIP
    file.seek(0)
    if size <= MAX_HERE and not packed:
        yield from _entries(file)
    else:
        yield from _read_elsewhere(owner, file)


def _entries(file: IO[bytes]) -> Iterator[Entry]:
    found, unreadable = 0, 0
    for item in _single(_items(file)):
        if isinstance(item, dict) and item.get("format") == FORMAT:
            found += 1
            yield _own(item)
        elif (each := _conversation(item)) is None:
            unreadable += 1
        else:
            found += 1
            if len(each.said) > MAX_TREE:
                each.said = []
                each.left_out[LONG] += 1
            yield each
        if found > MAX_ENTRIES:
            raise BadRequest(
                "The file holds more than {limit} conversations. Split it.", limit=MAX_ENTRIES
            )
    if not found:
        raise _no_form()
    if unreadable:
        yield unreadable


def _single(items: Iterable[Any]) -> Iterator[Any]:
    """The conversations also of an object that lists several of them."""
    for item in items:
        lists = [item.get(name) for name in _LISTS] if isinstance(item, dict) else []
        of_objects = [
            each
            for each in lists
            if isinstance(each, list) and each and not any(map(_is_message, each))
        ]
        if isinstance(item, list) and item and all(map(is_activity, item)):
            yield from split_by_pauses(item)
        elif of_objects:
            yield from of_objects[0]
        else:
            yield item


def _own(item: dict[str, Any]) -> ConversationFile:
    file = validate(ConversationFile, item)
    return file.model_copy(
        update={
            "lanes": tuple(
                lane.model_copy(update={"sampling": check_sampling(lane.sampling, lane.model)})
                for lane in file.lanes
            )
        }
    )


def _conversation(item: Any) -> Found | None:
    return read_messages(item) if isinstance(item, list) else read_conversation(item)


def _no_form() -> BadRequest:
    return BadRequest(
        "There is no conversation in this file that can be read. Taken are the exports of Atelier, "
        "ChatGPT (conversations.json, or the zip with it), DeepSeek, Claude, Gemini (of Google "
        "Takeout, with My Activity as JSON instead of HTML), Google AI Studio, Open WebUI, "
        "LibreChat, LM Studio, llama.cpp, text-generation-webui, SillyTavern and ShareGPT, and "
        "messages as OpenAI's API has them, as JSON or JSON lines."
    )


# --- JSON -----------------------------------------------------------------------------------------


def _items(file: IO[bytes]) -> Iterator[Any]:
    """What may be a conversation each: the entries of a list, the lines, or the whole."""
    start = file.read(len(_ZIP))
    file.seek(0)
    if start == _ZIP:
        yield from _of_zip(file)
        return
    data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        size = file.seek(0, io.SEEK_END)
        raise BadRequest(
            "The file has {size}; at most {limit} are taken. Pack it into a zip: in one, "
            "{unpacked} of JSON are.",
            size=format_bytes(size, above=MAX_FILE),
            limit=format_bytes(MAX_FILE),
            unpacked=format_bytes(MAX_UNPACKED),
        )
    yield from _of_json(io.BytesIO(data))


def _of_zip(file: IO[bytes]) -> Iterator[Any]:
    try:
        with zipfile.ZipFile(file) as packed:
            names = [
                info
                for info in packed.infolist()
                if _may_be_json(info.filename)
                and not info.is_dir()
                # What macOS adds to each file: its attributes.
                and not PurePosixPath(info.filename).name.startswith("._")
            ]
            # ChatGPT and Claude pack other JSON beside the conversations.
            told = [
                info
                for info in names
                if "conversation" in PurePosixPath(info.filename).name.lower()
            ]
            size = sum(info.file_size for info in told or names)
            if size > MAX_UNPACKED:
                raise BadRequest(
                    "The conversations in the zip have {size}; at most {limit} are taken. "
                    "Split it.",
                    size=format_bytes(size, above=MAX_UNPACKED),
                    limit=format_bytes(MAX_UNPACKED),
                )
            broken: BadRequest | None = None
            for info in told or names:
                with packed.open(info) as member:
                    try:
                        yield from _of_json(member)
                    except BadRequest as error:  # the others may be whole
                        broken = broken or error
            if broken is not None:
                raise broken
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError,
            OSError) as error:  # fmt: skip
        # Damaged, packed in an unknown way, or behind a password.
        raise BadRequest("The zip cannot be unpacked. Pack it anew, without a password.") from error


def _may_be_json(path: str) -> bool:
    name = PurePosixPath(path).name.lower()
    # Gemini in Workspace calls its JSON conversation_1.txt.
    return name.endswith((".json", ".jsonl")) or (
        name.startswith("conversation") and name.endswith(".txt")
    )


def _of_json(file: IO[bytes]) -> Iterator[Any]:
    """The entries of a list one after the other, without ever holding all of them."""
    text = _Window(io.TextIOWrapper(file, encoding=_detect_encoding(file)))
    if text.peek() not in ("", *_BEGINS):
        raise _no_form()
    if text.peek() != "[":
        yield from _of_values(text)
        return
    text.take("[")
    first = True
    messages: list[Any] = []
    while text.peek() != "]":
        if not first:
            text.take(",")
        item = text.value()
        # A list of messages is one conversation; a list of lists or objects is one each.
        if (first or messages) and isinstance(item, dict) and _is_message(item):
            messages.append(item)
        else:
            yield from messages
            messages = []
            yield item
        first = False
    text.take("]")
    text.check_end()
    if messages:
        yield messages


def _detect_encoding(file: IO[bytes]) -> str:
    """UTF-8, or UTF-16 where the file begins so, as what PowerShell has written does.

    Raises:
        BadRequest: it is compressed.
    """
    start = file.read(2)
    file.seek(0)
    if start == _GZIP:
        raise BadRequest("The file is compressed (gzip). Unpack it, or pack it into a zip.")
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _of_values(text: _Window) -> Iterator[Any]:
    """One value, or several of them, a line each."""
    first = text.value()
    if text.peek() == "":
        yield first
        return
    values = [first]
    while text.peek() != "":
        values.append(text.value())
        if not _is_message(values[0]) and "user_name" not in _names(values[0]):
            yield values.pop(0)
    if values and any(_is_message(each) for each in values):
        yield values
    else:
        yield from values


def _is_message(item: Any) -> bool:
    names = _names(item)
    return bool({"role", "mes"} & names) or {"from", "value"} <= names or is_activity(item)


def _names(item: Any) -> set[str]:
    return item.keys() if isinstance(item, dict) else set()


class _Window:
    """JSON values read one after the other from a text that is never in memory as a whole."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._at, self._over = file, "", 0, False
        self._decode = json.JSONDecoder().raw_decode
        self._before = 0  # lines before the window

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        if self.peek() != character:
            raise self._broken_file(self._at)
        self._at += 1

    def value(self) -> Any:
        self.peek()
        wanted = _CHUNK
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more(wanted):
                    is_cut = error.msg.startswith("Unterminated string")  # from its beginning on
                    raise self._broken_file(len(self._text) if is_cut else error.pos) from None
                wanted *= 2  # so that a long value is not read again for each piece of it
            except RecursionError:
                raise BadRequest("The file is nested too deeply.") from None
            except ValueError:
                raise BadRequest(
                    "The file is not JSON: it holds a number that is too long."
                ) from None
            else:
                # A number at the window's end may go on behind it.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value

    def check_end(self) -> None:
        if self.peek() != "":
            raise self._broken_file(self._at)

    def _more(self, size: int = _CHUNK) -> bool:
        """Reads on; False at the end."""
        if self._over:
            return False
        self._before += self._text.count("\n", 0, self._at)
        try:
            more = self._file.read(size)
        except UnicodeDecodeError:
            raise BadRequest(
                "The file is no text in UTF-8. Save it in that encoding and send it again."
            ) from None
        self._text, self._at = self._text[self._at :] + more, 0
        self._over = len(more) < size
        return bool(more)

    def _broken_file(self, at: int) -> BadRequest:
        line = 1 + self._before + self._text.count("\n", 0, at)
        if self._text[at:].strip() == "":
            return BadRequest("The file is not JSON: it ends too early, in line {line}.", line=line)
        return BadRequest(
            "The file is not JSON: line {line} cannot be read from “{words}” on.",
            line=line,
            words=self._text[at : at + 20],
        )


# --- in a process of its own ----------------------------------------------------------------------


def _read_elsewhere(owner: str, file: IO[bytes]) -> Iterator[Entry]:
    """One file at a time: each may take all the memory that is allowed.

    Raises:
        Busy: others' files are still being read.
    """
    with _SLOTS.take(owner, TURN_SECONDS):
        process = LineProcess(
            "studio.features.chat.files.reading", files=Files(), longest=MAX_LINE, ahead=100
        )
        try:
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                if not process.write(chunk):  # it has ended: by what it says, or does not
                    break
            process.end_input()
            yield from _from_lines(_read_lines(process))
        except UnreadableAnswer as error:
            _log.warning("what was read of a file of conversations cannot be read: %s", error)
            raise unreadable_answer() from None
        finally:
            process.end()


def _read_lines(process: LineProcess) -> Iterator[bytes]:
    """The lines of a process, until it has ended or says nothing for too long."""
    while line := process.line(SILENT_SECONDS):
        yield line


def _from_lines(lines: Iterable[bytes]) -> Iterator[Entry]:
    """What another process has read, which may say anything of a file that has taken it over.

    Raises:
        BadRequest: what it says of the file, or that it ended within it.
        UnreadableAnswer: it says what it should not.
    """
    try:
        yield from _entries_of(_LINE.validate_json(line) for line in lines)
    except ValueError as error:  # pydantic's too
        raise UnreadableAnswer(f"{type(error).__name__}: {error}"[:500]) from None


def _entries_of(lines: Iterable[tuple[Any, ...]]) -> Iterator[Entry]:
    found: Found | None = None
    own: dict[str, Any] | None = None
    messages: list[list[MessageInFile]] = []
    known: set[str] = set()
    for kind, value in lines:
        if kind == "said":
            if found is None or not (value.parent is None or value.parent in known):
                raise ValueError("a message that follows none")
            if value.role not in ("user", "assistant"):
                raise ValueError("a message of nobody")
            known.add(value.id)
            found.said.append(value)
            continue
        if kind == "message":
            lane, message = value
            if not 0 <= lane < len(messages):
                raise ValueError("a message of no conversation")
            messages[lane].append(message)
            continue
        if own is not None:
            lanes = zip(own["lanes"], messages, strict=True)
            full = [{**lane, "messages": tuple(each)} for lane, each in lanes]
            yield ConversationFile.model_validate({**own, "lanes": full})
        if found is not None:
            if found.said and not (found.leaf is None or found.leaf in known):
                raise ValueError("the last message is none of them")
            yield found
        found, own, messages, known = None, None, [], set()
        if kind == "end":
            return
        if kind == "error":
            raise BadRequest(value.template, **value.values)
        if kind == "found":
            found = value
        elif kind == "own":
            own, messages = value, [[] for _ in value["lanes"]]
        else:
            yield value
    raise BadRequest(
        "The file takes too much memory or time to be read. Split it into several smaller ones."
    )


def _to_lines(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """What :func:`_from_lines` reads: a line a message, so that none is long."""
    try:
        for each in _entries(file):
            if isinstance(each, Found):
                said, each.said = each.said, []
                yield "found", {**asdict(each), "left_out": dict(each.left_out)}
                yield from (("said", asdict(one)) for one in said)
            elif isinstance(each, ConversationFile):
                yield "own", each.model_dump(exclude={"lanes": {"__all__": {"messages"}}})
                for number, lane in enumerate(each.lanes):
                    yield from (("message", (number, one.model_dump())) for one in lane.messages)
            else:
                yield "unreadable", each
        yield "end", None
    except BadRequest as error:
        yield "error", error.message.to_json()


def main() -> None:
    """Reads a file from the standard input and writes what it holds, a JSON value a line."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES, PROCESS_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESS_SECONDS, PROCESS_SECONDS))
    file = io.BytesIO(sys.stdin.buffer.read())
    with contextlib.suppress(BrokenPipeError):  # nobody reads on
        for line in _to_lines(file):
            sys.stdout.buffer.write(json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main()
