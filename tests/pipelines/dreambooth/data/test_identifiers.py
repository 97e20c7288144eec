"""Identifier words: one token that means nothing, by the base's own tokenizer."""

from __future__ import annotations

import pytest

from pipelines.core.errors import BadRequest
from pipelines.dreambooth.data.identifiers import PREFERRED, check, new_word, propose, tokenizer_of
from pipelines.dreambooth.data.subjects import clean_word
from pipelines.models.catalog import Catalog
from pipelines.toybox.words import known_words

WORDS = ["sks", "ohwx", "a cat", "Crème brûlée", "猫", "🐈", "it's", "x1y2", "mug", "  two\nlines "]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Catalog:
    return Catalog(tmp_path_factory.mktemp("identifiers"))


@pytest.mark.parametrize("model", ["starter", "sd15", "sdxl"])
def test_proposals_are_single_tokens_that_mean_nothing(models, model):
    entry = models.get(model)
    words = propose(entry, count=5)
    assert len(words) == len(set(words)) == 5
    for word in words:
        checked = check(word, entry)
        assert checked.good
        assert len(checked.tokens) == 1
        assert word not in known_words()


def test_words_of_other_subjects_are_not_proposed_again(models):
    entry = models.get("starter")
    first, second, *_ = propose(entry)
    assert propose(entry, taken={first})[0] == second


def test_clip_is_cut_as_transformers_cuts_it(models):
    from pipelines.diffusion.single_file import clip_tokenizer

    theirs, ours = clip_tokenizer(), tokenizer_of(models.get("sd15"))
    for word in (*WORDS, *PREFERRED):
        assert ours.encode(word, add_special_tokens=False).tokens == theirs.tokenize(word)


def test_the_starter_is_cut_by_its_own_tokenizer(models):
    from transformers import CLIPTokenizer

    from pipelines.core.paths import ASSETS

    theirs = CLIPTokenizer.from_pretrained(ASSETS / "starter" / "base" / "tokenizer")
    ours = tokenizer_of(models.get("starter"))
    for word in (*WORDS, *PREFERRED):
        assert ours.encode(word, add_special_tokens=False).tokens == theirs.tokenize(word)


@pytest.mark.parametrize(
    ("model", "word", "said"),
    [
        ("starter", "mug", "has a picture of “mug” already"),
        ("starter", "Mug", "has a picture of “Mug” already"),
        ("starter", "sks", "cut into 2 tokens: s + ks"),
        ("sd15", "cat", "may know it as a word"),
        ("sd15", "whiskers the cat", "cut into 4 tokens"),
        ("sd15", "🐈", "tokens"),
    ],
)
def test_words_that_are_not_so_good_are_said_why(models, model, word, said):
    checked = check(word, models.get(model))
    assert not checked.good
    assert said in str(checked.message)


@pytest.mark.parametrize("word", ["BREAK", "my BREAK", "BREAK-dance"])
@pytest.mark.parametrize("method", ["lora", "textual_inversion"])
def test_a_word_of_the_prompt_s_own_syntax_is_not_good(models, word, method):
    checked = check(word, models.get("sd15"), method)
    assert not checked.good
    assert f"The word {word} means something else in a prompt" in str(checked.message)
    with pytest.raises(BadRequest, match="means something else in a prompt"):
        clean_word(word)
    assert clean_word(word.lower()) == word.lower()
    assert clean_word(word.replace("BREAK", "BREAKER")) == word.replace("BREAK", "BREAKER")


def test_an_empty_word_is_refused(models):
    with pytest.raises(BadRequest, match="no identifier word"):
        check(" ", models.get("starter"))


@pytest.mark.parametrize("class_word", ["mug", "teddy bear", "猫", "<mug>", "", "m" * 40])
@pytest.mark.parametrize("model", ["starter", "sd15", "sdxl"])
def test_words_for_textual_inversion_are_new_and_can_be_a_subject_s(models, model, class_word):
    entry = models.get(model)
    words = propose(entry, method="textual_inversion", class_word=class_word)
    assert len(words) == len(set(words)) == 3
    for word in words:
        assert clean_word(word) == word
        assert len(check(word, entry).tokens) > 1
        assert check(word, entry, "textual_inversion").good


def test_a_word_that_is_known_makes_a_new_one_and_a_new_one_stays(models):
    entry = models.get("starter")
    assert new_word("kref", entry, "mug") == "kref-mug"
    assert new_word("kref-mug", entry, "mug") == "kref-mug"
    assert new_word("sks", entry, "mug") == "sks"
    assert new_word("sks", models.get("sd15"), "teddy bear") == "sks-teddy-bear"
    assert new_word("kref", entry) == "kref-thing"
    assert new_word("mug", entry, "mug") == "my-mug"


def test_textual_inversion_is_told_what_its_word_will_be(models):
    entry = models.get("starter")
    checked = check("kref", entry, "textual_inversion", "mug")
    assert not checked.good
    assert "knows “kref” already" in str(checked.message)
    assert "“kref-mug”" in str(checked.message)
    assert "is new to" in str(check("sks", entry, "textual_inversion").message)
    assert not check("mug", entry, "textual_inversion").good
