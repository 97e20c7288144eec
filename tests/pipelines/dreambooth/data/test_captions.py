"""Captions as data sets have them, and what in a data set is no photo of its subject."""

from __future__ import annotations

import doctest
import json
import time

import pytest

from pipelines.core.errors import BadRequest
from pipelines.dreambooth.data import captions
from pipelines.dreambooth.data.captions import Captions, kind_of, with_trigger
from tests.patience import PROMPTLY

TRIGGER = "[trigger]"


def read(files: dict[str, str | bytes], *photos: str) -> Captions:
    found = Captions(photos)
    for path, text in files.items():
        found.add(path, text.encode() if isinstance(text, str) else text)
    return found


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(captions).failed == 0


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("x.JPG", "photo"),
        ("a/.hidden/x.jpg", "system"),
        ("a/@eaDir/x.jpg/SYNOPHOTO_THUMB_XL.jpg", "system"),
        ("SYNOPHOTO_THUMB_SM.jpg", "system"),
        ("__MACOSX/._x.jpg", "system"),
        ("._x.jpg", "system"),
        (".DS_Store", "system"),
        ("a\\THUMBS.DB", "system"),
        ("desktop.ini", "system"),
        ("#recycle/x.jpg", "system"),
        ("", "system"),
        ("..", "system"),
        ("../../x.jpg", "photo"),
        ("reg/5_cat/x.jpg", "training"),
        ("a/x-masklabel.png", "training"),
        ("x_sdxl.npz", "training"),
        ("x.caption", "caption"),
        ("X.TXT", "caption"),
        ("train/metadata.jsonl", "caption"),
        ("meta_cap.json", "caption"),
        ("x.captions", "caption"),
        ("x.jpg.json", "caption"),
        ("IMG_1.AAE", "system"),
        ("IMG_1.xmp", "system"),
        ("thumbnails/x.jpg", "system"),
        ("a.jpg@SynoEAStream", "system"),
        ("regatta/x.jpg", "photo"),
        ("masked ball.jpg", "photo"),
    ],
)
def test_files_are_told_apart_by_their_names(path, kind):
    assert kind_of(path) == kind


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a/x.txt", "a cat"),
        ("a/x.caption", "a cat"),
        ("a/x.jpg.txt", " a\n cat\n"),
        ("A/X.TXT", "a cat"),
        ("./a/x.txt", b"\xef\xbb\xbfa cat"),
        ("a/x.txt", "a cat".encode("utf-16")),
        ("captions/x.txt", "a cat"),
        ("a/metadata.jsonl", '{"file_name": "x.jpg", "text": "a cat"}\n\n'),
        ("metadata.jsonl", '{"file_name": "a/x.jpg", "caption": "a cat"}'),
        ("metadata.csv", "file_name,text\na/x.jpg,a cat\n"),
        ("meta_cap.json", json.dumps({"/data/a/x": {"caption": "a cat"}})),
        ("meta_cap.json", json.dumps({"x.jpg": "a cat"})),
        ("a/x.captions", "a cat"),
        ("a/x.json", '{"caption": "a cat", "key": "0001"}'),
        ("a/x.jpg.json", '{"tag_string": "a cat"}'),
        ("info.json", '{"file_name": "a/x.jpg", "text": "a cat"}'),
        ("a/x .txt", "a cat"),
        ("a/train.jsonl", '{"image": {"path": "x.jpg"}, "text": "a cat"}'),
    ],
)
def test_a_caption_finds_its_photo(path, text):
    found = read({path: text}, "a/x.jpg", "y/z.jpg")
    assert found.of("a/x.jpg") == "a cat"
    assert found.of("y/z.jpg") is None
    assert found.list_unused() == []


def test_names_are_the_same_however_their_accents_are_written():
    found = read({"cafe\u0301.txt": "a cat"}, "caf\u00e9.jpg")
    assert found.of("caf\u00e9.jpg") == "a cat"


def test_a_caption_of_another_folder_is_not_taken():
    found = read({"a/1.txt": "a cat"}, "a/1.jpg", "b/1.jpg")
    assert found.of("b/1.jpg") is None
    assert found.list_unused() == [("a/1.txt", "1", "a cat")]
    both = read({"s/1.txt": "a cat", "t/1.txt": "a dog"}, "b/1.jpg")
    assert both.of("b/1.jpg") is None, "which of the two is not known"


def test_lists_of_other_machines_name_each_of_two_photos_of_one_name():
    paths = {"C:\\sets\\a\\1.jpg": {"caption": "red"}, "C:\\sets\\b\\1": {"tags": "blue"}}
    photos = ("a/1.jpg", "b/1.jpg", "c/1.jpg")
    found = read({"meta_cap.json": json.dumps(paths)}, *photos)
    assert [found.of(photo) for photo in photos] == ["red", "blue", None]


def test_a_caption_that_may_be_of_two_photos_is_of_neither():
    found = read({"captions/1.txt": "red"}, "a/1.jpg", "b/1.jpg")
    assert (found.of("a/1.jpg"), found.of("b/1.jpg")) == (None, None)
    assert found.list_unused() == [("captions/1.txt", "1", "red")]


def test_another_caption_of_the_same_photo_is_remembered():
    found = read({"a/1.txt": "red", "a/1.caption": "a red mug", "a/1.tags": "red"}, "a/1.jpg")
    assert found.of("a/1.jpg") == "red"
    assert found.seconds == {"a/1.caption": "a/1.txt"}


def test_a_caption_goes_before_the_name_of_the_folder():
    found = read({"10_sks cat/a.txt": "sks cat asleep"}, "10_sks cat/a.jpg", "10_sks cat/b.jpg")
    assert found.of("10_sks cat/a.jpg") == "sks cat asleep"
    assert found.of("10_sks cat/b.jpg") == "sks cat"
    assert read({}, "2024/b.jpg").of("2024/b.jpg") is None


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a [trigger] asleep", "a [trigger] asleep"),
        ("an Ohwx Cat asleep", "an [trigger] asleep"),
        ("ohwx asleep", "[trigger] asleep"),
        ("a cat and a cat", "a [trigger] and a [trigger]"),
        ("concatenate", "[trigger], concatenate"),
        ("1girl, smile", "[trigger], 1girl, smile"),
        ("", "[trigger], "),
    ],
)
def test_the_trigger_stands_where_the_subject_is_named(caption, expected):
    assert with_trigger(caption, TRIGGER, ("ohwx cat", "ohwx", "cat"), 500) == expected


def test_words_in_chinese_are_found_without_blanks_between():
    assert with_trigger("一只猫在睡觉", TRIGGER, ("ohwx 猫", "猫"), 500) == "一只[trigger]在睡觉"


@pytest.mark.parametrize("words", ["tag, " * 200 + "cat", "x" * 900, "cat, " + "y " * 400])
def test_long_captions_are_cut_and_keep_the_trigger(words):
    short = with_trigger(words, TRIGGER, ("cat",), 300)
    assert len(short) <= 300
    assert TRIGGER in short


def test_deep_json_and_long_lines_are_a_sentence_and_quick():
    start = time.perf_counter()
    for name, text in (("metadata.jsonl", "[" * 100_000), ("captions.json", "{" * 100_000)):
        with pytest.raises(BadRequest, match="is no JSON"):
            read({name: text})
    with_trigger("cat " * 200_000, TRIGGER, ("(a+)+ cat", "cat"), 500)
    assert time.perf_counter() - start < PROMPTLY


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("captions.json", b'[{"file_name": "a.jpg", "text": "red mug"}]'),
        ("captions.json", b'{"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": '
                          b'[{"image_id": 7, "caption": "red mug"}]}'),
        ("captions.json", b'{"annotations": "red mug", "a": {"tags": ["red mug"]}}'),
        ("metadata.csv", b"File_Name;Text\ra.jpg;red mug\r"),
        ("metadata.csv", b"image_path\tcaption\na.jpg\tred mug\n"),
        ("metadata.jsonl", b'[{"file_name": "a.jpg", "text": ["red mug"]}]'),
        ("a.txt", "red mug".encode("utf-16-le")),
        ("a.txt", "red mug".encode("utf-16-be")),
    ],
)  # fmt: skip
def test_lists_of_captions_are_read_in_the_forms_that_tools_write(name, data):
    found = Captions(["a.jpg"])
    found.add(name, data)
    assert found.of("a.jpg") == "red mug"


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("captions.json", b'{"info": {}, "images": []}', "No line of captions.json names"),
        ("captions.json", b'"red mug"', "No line of captions.json names"),
        ("metadata.csv", b'file_name,text\na.jpg,"' + b"x" * 200_000, "longer than 131072"),
    ],
)
def test_lists_that_say_nothing_are_refused_by_a_sentence(name, data, sentence):
    with pytest.raises(BadRequest, match=sentence):
        Captions(["a.jpg"]).add(name, data)
