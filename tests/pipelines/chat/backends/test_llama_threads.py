"""How many threads llama.cpp gets, and that a file's own number counts."""

import pytest

from pipelines.chat.backends import llama_cpp
from pipelines.chat.backends.llama_cpp import SMALL_BYTES, threads


@pytest.mark.parametrize(
    ("cores", "bytes", "expected"),
    [
        (1, SMALL_BYTES - 1, 1),
        (2, SMALL_BYTES - 1, 1),
        (8, SMALL_BYTES - 1, 7),
        (1, SMALL_BYTES, 1),
        (2, SMALL_BYTES, 2),
        (8, SMALL_BYTES, 8),
    ],
)
def test_a_small_model_leaves_a_core_free_and_a_large_one_takes_all(
    monkeypatch, cores, bytes, expected
):
    monkeypatch.setattr(llama_cpp, "cores", lambda: cores)
    assert threads(bytes) == expected
