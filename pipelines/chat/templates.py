"""Chat templates: a conversation as the text that the model was trained to go on with.

A model's own Jinja template is used, as transformers does (``PreTrainedTokenizerBase.
apply_chat_template``). What it does not do: a special token that a *person* types, such as
``<|im_end|>``, stays plain text here and cannot end their turn or begin the system's.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipelines.chat.requests import ChatMessage
from pipelines.errors import BadRequest

# Private-use characters: no template writes them, and what a person writes is freed of them.
_OPEN, _CLOSE, _END = "\ue0f0", "\ue0f1", "\ue0f2"
_HIDDEN = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_OURS = str.maketrans("", "", _OPEN + _CLOSE + _END)


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
    tokens: Mapping[str, str] | None = None,
) -> list[Part]:
    """The prompt for ``messages`` in pieces, to be tokenized one by one.

    Args:
        template: Jinja source.
        specials: the model's special tokens.
        continue_last: leave the last message open, so that the model goes on with it.
        tokens: further variables of the template, such as ``bos_token``.

    Raises:
        BadRequest: the template does not take such a conversation; has the template's own reason.
    """
    hidden: list[str] = []
    pattern = _any_of(frozenset(specials))

    def hide(text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            hidden.append(match[0])
            return f"{_OPEN}{len(hidden) - 1}{_CLOSE}"

        text = text.translate(_OURS)
        return pattern.sub(replace, text) if pattern else text

    plain = [{"role": message.role, "content": hide(message.content)} for message in messages]
    if continue_last:
        # Templates trim contents: spaces at the end of what is gone on with stay in front.
        plain[-1]["content"] += _END
    try:
        text = _compiled(template).render(
            messages=plain, add_generation_prompt=not continue_last, **(tokens or {})
        )
    except (jinja2.TemplateError, TypeError) as error:
        raise BadRequest(
            "The model's chat template does not take this conversation: {reason}",
            reason=str(error),
        ) from error
    if continue_last:
        text = text.partition(_END)[0]

    def show(text: str) -> str:
        return _HIDDEN.sub(lambda match: hidden[int(match[1])], text)

    parts, start = [], 0
    for match in pattern.finditer(text) if pattern else ():
        parts += [Part(show(text[start : match.start()]), False), Part(match[0], True)]
        start = match.end()
    parts.append(Part(show(text[start:]), False))
    return [part for part in parts if part.text]


def written_in(template: str) -> set[str]:
    """What looks like a special token in a template's source; the tokenizer knows which are."""
    return set(
        re.findall(r"<\|[^|<>\n]{1,60}\|>|</?[A-Za-z_｜▁]{1,60}>|\[/?[A-Z_]{2,60}\]", template)
    )


@functools.lru_cache(maxsize=64)
def _any_of(specials: frozenset[str]) -> re.Pattern[str] | None:
    longest_first = sorted(specials, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first))) if specials else None


@functools.lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment.from_string(template)


def _raise(reason: str) -> NoReturn:
    raise jinja2.TemplateError(reason)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
