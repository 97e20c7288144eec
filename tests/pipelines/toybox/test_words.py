"""Which words the starter knows."""

from __future__ import annotations

import pytest

from pipelines.toybox.captions import caption
from pipelines.toybox.scenes import sample_scene
from pipelines.toybox.vocabulary import FIRST_RELEASE, HELD_OUT, TRAINED, UNREAD
from pipelines.toybox.words import known_words, unknown_words


def test_no_word_of_a_training_caption_is_unknown():
    for seed in range(1500):
        scene = sample_scene(seed, FIRST_RELEASE, max_things=3)
        words = caption(scene, seed)
        are_counted = len({thing.look for thing in scene.things}) < len(scene.things)
        if are_counted or any(phrase in words for phrase in UNREAD):
            continue  # the shipped weights have not read them yet
        assert unknown_words(words) == [], words


@pytest.mark.parametrize("kind", [*HELD_OUT, *TRAINED[len(FIRST_RELEASE) :]])
def test_a_kind_that_was_never_trained_on_is_unknown(kind):
    assert unknown_words(f"a red {kind} on the grass") == [kind]


def test_unknown_words_keep_order_and_spelling_and_come_once():
    prompt = "A Dragon and a red mug, a dragon fighting Saint-Georges"
    assert unknown_words(prompt) == ["Dragon", "fighting", "Saint-Georges"]


def test_prompt_syntax_is_not_taken_for_words():
    assert unknown_words("(a red mug:1.3) BREAK [snow] <lora:My Style:0.8> 42") == []


def test_other_scripts_count_as_unknown():
    assert unknown_words("红色的杯子 on the grass") == ["红色的杯子"]


def test_an_empty_or_emoji_prompt_has_no_words():
    assert unknown_words("") == []
    assert unknown_words("🦆🦆") == []


def test_known_words_are_lower_case():
    assert all(word == word.lower() for word in known_words())
