"""LoRAs that a prompt names itself."""

from __future__ import annotations

import pytest

from pipelines.core.errors import BadRequest, validate
from pipelines.diffusion.lora.tags import (
    list_left_out,
    replace_words,
    tags_in,
    uses_of,
    with_tags,
    without_tags,
)
from pipelines.diffusion.lora.use import LoraUse
from pipelines.diffusion.requests import TextToImageRequest


def request_of(prompt="", **more) -> TextToImageRequest:
    return validate(TextToImageRequest, {"prompt": prompt, **more})


def pairs(uses) -> list[tuple[str, float]]:
    return [(use.name, use.weight) for use in uses]


def test_tags_are_read_and_cut_out():
    prompt = "a mug <lora:clay:0.8>, (red:1.2)<lora:soft light><lora:dark:-1.5>"
    assert pairs(tags_in(prompt)) == [("clay", 0.8), ("soft light", 1.0), ("dark", -1.5)]
    assert without_tags(prompt) == "a mug , (red:1.2)"


@pytest.mark.parametrize("prompt", ["a < b > c", "<lora>", "lora:a:1", "<lora:a:1", "<3:1>"])
def test_what_is_no_tag_stays(prompt):
    assert tags_in(prompt) == []
    assert without_tags(prompt) == prompt


@pytest.mark.parametrize(
    ("tag", "text", "unet"),
    [
        ("<lora:a:0.8:0.5>", 0.8, 0.5),
        ("<lora:a:0.8:0.8>", 0.8, 0.8),
        ("<lora:a:0.8:unet=0.5>", 0.8, 0.5),
        ("<lora:a:unet=0.5:te=0>", 0, 0.5),
        ("<lora:a:unet=0.5>", 1, 0.5),
        ("<lora:a::0.5>", 1, 0.5),
        ("<lyco:a:0.7>", 0.7, 0.7),
        ("<lora: a : te = 0.4 >", 0.4, 0.4),
    ],
)
def test_text_encoder_and_unet_have_weights_of_their_own(tag, text, unet):
    (use,) = tags_in(f"a mug {tag}")
    assert (use.name, use.weight_of("text_encoder"), use.weight_of("unet")) == ("a", text, unet)
    assert use.weight_of("text_encoder_2") == text
    (again,) = tags_in(with_tags("", [use.model_dump()]))
    assert again == use


def test_what_is_no_lora_is_cut_out_and_said():
    prompt = "a mug <hypernet:soft:0.5> <segment:face> <lora:a:1:1:8:lbw=MIDD> <lora:b:1>"
    assert without_tags(prompt).split() == ["a", "mug"]
    said = [str(note) for note in list_left_out(prompt)]
    assert said == [
        "<hypernet:soft:0.5> was left out: Atelier has no hypernetworks.",
        "<segment:face> was left out: Atelier has no such tag.",
        "Of <lora:a:1:1:8:lbw=MIDD> dyn=8, lbw=MIDD was left out: a LoRA has a weight for the text "
        "encoder and one for the U-Net.",
    ]


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a mug, embedding:soft, big", "embedding:soft is read as plain words: choose the"),
        ("a mug\n# not today\nred", "# not today is read as plain words"),
        ("a mug --ar 16:9", "--ar 16:9 is read as plain words: size, seed"),
        ("a red++ mug", "red++ is read as plain words: Atelier reads weights as"),
        ("a (red old)1.3 mug", ")1.3 is read as plain words: Atelier reads weights as"),
        ("a mug AND a spoon :1.2", "AND is read as a plain word"),
    ],
)
def test_syntax_of_others_that_is_read_as_words_is_said(prompt, sentence):
    (note,) = list_left_out(prompt)
    assert str(note).startswith(sentence)


@pytest.mark.parametrize(
    "prompt",
    [
        "a [red] (mug:1.2)",
        "[ratio 16:9 mug]",
        r"a \[b|c\] mug",
        "a_b__c, __init",
        "{one}",
        "BRAND and",
        "#1 dad, C++, re-read -- slowly, a (mug) 1.3",
    ],
)
def test_of_weights_and_of_words_nothing_is_said(prompt):
    assert list_left_out(prompt) == []


def test_spellings_of_one_name_are_one_lora():
    listed = [{"name": "Cafe\u0301 ", "weight": 0.5, "id": "0" * 32}]
    (use,) = uses_of(request_of("<lora:CAFÉ:2>", loras=listed))
    assert (use.name, use.weight, use.id) == ("CAFÉ", 2.0, "0" * 32)
    assert with_tags("<lora:café:2>", listed) == "<lora:café:2>"


def test_a_lora_that_is_named_in_two_ways_counts_once_as_named_last():
    listed = [{"name": "clay", "weight": 0.5, "id": "0" * 32}]
    listed += [{"name": "clay_v1", "weight": 0.7, "id": "0" * 32}]
    (use,) = uses_of(request_of("<lora:clay_v1:2>", loras=listed))
    assert (use.name, use.weight) == ("clay_v1", 2.0)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("<lora:>", r"<lora:> cannot be read\. Write <lora:name:0.8>"),
        ("<lora::1>", "<lora::1> cannot be read"),
        ("<lora:a:strong>", "<lora:a:strong> cannot be read"),
        ("<lora:a:1:soft>", "<lora:a:1:soft> cannot be read"),
        ("<lora:a:te=much>", "<lora:a:te=much> cannot be read"),
        ("<lora:a:1:9>", "LoRA weight is 9.0; it must be at most 4"),
        ("<lyco:a:9:1>", "Text encoder weight is 9.0; it must be at most 4"),
        ("<lora:a:nan>", "LoRA weight is nan"),
        ("<lora:a:4.1>", "LoRA weight is 4.1; it must be at most 4"),
        ("<lora:a:-5>", "LoRA weight is -5.0; it must be at least -4"),
        ("<lora:" + "a" * 101 + ">", "LoRA has 101 characters; at most 100"),
        ("".join(f"<lora:{n}>" for n in range(9)), "9 LoRAs are asked for; at most 8"),
    ],
)
def test_tags_that_cannot_be_used_get_one_sentence(prompt, sentence):
    with pytest.raises(BadRequest, match=sentence):
        uses_of(request_of(prompt))


def test_a_tag_in_the_negative_prompt_is_said_to_be_out_of_place():
    with pytest.raises(BadRequest, match="<lora:a:1> stands in the negative prompt"):
        uses_of(request_of(negative_prompt="blurry <lora:a:1>"))


def test_listed_ones_come_first_and_the_prompt_has_the_last_word():
    listed = [{"name": "a", "weight": 0.5, "id": "0" * 32}, {"name": "b"}]
    uses = uses_of(request_of("<lora:c:2> <lora:a:0.1> <lora:a:0.2>", loras=listed))
    assert pairs(uses) == [("a", 0.2), ("b", 1.0), ("c", 2.0)]
    assert [use.id for use in uses] == ["0" * 32, None, None]
    again = uses_of(request_of("<lora:c:2> <lora:a:0.2>", loras=[use.model_dump() for use in uses]))
    assert again == uses


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        ({"name": ""}, "LoRA"),
        ({"name": "a", "weight": 4.5}, "LoRA weight is 4.5; it must be at most 4"),
        ({"name": "a", "weight": float("inf")}, "LoRA weight is inf"),
        ({"name": "a", "id": "../../etc/passwd"}, "cannot be ../../etc/passwd"),
        ({"name": "a", "path": "/etc/passwd"}, "no setting called path"),
    ],
)
def test_bounds_of_a_listed_one(use, sentence):
    with pytest.raises(BadRequest, match=sentence):
        request_of(loras=[use])


def test_written_prompts_name_all():
    uses = [LoraUse(name="a", weight=0.8).model_dump(), LoraUse(name="b").model_dump()]
    assert with_tags("a mug <lora:b:1>", uses) == "a mug <lora:b:1> <lora:a:0.8>"
    assert with_tags("", uses) == "<lora:a:0.8> <lora:b:1>"
    assert with_tags("a mug", []) == "a mug"


def test_learned_words_become_tokens_where_they_stand_alone():
    learned = {"mug": "t1", "my mug": "t1 t2", "<dog>": "t3"}
    assert replace_words("My mug, a mug, mugs (mug:1.2) <dog>s", learned) == (
        "t1 t2, a t1, mugs (t1:1.2) <dog>s"
    )
    assert replace_words("a <dog> <lora:x:1>", learned) == "a t3 "
    assert replace_words("a mug", {}) == "a mug"
    assert replace_words("le Cafe\u0301, le CAFÉ", {"café": "t4"}) == "le t4, le t4"
