"""Conversations of other programs: read from their exports, with all their branches.

Each reader takes one conversation as its program writes it in JSON, and returns None where it is
none of that program's. What a conversation here has no place for is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.chat.requests import MAX_TEXT
from studio.chat.checks import MAX_TITLE
from studio.chat.file_format import MAX_ANSWER

# What can be left out; :mod:`studio.chat.exchange` has a sentence for each.
FILES, TOOLS, THOUGHTS, SYSTEM, CUT, EMPTY, LONG, OTHERS = (
    "files", "tools", "thoughts", "system", "cut", "empty", "long", "others",
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


def read_conversation(data: Any) -> Found | None:
    """One conversation in any of the known forms; None where it is in none."""
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("body"), dict):  # a line of a batch for OpenAI's API
        data = data["body"]
    for reader in (_chatgpt, _claude, _open_webui, _lm_studio, _ai_studio, _text_generation_webui,
                   _sharegpt, _messages):  # fmt: skip
        if (found := reader(data)) is not None:
            return found
    return None


def read_messages(items: list[Any]) -> Found | None:
    """A list of messages, each as OpenAI, ShareGPT or SillyTavern has it; None where it is none."""
    if not items or not all(isinstance(each, dict) for each in items):
        return None
    if "mes" in items[-1]:
        return _sillytavern(items)
    if all("from" in each and "value" in each for each in items):
        return _sharegpt({"conversations": items})
    if all("role" in each for each in items):
        return _messages({"messages": items})
    return None


# --- programs -------------------------------------------------------------------------------------


def _chatgpt(data: dict[str, Any]) -> Found | None:
    """ChatGPT: a tree of nodes, some of them without a message, of tools, or hidden."""
    nodes = data.get("mapping")
    if not isinstance(nodes, dict):
        return None
    nodes = {name: node for name, node in nodes.items() if isinstance(node, dict)}
    found = _begun(data.get("title"), data.get("create_time"), data.get("update_time"))
    tree = _Tree(found)
    children = {name: _texts(node.get("children")) for name, node in nodes.items()}
    parents = {name: _text(node.get("parent")) or None for name, node in nodes.items()}
    for name in _in_order(nodes, children, parents):
        message = nodes[name].get("message")
        role, words, model = None, "", None
        if isinstance(message, dict):
            role, words, model = _of_chatgpt(message, found)
            model = model or _text(data.get("default_model_slug")) or None
        tree.add(name, parents[name], role, words, model, _dict(message).get("create_time"))
    return tree.finish(data.get("current_node"))


def _of_chatgpt(message: dict[str, Any], found: Found) -> tuple[str | None, str, str | None]:
    """Role, words and model of a node; no role: it is not kept."""
    if "author" not in message:
        return _of_deepseek(message, found)
    role = _role(_dict(message.get("author")).get("role"))
    content, facts = _dict(message.get("content")), _dict(message.get("metadata"))
    kind = content.get("content_type")
    parts = content.get("parts")
    if facts.get("is_visually_hidden_from_conversation") or kind in (
        "user_editable_context", "model_editable_context",
    ):  # fmt: skip
        return None, "", None
    if kind in ("thoughts", "reasoning_recap"):
        found.left_out[THOUGHTS] += 1
        return None, "", None
    if role == "tool" or message.get("recipient") not in (None, "all"):
        found.left_out[TOOLS] += 1
        return None, "", None
    if isinstance(parts, list):
        words, files = _joined(parts)
    elif kind == "code":
        words, files = f"```\n{_text(content.get('text'))}\n```", 0
    else:
        words, files = _text(content.get("text")), 0
    files = max(files, len(_list(facts.get("attachments"))))
    found.left_out[FILES] += files
    if role is not None and not words.strip() and files:
        words = "[file]"  # an answer to it follows
    return role, words, _text(facts.get("model_slug")) or None


def _of_deepseek(message: dict[str, Any], found: Found) -> tuple[str | None, str, str | None]:
    """Role, words and model of a node of DeepSeek, whose tree is ChatGPT's: what was asked,
    thought and answered are fragments."""
    model = _text(message.get("model")) or None
    found.left_out[FILES] += len(_list(message.get("files")))
    role, words = None, [_text(message.get("content"))]
    for fragment in map(_dict, _list(message.get("fragments"))):
        kind = _text(fragment.get("type")).upper()
        if kind == "THINK":
            found.left_out[THOUGHTS] += 1
        elif kind in ("REQUEST", "RESPONSE"):
            role = "user" if kind == "REQUEST" else "assistant"
            words.append(_text(fragment.get("content")))
        else:
            found.left_out[TOOLS] += 1
    return role, "\n\n".join(each for each in words if each.strip()), model


def _claude(data: dict[str, Any]) -> Found | None:
    """Claude: messages in order, in newer exports with the message that each follows."""
    messages = data.get("chat_messages")
    if not isinstance(messages, list):
        return None
    found = _begun(data.get("name"), data.get("created_at"), data.get("updated_at"))
    tree, before = _Tree(found), None
    for number, each in enumerate(map(_dict, messages)):
        name = _text(each.get("uuid")) or str(number)
        parts = _list(each.get("content"))
        words, files = _joined(parts, found.left_out)
        files += len(_list(each.get("attachments"))) + len(_list(each.get("files")))
        found.left_out[FILES] += files
        words = words if words.strip() else _text(each.get("text"))
        if not words.strip() and files:
            words = "[file]"
        parent = _text(each.get("parent_message_uuid")) or before
        parent = parent if parent in tree.known else None
        tree.add(name, parent, _role(each.get("sender")), words, None, each.get("created_at"))
        before = name
    return tree.finish(data.get("current_leaf_message_uuid"))


def _open_webui(data: dict[str, Any]) -> Found | None:
    """Open WebUI: a tree under ``chat.history``; in old exports a list only."""
    chat = data.get("chat") if isinstance(data.get("chat"), dict) else data
    history = _dict(chat.get("history"))
    nodes = history.get("messages")
    if not isinstance(nodes, dict) or not nodes:
        if chat is data or not isinstance(chat.get("messages"), list):
            return None
        nodes = {
            str(at): {**_dict(each), "parentId": str(at - 1) if at else None}
            for at, each in enumerate(chat["messages"])
        }
    nodes = {name: node for name, node in nodes.items() if isinstance(node, dict)}
    title = data.get("title") or chat.get("title")
    times = (
        data.get("created_at") or chat.get("timestamp"),
        data.get("updated_at") or chat.get("timestamp"),
    )
    found = _begun(title, *times)
    found.system_prompt = _text(_dict(chat.get("params")).get("system") or chat.get("system"))
    tree = _Tree(found)
    parents = {name: _text(node.get("parentId")) or None for name, node in nodes.items()}
    children = {name: _texts(node.get("childrenIds")) for name, node in nodes.items()}
    for name in _in_order(nodes, children, parents):
        node = nodes[name]
        role = _role(node.get("role"))
        words, files = _content(node.get("content"), found.left_out)
        words = _without_details(words, found.left_out)
        files += len(_list(node.get("files")))
        found.left_out[FILES] += files
        if role is not None and not words.strip() and files:
            words = "[file]"
        model = _text(node.get("model")) or None
        tree.add(name, parents[name], role, words, model, node.get("timestamp"))
    return tree.finish(history.get("currentId"))


def _sharegpt(data: dict[str, Any]) -> Found | None:
    """ShareGPT, as data sets for training have it."""
    items = data.get("conversations", data.get("conversation"))
    if not isinstance(items, list) or not all(
        isinstance(each, dict) and "value" in each for each in items
    ):
        return None
    found = _begun(data.get("title"), data.get("create_time"), None)
    found.system_prompt = _text(data.get("system"))
    tree = _Tree(found)
    for number, each in enumerate(items):
        role = _role(each.get("from"))
        tree.follow(str(number), role, _text(each.get("value")), _text(data.get("model")) or None)
    return tree.finish(None)


def _lm_studio(data: dict[str, Any]) -> Found | None:
    """LM Studio: of each message several versions, of which one is chosen."""
    items = data.get("messages")
    if not isinstance(items, list) or not items or not all("versions" in _dict(e) for e in items):
        return None
    found = _begun(data.get("name"), data.get("createdAt"), None)
    found.system_prompt = _whole_characters(_text(data.get("systemPrompt")))[:MAX_TEXT]
    tree, before = _Tree(found), None
    for number, each in enumerate(items):
        versions = [*map(_dict, _list(each["versions"]))]
        for at, version in enumerate(versions):
            role, parts = _role(version.get("role")), [*_list(version.get("content"))]
            for step in map(_dict, _list(version.get("steps"))):
                kind = _text(_dict(step.get("style")).get("type"))
                if "think" in kind:
                    found.left_out[THOUGHTS] += 1
                elif step.get("type") == "contentBlock":
                    parts += _list(step.get("content"))
            words, files = _joined(parts, found.left_out)
            found.left_out[FILES] += files
            sender = _text(_dict(version.get("senderInfo")).get("senderName")) or None
            tree.add(f"{number}.{at}", before, role, words, sender, None)
        chosen = each.get("currentlySelected")
        chosen = chosen if isinstance(chosen, int) and 0 <= chosen < len(versions) else 0
        before = f"{number}.{chosen}"
    return tree.finish(before)


def _ai_studio(data: dict[str, Any]) -> Found | None:
    """Google AI Studio: chunks of a prompt, some of them thoughts or files."""
    chunks = _dict(data.get("chunkedPrompt")).get("chunks")
    if not isinstance(chunks, list):
        return None
    found = _begun(data.get("title"), None, None)
    parts = _dict(data.get("systemInstruction"))
    found.system_prompt = _content(parts.get("parts", parts), found.left_out)[0][:MAX_TEXT]
    tree = _Tree(found)
    for number, each in enumerate(map(_dict, chunks)):
        words = _text(each.get("text"))
        if each.get("isThought"):
            found.left_out[THOUGHTS] += 1
            continue
        if not words.strip() and len(each) > 2:  # a picture, a document, a film
            found.left_out[FILES] += 1
            continue
        model = _text(_dict(data.get("runSettings")).get("model")) or None
        tree.follow(str(number), _role(each.get("role")), words, model)
    return tree.finish(None)


def _text_generation_webui(data: dict[str, Any]) -> Found | None:
    """text-generation-webui: pairs of what was asked and answered."""
    pairs = data.get("internal")
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in pairs
    ):
        return None
    found = _begun(None, None, None)
    tree = _Tree(found)
    for number, (asked, answered) in enumerate(pairs):
        if asked != "<|BEGIN-VISIBLE-CHAT|>":  # before a greeting, which nobody asked for
            tree.follow(f"{number}.0", "user", _text(asked), None)
        tree.follow(f"{number}.1", "assistant", _text(answered), None)
    return tree.finish(None)


def _messages(data: dict[str, Any]) -> Found | None:
    """Messages as OpenAI's API has them: a request's body, a line of a file for fine-tuning.

    Many programs list them so and say which one each follows: LibreChat, the page of llama.cpp.
    """
    messages = _unfolded(data.get("messages"))
    if messages is None or not all(_names_a_role(each) for each in messages):
        return None
    about = _dict(data.get("conv"))  # llama.cpp
    found = _begun(
        data.get("title") or about.get("name"),
        data.get("created"),
        about.get("lastModified"),
    )
    # Anthropic's bodies have the system prompt beside the messages.
    found.system_prompt = _content(data.get("system"), found.left_out)[0][:MAX_TEXT]
    tree = _Tree(found)
    parents, names = _parents(messages)
    children = {name: _texts(names[name].get("children")) for name in names}
    for name in _in_order(names, children, parents):
        each = names[name]
        role = "user" if each.get("isCreatedByUser") is True else _role(_names_a_role(each))
        content = each.get("content") or each.get("parts") or each.get("contentParts")
        words, files = _content(content or each.get("text"), found.left_out)
        found.left_out[FILES] += files
        found.left_out[TOOLS] += len(_list(each.get("tool_calls")))
        if role == "user" and not words.strip() and files and len(messages) > 1:
            words = "[file]"
        created = each.get("created_at") or each.get("createdAt") or each.get("timestamp")
        tree.add(name, parents[name], role, words, _text(each.get("model")) or None, created)
    return tree.finish(about.get("currNode"))


def _names_a_role(message: dict[str, Any]) -> str | None:
    """What a message says of who says it; of LibreChat's answers by their mark."""
    if isinstance(message.get("isCreatedByUser"), bool):
        return "user" if message["isCreatedByUser"] else "assistant"
    role = message.get("role", message.get("from"))
    return role if isinstance(role, str) else None


def _unfolded(messages: Any) -> list[dict[str, Any]] | None:
    """Messages in a row, with those that stand as children of others; None where they are none."""
    if not isinstance(messages, list):
        return None
    found, waiting = [], [*reversed(messages)]
    while waiting:
        if not isinstance(each := waiting.pop(), dict):
            return None
        found.append(each)
        below = [child for child in _list(each.get("children")) if isinstance(child, dict)]
        waiting += reversed(below)
    return found


def _parents(
    messages: list[dict[str, Any]],
) -> tuple[dict[str, str | None], dict[str, dict[str, Any]]]:
    """Which message each follows, and the messages, by their ids; where they do not say so, in a
    row."""
    ids = [_first(each, "id", "messageId", "uuid") for each in messages]
    above = [
        _first(each, "parent", "parentId", "parentMessageId", "parent_id") for each in messages
    ]
    if len({*ids} - {None}) == len(messages) and any(each in ids for each in above if each):
        return dict(zip(ids, above, strict=True)), dict(zip(ids, messages, strict=True))
    row = [str(number) for number in range(len(messages))]
    return dict(zip(row, [None, *row], strict=False)), dict(zip(row, messages, strict=True))


def _first(message: dict[str, Any], *names: str) -> str | None:
    """The first of some fields that holds an id."""
    for name in names:
        value = message.get(name)
        if isinstance(value, str | int) and value != "":
            return str(value)
    return None


def _sillytavern(items: list[dict[str, Any]]) -> Found:
    """SillyTavern: a line about the chat, then messages; “swipes” are answers side by side."""
    found = _begun(items[0].get("character_name"), None, None)
    tree = _Tree(found)
    before = None
    for number, each in enumerate(items):
        if "mes" not in each or each.get("is_system"):
            continue
        role = "user" if each.get("is_user") else "assistant"
        model = _text(_dict(each.get("extra")).get("model")) or None
        chosen, others = _text(each.get("mes")), _texts(each.get("swipes"))
        names = {}
        for at, words in enumerate(others or [chosen]):
            tree.add(f"{number}.{at}", before, role, words, model, None)
            names[words] = f"{number}.{at}"
        if chosen not in names:
            tree.add(f"{number}", before, role, chosen, model, None)
            names[chosen] = f"{number}"
        before = names[chosen]
    return tree.finish(before)


# --- trees ----------------------------------------------------------------------------------------


class _Tree:
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
        words = _whole_characters(words)
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
            model = _whole_characters(model or "")[:200] if role == "assistant" else ""
            found.said.append(Said(name, above, role, words, model or None, _seconds(created)))
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


def _in_order(
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


def _begun(title: Any, created: Any, updated: Any) -> Found:
    words = " ".join(_whole_characters(_text(title)).split())[:MAX_TITLE]
    return Found(title=words, created=_seconds(created), updated=_seconds(updated))


def _role(name: Any) -> str | None:
    name = name.lower() if isinstance(name, str) else ""
    for role, names in (("user", _PERSON), ("assistant", _MODEL), ("system", _PROMPT),
                        ("tool", _TOOL)):  # fmt: skip
        if name in names:
            return role
    return None


def _content(content: Any, left_out: Counter[str]) -> tuple[str, int]:
    """The words of a content, and how many files were in it."""
    if isinstance(content, dict):
        content = [content]
    return _joined(content, left_out) if isinstance(content, list) else (_text(content), 0)


def _joined(parts: Iterable[Any], left_out: Counter[str] | None = None) -> tuple[str, int]:
    """The words of several parts, and how many other parts there were."""
    words, files = [], 0
    for part in parts:
        kind = _text(part.get("type")) if isinstance(part, dict) else ""
        text = part if isinstance(part, str) else _dict(part).get("text")
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
            words.append(_text(_dict(part).get("refusal")))
        else:
            files += 1
    return "\n\n".join(each for each in words if each.strip()), files


def _count(left_out: Counter[str] | None, kind: str) -> None:
    if left_out is not None:
        left_out[kind] += 1


def _without_details(words: str, left_out: Counter[str]) -> str:
    """An answer without the folded parts in which Open WebUI writes thoughts and tools' answers."""
    kept, at = [], 0
    for kind, name in (("reasoning", THOUGHTS), ("tool_calls", TOOLS)):
        mark, end = f'<details type="{kind}"', "</details>"
        kept, at = [], 0
        while (begin := words.find(mark, at)) >= 0 and (over := words.find(end, begin)) >= 0:
            kept.append(words[at:begin])
            at = over + len(end)
            left_out[name] += 1
        words = "".join((*kept, words[at:]))
    return words.strip("\n")


def _seconds(value: Any) -> float | None:
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


def _whole_characters(text: str) -> str:
    """Half an emoji would be no text to the database."""
    return text.encode(errors="replace").decode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [each for each in _list(value) if isinstance(each, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
