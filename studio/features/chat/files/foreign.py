"""Conversations of other programs: read from their exports, with all their branches.

Each reader takes one conversation as its program writes it in JSON, and returns None where it is
none of that program's. What a conversation here has no place for is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.chat.requests import MAX_TEXT
from studio.features.chat.files.foreign_tree import (
    ACTIONS,
    ERRORS,
    FILES,
    JOINED,
    THOUGHTS,
    TOOLS,
    Found,
    Tree,
    begin,
    content_of,
    dict_in,
    in_order,
    join_parts,
    list_in,
    role_of,
    seconds_of,
    text_in,
    texts_in,
)
from studio.features.chat.files.html_to_markdown import markdown_of

PAUSE_MINUTES = 30  # between two prompts of Gemini's list, from which on a conversation is another


def read_conversation(data: Any) -> Found | None:
    """One conversation in any of the known forms; None where it is in none."""
    if not isinstance(data, dict):
        return None
    if "messages" not in data and isinstance(
        data.get("body"), dict
    ):  # a line of a batch for OpenAI's API
        data = data["body"]
    for reader in (_chatgpt, _claude, _open_webui, _lm_studio, _librechat, _gemini, _ai_studio,
                   _text_generation_webui, _sharegpt, _messages):  # fmt: skip
        if (found := reader(data)) is not None:
            return found
    return None


def read_messages(items: list[Any]) -> Found | None:
    """A list of messages, each as OpenAI, ShareGPT or SillyTavern has it; None where it is none."""
    if not items or not all(isinstance(each, dict) for each in items):
        return None
    if "mes" in items[-1]:
        return _sillytavern(items)
    if all(map(is_activity, items)):
        return _gemini_prompts(items)
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
    found = begin(data.get("title"), data.get("create_time"), data.get("update_time"))
    tree = Tree(found)
    children = {name: texts_in(node.get("children")) for name, node in nodes.items()}
    parents = {name: text_in(node.get("parent")) or None for name, node in nodes.items()}
    for name in in_order(nodes, children, parents):
        message = nodes[name].get("message")
        role, words, model = None, "", None
        if isinstance(message, dict):
            role, words, model = _of_chatgpt(message, found)
            model = model or text_in(data.get("default_model_slug")) or None
        tree.add(name, parents[name], role, words, model, dict_in(message).get("create_time"))
    return tree.finish(data.get("current_node"))


def _of_chatgpt(message: dict[str, Any], found: Found) -> tuple[str | None, str, str | None]:
    """Role, words and model of a node; no role: it is not kept."""
    if "author" not in message:
        return _of_deepseek(message, found)
    role = role_of(dict_in(message.get("author")).get("role"))
    content, facts = dict_in(message.get("content")), dict_in(message.get("metadata"))
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
        words, files = join_parts(parts)
    elif kind == "code":
        words, files = f"```\n{text_in(content.get('text'))}\n```", 0
    else:
        words, files = text_in(content.get("text")), 0
    files = max(files, len(list_in(facts.get("attachments"))))
    found.left_out[FILES] += files
    if role is not None and not words.strip() and files:
        words = "[file]"  # an answer to it follows
    return role, words, text_in(facts.get("model_slug")) or None


def _of_deepseek(message: dict[str, Any], found: Found) -> tuple[str | None, str, str | None]:
    """Role, words and model of a node of DeepSeek, whose tree is ChatGPT's: what was asked,
    thought and answered are fragments."""
    model = text_in(message.get("model")) or None
    found.left_out[FILES] += len(list_in(message.get("files")))
    role, words = None, [text_in(message.get("content"))]
    for fragment in map(dict_in, list_in(message.get("fragments"))):
        kind = text_in(fragment.get("type")).upper()
        if kind == "THINK":
            found.left_out[THOUGHTS] += 1
        elif kind in ("REQUEST", "RESPONSE"):
            role = "user" if kind == "REQUEST" else "assistant"
            words.append(text_in(fragment.get("content")))
        else:
            found.left_out[TOOLS] += 1
    return role, "\n\n".join(each for each in words if each.strip()), model


def _claude(data: dict[str, Any]) -> Found | None:
    """Claude: messages in order, in newer exports with the message that each follows."""
    messages = data.get("chat_messages")
    if not isinstance(messages, list):
        return None
    found = begin(data.get("name"), data.get("created_at"), data.get("updated_at"))
    tree, before = Tree(found), None
    for number, each in enumerate(map(dict_in, messages)):
        name = text_in(each.get("uuid")) or str(number)
        parts = list_in(each.get("content"))
        words, files = join_parts(parts, found.left_out)
        files += len(list_in(each.get("attachments"))) + len(list_in(each.get("files")))
        found.left_out[FILES] += files
        words = words if words.strip() else text_in(each.get("text"))
        if not words.strip() and files:
            words = "[file]"
        parent = text_in(each.get("parent_message_uuid")) or before
        parent = parent if parent in tree.known else None
        tree.add(name, parent, role_of(each.get("sender")), words, None, each.get("created_at"))
        before = name
    return tree.finish(data.get("current_leaf_message_uuid"))


def _open_webui(data: dict[str, Any]) -> Found | None:
    """Open WebUI: a tree under ``chat.history``; in old exports a list only."""
    chat = data.get("chat") if isinstance(data.get("chat"), dict) else data
    history = dict_in(chat.get("history"))
    nodes = history.get("messages")
    if not isinstance(nodes, dict) or not nodes:
        if chat is data or not isinstance(chat.get("messages"), list):
            return None
        nodes = {
            str(at): {**dict_in(each), "parentId": str(at - 1) if at else None}
            for at, each in enumerate(chat["messages"])
        }
    nodes = {name: node for name, node in nodes.items() if isinstance(node, dict)}
    title = data.get("title") or chat.get("title")
    times = (
        data.get("created_at") or chat.get("timestamp"),
        data.get("updated_at") or chat.get("timestamp"),
    )
    found = begin(title, *times)
    found.system_prompt = text_in(dict_in(chat.get("params")).get("system") or chat.get("system"))
    tree = Tree(found)
    parents = {name: text_in(node.get("parentId")) or None for name, node in nodes.items()}
    children = {name: texts_in(node.get("childrenIds")) for name, node in nodes.items()}
    for name in in_order(nodes, children, parents):
        node = nodes[name]
        role = role_of(node.get("role"))
        words, files = content_of(node.get("content"), found.left_out)
        words = _without_details(words, found.left_out)
        files += len(list_in(node.get("files")))
        found.left_out[FILES] += files
        if role is not None and not words.strip() and files:
            words = "[file]"
        model = text_in(node.get("model")) or None
        tree.add(name, parents[name], role, words, model, node.get("timestamp"))
    return tree.finish(history.get("currentId"))


def _sharegpt(data: dict[str, Any]) -> Found | None:
    """ShareGPT, as data sets for training have it."""
    items = data.get("conversations", data.get("conversation"))
    if not isinstance(items, list) or not all(
        isinstance(each, dict) and "value" in each for each in items
    ):
        return None
    found = begin(data.get("title"), data.get("create_time"), None)
    found.system_prompt = text_in(data.get("system"))
    tree = Tree(found)
    for number, each in enumerate(items):
        role = role_of(each.get("from"))
        tree.follow(
            str(number), role, text_in(each.get("value")), text_in(data.get("model")) or None
        )
    return tree.finish(None)


def _lm_studio(data: dict[str, Any]) -> Found | None:
    """LM Studio: each message in versions, the next one following that which is chosen."""
    messages = data.get("messages")
    if not isinstance(messages, list) or not any(
        isinstance(dict_in(each).get("versions"), list) for each in messages
    ):
        return None
    last = max(
        (time for name in ("userLastMessagedAt", "assistantLastMessagedAt")
         if (time := seconds_of(data.get(name)))),
        default=None,
    )  # fmt: skip
    found = begin(data.get("name"), data.get("createdAt"), last)
    fields = map(dict_in, list_in(dict_in(data.get("perChatPredictionConfig")).get("fields")))
    prompts = (text_in(each.get("value")) for each in fields
               if each.get("key") == "llm.prediction.systemPrompt")  # fmt: skip
    found.system_prompt = (text_in(data.get("systemPrompt")) or next(prompts, ""))[:MAX_TEXT]
    tree, before = Tree(found), None
    for number, each in enumerate(map(dict_in, messages)):
        versions = [dict_in(version) for version in list_in(each.get("versions"))]
        for at, version in enumerate(versions):
            words, model = _of_lm_studio(version, found)
            tree.add(f"{number}.{at}", before, role_of(version.get("role")), words, model, None)
        chosen = each.get("currentlySelected")
        if versions:
            at = chosen if isinstance(chosen, int) and 0 <= chosen < len(versions) else 0
            before = f"{number}.{at}"
    return tree.finish(before)


def _of_lm_studio(version: dict[str, Any], found: Found) -> tuple[str, str | None]:
    """Words and model of one version of a message: of one step, or of several."""
    sender = text_in(dict_in(version.get("senderInfo")).get("senderName")) or None
    words, model = [], None
    for step in map(dict_in, list_in(version.get("steps")) or [version]):
        kind = text_in(step.get("type"))
        if kind not in ("contentBlock", "singleStep", "multiStep", ""):  # of tools, of progress
            found.left_out[TOOLS] += "tool" in kind.lower()
            continue
        if dict_in(step.get("style")).get("type") == "thinking":
            found.left_out[THOUGHTS] += 1
            continue
        model = model or text_in(dict_in(step.get("genInfo")).get("identifier")) or None
        text, files = content_of(step.get("content"), found.left_out)
        found.left_out[FILES] += files
        words.append(text if text.strip() or not files else "[file]")
    return "\n\n".join(each for each in words if each.strip()), model or sender


def _librechat(data: dict[str, Any]) -> Found | None:
    """LibreChat: a list of messages that name what they follow, or a tree of them."""
    messages = data.get("messagesTree", data.get("messages"))
    if not isinstance(messages, list) or not any(
        "isCreatedByUser" in dict_in(each) or "messageId" in dict_in(each) for each in messages
    ):
        return None
    options = dict_in(data.get("options"))
    found = begin(data.get("title"), data.get("createdAt"), data.get("updatedAt"))
    found.system_prompt = (text_in(options.get("promptPrefix")) or text_in(options.get("system")))[
        :MAX_TEXT
    ]
    nodes: dict[str, dict[str, Any]] = {}
    parents: dict[str, str | None] = {}
    above: str | None = None
    waiting = [(dict_in(each), None) for each in reversed(messages)]
    while waiting:
        node, parent = waiting.pop()
        name = text_in(node.get("messageId")) or str(len(nodes))
        if name in nodes:
            continue
        given = text_in(node.get("parentMessageId"))
        # Without branches, messages may follow ones that the file leaves out.
        parents[name] = parent or (given if given else above)
        nodes[name], above = node, name
        waiting += [(dict_in(each), name) for each in reversed(list_in(node.get("children")))]
    created = [time for node in nodes.values() if (time := seconds_of(node.get("createdAt")))]
    found.created = found.created or min(created, default=None)
    found.updated = found.updated or max(created, default=None)
    tree = Tree(found)
    for name in in_order(nodes, {}, parents):
        node = nodes[name]
        words, files = content_of(node.get("content"), found.left_out)
        words = words if words.strip() else text_in(node.get("text"))
        files += len(list_in(node.get("files"))) + len(list_in(node.get("attachments")))
        found.left_out[FILES] += files
        if node.get("error") is True:
            found.left_out[ERRORS] += 1
            tree.add(name, parents[name], None, "", None, None)
            continue
        words = _without_thinking(words, found.left_out)
        role = "user" if node.get("isCreatedByUser") is True else "assistant"
        words = words if words.strip() or not files else "[file]"
        model = text_in(node.get("model")) or None
        tree.add(name, parents[name], role, words, model, node.get("createdAt"))
    return tree.finish(None)


def _gemini(data: dict[str, Any]) -> Found | None:
    """Google Gemini in Workspace: turns in order; one that is asked again has the same number."""
    turns = data.get("conversation_turns")
    if not isinstance(turns, list):
        return None
    times = data.get("creation_time"), data.get("last_modification_time")
    found = begin(data.get("title"), *times)
    tree = Tree(found)
    path: list[tuple[int, str]] = []  # numbers of turns, and the last of each
    for at, each in enumerate(map(dict_in, turns)):
        asked, answer = each.get("user_turn"), each.get("system_turn")
        for role, turn in (("user", asked), ("assistant", answer)):
            if not isinstance(turn, dict):
                continue
            number = turn.get("turn_index")
            number = number if isinstance(number, int) else (path[-1][0] + 1 if path else 0)
            while path and path[-1][0] >= number:
                path.pop()
            words = text_in(turn.get("prompt")) if role == "user" else _of_gemini(turn, found)
            files = len(list_in(turn.get("images"))) + len(list_in(turn.get("files")))
            found.left_out[FILES] += files
            words = words if words.strip() or not files else "[file]"
            name, parent = f"{at}.{role}", path[-1][1] if path else None
            tree.add(name, parent, role, words, None, turn.get("turn_last_modified"))
            path.append((number, name))
    return tree.finish(None)


def _of_gemini(turn: dict[str, Any], found: Found) -> str:
    found.left_out[THOUGHTS] += len(list_in(turn.get("model_thoughts")))
    words = []
    for part in map(dict_in, list_in(turn.get("text"))):
        words.append(text_in(part.get("data")))
        words += [text_in(dict_in(card).get("content")) for card in list_in(part.get("cards"))]
    return "\n\n".join(each for each in words if each.strip())


# The words before a prompt in Gemini's list, and before what is none.
_ASKED = ("Prompted with: ", "Asked Gemini: ", "Asked Bard: ", "Prompted ", "Asked ", "Said ")
_ACTIONS = ("Created ", "Used ", "Added ", "Gave ", "Selected ", "Shared ", "Deleted ", "Viewed ")


def is_activity(item: Any) -> bool:
    """Whether this is an entry of “My Activity” about Gemini, as Google Takeout has it."""
    if not isinstance(item, dict) or not isinstance(item.get("title"), str):
        return False
    labels = [item.get("header"), *list_in(item.get("products"))]
    return "time" in item and any(
        isinstance(each, str) and ("gemini" in each.lower() or "bard" in each.lower())
        for each in labels
    )


def split_by_pauses(items: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The entries of Gemini's list as conversations: it does not say which belong together."""
    timed = sorted(
        ((seconds_of(each.get("time")) or 0.0, -at, each) for at, each in enumerate(items)),
        key=lambda entry: entry[:2],  # the newest comes first in the file
    )
    group: list[dict[str, Any]] = []
    last = 0.0
    for time, _, each in timed:
        if group and time - last > 60 * PAUSE_MINUTES:
            yield group
            group = []
        group.append(each)
        last = time
    if group:
        yield group


def _gemini_prompts(items: list[dict[str, Any]]) -> Found:
    """Google Gemini's prompts, each with its answers, one after the other."""
    found = begin(None, items[0].get("time"), items[-1].get("time"))
    tree, before = Tree(found), None
    for number, each in enumerate(items):
        title, answers = f"{each['title'].strip()} ", list_in(each.get("safeHtmlItem"))
        opening = next((word for word in _ASKED if title.startswith(word)), "")
        # In other languages the word before a prompt is another; what was answered is a prompt.
        if not opening and (title.startswith(_ACTIONS) or not answers):
            found.left_out[ACTIONS] += 1
            continue
        files = len(list_in(each.get("attachedFiles"))) or int("imageFile" in each)
        found.left_out[FILES] += files
        words = title.removeprefix(opening).strip()
        tree.add(f"{number}", before, "user", words or "[file]", None, each.get("time"))
        before = f"{number}"
        for at, answer in enumerate(map(dict_in, answers)):
            words = markdown_of(text_in(answer.get("html")))
            tree.add(f"{number}.{at}", f"{number}", "assistant", words, None, each.get("time"))
            before = f"{number}.{at}"
    found.left_out[JOINED] += bool(found.said)
    return tree.finish(before)


def _ai_studio(data: dict[str, Any]) -> Found | None:
    """Google AI Studio: chunks of a prompt, some of them thoughts or files."""
    chunks = dict_in(data.get("chunkedPrompt")).get("chunks")
    if not isinstance(chunks, list):
        return None
    found = begin(data.get("title"), None, None)
    parts = dict_in(data.get("systemInstruction"))
    found.system_prompt = content_of(parts.get("parts", parts), found.left_out)[0][:MAX_TEXT]
    tree = Tree(found)
    for number, each in enumerate(map(dict_in, chunks)):
        words = text_in(each.get("text"))
        if each.get("isThought"):
            found.left_out[THOUGHTS] += 1
            continue
        if not words.strip() and len(each) > 2:  # a picture, a document, a film
            found.left_out[FILES] += 1
            continue
        model = text_in(dict_in(data.get("runSettings")).get("model")) or None
        tree.follow(str(number), role_of(each.get("role")), words, model)
    return tree.finish(None)


def _text_generation_webui(data: dict[str, Any]) -> Found | None:
    """text-generation-webui: pairs of what was asked and answered."""
    pairs = data.get("internal")
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in pairs
    ):
        return None
    found = begin(None, None, None)
    tree = Tree(found)
    for number, (asked, answered) in enumerate(pairs):
        if asked != "<|BEGIN-VISIBLE-CHAT|>":  # before a greeting, which nobody asked for
            tree.follow(f"{number}.0", "user", text_in(asked), None)
        tree.follow(f"{number}.1", "assistant", text_in(answered), None)
    return tree.finish(None)


def _messages(data: dict[str, Any]) -> Found | None:
    """Messages as OpenAI's API has them: a request's body, a line of a file for fine-tuning.

    Some programs list them so and say which one each follows, as the page of llama.cpp does.
    """
    given = (data[name] for name in ("messages", "conversations", "conversation") if name in data)
    messages = _unfold(next(given, None))
    if messages is None or not all(_names_a_role(each) for each in messages):
        return None
    about = dict_in(data.get("conv"))  # llama.cpp
    found = begin(
        data.get("title") or about.get("name"),
        data.get("created"),
        about.get("lastModified"),
    )
    # Anthropic's bodies have the system prompt beside the messages.
    found.system_prompt = content_of(data.get("system"), found.left_out)[0][:MAX_TEXT]
    tree = Tree(found)
    parents, names = _parents(messages)
    children = {name: texts_in(names[name].get("children")) for name in names}
    for name in in_order(names, children, parents):
        each = names[name]
        role = role_of(_names_a_role(each))
        content = each.get("content") or each.get("parts") or each.get("contentParts")
        words, files = content_of(content or each.get("text"), found.left_out)
        found.left_out[FILES] += files
        found.left_out[TOOLS] += len(list_in(each.get("tool_calls")))
        if role == "user" and not words.strip() and files and len(messages) > 1:
            words = "[file]"
        created = each.get("created_at") or each.get("createdAt") or each.get("timestamp")
        tree.add(name, parents[name], role, words, text_in(each.get("model")) or None, created)
    return tree.finish(about.get("currNode"))


def _names_a_role(message: dict[str, Any]) -> str | None:
    """What a message says of who says it."""
    role = message.get("role", message.get("from"))
    return role if isinstance(role, str) else None


def _unfold(messages: Any) -> list[dict[str, Any]] | None:
    """Messages in a row, with those that stand as children of others; None where they are none."""
    if not isinstance(messages, list):
        return None
    found, waiting = [], [*reversed(messages)]
    while waiting:
        if not isinstance(each := waiting.pop(), dict):
            return None
        found.append(each)
        below = [child for child in list_in(each.get("children")) if isinstance(child, dict)]
        waiting += reversed(below)
    return found


_PARENTS = ("parent", "parentId", "parentMessageId", "parent_id")


def _parents(
    messages: list[dict[str, Any]],
) -> tuple[dict[str, str | None], dict[str, dict[str, Any]]]:
    """Which message each follows, and the messages, by their ids; where they do not say so, in a
    row."""
    ids = [_first(each, "id", "messageId", "uuid") for each in messages]
    above = [_first(each, *_PARENTS) for each in messages]
    if len({*ids} - {None}) == len(messages) and any(each in ids for each in above if each):
        # One that says nothing follows the one before it; one that says that there is none begins.
        says = [any(name in each for name in _PARENTS) for each in messages]
        above = [own if said else before
                 for own, said, before in zip(above, says, [None, *ids], strict=False)]  # fmt: skip
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
    found = begin(items[0].get("character_name"), None, None)
    tree = Tree(found)
    before = None
    for number, each in enumerate(items):
        if "mes" not in each or each.get("is_system"):
            continue
        role = "user" if each.get("is_user") else "assistant"
        model = text_in(dict_in(each.get("extra")).get("model")) or None
        chosen, others = text_in(each.get("mes")), texts_in(each.get("swipes"))
        names = {}
        for at, words in enumerate(others or [chosen]):
            tree.add(f"{number}.{at}", before, role, words, model, None)
            names[words] = f"{number}.{at}"
        if chosen not in names:
            tree.add(f"{number}", before, role, chosen, model, None)
            names[chosen] = f"{number}"
        before = names[chosen]
    return tree.finish(before)


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


def _without_thinking(words: str, left_out: Counter[str]) -> str:
    """An answer without the passages in which LibreChat wrote thoughts before it had parts."""
    mark, end = ":::thinking", "\n:::"
    kept, at = [], 0
    while (begin := words.find(mark, at)) >= 0 and (over := words.find(end, begin)) >= 0:
        kept.append(words[at:begin])
        at = over + len(end)
        left_out[THOUGHTS] += 1
    return "".join((*kept, words[at:])).strip("\n") if at else words
