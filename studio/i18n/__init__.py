"""Sentences in the reader's language, from YAML files whose keys are the English texts.

``zh.yaml`` has the words of the page, ``zh_messages.yaml`` the sentences of errors and progress.
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.errors import UNFORESEEN
from pipelines.core.files import read_yaml
from pipelines.core.messages import Message

FOLDER = Path(__file__).parent
FAULT = (
    "Atelier itself has failed here. Its log has the cause. Try again, perhaps with other settings."
)
CAUSE = "This has failed: {reason}. Atelier's log has more about it."
_FAULT = "a fault of Atelier's own, whose cause its log has"
# Errors of Python's that only a mistake in a program raises, whatever they say.
_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    UnicodeError,
)
_FAULTS = {
    name
    for name, each in vars(builtins).items()
    if isinstance(each, type) and issubclass(each, _MISTAKES)
}
# Tried at a name's beginning only, or a long word would be read again from each of its letters.
_ERROR = re.compile(
    r"(?<![\w.])(?:\w+\.)*+((?:[A-Z]\w*)?(?:Error|Exception|Warning|Interrupt|Exit))(?::(?: |$)|$)"
)
# What only the program's inside is called, wherever in a reason it stands.
_INSIDE = re.compile(
    r"<(?:class|function|module|bound method) |object at 0x|NoneType|state_dict|Exception from src/"
)
# A file's place on the host's disk, as an operating system's errors quote it, or bare. What follows
# a scheme or a word ("https://…", "km/h") is none.
_QUOTED_PLACE = re.compile(
    r"""(['"])(?:~?/|\\\\|[A-Za-z]:[\\/])(?:[^'"\n]*[/\\])?([^'"\n/\\]+)[/\\]*\1"""
)
_BARE_PLACE = re.compile(
    r"""(?<![\w:/\\.~-])(?:file://)?(?:~?/|[A-Za-z]:[/\\])(?:[^\s/\\'":,;()]+[/\\]+)+([^\s/\\'":,;()]+)"""
)
LANGUAGES = ("en", "zh")
brought: list[Path] = []  # folders of packages
_IN_A_SCRIPT = re.compile(r'\bsay\(\s*"((?:[^"\\]|\\.)*)"')
_LABELLED = {
    "field",
    "preprocessor",
    "annotator",  # its name before
    "model",
    "algorithm",
}  # values of messages that may be labels themselves


@cache
def texts(language: str) -> dict[str, str]:
    """English text or template → the same in ``language``; what is missing is shown in English."""
    table: dict[str, str] = {}
    for folder in (*brought, FOLDER):  # a package changes none of the studio's own sentences
        for path in sorted(folder.glob(f"{language}*.yaml")):
            table |= read_yaml(path) or {}
    return table


def add_texts(folder: Path) -> None:
    """Takes the sentences of a package as well, from files such as ``zh.yaml``."""
    if folder not in brought:
        brought.append(folder)
        texts.cache_clear()


def strings_in_scripts(folder: Path) -> set[str]:
    """All that a folder's scripts say, in English: the first arguments of their ``say(…)``."""
    return {
        json.loads(f'"{text}"')
        for path in folder.rglob("*.js")
        for text in _IN_A_SCRIPT.findall(path.read_text(encoding="utf-8"))
    }


def translations(texts_of_a_page: Iterable[str]) -> dict[str, dict[str, str]]:
    """Each language's table of these texts alone, as a page's scripts are given it."""
    found = sorted(texts_of_a_page)
    tables = {language: texts(language) for language in LANGUAGES}
    return {
        language: {text: table[text] for text in found if text in table}
        for language, table in tables.items()
    }


def translate(message: Message | str, language: str) -> str:
    """A message, or a label without values, in ``language`` (one of :data:`LANGUAGES`)."""
    table = texts(language)
    if isinstance(message, str):
        return table.get(message, message)
    template, values = _for_people(message, language, table)
    # "{field} is 0; …": what the page has a label for goes by that.
    for name in _LABELLED & values.keys():
        if isinstance(value := values[name], str):
            values[name] = table.get(value, value)
    text = table.get(template, template).format(**values)
    return text.encode("utf-8", "replace").decode()  # lone surrogates in values that were sent


def _for_people(
    message: Message, language: str, table: dict[str, str]
) -> tuple[str, dict[str, Any]]:
    """A message's template and values without names of a program's errors, and the host's folders.

    What an error in the program itself says, such as “'NoneType' object is not iterable”, helps
    nobody who has not written it: the log has it. Where on the disk the studio lies is nobody's
    business but the host's, and guests read the same sentences.
    """
    values = message.values_said(lambda inner: translate(inner, language))
    reason = message.values.get("reason")
    if not isinstance(reason, str):
        return message.template, values
    if reason in table:
        return message.template, values | {"reason": table[reason]}
    match = _ERROR.match(reason)
    own = _INSIDE.search(reason[:1000]) is not None or (
        match is not None and (match[1] in _FAULTS or not reason[match.end() :].strip())
    )
    if message.template == UNFORESEEN:
        if own or values["kind"] in _FAULTS or not reason.strip():
            return FAULT, {}
        return CAUSE, {"reason": without_folders(_first_line(reason))}
    if own:
        values["reason"] = table.get(_FAULT, _FAULT)
    else:
        words = reason if match is None else reason[match.end() :].strip()
        values["reason"] = without_folders(words)
    return message.template, values


def without_folders(text: str) -> str:
    """A text in which each file stands with its name alone, without the folders it lies in."""
    return _BARE_PLACE.sub(r"\1", _QUOTED_PLACE.sub(r"\1\2\1", text))


def _first_line(reason: str) -> str:
    line = _ERROR.sub("", reason.strip()[:1000]).strip().partition("\n")[0]
    return line.rstrip(".")[:400]


def text_in(translated: Mapping[str, str], language: str) -> str:
    """A preset's own words, given as language → text, in ``language``, or else in English."""
    return translated.get(language) or translated.get("en", "")


def language_of(accept_language: str | None) -> str:
    """The best of :data:`LANGUAGES` for an ``Accept-Language`` header (RFC 9110, 12.5.4)."""
    best, best_quality = "en", 0.0
    for part in (accept_language or "").split(","):
        tag, *parameters = (piece.strip() for piece in part.split(";"))
        quality = _quality(parameters)
        language = tag.lower().partition("-")[0]
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


class _Request(Protocol):
    @property
    def headers(self) -> Mapping[str, str]: ...


def language_of_request(connection: _Request) -> str:
    """The language for whoever has sent a request, Starlette's or Gradio's."""
    return language_of(connection.headers.get("accept-language"))


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
