"""Dynamic prompts: what they can become, what they become, and which are refused."""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import islice

import pytest

from pipelines.core.errors import BadRequest, NotFound, UserError
from pipelines.diffusion.requests import TextToImageRequest
from pipelines.diffusion.wording.dynamic_prompts import Template, Wording
from pipelines.diffusion.wording.grammar import is_dynamic, plain
from pipelines.diffusion.wording.wildcards import MAX_BYTES, Wildcards, match_names
from tests.patience import PROMPTLY


@pytest.fixture
def lists(tmp_path) -> Wildcards:
    lists = Wildcards(tmp_path)
    lists.write("colour", "# of toys\nred\n\nblue\n")
    lists.write("toys/small", "{tin|wooden} mug")
    lists.write("toys/large", "3::robot\nboat")
    lists.write("toys/rare/one", "unicorn")
    return lists


def combinations(text: str, lists: Wildcards) -> list[str]:
    return list(islice(Template(text, lists).combinations(), 50))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {red|blue} mug", ["a red mug", "a blue mug"]),
        ("{a|{b|c}}", ["a", "b", "c"]),
        ("{|very }big", ["big", "very big"]),
        ("{2$$a|b|c}", ["a, b", "a, c", "b, c"]),
        ("{2$$ and $$a|b|c}", ["a and b", "a and c", "b and c"]),
        ("{1-2$$+$$a|b}", ["a", "b", "a+b"]),
        ("{-1$$a|b}", ["", "a", "b"]),
        ("{2-$$a|b|c}", ["a, b", "a, c", "b, c", "a, b, c"]),
        ("{9$$a|b}", ["a, b"]),
        ("{0::a|b}", ["b"]),
        ("__colour__ mug", ["red mug", "blue mug"]),
        ("__toys/small__", ["tin mug", "wooden mug"]),
        ("__toys/*__", ["robot", "boat", "tin mug", "wooden mug"]),
        ("__toys/**e__", ["robot", "boat", "unicorn"]),
        ("__COLOU?__", ["red", "blue"]),
        ("{2$$__colour__}", ["red, blue"]),
        ("${c=!{red|blue}}a ${c} mug, ${c}", ["a red mug, red", "a blue mug, blue"]),
        ("${c:green}", ["green"]),
        ("{{x|y}|[in|out]}", ["x", "y", "[in|out]"]),
    ],
)
def test_all_that_a_template_can_become(text, expected, lists):
    assert combinations(text, lists) == expected
    resolved = {Template(text, lists).resolve(seed) for seed in range(60)}
    # Of several the order is drawn too.
    assert {tuple(sorted(each)) for each in resolved} == {tuple(sorted(e)) for e in expected}


@pytest.mark.parametrize(
    "text", ['{"scene": {"mug": "red"}}', "{solid}", "[a|b] a|b _ __", r"\{a|b\}"]
)
def test_what_is_no_choice_stays_as_it_is(text, lists):
    assert not is_dynamic(text)
    assert Template(text, lists).resolve(1) == text


def test_a_backslash_makes_signs_plain_and_what_is_resolved_stays_resolved(lists):
    assert plain(r"\{a\|b\} \__x\__ \(c\)") == r"{a|b} __x__ \(c\)"
    for text in (r"{\{a\|b\}|\{a\|b\}}", "_{_|_}colour__", "{$|$}{colour}"):
        words = Template(text, lists).resolve(1)
        assert Template(words, lists).resolve(2) == words


def test_weights_count(lists):
    for text, heavy in (("{3::a|b}", "a"), ("__toys/large__", "robot")):
        template = Template(text, lists)
        counts = Counter(template.resolve(seed) for seed in range(2000))
        assert 1400 < counts[heavy] < 1600  # 1500, deviation 19


def test_a_variable_is_chosen_at_each_use_unless_once_for_all(lists):
    text = "${{c={}{{a|b|c|d}}}}${{c}}${{c}}${{c}}${{c}}"
    assert all(len(set(Template(text.format("!"), lists).resolve(n))) == 1 for n in range(20))
    assert any(len(set(Template(text.format(""), lists).resolve(n))) > 1 for n in range(20))


def test_the_seed_decides_and_the_negative_prompt_draws_on_its_own(lists):
    def words(prompt: str, seed: int):
        request = TextToImageRequest(prompt=prompt, negative_prompt="{fog|rain|snow|hail}")
        return Wording(request, lists).of(seed, 0)

    assert words("{a|b|c|d}", 5) == words("{a|b|c|d}", 5)
    assert len({words("{a|b|c|d}", seed).prompt for seed in range(30)}) == 4
    for seed in range(10):
        assert words("x", seed).negative_prompt == words("{a|b} {c|d}", seed).negative_prompt


def test_in_turn_each_picture_has_another_combination(lists):
    request = TextToImageRequest(
        prompt="{a|b}", negative_prompt="{c|d}", combinations=True, batch_count=3, batch_size=2
    )
    wording = Wording(request, lists)
    made = ["".join(wording.of(7, number)) for number in range(6)]
    assert made == ["ac", "ad", "bc", "bd", "ac", "ad"]
    assert wording.facts == {
        "Template": "{a|b}",
        "Negative Template": "{c|d}",
        "All combinations": "True",
    }
    assert [str(note) for note in wording.notes] == ["The prompt has 4 combinations."]
    fewer = Wording(request.model_copy(update={"batch_count": 1}), lists)
    assert str(fewer.notes[0]).startswith("The prompt has more combinations than these 2.")
    plain_words = request.model_copy(update={"prompt": "a", "negative_prompt": ""})
    assert str(Wording(plain_words, lists).notes[0]).startswith("There are no choices")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a {b|c", "The { at character 3 is not closed: {b|c."),
        ("a b}", "The } at character 4 closes nothing: a b}."),
        ("{" * 5000 + "a|b" + "}" * 5000, "Braces are nested more than 12 times."),
        ("__self__", "__self__ names itself: __self__ → __self__."),
        ("__one__", "__one__ names itself: __one__ → __other__ → __one__."),
        ("__nothing__", "There is no list of words nothing for __nothing__"),
        ("__../secret__", "There is no list of words ../secret for"),
        ("__/etc/passwd__", "There is no list of words /etc/passwd for"),
        ("__empty__", "The list empty has no words to choose."),
        ("__broken__", "Line 2 of the list broken cannot be read: The { at character 1"),
        ("__bomb0__", "characters long; at most 10000 are taken."),
        (
            "{99$$$$" + "|" * 98 + "}" + "x" * 9_990 + "{12345|1}{12345|1}{12345|1}",
            "characters long",
        ),
        ("${a}", "${a} stands for nothing yet."),
        ("${a=${b}}${b=${a}}${a}", "${a} names itself: ${a} → ${b} → ${a}."),
        ("{3-1$$a|b}", "at least 3 and at most 1"),
        ("{0::a|0::b}", "All weights of {0::a|0::b} are 0"),
        ("${!}", "${!} cannot be read."),
    ],
)
def test_what_cannot_be_resolved_is_refused_at_once(text, sentence, lists, tmp_path):
    (tmp_path / "secret.txt").write_text("leaked")
    lists.write("self", "red\nnot {me|__self__}")
    lists.write("one", "__other__")
    lists.write("other", "__one__")
    lists.write("empty", "# nothing\n")
    lists.write("broken", "fine\n{fine|")
    for number in range(9):
        lists.write(f"bomb{number}", "\n".join([f"{{8$$__bomb{number + 1}__}}"] * 20))
    lists.write("bomb9", "x")
    began = time.process_time()
    with pytest.raises(UserError) as refused:
        Template(text, lists)
    assert time.process_time() - began < 0.05
    assert sentence in str(refused.value)


def test_a_large_list_that_is_named_often_is_measured_once(lists):
    lists.write("large", "\n".join(f"word {number}" for number in range(50_000)))
    began = time.process_time()
    words = Template("{1|2}" + "${a=x}${b=!y}{2$$__large__}" * 200, lists).resolve(3)
    assert words.count("word") == 400
    assert time.process_time() - began < 5  # each of them alone takes a tenth of a second


# --- the files ------------------------------------------------------------------------------------


BAD_NAMES = ["../up", "/etc/x", "a//b", "a\\b", "a__b", "x.", ".hidden", "a/../b", "a b"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "n" * 101, "1/2/3/4/5/6/7", "红" * 85])
def test_lists_have_names_and_no_paths(name, lists, tmp_path):
    with pytest.raises(BadRequest, match="cannot be called"):
        lists.write(name, "x")
    with pytest.raises(BadRequest, match="needs a name"):
        lists.write("", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wildcards"]


def test_lists_are_written_read_and_deleted(lists, tmp_path):
    assert lists.names() == ["colour", "toys/large", "toys/rare/one", "toys/small"]
    longest = "红" * 83 + "ab"  # 251 bytes, and .txt
    lists.write(longest, "x")
    lists.delete(longest)
    lists.write("Größen/größe", "klein\r\ngroß")
    assert lists.text("Größen/größe") == "klein\ngroß"
    lists.delete("Größen/größe")
    with pytest.raises(UserError, match="There is no list of words Größen/größe"):
        lists.text("Größen/größe")
    with pytest.raises(BadRequest, match=f"1000001 bytes; at most {MAX_BYTES}"):
        lists.write("much", "x" * (MAX_BYTES + 1))


def test_links_do_not_lead_out_of_the_folder(lists, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("leaked")
    (tmp_path / "wildcards" / "secret.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (tmp_path / "wildcards" / "door").symlink_to(tmp_path / "outside")
    assert not [name for name in lists.names() if "secret" in name]
    with pytest.raises(BadRequest, match="outside the folder"):
        lists.write("door/new", "x")


def test_lists_of_other_systems_are_found_and_read(lists, tmp_path):
    """An é in two parts as macOS keeps it, capital endings, blanks, links that lead nowhere."""
    folder = tmp_path / "wildcards"
    (folder / "cafe\u0301.txt").write_text("latte")
    (folder / "Farben.TXT").write_bytes("Größe".encode("utf-16"))
    (folder / "my colours.txt").write_bytes("one phrase\u2028of two lines\r\ntwo".encode())
    (folder / "a+b's.txt").write_text("\ufeff\u200bred\u200b\r# a comment")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "._a+b's.txt").write_text("what macOS keeps beside")
    os.mkfifo(folder / "pipe.txt")
    assert set(lists.names()) >= {"café", "Farben", "my_colours", "a+b's"}
    assert not {"loop", "pipe"} & set(lists.names())
    for text, words in [
        ("__café__", "latte"),
        ("__cafe\u0301__", "latte"),
        ("__farben__", "Größe"),
        ("{2$$ / $$__my_colours__}", "one phrase\u2028of two lines / two"),
        ("__a+b's__", "red"),
    ]:
        made = {Template(text, lists).resolve(seed) for seed in range(8)}
        assert words in made, (text, made)


@pytest.mark.parametrize("encoding", ["cp1251", "gb18030", "shift-jis", "latin-1"])
def test_a_list_in_another_encoding_is_refused_rather_than_garbled(lists, tmp_path, encoding):
    words = {"cp1251": "красный", "gb18030": "红色", "shift-jis": "赤い", "latin-1": "Größe"}
    (tmp_path / "wildcards" / "other.txt").write_bytes(words[encoding].encode(encoding))
    with pytest.raises(BadRequest, match="The list other is not text in UTF-8"):
        Template("__other__", lists)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("animals", ["animals"]),
        ("ANIMALS", ["animals"]),
        ("*", ["animals", "plants"]),  # of no folder
        ("**", ["animals", "colours/dark", "colours/light", "plants"]),
        ("colours/*", ["colours/dark", "colours/light"]),
        ("*/*t", ["colours/light"]),
        ("**l*", ["animals", "colours/light", "plants"]),
        ("**/d?rk", ["colours/dark"]),
        ("*.*", []),
    ],
)
def test_signs_stand_for_letters_within_a_folder_or_across(pattern, found):
    names = ["animals", "colours/dark", "colours/light", "plants"]
    if found:
        assert match_names(pattern, names) == found
    else:
        with pytest.raises(NotFound):
            match_names(pattern, names)


def test_many_signs_take_no_time():
    start = time.process_time()
    with pytest.raises(NotFound):
        match_names("*?" * 40 + "x", ["a" * 100] * 20)
    assert time.process_time() - start < PROMPTLY
