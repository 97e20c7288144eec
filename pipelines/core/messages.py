"""Sentences for people, kept apart from their values so that they can be translated late.

An engine writes its sentences in English; the English template is also the key under which
``studio/i18n`` finds the translation. A message can therefore be stored with a job today and
shown tomorrow to someone who reads another language.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from pydantic_core import core_schema

MAX_TEMPLATE, MAX_VALUE, MAX_VALUES, MAX_DEPTH = 1000, 20_000, 20, 2
"""Characters of a template and of a value, values, and how deep messages lie within one another,
of a message from another process."""
_OWN = {"self", "template"}  # names of arguments, which no value can have


class Message:
    """A sentence template with its values, e.g. ``Message("{done} of {total}", done=3, total=20)``.

    Args:
        template: English text with ``str.format`` fields.
        **values: JSON-serialisable values for the fields, or further messages: a reason that is
            itself a sentence is translated too. Of several, each follows the one before.
    """

    __slots__ = ("template", "values")

    def __init__(self, template: str, **values: Any) -> None:
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return self.template.format(**self.values_said(str))

    def values_said(self, say: Callable[[Message], str]) -> dict[str, Any]:
        """The values for the fields; those that are messages as ``say`` says them."""
        return {name: _translate_value(value, say) for name, value in self.values.items()}

    def __repr__(self) -> str:
        return f"Message({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and (self.template, self.values) == (
            other.template,
            other.values,
        )

    def __hash__(self) -> int:
        values = ((name, tuple(v) if isinstance(v, list) else v) for name, v in self.values.items())
        return hash((self.template, frozenset(values)))

    def to_json(self) -> dict[str, Any]:
        values = {name: _to_json(value) for name, value in self.values.items()}
        return {"template": self.template, "values": values}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Message:
        values = {name: _from_json(value) for name, value in data["values"].items()}
        return cls(data["template"], **values)

    @classmethod
    def from_untrusted_json(cls, data: Any, depth: int = MAX_DEPTH) -> Message:
        """:meth:`from_json` of what another process has sent, which may send anything.

        A template is formatted: a field such as ``{x:>999999999}`` would fill the memory, and one
        such as ``{x.__class__}`` looks into the program.

        Args:
            depth: of messages within messages.

        Raises:
            ValueError: it is no message, too long, or has other fields than plain names.
        """
        if not isinstance(data, dict) or data.keys() != {"template", "values"}:
            raise ValueError("no message")
        template, values = data["template"], data["values"]
        if not isinstance(template, str) or len(template) > MAX_TEMPLATE:
            raise ValueError("the template is no text, or too long")
        if not isinstance(values, dict) or len(values) > MAX_VALUES:
            raise ValueError("the values are no object, or too many")
        if not all(name.isidentifier() for name in values) or _OWN & values.keys():
            raise ValueError("a value has no plain name")
        for name, value in values.items():
            inner = value if isinstance(value, list) else [value]
            if depth and inner and len(inner) <= MAX_VALUES and all(map(is_message, inner)):
                within = [cls.from_untrusted_json(each, depth - 1) for each in inner]
                values = {**values, name: within if isinstance(value, list) else within[0]}
                continue
            if value is not None and type(value) not in (str, int, float, bool):
                raise ValueError("a value is neither text nor number")
            if isinstance(value, str) and len(value) > MAX_VALUE:
                raise ValueError("a value is too long")
            if isinstance(value, int) and value.bit_length() > 128:
                raise ValueError("a number is too long")
        parts = list(string.Formatter().parse(template))
        if len(parts) > 2 * MAX_VALUES:
            raise ValueError("the template has too many fields")
        for _, name, spec, conversion in parts:
            if name is not None and (spec or conversion or name not in values):
                raise ValueError("a field of the template is no plain name of a value")
        return cls(template, **values)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda data: data if isinstance(data, cls) else cls.from_untrusted_json(data),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_json),
        )


def _translate_value(value: Any, say: Callable[[Message], str]) -> Any:
    if isinstance(value, Message):
        return say(value)
    if _has_messages(value):
        return " ".join(say(each) for each in value)
    return value


def _has_messages(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(each, Message) for each in value)
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, Message):
        return value.to_json()
    return [each.to_json() for each in value] if _has_messages(value) else value


def is_message(data: Any) -> bool:
    """Whether ``data`` is what :meth:`Message.to_json` makes."""
    return isinstance(data, dict) and data.keys() == {"template", "values"}


def _from_json(data: Any) -> Any:
    if is_message(data):
        return Message.from_json(data)
    if isinstance(data, list) and data and all(map(is_message, data)):
        return [Message.from_json(each) for each in data]
    return data
