"""Which JSON schemas answers are held to."""

from __future__ import annotations

import pytest

from pipelines.chat.json_schemas import check_schema
from pipelines.core.errors import BadRequest


def nest(depth: int) -> dict:
    schema: dict = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 1000}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1, "x", None]}}},
        {"type": "string", "pattern": "^[a-z]{1,1000}$"},
        {"anyOf": [{"type": "integer"}] * 500},
        nest(30),
    ],
)
def test_schemas_are_taken_as_they_are(schema):
    assert check_schema(schema) is schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (5, "must be an object"),
        ({"type": "nonsense"}, "no JSON schema"),
        ({"properties": 5}, "no JSON schema"),
        ({"description": "a" * 100_001}, "at most 100000"),
        ({"anyOf": [{"type": "integer"}] * 700}, "at most 600"),
        (nest(41), "40 within one another"),
        ({"items": {"maxItems": 1001}}, "1001 for maxItems"),
        ({"minLength": 1e9}, "for minLength"),
        ({"pattern": "a" * 501}, "501 for pattern"),
        ({"pattern": "(a{1,20}){30000}"}, "30000 for pattern"),
        ({"$ref": "http://127.0.0.1/x.json"}, "its own parts only"),
    ],
)
def test_what_cannot_be_held_to_is_refused(schema, words):
    with pytest.raises(BadRequest, match=words):
        check_schema(schema)
