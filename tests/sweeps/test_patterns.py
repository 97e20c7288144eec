"""Regular expressions that meet foreign text take time that grows with its length only.

Expressions in the fields of requests are pydantic's, whose engine does not backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pipelines.chat.backends.remote_answers import words_of
from pipelines.chat.backends.server_sent_events import read_events
from pipelines.chat.templates import _any_of, special_tokens_in
from pipelines.core.matching import name_key
from pipelines.core.messages import Message
from pipelines.core.sizes import in_bytes
from pipelines.diffusion.lora.formats import clean_triggers
from pipelines.diffusion.lora.names import dotted_name, in_original, module_of, owner_of
from pipelines.diffusion.lora.record import clean_name
from pipelines.diffusion.lora.tags import (
    list_left_out,
    replace_words,
    tags_in,
    with_tags,
    without_tags,
)
from pipelines.diffusion.prompts import is_weighted
from pipelines.diffusion.wording.wildcards import match_names
from pipelines.dreambooth.data.captions import _whole_word
from pipelines.dreambooth.data.subjects import meaning_in_prompts
from pipelines.grids.cells import _order
from pipelines.models.original_layout import current_name
from pipelines.toybox.verdicts import read_prompt
from pipelines.toybox.words import unknown_words
from studio.api import gradio_guard, visitor_limits
from studio.api.access import uploads_of
from studio.api.cross_origin import read_origin
from studio.api.proxies import read_root_path
from studio.core.gallery.metadata import parse_parameters
from studio.features import load_features
from studio.features.chat.files.foreign import read_conversation
from studio.i18n import language_of, translate
from tests.sweeps.expressions import PIECES, Use, attacks, check, reader, uses

pytestmark = pytest.mark.deep

# Put together within a function: each is tried below by what builds it.
BUILT = {
    "f\"({'|'.join(map(re.escape, longest_first))})\"",
    "'|'.join(map(re.escape, longest_first))",
    "f'(?<!\\\\w)(?:{words})(?!\\\\w)'",
    "f'(?<!\\\\w){escaped}(?!\\\\w)' if word.isascii() else escaped",
    "''.join((re.escape(part) if not part.startswith('{') else '.+' if ':path' in part else "
    "'\\\\w+' for part in parts))",
    "f'{API}/\\\\w+/[^/]+/events'",
    "either",  # the tokens of an axis of prompts
    "f'(?<!\\\\w)(?:{ways})(?!\\\\w)'",
    "pattern",  # of the paths where more than JSON may be sent
    "f'{gradio_guard.PREFIX}/(heartbeat/\\\\w+|queue/data)'",
}
READERS: tuple[Callable[[str], object], ...] = (
    is_weighted,
    tags_in,
    list_left_out,
    without_tags,
    lambda text: with_tags(text, [{"name": "a", "weight": 1.0}]),
    lambda text: replace_words(text, {"a": "t1", "a b": "t2", "<a>": "t3"}),
    module_of,
    owner_of,
    dotted_name,
    in_original,
    current_name,
    clean_name,
    lambda text: clean_triggers([text]),
    name_key,
    meaning_in_prompts,
    unknown_words,
    in_bytes,
    parse_parameters,
    special_tokens_in,
    words_of,
    lambda text: list(read_events([text.encode()])),
    lambda text: translate(Message("{reason}", reason=text), "zh"),
    language_of,
    read_origin,
    read_root_path,
    read_prompt,
    lambda text: _order(text, ["a", "a a", "(a"]),
    lambda text: match_names(text, ["a" * 100, "a/b-a.a"]),
    lambda text: read_conversation({"chat": {"messages": [{"role": "user", "content": text}]}}),
)
PHRASES = (*PIECES, "++", "# ", "--a ", "embedding:", "[a:", "(a)", ")1",
           "1 ", ":1", "(:1", "<a", "<lora:", "<lora:a:", "<lora:a:1>", "BREAK", "BREAK ",
           " BREAK", "lora_A.", ".lora_A", "lora_unet_", "to_q_lora.", "_blocks_1", "down_blocks_",
           "-00001-of", "1.", "GB", "A: ", 'A: "', "Steps: 1, ", "<script>", "<style", "data: ",
           "AError: ", "a.Error", "en;q=", "{{", "{% if a %}", "<|a", "\r",
           '<details type="reasoning"', "</details>")  # fmt: skip
FIXED = [use for use in uses() if not use.is_built]


def test_each_expression_is_swept_or_is_tried_by_what_builds_it():
    built = {use.name for use in uses() if use.is_built}
    assert built == BUILT
    assert {"_PARAMETER", "_NAME", "_ERROR"} <= {use.name for use in FIXED}
    assert len(FIXED) > 90


@pytest.mark.parametrize("use", FIXED, ids=lambda use: use.label[:70])
def test_an_expression_takes_time_in_proportion_to_the_text(use: Use):
    pattern = use.pattern()
    check(reader(pattern, use.methods), attacks(pattern))


@pytest.mark.parametrize("number", range(len(READERS)))
def test_what_reads_foreign_texts_takes_time_in_proportion_to_them(number):
    check(READERS[number], PHRASES)


@pytest.mark.parametrize("words", [["a"], ["a", "a a", "aa"], ["<a>", "a.b", "((", "a" * 60]])
def test_expressions_of_many_words_take_time_in_proportion_to_the_text(words):
    pieces = [("", piece) for word in words for piece in (word, word + " ", word[:-1] or " ")]
    check(reader(_any_of(frozenset(words)), frozenset({"sub", "finditer"})), pieces)
    check(lambda text: replace_words(text, dict.fromkeys(words, "t1")), pieces)
    for word in words:
        check(reader(_whole_word(word), frozenset({"search", "sub"})), pieces)


def test_addresses_of_the_page_are_told_in_time_in_proportion_to_them():
    of_limits = (each.paths for each in visitor_limits.STREAMS)
    of_uploads = (pattern for pattern, _ in uploads_of(load_features())._sizes)
    of_guard = (each[0] for each in gradio_guard._PATTERNS)
    for pattern in (*of_guard, *of_limits, *of_uploads):
        check(reader(pattern, frozenset({"fullmatch"})), attacks(pattern))


@pytest.mark.parametrize(
    "square",
    [
        r"\s*\bBREAK\b\s*",
        r"\s*\[[0-9a-f]+\]$",  # it took 106 s for 160,000 blanks
        r"[a-z]+ *;",
        r"(?:\w+\.)*Error: ",
    ],
)
def test_an_expression_that_takes_the_square_is_seen(square):
    pattern = re.compile(square)
    with pytest.raises(AssertionError):
        check(reader(pattern), attacks(pattern), 1500, floor=0.002)
