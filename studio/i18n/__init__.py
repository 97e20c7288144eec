"""Sentences in the reader's language, from YAML files whose keys are the English texts.

``zh.yaml`` has the words of the page, ``zh_messages.yaml`` the sentences of errors and progress.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from pipelines.messages import Message

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "zh")
_LABELLED = {
    "field",
    "annotator",
    "model",
    "algorithm",
}  # values of messages that may be labels themselves


@cache
def texts(language: str) -> dict[str, str]:
    """English text or template → the same in ``language``; what is missing is shown in English."""
    table: dict[str, str] = {}
    for path in sorted(FOLDER.glob(f"{language}*.yaml")):
        table |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return table


def translate(message: Message | str, language: str) -> str:
    """A message, or a label without values, in ``language`` (one of :data:`LANGUAGES`)."""
    table = texts(language)
    if isinstance(message, str):
        return table.get(message, message)
    values = dict(message.values)
    # "{field} is 0; …": what the page has a label for goes by that.
    for name in _LABELLED & values.keys():
        if isinstance(value := values[name], str):
            values[name] = table.get(value, value)
    text = table.get(message.template, message.template).format(**values)
    return text.encode("utf-8", "replace").decode()  # lone surrogates in values that were sent


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


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
