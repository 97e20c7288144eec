"""``response_format``: answers that are JSON, or fit a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.chat.json_schemas import OBJECT, check_schema
from pipelines.core.errors import BadRequest
from studio.features.openai_api.errors import Invalid

FIELD = "response_format"


def schema_asked_for(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema that the answer is held to; None where it is free.

    It is held to whether or not ``strict`` is set.

    Raises:
        Invalid: the format is not known, or its schema is none that can be held to.
    """
    asked = given.get(FIELD) or {}
    kind = asked.get("type", "text") if isinstance(asked, dict) else asked
    if kind == "text":
        return None
    if asked == {"type": "json_object"}:
        return OBJECT
    if kind != "json_schema":
        raise Invalid(
            "{field} cannot be {value}; it must be an object of the type text, json_object or "
            "json_schema.",
            field=FIELD,
            value=str(asked)[:60],
            param=FIELD,
        )
    place = f"{FIELD}.json_schema.schema"
    inner = asked.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if schema is None:
        raise Invalid("{field} is missing.", field=place, param=place)
    return check_schema_at(schema, place)


def check_schema_at(schema: Any, place: str) -> dict[str, Any]:
    """The schema; what is wrong with it is said of this place in the body."""
    try:
        return check_schema(schema)
    except BadRequest as error:
        raise Invalid(error.message.template, param=place, **error.message.values) from None
