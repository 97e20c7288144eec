"""JSON schemas that answers are held to: which are taken at all.

A grammar of a schema (in llama.cpp by llguidance) grows with what the schema counts, and a
stranger's schema must not fill the worker that others talk to; so what is counted is bounded here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import SchemaError
from jsonschema.validators import validator_for

from pipelines.core.errors import BadRequest

MAX_CHARACTERS = 100_000
MAX_DEPTH = 40
MAX_PARTS = 600  # objects and lists within
MAX_COUNT = 1_000  # of characters or items that a schema may ask for
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_MAX_PATTERN = 500  # characters
_REPEATS = re.compile(r"\{(\d*)(?:,(\d*))?\}")
OBJECT = {"type": "object"}
"""The schema of any object."""


def check_schema(schema: Any) -> dict[str, Any]:
    """The schema, if answers can be held to it.

    Raises:
        BadRequest: it is none, or larger than what can be held to.
    """
    if not isinstance(schema, dict):
        raise BadRequest("The JSON schema must be an object.")
    if (count := len(json.dumps(schema))) > MAX_CHARACTERS:
        raise BadRequest(
            "The JSON schema has {count} characters; at most {limit} are taken.",
            count=count,
            limit=MAX_CHARACTERS,
        )
    for number, (part, depth) in enumerate(_parts(schema)):
        if number >= MAX_PARTS or depth > MAX_DEPTH:
            raise BadRequest(
                "The JSON schema has too many parts; at most {limit} are taken, {depth} within one "
                "another.",
                limit=MAX_PARTS,
                depth=MAX_DEPTH,
            )
        if isinstance(part, dict):
            _check_counts(part)
    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise BadRequest(
            "This is no JSON schema: {reason}", reason=error.message[:_MAX_PATTERN]
        ) from None
    except RecursionError:
        raise BadRequest("This is no JSON schema: {reason}", reason="$ref") from None
    return schema


def _parts(schema: Any) -> Iterator[tuple[Any, int]]:
    """All objects and lists in a schema, each with how deep it lies."""
    waiting = [(schema, 1)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        inner = part.values() if isinstance(part, dict) else part
        waiting += [(each, depth + 1) for each in inner if isinstance(each, dict | list)]


def _check_counts(part: dict[str, Any]) -> None:
    for name in _COUNTS:
        value = part.get(name)
        if isinstance(value, int | float) and value > MAX_COUNT:
            raise _too_much(name, value)
    reference = part.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        raise BadRequest(
            "The JSON schema refers to {address}; it may refer to its own parts only, by #/…",
            address=reference[:100],
        )
    pattern = part.get("pattern")
    if not isinstance(pattern, str):
        return
    if len(pattern) > _MAX_PATTERN:
        raise _too_much("pattern", len(pattern), _MAX_PATTERN)
    for match in _REPEATS.finditer(pattern):
        most = max((int(each[:10]) for each in match.groups() if each), default=0)
        if most > MAX_COUNT:
            raise _too_much("pattern", most)


def _too_much(name: str, value: float, limit: int = MAX_COUNT) -> BadRequest:
    return BadRequest(
        "The JSON schema has {value} for {field}; at most {limit} can be held to.",
        value=value,
        field=name,
        limit=limit,
    )
