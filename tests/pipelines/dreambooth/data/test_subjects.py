"""Subjects on the disk: what was added comes back, cropped where it should be, under any name."""

from __future__ import annotations

import io
import json
import os

import pytest
from PIL import Image, ImageFilter

from pipelines.core.errors import BadRequest, NotFound
from pipelines.dreambooth.data import subjects
from pipelines.dreambooth.data.examples import examples, take_example
from pipelines.dreambooth.data.subjects import FOLDER, MAX_NAME, Subject
from tests.pipelines.dreambooth.data.test_photos import encode, scene


@pytest.fixture
def subject(tmp_path) -> Subject:
    return Subject.create(tmp_path, "Whiskers", "ohwx", "cat")


def test_what_was_added_comes_back(subject):
    first = subject.add("one.png", encode(scene()))
    second = subject.add("two.jpg", encode(scene(at=(100, 200), seed=2), "JPEG"), "a [trigger]!")
    again = Subject.open(subject.home, subject.id)
    assert again == subject
    assert [photo.id for photo in again.photos] == [first.id, second.id]
    assert again.photos[1].caption == "a [trigger]!"
    assert again.photos[0].open().tobytes() == scene().tobytes()
    assert again.bytes == sum(path.stat().st_size for path in (subject.folder / "photos").iterdir())
    assert again.trigger == "ohwx cat"


def test_images_have_the_size_that_was_asked_for_and_hold_the_subject(subject):
    photo = subject.add("one.png", encode(scene(at=(400, 160))))
    assert photo.image(128).size == (128, 128)
    assert photo.image((64, 128)).size == (64, 128)
    assert photo.image((192, 128)).size == (192, 128)
    right = subject.change_photo(photo.id, focus=(1.0, 0.5))
    whole = scene(at=(400, 160)).crop((160, 0, 480, 320))
    assert right.image(320).tobytes() == whole.tobytes()


def test_a_focus_set_by_hand_moves_the_crop_and_can_be_taken_back(subject):
    photo = subject.add("one.png", encode(scene()))
    moved = subject.change_photo(photo.id, focus=(0.0, 0.5))
    assert moved.crop() == (0, 0, 320, 320)
    assert moved.chosen
    assert Subject.open(subject.home, subject.id).photo(photo.id).focus == (0.0, 0.5)
    assert subject.change_photo(photo.id, automatic=True) == photo


@pytest.mark.parametrize("focus", [(-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5), (9.0, 9.0)])
def test_a_focus_outside_is_refused(subject, focus):
    photo = subject.add("one.png", encode(scene()))
    with pytest.raises(BadRequest, match="must be between 0"):
        subject.change_photo(photo.id, focus=focus)
    assert subject.photos == [photo]


def test_the_same_photo_ten_times_is_taken_once(subject):
    data = encode(scene())
    subject.add("first.png", data)
    for number in range(9):
        with pytest.raises(BadRequest, match=r"here already, as first\.png"):
            subject.add(f"{number}.png", data)
    assert len(subject.photos) == 1
    assert len(list((subject.folder / "photos").iterdir())) == 1


def test_the_same_pixels_in_another_format_are_the_same_photo(subject):
    subject.add("first.png", encode(scene()))
    with pytest.raises(BadRequest, match="here already"):
        subject.add("again.webp", encode(scene(), "WEBP", lossless=True))


def test_small_blurred_and_like_photos_are_taken_and_remarked_upon(subject):
    good = subject.add("good.png", encode(scene()))
    small = subject.add("small.png", encode(scene((300, 200), (150, 100), seed=4)))
    soft = scene(at=(90, 90), seed=5).filter(ImageFilter.GaussianBlur(5))
    blurred = subject.add("blurred.png", encode(soft))
    like = subject.add("like.jpg", encode(scene(), "JPEG", quality=70))
    other = subject.add("other.png", encode(scene(at=(380, 100), seed=6)))
    said = {p.name: [str(remark) for remark in subject.remarks(p)] for p in subject.photos}
    assert said[good.name] == said[other.name] == []
    assert said[small.name] == ["Small: 300 × 200 pixels. It will be enlarged."]
    assert said[blurred.name] == ["Blurred. The subject will come out soft."]
    assert said[like.name] == ["Much like good.png. Different views teach more."]


def test_there_is_room_for_200(subject, monkeypatch):
    monkeypatch.setattr("pipelines.dreambooth.data.photos.MAX_PHOTOS", 2)
    for number in range(2):
        subject.add(f"{number}.png", encode(scene(seed=number)))
    with pytest.raises(BadRequest, match="at most 2 photos"):
        subject.add("3.png", encode(scene(seed=3)))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\cat.jpg", "cat.jpg"),
        ("😀 мой кот 猫.jpg", "😀 мой кот 猫.jpg"),
        ("👩‍🎨.png", "👩‍🎨.png"),
        ("a\nb\0c\x1b[31m.png", "a bc[31m.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("", "?"),
        ("///", "?"),
        ("x" * 500, "x" * MAX_NAME),
    ],
)
def test_a_file_s_name_is_only_shown(subject, name, shown):
    photo = subject.add(name, encode(scene()))
    assert photo.name == shown
    files = {path for path in subject.home.rglob("*") if path.is_file()}
    assert files == {subject.folder / "subject.json", photo.path}


@pytest.mark.parametrize("name", ["😀🐈", "a/b\\c", "../..", "<b>bold</b>", "Whiskers’ brother"])
def test_a_subject_may_be_called_anything(tmp_path, name):
    made = Subject.create(tmp_path, name)
    assert Subject.open(tmp_path, made.id).name == name
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [made.id]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": ""}, "has no name"),
        ({"name": " \n\t"}, "has no name"),
        ({"name": "x" * 81}, "Name has 81 characters; at most 80"),
        ({"name": "x", "identifier": "y" * 41}, "Word has 41 characters; at most 40"),
        ({"name": "x", "identifier": "<lora:x:1>"}, "mean something else in a prompt"),
        ({"name": "x", "class_word": "(cat:2)"}, "mean something else in a prompt"),
    ],
)
def test_words_that_cannot_be_used_are_named(tmp_path, words, said):
    with pytest.raises(BadRequest, match=said):
        Subject.create(tmp_path, **words)
    assert not (tmp_path / FOLDER).exists()


def test_words_change_and_stay(subject):
    subject.change(name="Tom", identifier="  sks ")
    again = Subject.open(subject.home, subject.id)
    assert (again.name, again.identifier, again.class_word) == ("Tom", "sks", "cat")
    with pytest.raises(BadRequest):
        subject.change(name="")
    assert Subject.open(subject.home, subject.id).name == "Tom"


def test_a_caption_says_where_the_subject_is(subject):
    photo = subject.add("one.png", encode(scene()))
    assert subject.change_photo(photo.id, caption=" a [trigger]\non grass").caption == (
        "a [trigger] on grass"
    )
    with pytest.raises(BadRequest, match=r"“a cat” does not hold \[trigger\]"):
        subject.change_photo(photo.id, caption="a cat")
    with pytest.raises(BadRequest, match="2010 characters; at most 2000"):
        subject.change_photo(photo.id, caption="[trigger]" + "x" * 2001)


@pytest.mark.parametrize(
    "id", ["", "../x", "0" * 31, "A" * 32, "0" * 32, "x" * 32, "0" * 31 + "\n"]
)
def test_ids_that_stand_for_nothing(tmp_path, id):
    with pytest.raises(NotFound):
        Subject.open(tmp_path, id)


def test_a_photo_that_is_not_there(subject):
    photo = subject.add("one.png", encode(scene()))
    with pytest.raises(NotFound):
        subject.photo("0" * 32)
    photo.path.unlink()
    with pytest.raises(NotFound, match=r"one\.png is no longer here"):
        photo.open()


def test_removed_photos_and_deleted_subjects_leave_nothing(subject):
    photo = subject.add("one.png", encode(scene()))
    subject.add("two.png", encode(scene(seed=2)))
    subject.remove(photo.id)
    assert not photo.path.exists()
    assert [each.name for each in Subject.open(subject.home, subject.id).photos] == ["two.png"]
    subject.delete()
    assert list((subject.home / FOLDER).iterdir()) == []


def test_a_full_disk_leaves_the_subject_as_it_was(subject, monkeypatch):
    kept = subject.add("one.png", encode(scene()))
    original, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if str(target).endswith("subject.json"):
            raise OSError(28, "No space left on device")
        return original(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        subject.add("two.png", encode(scene(seed=2)))
    monkeypatch.undo()
    assert subject.photos == [kept]
    assert Subject.open(subject.home, subject.id) == subject
    files = {path.name for path in subject.folder.rglob("*") if path.is_file()}
    assert files == {"subject.json", f"{kept.id}.png"}


def test_the_list_is_plain_json_without_paths(subject):
    subject.add("one.png", encode(scene()))
    text = (subject.folder / "subject.json").read_text(encoding="utf-8")
    assert str(subject.home) not in text
    assert json.loads(text)["photos"][0]["name"] == "one.png"


# --- the examples that ship -----------------------------------------------------------------------


def test_the_examples_are_ten_good_photos_in_little_room(tmp_path):
    assert "teapot" in examples()
    for key, example in examples().items():
        made = take_example(tmp_path, key, "kref")
        assert len(made.photos) == 10
        assert made.class_word == example.class_word
        assert [subjects.Subject.remarks(made, photo) for photo in made.photos] == [[]] * 10
        assert all("[trigger]" in photo.caption for photo in made.photos)
        assert len({photo.caption for photo in made.photos}) >= 8
        assert sum(path.stat().st_size for path in example.folder.iterdir()) < 300_000
        shown = {path.name for path in example.folder.glob("*.jpg")}
        assert shown == set(example.captions)


def test_an_example_that_is_not_there(tmp_path):
    with pytest.raises(NotFound, match=r"There are: .*teapot"):
        take_example(tmp_path, "../teapot")
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.deep
def test_the_examples_are_what_their_command_renders(tmp_path):
    from pipelines.toybox.render.photographs import photographs
    from pipelines.toybox.vocabulary import HELD_OUT

    example = examples()["teapot"]
    made = list(photographs("teapot", "turquoise", "dotted", count=2))
    for photo, (name, caption) in zip(made, example.captions.items(), strict=False):
        assert photo.caption == caption
        with Image.open(io.BytesIO((example.folder / name).read_bytes())) as shipped:
            difference = sum(
                abs(a - b)
                for a, b in zip(
                    Image.fromarray(photo.image).resize((16, 16)).tobytes(),
                    shipped.convert("RGB").resize((16, 16)).tobytes(),
                    strict=True,
                )
            )
        assert difference / (16 * 16 * 3) < 4
    assert all(name.startswith(HELD_OUT) for name in example.captions)
    assert len({photo.scene.sun for photo in made}) == 2
    assert len({photo.scene.azimuth for photo in made}) == 2
