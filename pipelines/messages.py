"""Sentences for people, kept apart from their values so that they can be translated late.

An engine writes its sentences in English; the English template is also the key under which
``studio/i18n`` finds the translation. A message can therefore be stored with a job today and
shown tomorrow to someone who reads another language.
"""

from __future__ import annotations

from typing import Any


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
