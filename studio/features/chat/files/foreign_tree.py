"""Conversations on their way in: messages put into a tree, and what of them was left out.

What stands in another program's file is of unknown kinds: whatever is of another kind than expected
counts as nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.chat.requests import MAX_ANSWER, MAX_TEXT
from studio.features.chat.checks import MAX_TITLE

# What can be left out; :mod:`studio.features.chat.files.exchange` has a sentence for each.
FILES, TOOLS, THOUGHTS, SYSTEM, CUT, EMPTY, LONG, OTHERS, ERRORS, ACTIONS, JOINED = (
    "files", "tools", "thoughts", "system", "cut", "empty", "long", "others", "errors", "actions",
    "joined",
)  # fmt: skip
_PERSON = {"user", "human", "prompter"}
_MODEL = {"assistant", "model", "gpt", "chatgpt", "bot", "ai", "claude", "bing", "bard"}
_PROMPT = {"system", "developer"}
_TOOL = {"tool", "function", "function_call", "observation", "ipython"}


@dataclass(slots=True)
class Said:
    """One message.

    Attributes:
        id, parent: hold within the conversation; ``parent`` is None for a first one.
        role: ``user`` or ``assistant``.
        model: who answered, if that is known.
        created: seconds since 1970, or None.
    """

    id: str
    parent: str | None
    role: str
    content: str
    model: str | None = None
    created: float | None = None


@dataclass(slots=True)
class Found:
    """One conversation of a file.

    Attributes:
        said: what follows comes later.
        leaf: id of the message that is shown last.
        left_out: how often each kind of thing was left out.
    """

    title: str = ""
    system_prompt: str = ""
    said: list[Said] = field(default_factory=list)
    leaf: str | None = None
    created: float | None = None
    updated: float | None = None
    left_out: Counter[str] = field(default_factory=Counter)


# --- trees ----------------------------------------------------------------------------------------


class Tree:
    """Messages that are added one by one; those that are not kept hand their children up.

    Attributes:
        known: ids of all that were added, kept or not.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        # Id → id of the kept message that stands for it: itself, or one that it follows.
        self.known: dict[str, str | None] = {}
        self._last: str | None = None

    def follow(self, name: str, role: str | None, words: str, model: str | None,
               created: Any = None) -> None:  # fmt: skip
        """Adds a message behind the last one."""
        self.add(name, self._last, role, words, model, created)
        self._last = name

    def add(self, name: str, parent: Any, role: str | None, words: str, model: str | None,
            created: Any) -> None:  # fmt: skip
        """Adds a message of the role ``user``, ``assistant``, ``system`` or ``tool``, or of none,
        which is not kept."""
        found = self._found
        above = self.known.get(parent) if isinstance(parent, str) else None
        self.known[name] = above
        words = whole_characters(words)
        if role == "tool":
            found.left_out[TOOLS] += 1
        elif role == "system" and words.strip():
            if found.said:  # later on than a system prompt stands here
                found.left_out[SYSTEM] += 1
            prompt = f"{found.system_prompt}\n\n{words}" if found.system_prompt else words
            found.left_out[CUT] += len(prompt) > MAX_TEXT
            found.system_prompt = prompt[:MAX_TEXT]
        elif role is None and words.strip():
            found.left_out[OTHERS] += 1
        elif role in ("user", "assistant") and not words.strip():
            found.left_out[EMPTY] += 1
        elif role in ("user", "assistant"):
            if len(words) > MAX_ANSWER:
                found.left_out[CUT] += 1
                words = words[:MAX_ANSWER]
            model = whole_characters(model or "")[:200] if role == "assistant" else ""
            found.said.append(Said(name, above, role, words, model or None, seconds_of(created)))
            self.known[name] = name

    def finish(self, leaf: Any) -> Found:
        """The conversation, with the branch to ``leaf`` shown, or to the last message."""
        found = self._found
        found.leaf = self.known.get(leaf) if isinstance(leaf, str) else None
        if found.leaf is None and found.said:
            found.leaf = found.said[-1].id
        _join_answers(found)
        found.left_out = +found.left_out
        return found


def _join_answers(found: Found) -> None:
    """Joins answers that follow one another, as where a tool was used in between: many models take
    turns only."""
    by_id = {each.id: each for each in found.said}
    followers = Counter(each.parent for each in found.said)
    stands_for: dict[str, str] = {}
    kept: list[Said] = []
    more: dict[str, list[str]] = {}
    for each in found.said:
        parent = stands_for.get(each.parent, each.parent) if each.parent else None
        above = by_id.get(parent) if parent else None
        joins = above is not None and above.role == each.role == "assistant"
        if joins and followers[each.parent] == 1:
            more.setdefault(above.id, [above.content]).append(each.content)
            stands_for[each.id] = above.id
        else:
            each.parent = parent
            kept.append(each)
    for name, contents in more.items():
        words = "\n\n".join(contents)
        found.left_out[CUT] += len(words) > MAX_ANSWER
        by_id[name].content = words[:MAX_ANSWER]
    found.said = kept
    found.leaf = stands_for.get(found.leaf, found.leaf) if found.leaf else None


def in_order(
    nodes: Mapping[str, Any],
    children: Mapping[str, list[str]],
    parents: Mapping[str, str | None],
) -> Iterator[str]:
    """The nodes of a tree, each after the one that it follows; circles are cut."""
    below: dict[str | None, list[str]] = {}
    for name in nodes:
        parent = parents[name] if parents[name] in nodes else None
        below.setdefault(parent, []).append(name)
    for parent, found in below.items():
        order = {name: at for at, name in enumerate(children.get(parent, ()))}
        found.sort(key=lambda name: order.get(name, len(order)))
    seen: set[str] = set()
    # Those of a circle are reached from no root.
    for root in (*below.get(None, ()), *nodes):
        waiting = [root]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                yield name
                waiting += reversed(below.get(name, ()))


# --- values of unknown kinds ----------------------------------------------------------------------


def begin(title: Any, created: Any, updated: Any) -> Found:
    words = " ".join(whole_characters(text_in(title)).split())[:MAX_TITLE]
    return Found(title=words, created=seconds_of(created), updated=seconds_of(updated))


def role_of(name: Any) -> str | None:
    name = name.lower() if isinstance(name, str) else ""
    for role, names in (("user", _PERSON), ("assistant", _MODEL), ("system", _PROMPT),
                        ("tool", _TOOL)):  # fmt: skip
        if name in names:
            return role
    return None


def content_of(content: Any, left_out: Counter[str]) -> tuple[str, int]:
    """The words of a content, and how many files were in it."""
    if isinstance(content, dict):
        content = [content]
    return join_parts(content, left_out) if isinstance(content, list) else (text_in(content), 0)


def join_parts(parts: Iterable[Any], left_out: Counter[str] | None = None) -> tuple[str, int]:
    """The words of several parts, and how many other parts there were."""
    words, files = [], 0
    for part in parts:
        kind = text_in(part.get("type")) if isinstance(part, dict) else ""
        text = part if isinstance(part, str) else dict_in(part).get("text")
        if kind == "step-start":  # of the AI SDK: where a model's turn begins
            continue
        if isinstance(text, dict):  # as OpenAI's Assistants and Jan have it
            text = text.get("value")
        if "think" in kind or "reason" in kind:
            _count(left_out, THOUGHTS)
        elif kind.startswith(("tool", "server_tool", "function", "token_budget")):
            _count(left_out, TOOLS)
        elif isinstance(text, str):
            words.append(text)
        elif kind == "refusal":
            words.append(text_in(dict_in(part).get("refusal")))
        else:
            files += 1
    return "\n\n".join(each for each in words if each.strip()), files


def _count(left_out: Counter[str] | None, kind: str) -> None:
    if left_out is not None:
        left_out[kind] += 1


def seconds_of(value: Any) -> float | None:
    """A time as seconds since 1970: from seconds, milliseconds or more, or ISO 8601."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e21:
        return None
    while value > 1e11:  # beyond the year 5000: milliseconds, microseconds, nanoseconds
        value /= 1000
    return float(value)


def whole_characters(text: str) -> str:
    """Half an emoji would be no text to the database."""
    return text.encode(errors="replace").decode()


def text_in(value: Any) -> str:
    return value if isinstance(value, str) else ""


def texts_in(value: Any) -> list[str]:
    return [each for each in list_in(value) if isinstance(each, str)]


def list_in(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dict_in(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
