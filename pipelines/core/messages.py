"""Sentences for people, kept apart from their values so that they can be translated late.

An engine writes its sentences in English; the English template is also the key under which
``studio/i18n`` finds the translation. A message can therefore be stored with a job today and
shown tomorrow to someone who reads another language.
"""

from __future__ import annotations

import string
from typing import Any

from pydantic_core import core_schema

MAX_TEMPLATE, MAX_VALUE, MAX_VALUES = 1000, 20_000, 20
"""Characters of a template and of a value, and values, of a message from another process."""
_OWN = {"self", "template"}  # names of arguments, which no value can have


class Message:
    """A sentence template with its values, e.g. ``Message("{done} of {total}", done=3, total=20)``.

    Args:
        template: English text with ``str.format`` fields.
        **values: JSON-serialisable values for the fields.
    """

    __slots__ = ("template", "values")

    def __init__(self, template: str, **values: Any) -> None:
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return self.template.format(**self.values)

    def __repr__(self) -> str:
        return f"Message({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and (self.template, self.values) == (
            other.template,
            other.values,
        )

    def __hash__(self) -> int:
        return hash((self.template, tuple(sorted(self.values.items()))))

    def to_json(self) -> dict[str, Any]:
        return {"template": self.template, "values": self.values}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Message:
        return cls(data["template"], **data["values"])

    @classmethod
    def checked(cls, data: Any) -> Message:
        """:meth:`from_json` of what another process has sent, which may send anything.

        A template is formatted: a field such as ``{x:>999999999}`` would fill the memory, and one
        such as ``{x.__class__}`` looks into the program.

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
        for value in values.values():
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
            lambda data: data if isinstance(data, cls) else cls.checked(data),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_json),
        )
