"""Embeddings by the official client, of SmolLM2."""

from __future__ import annotations

import base64
import math
import struct

import openai
import pytest

from pipelines.chat.backends.llama_embedder import LONGEST
from tests.studio.features.openai_api.conftest import MODEL

TEXTS = ["a red mug on a table", "a scarlet cup on a desk", "the stock market fell"]


def vectors(client: openai.OpenAI, given, **more) -> list[list[float]]:
    answer = client.embeddings.create(model=MODEL, input=given, encoding_format="float", **more)
    assert [each.index for each in answer.data] == list(range(len(answer.data)))
    return [each.embedding for each in answer.data]


def likeness(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_texts_of_one_meaning_have_vectors_of_one_direction(client):
    mug, cup, market = vectors(client, TEXTS)
    assert [math.hypot(*each) for each in (mug, cup, market)] == pytest.approx([1.0] * 3, abs=1e-5)
    assert likeness(mug, cup) > likeness(mug, market)
    assert likeness(mug, cup) > likeness(cup, market)


def test_a_text_has_its_vector_alone_and_among_many(client):
    many = vectors(client, [*TEXTS, *(f"text number {n}" for n in range(40))])
    for text, vector in zip(TEXTS, many, strict=False):
        (alone,) = vectors(client, text)
        assert likeness(alone, vector) == pytest.approx(1, abs=1e-3)


def test_base64_holds_the_same_numbers(client, raw):
    body = {"model": MODEL, "input": TEXTS[0], "encoding_format": "base64"}
    coded = raw.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    data = base64.b64decode(coded)
    numbers = struct.unpack(f"<{len(data) // 4}f", data)
    (plain,) = vectors(client, TEXTS[0])
    assert list(numbers) == pytest.approx(plain, abs=1e-6)
    # Which is what the official client asks for where nobody says how.
    asked = client.embeddings.create(model=MODEL, input=TEXTS[0]).data[0].embedding
    assert list(asked) == pytest.approx(plain, abs=1e-6)


def test_fewer_dimensions_are_the_first_ones_at_length_one(client):
    (whole,) = vectors(client, TEXTS[0])
    (short,) = vectors(client, TEXTS[0], dimensions=16)
    length = math.hypot(*whole[:16])
    assert short == pytest.approx([number / length for number in whole[:16]], abs=1e-6)


def test_tokens_are_counted_and_may_be_sent_themselves(client):
    answer = client.embeddings.create(model=MODEL, input=[[1, 2, 3, 4], [5, 6]])
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (6, 6)
    (alone,) = vectors(client, [1, 2, 3, 4])
    assert likeness(alone, list(answer.data[0].embedding)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"input": []}, "input", "at least 1"),
        ({"input": ""}, "input[0]", "at least 1"),
        ({"input": ["a", ""]}, "input[1]", "at least 1"),
        ({"input": ["a", 5]}, "input[1]", ""),
        ({"input": ["a"] * 2049}, "input", "at most 2048"),
        ({"input": {"a": 1}}, "input[0]", ""),
        ({"input": [10**6]}, "input", "vocabulary"),
        ({"input": ["a" * 400_001]}, "input[0]", "at most 400000"),
        ({"dimensions": 0}, "dimensions", "at least 1"),
        ({"dimensions": 100_000}, "dimensions", "have 576"),
        ({"encoding_format": "hex"}, "encoding_format", "base64"),
        ({"model": "nobody"}, "model", "nobody"),
        ({"model": "down"}, "model", "another server"),
        ({"input": "duck " * LONGEST}, "input", f"at most {LONGEST}"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_its_name(raw, changes, param, words):
    answer = raw.post("/v1/embeddings", json={"model": MODEL, "input": "a duck", **changes})
    error = answer.json()["error"]
    assert answer.status_code in (400, 404), error
    assert words in error["message"]
    if param is not None:
        assert error["param"].startswith(param)


def test_what_is_missing_is_named(raw):
    error = raw.post("/v1/embeddings", json={"model": MODEL}).json()["error"]
    assert error["param"] == "input"
    assert "missing" in error["message"]
