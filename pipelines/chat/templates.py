"""Chat templates: a conversation as the text that the model was trained to go on with.

A model's own Jinja template is used, as transformers does (``PreTrainedTokenizerBase.
apply_chat_template``). Three things differ. A special token that a *person* types, such as
``<|im_end|>``, stays plain text here and cannot end their turn or begin the system's. Contents are
given as texts first and, where the template does not take them, as lists of parts. And no words are
lost: a template that leaves out what somebody said is refused.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipelines.chat.requests import ChatMessage
from pipelines.core.errors import BadRequest

_log = logging.getLogger(__name__)

# Private-use characters that no template writes. Where a person writes them, they are hidden as
# special tokens are.
_OPEN, _CLOSE, _END, _MARK = "\ue0f0", "\ue0f1", "\ue0f2", "\ue0f3"
_HIDDEN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
# What ends a model's thinking in an answer of its own: templates leave it out of earlier answers.
_THOUGHT = re.compile(r"[<\[◁]/?[a-z:_|]{0,20}(?:think|thought|reason)[a-z_|]{0,20}[>\]▷]", re.I)
_PART = re.compile(r"""["']type["']: ["']text["']""")
_QUOTED = 40  # characters of a message that a sentence shows
_REASON = 500  # of what a template says


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a rendered prompt: one special token, or text that holds none."""

    text: str
    special: bool


def render(
    template: str,
    messages: Sequence[ChatMessage],
    specials: Collection[str],
    *,
    continue_last: bool = False,
    tokens: Mapping[str, Any] | None = None,
) -> list[Part]:
    """The prompt for ``messages`` in pieces, to be tokenized one by one.

    Args:
        template: Jinja source.
        specials: the model's special tokens.
        continue_last: leave the last message open, so that the model goes on with it.
        tokens: further variables of the template, such as ``bos_token``.

    Raises:
        BadRequest: the template does not take such a conversation, and has the template's own
            reason; or it leaves out what was said.
    """
    hidden: list[str] = []
    pattern = _any_of(frozenset(specials))
    to_hide = _any_of(frozenset({*specials, _OPEN, _CLOSE, _END, _MARK}))

    def hide(message: ChatMessage) -> str:
        def replace(match: re.Match[str]) -> str:
            if message.role == "assistant" and _THOUGHT.fullmatch(match[0]):
                return match[0]  # templates look for it, to leave thinking out
            hidden.append(match[0])
            return f"{_OPEN}{len(hidden) - 1}{_CLOSE}"

        return to_hide.sub(replace, message.content)

    text = _prompt(
        _compile_template(template),
        [(message.role, hide(message)) for message in messages],
        continue_last,
        {**(tokens or {}), "add_generation_prompt": not continue_last},
        frozenset(re.findall(r"[/<\[][^\s\"']+", template)),
    )

    def show(text: str) -> str:
        return _HIDDEN.sub(lambda match: hidden[int(match[1])], text)

    parts, start = [], 0
    for match in pattern.finditer(text) if pattern else ():
        parts += [Part(show(text[start : match.start()]), False), Part(match[0], True)]
        start = match.end()
    parts.append(Part(show(text[start:]), False))
    return [part for part in parts if part.text]


def special_tokens_in(template: str, tokens: Mapping[str, Any] | None = None) -> set[str]:
    """What looks like a special token in a template's source, or in what it makes of a short
    conversation; the tokenizer knows which are.

    Many templates put them together, as in ``'<|' + message['role'] + '|>'``.
    """
    sources = [template]
    said = [ChatMessage(role=role, content="x") for role in ("system", "user", "assistant", "user")]
    for messages in (said, said[1:]):
        try:
            sources += [part.text for part in render(template, messages, (), tokens=tokens)]
            break
        except BadRequest:  # it takes no system message, or no conversation at all
            continue
    found = set()
    for source in sources:
        found.update(LOOKS_SPECIAL.findall(source))
    return found


LOOKS_SPECIAL = re.compile(
    r"<\|[^|<>\n]{1,60}\|?>|<[^|<>\n ]{1,60}\|>|</?[A-Za-z0-9_｜▁:]{1,60}>|\[/?[A-Z_]{2,60}\]"
)


# --- rendering ----------------------------------------------------------------------------------


def _prompt(
    template: jinja2.Template,
    said: Sequence[tuple[str, str]],
    continue_last: bool,
    variables: Mapping[str, Any],
    commands: Collection[str],
) -> str:
    """The rendered conversation, with contents as texts or, where words would be lost, as parts,
    of all or of all but the system prompt.

    Args:
        said: role and content of each message.
        commands: words that the template itself reads and may take out, such as ``/no_think``.

    Raises:
        BadRequest: no way gives a prompt with all that was said; of the first.
    """
    refused: BadRequest | None = None
    given = [*said]
    if continue_last:
        # Templates trim contents: spaces at the end of what is gone on with stay in front.
        given[-1] = (said[-1][0], said[-1][1] + _END)
    written = sum(len(_PART.findall(content)) for _, content in said)
    for roles in _AS_PARTS:
        try:
            text = _render_template(template, _messages(given, roles), variables)
            if roles and len(_PART.findall(text)) > written:  # the list itself was written
                continue
            if continue_last:
                text, end, _ = text.rpartition(_END)
                if not end:
                    raise _leaves_out(len(said), *said[-1])
            _check_whole(text, said, commands)
            _check_all_there(template, said, roles, variables)
            return text
        except BadRequest as error:
            refused = refused or error
    raise refused


# Whose contents are given as parts, in the order in which it is tried.
_AS_PARTS: tuple[Collection[str], ...] = (
    (),
    ("system", "user", "assistant"),
    ("user", "assistant"),
)


def _messages(said: Sequence[tuple[str, str]], as_parts: Collection[str]) -> list[dict[str, Any]]:
    return [
        {
            "role": role,
            "content": [{"type": "text", "text": content}] if role in as_parts else content,
        }
        for role, content in said
    ]


def _check_all_there(
    template: jinja2.Template,
    said: Sequence[tuple[str, str]],
    as_parts: Collection[str],
    variables: Mapping[str, Any],
) -> None:
    """Raises BadRequest where a message is not in the prompt: short words may be found there in the
    place of their own, "a" in "assistant". So the messages are rendered once more, each marked.
    """
    marks = [f"{_MARK}{number}{_MARK}" for number in range(len(said))]
    marked = [(role, content + mark) for (role, content), mark in zip(said, marks, strict=True)]
    try:
        text = _render_template(template, _messages(marked, as_parts), variables)
    except BadRequest:
        return  # it does not take the marks
    if any(json.dumps(mark)[1:-1] in text for mark in marks):  # written as JSON in ASCII
        marks = [json.dumps(mark)[1:-1] for mark in marks]
    for number, (mark, (role, content)) in enumerate(zip(marks, said, strict=True), start=1):
        if content.strip() and mark not in text:
            raise _leaves_out(number, role, content)


def _render_template(
    template: jinja2.Template, messages: list[dict[str, Any]], variables: Mapping[str, Any]
) -> str:
    try:
        return template.render(messages=messages, tools=None, documents=None, **variables)
    except _RefusedByTemplateError as error:
        raise BadRequest(
            "The model's chat template does not take this conversation: {reason}",
            reason=str(error)[:_REASON],
        ) from error
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError,
            TypeError, ValueError) as error:  # fmt: skip
        # Whatever a template does with values that it has not thought of.
        _log.warning("a chat template cannot be rendered", exc_info=error)
        raise BadRequest(
            "The model's chat template does not take this conversation: it breaks off. Try "
            "without a system prompt, or give another template as chat_template in the model's "
            "file."
        ) from error


def _check_whole(text: str, said: Sequence[tuple[str, str]], commands: Collection[str]) -> None:
    """Raises BadRequest where words of a message are not in the prompt.

    Spaces and line ends may differ, and so may the order of messages: a system prompt can stand in
    the last question. A model's thinking may be left out of its answers.
    """
    prompt, start = " ".join(text.split()), 0
    for number, (role, content) in enumerate(said, start=1):
        if role == "assistant" and (thoughts := [*_THOUGHT.finditer(content)]):
            content = content[thoughts[-1].end() :]
        words = content.split()
        wanted = " ".join(words)
        if not wanted:
            continue
        if (found := prompt.find(wanted, start)) >= 0 or (found := prompt.find(wanted)) >= 0:
            start = found + len(wanted)
            continue
        if json.dumps(content, ensure_ascii=False)[1:-1] in text:
            continue
        at = 0
        for word in words:
            if word in commands:
                continue
            if (at := prompt.find(word, at)) < 0:
                raise _leaves_out(number, role, content)
            at += len(word)


def _leaves_out(number: int, role: str, content: str) -> BadRequest:
    content = " ".join(_HIDDEN.sub("…", content).split())
    words = content if len(content) <= _QUOTED else content[: _QUOTED - 1] + "…"
    if role == "system":
        return BadRequest(
            "The model's chat template leaves out the system prompt (“{words}”): the model would "
            "not see it. Empty the system prompt and say it in the first message.",
            words=words,
        )
    return BadRequest(
        "The model's chat template leaves out words of message {number} (“{words}”): the model "
        "would not see them. Choose another model, or give another template as chat_template in "
        "the model's file.",
        number=number,
        words=words,
    )


# --- Jinja as transformers sets it up -------------------------------------------------------------


class _RefusedByTemplateError(jinja2.TemplateError):
    """The template itself has refused the conversation, by ``raise_exception``."""


class _Generation(Extension):
    """The block ``{% generation %} … {% endgeneration %}``, which marks answers for a training.

    It changes nothing in the prompt. What is set inside is not known behind it.
    """

    tags: ClassVar = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Dict:
    """What templates may do with ``dict``."""

    def __call__(self, *items: Any, **more: Any) -> dict[Any, Any]:
        return dict(*items, **more)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


class _Namespace(jinja2.utils.Namespace):
    """What templates may do with ``namespace``: no names of Python's own, as in transformers."""

    def __init__(*args: Any, **more: Any) -> None:  # a name may be "self"
        attributes = dict(*args[1:], **more)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace takes no {name}")


@functools.lru_cache(maxsize=64)
def _any_of(specials: frozenset[str]) -> re.Pattern[str] | None:
    longest_first = sorted(specials - {""}, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


@functools.lru_cache(maxsize=64)
def _compile_template(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise BadRequest(
            "The model's chat template cannot be read, line {line}: {reason}",
            line=error.lineno,
            reason=(error.message or "")[:_REASON],
        ) from error
    except RecursionError:
        raise BadRequest("The model's chat template is nested too deeply to be read.") from None


def _raise(reason: str) -> NoReturn:
    raise _RefusedByTemplateError(reason)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def arrangements(messages: Sequence[ChatMessage]) -> Iterator[Sequence[ChatMessage]]:
    """The conversation as it is, then as more and more templates take it; words are never lost.

    A system message that is not the first becomes part of the user's message behind it, or else of
    the one before it. Then messages of one role in a row become one, and empty answers go.
    """
    yield messages
    given = [*messages]
    folded = _fold_instructions(given)
    if folded != given:
        yield folded
    joined = _alternate(folded)
    if joined != folded:
        yield joined


def _fold_instructions(messages: list[ChatMessage]) -> list[ChatMessage]:
    start = 1 if len(messages) > 1 and messages[0].role == "system" else 0
    if all(message.role == "system" for message in messages):
        start = 0
    result, waiting = messages[:start], []
    for message in messages[start:]:
        if message.role == "system":
            waiting.append(message)
        elif message.role == "user" and waiting:
            result.append(_join("user", [*waiting, message]))
            waiting = []
        else:
            _put_before_answer(result, waiting)
            result.append(message)
            waiting = []
    _put_before_answer(result, waiting)
    return result


def _put_before_answer(result: list[ChatMessage], waiting: list[ChatMessage]) -> None:
    """Adds instructions that no question follows to the question before them."""
    if not waiting:
        return
    if result and result[-1].role == "user":
        waiting = [result.pop(), *waiting]
    result.append(_join("user", waiting))


def _alternate(messages: list[ChatMessage]) -> list[ChatMessage]:
    result: list[ChatMessage] = []
    for at, message in enumerate(messages):
        is_last = at == len(messages) - 1
        if message.role == "assistant" and not message.content.strip() and not is_last:
            continue
        if result and result[-1].role == message.role:
            result[-1] = _join(message.role, [result[-1], message])
        else:
            result.append(message)
    return result


def _join(role: str, messages: Sequence[ChatMessage]) -> ChatMessage:
    content = "\n\n".join(message.content for message in messages)
    # Not checked: together they may be longer than one message may be.
    return ChatMessage.model_construct(role=role, content=content)
