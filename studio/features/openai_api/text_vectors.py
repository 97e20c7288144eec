"""``POST /v1/embeddings``."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Mapping
from sys import byteorder
from typing import Any, Literal

from starlette.types import Receive

from pipelines.chat.text_vectors import MAX_CHARACTERS, EmbeddingRequest
from studio.features.openai_api.bodies import Options, drop_nulls, validate_body
from studio.features.openai_api.errors import Invalid
from studio.features.openai_api.running import Run

_NAMES = {"inputs": "input"}


class Form(Options):
    encoding_format: Literal["float", "base64"] = "float"


def request_of(body: Mapping[str, Any]) -> tuple[EmbeddingRequest, Form]:
    """What a body asks for.

    Raises:
        Invalid: names the first field that cannot be used.
    """
    given = drop_nulls(body)
    form = validate_body(Form, given)
    if "input" not in given:
        raise Invalid("{field} is missing.", field="input", param="input")
    sent = given["input"]
    is_list = isinstance(sent, list)
    inputs = sent if is_list and not (sent and isinstance(sent[0], int)) else [sent]
    if (count := sum(len(each) for each in inputs if isinstance(each, str))) > MAX_CHARACTERS:
        raise Invalid(
            "{field} has {value} characters; at most {limit} are taken.",
            field="input",
            value=count,
            limit=MAX_CHARACTERS,
            param="input",
        )
    data = {"inputs": inputs} | {name: given[name] for name in ("dimensions",) if name in given}
    if given.get("model"):
        data["model"] = given["model"]
    return validate_body(EmbeddingRequest, data, _NAMES), form


async def embed(asker: Any, request: EmbeddingRequest, form: Form, receive: Receive) -> str:
    """The answer as JSON.

    Raises:
        Gone: the client has hung up.
        UserError: as the engine.
    """
    run = Run(asker.open_stream, (request,), True, receive, asker.count_tokens)
    async with run:
        answers: list[tuple[int, Any]] = []
        while not answers:
            answers = await run.take()
    facts = answers[0][1].facts
    vectors = facts["vectors"]
    data = [
        {"object": "embedding", "index": index, "embedding": _encode(vector, form)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": facts["prompt_tokens"], "total_tokens": facts["prompt_tokens"]}
    return json.dumps({"object": "list", "data": data, "model": facts["model"], "usage": usage})


def _encode(vector: list[float], form: Form) -> list[float] | str:
    """Numbers, or 32-bit floats in little-endian order as base64."""
    if form.encoding_format == "float":
        return vector
    numbers = array("f", vector)
    if byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
