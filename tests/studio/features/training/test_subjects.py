"""Subjects in the studio: everybody's own, within their room, and gone with all they made."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import threading
import time
from dataclasses import dataclass

import pytest
from PIL import Image

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, Busy, NotFound
from pipelines.dreambooth.data.subjects import FOLDER, MADE, note_made
from pipelines.dreambooth.folder import TrainingFolder
from studio.core.gallery.gallery import Gallery
from studio.core.gallery.inputs import Inputs
from studio.core.home import WRITING_SECONDS, prepare_home
from studio.core.quota import Quota
from studio.core.settings import StoredSettings
from studio.core.store import Store, uses_in
from studio.features.training.subjects import KIND, MAX_SUBJECTS, Subjects
from tests.pipelines.dreambooth.data.test_photos import encode, zip_files
from tests.pipelines.dreambooth.data.test_photos import scene as large_scene
from tests.studio.rows import add_job

ANN, BEN, GUEST = "ann", "ben", "guest-1"


def scene(size=(160, 120), at=(80, 60), seed=0) -> Image.Image:
    """A small one, which takes no time to store."""
    return large_scene(size, at, seed)


@dataclass(frozen=True)
class Entry:
    id: str
    name: str
    training: str | None
    sources: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


class Library:
    """A library of LoRAs in memory, with what deleting a subject asks of one."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}

    def own(self, owner: str) -> list[Entry]:
        return self.entries.get(owner, [])

    def delete(self, owner: str, id: str) -> None:
        self.entries[owner] = [entry for entry in self.own(owner) if entry.id != id]


class Desk:
    """The parts that subjects need."""

    def __init__(self, home) -> None:
        self.home = prepare_home(home)
        self.store = Store(self.home)
        self.settings = StoredSettings(self.store)
        self.gallery = Gallery(self.store, self.home, self.settings)
        self.library = Library()
        self.quota = Quota(self.settings)
        self.subjects = Subjects(self.store, self.home, self.gallery, self.library, self.quota)
        self.quota.keepers = (self.gallery, self.subjects)

    def add(self, owner, id, *files):
        return list(self.subjects.add(owner, id, files))

    def job(self, owner, request, state="done", kind=KIND, id="job"):
        add_job(self.store, owner, kind, request, state, id)

    def put_training(self, owner, subject_id, number=0):
        """All that a finished training leaves: job, folder, LoRA, and a picture painted with it."""
        training, lora, job = f"{number:032x}", f"{number + 100:032x}", f"job-{number}"
        self.job(owner, {"subject": subject_id, "training": training}, id=job)
        folder = self.home / "trainings" / training
        folder.mkdir(parents=True)
        (folder / "training.json").write_text(json.dumps({"subject": subject_id}))
        (folder / "progress.jsonl").write_text("{}")
        self.library.entries.setdefault(owner, []).append(Entry(lora, f"lora {number}", training))
        used = {"prompt": "x", "loras": [{"name": "lora", "weight": 1.0, "id": lora}]}
        picture = self.picture(owner, f"painted-{number}", used)
        return training, lora, job, picture

    def picture(self, owner, job="other", request=None):
        image, request = Image.new("RGB", (8, 8), "blue"), request or {"prompt": "x"}
        uses = uses_in(json.dumps(request))
        return self.gallery.save(owner, job, 0, "text_to_image", image, request, uses=uses).id


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "home")
    yield desk
    desk.store.close()


@pytest.fixture
def mine(desk):
    """A subject of Ann's with one photo."""
    subject = desk.subjects.create(ANN, "Whiskers", "ohwx", "cat")
    desk.add(ANN, subject.id, ("one.png", encode(scene())))
    return desk.subjects.get(ANN, subject.id)


def test_subjects_are_listed_newest_first(desk, mine):
    newer = desk.subjects.from_example(ANN, "teapot", "kref")
    assert [each.id for each in desk.subjects.list(ANN)] == [newer.id, mine.id]
    assert desk.subjects.identifiers(ANN) == {"ohwx", "kref"}
    assert len(newer.photos) == 10


def test_files_and_zips_are_taken_and_what_is_refused_is_said(desk, mine):
    archive = zip_files(
        {
            "../../up.png": encode(scene(seed=1)),
            "nested/😀.jpg": encode(scene(seed=2), "JPEG"),
            "again.png": encode(scene()),
            "notes.txt": b"not a photo",
            "bomb.png": bytes(100_000_000),
        }
    )
    outcomes = desk.add(ANN, mine.id, ("all.zip", archive.getvalue()), ("broken.zip", b"PK\3\4"))
    taken = [each.name for each in outcomes if each.photo]
    refused = {each.name: str(each.refusal) for each in outcomes if each.refusal}
    assert taken == ["up.png", "😀.jpg"]
    assert refused.keys() == {"again.png", "notes.txt", "bomb.png", "broken.zip"}
    assert "here already, as one.png" in refused["again.png"]
    assert "no photo of this name" in refused["notes.txt"]
    assert "no photo" in refused["bomb.png"]
    assert "zip is damaged" in refused["broken.zip"]
    names = [photo.name for photo in desk.subjects.get(ANN, mine.id).photos]
    assert names == ["one.png", "up.png", "😀.jpg"]
    inside = (desk.home / FOLDER).resolve()
    assert not [p for p in desk.home.rglob("*.png") if inside not in p.resolve().parents]


CAPTIONS = {
    "set/1.png": encode(scene(seed=11)),
    "set/1.txt": b"an OHWX cat,\r\non grass",
    "set/2.jpg": encode(scene(seed=12), "JPEG"),
    "set/2.caption": "une chatte \u00e0 la mer".encode(),
    "set/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg": encode(scene(seed=1), "JPEG"),
    "set/._2.jpg": b"x",
    "__MACOSX/set/._1.png": b"x",
    "reg/1_cat/1.png": encode(scene(seed=2)),
    "set/lonely.txt": b"nothing beside me",
}


@pytest.mark.parametrize("zipped_up", [True, False])
def test_captions_beside_photos_become_theirs_and_what_is_no_photo_is_said(desk, mine, zipped_up):
    files = list(CAPTIONS.items())
    if zipped_up:
        files = [("set.zip", zip_files(CAPTIONS).getvalue())]
    outcomes = desk.add(ANN, mine.id, *files)
    photos = {photo.name: photo.caption for photo in desk.subjects.get(ANN, mine.id).photos}
    del photos["one.png"]
    assert photos == {
        "1.png": "an [trigger], on grass",
        "2.jpg": "[trigger], une chatte à la mer",
    }
    (refused,) = [each for each in outcomes if each.refusal]
    assert (refused.name, "no photo of this name" in str(refused.refusal)) == ("lonely.txt", True)
    notes = {each.name: str(each.note) for each in outcomes if each.note and not each.photo}
    assert notes == {
        "@eaDir, ._2.jpg, __MACOSX": (
            "Left out: 3 (thumbnails and lists that systems keep beside photos)."
        ),
        "reg": "Left out: 1 (class pictures, masks or stored latents of a trainer).",
    }


def test_a_photo_that_is_here_already_takes_the_caption_that_it_lacks(desk, mine):
    files = [("again.png", encode(scene())), ("again.txt", b"ohwx cat asleep")]
    (outcome,) = desk.add(ANN, mine.id, *files)
    assert "here already, as one.png" in str(outcome.refusal)
    assert str(outcome.note) == "Its caption was taken over: “[trigger] asleep”."
    assert desk.subjects.get(ANN, mine.id).photos[0].caption == "[trigger] asleep"
    files[1] = ("again.txt", b"something else")
    (outcome,) = desk.add(ANN, mine.id, *files)
    assert outcome.note is None
    assert desk.subjects.get(ANN, mine.id).photos[0].caption == "[trigger] asleep"


def test_a_caption_that_comes_later_finds_its_photo(desk, mine):
    (outcome,) = desk.add(ANN, mine.id, ("one.txt", b"a cat sits"))
    assert str(outcome.note) == "Its caption was taken over: “a [trigger] sits”."
    assert desk.subjects.get(ANN, mine.id).photos[0].caption == "a [trigger] sits"
    lines = b'{"file_name": "one.png", "text": "ohwx cat runs"}\n'
    desk.add(ANN, mine.id, ("metadata.jsonl", lines))
    assert desk.subjects.get(ANN, mine.id).photos[0].caption == "[trigger] runs"


def test_captions_that_are_not_taken_say_why(desk, mine):
    files = {
        "a/1.png": encode(scene(seed=31)),
        "b/1.png": encode(scene(seed=32)),
        "captions/1.txt": b"red",
        "a/2.png": encode(scene(seed=33)),
        "a/2.txt": b"a cat",
        "a/2.caption": b"a dog",
        "a/inner.zip": zip_files({"3.png": b"x"}).getvalue(),
    }
    outcomes = desk.add(ANN, mine.id, ("set.zip", zip_files(files).getvalue()))
    said = {each.name: str(each.refusal or each.note) for each in outcomes if not each.photo}
    assert said.keys() == {"1.txt", "2.caption", "inner.zip"}
    assert said["1.txt"].startswith("2 photos are called 1, so that it is not known which")
    assert said["2.caption"] == "Its photo has another caption in 2.txt, which was taken."
    assert said["inner.zip"].startswith("This is a ZIP archive, which is not opened here.")
    captions = [photo.caption for photo in desk.subjects.get(ANN, mine.id).photos[1:]]
    assert captions == ["a [trigger]", "a [trigger]", "a [trigger]"]


def test_a_list_for_many_photos_is_told_of_once(desk, mine):
    lines = "".join(f'{{"file_name": "{n}.png", "text": "a cat"}}\n' for n in range(5000))
    lines += '{"file_name": "one.png", "text": "a cat asleep"}\n'
    lines += '{"file_name": "a/one.png", "text": "x"}\n{"file_name": "b/one.png", "text": "y"}\n'
    first, last = desk.add(ANN, mine.id, ("metadata.jsonl", lines.encode()))
    assert str(first.note) == "Its caption was taken over: “a [trigger] asleep”."
    assert (
        str(last.note)
        == "5002 of its captions are of photos that are not here, or have one already."
    )


def test_a_folder_of_kohya_s_names_the_subject(desk, mine):
    files = {
        "img/10_sks tabby/a.png": encode(scene(seed=21)),
        "img/10_sks tabby/b.png": encode(scene(seed=22)),
        "img/10_sks tabby/b.txt": b"photo of sks tabby, outside",
    }
    desk.add(ANN, mine.id, ("kohya.zip", zip_files(files).getvalue()))
    captions = [photo.caption for photo in desk.subjects.get(ANN, mine.id).photos[1:]]
    assert captions == ["[trigger]", "photo of [trigger], outside"]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("one.txt", "größe".encode("cp1252"), "not text in UTF-8"),
        ("metadata.jsonl", b'{"file_name": "one.png"', "Line 1 of metadata.jsonl is no JSON."),
        ("metadata.jsonl", b'{"a": 1}', "No line of metadata.jsonl names a photo"),
        ("metadata.csv", b"a,b\n1,2\n", "No line of metadata.csv names a photo"),
        ("one.txt", b"x" * 600_000, "The file has 600 kB; captions of at most 100 kB are read."),
        ("two.txt", b"a cat", "no photo of this name"),
    ],
)
def test_a_caption_that_cannot_be_used_is_said(desk, mine, name, data, sentence):
    (outcome,) = desk.add(ANN, mine.id, (name, data))
    assert sentence in str(outcome.refusal)
    assert desk.subjects.get(ANN, mine.id).photos[0].caption == "a [trigger]"


def test_an_upload_is_read_from_its_path(desk, mine, tmp_path):
    photo, archive = tmp_path / "a.png", tmp_path / "b.zip"
    photo.write_bytes(encode(scene(seed=1)))
    archive.write_bytes(zip_files({"c.png": encode(scene(seed=2))}).getvalue())
    outcomes = desk.add(ANN, mine.id, ("a.png", photo), ("b.zip", archive))
    assert [(each.name, each.refusal) for each in outcomes] == [("a.png", None), ("c.png", None)]


def test_of_500_photos_200_are_taken(desk, mine, monkeypatch):
    monkeypatch.setattr("pipelines.dreambooth.data.photos.MAX_PHOTOS", 8)  # as many, in less time
    opened = []
    original = desk.subjects._take.__globals__["kept"].open_photo

    def record_and_open(data):
        opened.append(len(data))
        return original(data)

    monkeypatch.setattr("pipelines.dreambooth.data.subjects.open_photo", record_and_open)
    files = {f"{n}.png": encode(Image.new("RGB", (64, 64), (n % 256, n // 256, 9))) for n in
             range(500)}  # fmt: skip
    outcomes = desk.add(ANN, mine.id, ("many.zip", zip_files(files).getvalue()))
    assert len(outcomes) == 500
    assert sum(each.photo is not None for each in outcomes) == 7
    assert all("at most 8 photos" in str(each.refusal) for each in outcomes[7:])
    assert len(opened) == 7  # what has no room is not even decoded


@pytest.mark.parametrize(
    "ask",
    [
        lambda s, owner, id, photo: s.get(owner, id),
        lambda s, owner, id, photo: list(s.add(owner, id, [("a", b"")])),
        lambda s, owner, id, photo: s.change(owner, id, name="x"),
        lambda s, owner, id, photo: s.photo(owner, id, photo),
        lambda s, owner, id, photo: s.preview(owner, id, photo),
        lambda s, owner, id, photo: s.change_photo(owner, id, photo, focus=(0, 0)),
        lambda s, owner, id, photo: s.remove_photo(owner, id, photo),
        lambda s, owner, id, photo: s.list_made(owner, id),
        lambda s, owner, id, photo: s.delete(owner, id),
    ],
)
def test_another_owner_finds_nothing(desk, mine, ask):
    with pytest.raises(NotFound):
        ask(desk.subjects, BEN, mine.id, mine.photos[0].id)
    assert desk.subjects.list(BEN) == []
    assert desk.subjects.get(ANN, mine.id) == mine


@pytest.mark.parametrize("id", ["../x", "0" * 32, "", "%", "'; --"])
def test_ids_that_stand_for_nothing(desk, mine, id):
    with pytest.raises(NotFound):
        desk.subjects.get(ANN, id)
    with pytest.raises(NotFound):
        desk.subjects.photo(ANN, mine.id, id)
    with pytest.raises(NotFound):
        desk.subjects.delete(ANN, id)
    desk.subjects.change(ANN, mine.id, name="Kim")
    assert not len(desk.subjects._locks)


def test_a_photo_of_one_subject_is_not_found_in_another(desk, mine):
    other = desk.subjects.create(ANN, "Tom")
    with pytest.raises(NotFound):
        desk.subjects.photo(ANN, other.id, mine.photos[0].id)


def test_the_preview_is_the_square_that_is_learnt_from(desk, mine):
    with Image.open(io.BytesIO(desk.subjects.preview(ANN, mine.id, mine.photos[0].id))) as image:
        assert (image.format, image.size) == ("WEBP", (256, 256))


def test_a_guest_s_quota_counts_photos(desk):
    desk.settings.change(guest_quota_mb=1)
    subject = desk.subjects.create(GUEST, "x")
    outcomes = desk.add(
        GUEST,
        subject.id,
        *((f"{n}.png", encode(scene((800, 600), (400, 300), seed=n))) for n in range(3)),
    )
    assert outcomes[0].photo is not None
    assert "a guest may keep 1.0 MB" in str(outcomes[-1].refusal)
    kept = desk.subjects.get(GUEST, subject.id)
    assert desk.quota.bytes_used(GUEST) == kept.bytes
    with pytest.raises(Busy):
        desk.subjects.create(GUEST, "another")
    desk.subjects.delete(GUEST, subject.id)
    assert desk.quota.bytes_used(GUEST) == 0


def test_removing_a_photo_gives_its_room_back(desk, mine):
    assert desk.quota.bytes_used(ANN) == mine.bytes > 0
    desk.subjects.remove_photo(ANN, mine.id, mine.photos[0].id)
    assert desk.quota.bytes_used(ANN) == 0


def test_there_is_a_limit_to_how_many(desk, mine, monkeypatch):
    monkeypatch.setattr("studio.features.training.subjects.MAX_SUBJECTS", 2)
    assert MAX_SUBJECTS >= 2
    desk.subjects.create(ANN, "second")
    with pytest.raises(Busy, match="You have 2 subjects; 2 are allowed"):
        desk.subjects.create(ANN, "third")
    desk.subjects.create(BEN, "his first")


def test_a_full_disk_is_said_for_the_file_that_did_not_fit(desk, mine, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipelines.dreambooth.data.subjects.write_whole", full)
    (outcome,) = desk.add(ANN, mine.id, ("two.png", encode(scene(seed=2))))
    assert "The disk is full" in str(outcome.refusal)
    monkeypatch.undo()
    assert desk.subjects.get(ANN, mine.id) == mine


def test_two_pages_add_at_once_and_nothing_is_lost(desk, mine):
    def add(first):
        for number in range(first, first + 6):
            desk.add(ANN, mine.id, (f"{number}.png", encode(scene((200, 150), (70, 70), number))))

    threads = [threading.Thread(target=add, args=(first,)) for first in (10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    subject = desk.subjects.get(ANN, mine.id)
    assert len(subject.photos) == 19
    assert desk.quota.bytes_used(ANN) == subject.bytes


# --- while it is learnt ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "running"])
def test_photos_stay_as_they_are_while_they_are_learnt(desk, mine, state):
    desk.job(ANN, {"subject": mine.id}, state)
    photo = mine.photos[0].id
    for change in (
        lambda: desk.add(ANN, mine.id, ("a.png", b"")),
        lambda: desk.subjects.remove_photo(ANN, mine.id, photo),
        lambda: desk.subjects.change_photo(ANN, mine.id, photo, focus=(0, 0)),
    ):
        with pytest.raises(BadRequest, match="Whiskers is being learnt right now"):
            change()
    with pytest.raises(BadRequest, match="Stop it first"):
        desk.subjects.delete(ANN, mine.id)
    assert desk.subjects.change(ANN, mine.id, name="Tom").name == "Tom"
    desk.store.write("UPDATE jobs SET state = 'cancelled'")
    desk.subjects.remove_photo(ANN, mine.id, photo)


def test_a_lora_that_a_job_is_about_to_use_holds_its_subject(desk, mine):
    _, lora, _, _ = desk.put_training(ANN, mine.id)
    desk.job(ANN, {"loras": [{"id": lora}]}, "queued", "text_to_image", id="waiting")
    with pytest.raises(BadRequest, match="uses these photos or what was made from them"):
        desk.subjects.delete(ANN, mine.id)
    assert desk.subjects.get(ANN, mine.id) == mine


# --- deleting -------------------------------------------------------------------------------------


def test_deleting_takes_everything_made_from_the_photos_and_nothing_else(desk, mine):
    other = desk.subjects.create(ANN, "Tom")
    his = desk.subjects.create(BEN, "Rex")
    first, second = desk.put_training(ANN, mine.id, 0), desk.put_training(ANN, mine.id, 1)
    left = desk.put_training(ANN, other.id, 2)
    others = desk.put_training(BEN, his.id, 3)
    plain = desk.picture(ANN)
    made = desk.subjects.list_made(ANN, mine.id)
    assert made.trainings == [first[0], second[0]]
    assert made.loras == {first[1]: "lora 0", second[1]: "lora 1"}
    assert made.jobs == [first[2], second[2]]
    assert made.pictures == [first[3], second[3]]
    assert desk.subjects.delete(ANN, mine.id) == made
    folders = {path.name for path in (desk.home / "trainings").iterdir()}
    assert folders == {left[0], others[0]}
    assert [entry.id for entry in desk.library.own(ANN)] == [left[1]]
    assert [entry.id for entry in desk.library.own(BEN)] == [others[1]]
    assert {row.id for row in desk.gallery.search(ANN)} == {left[3], plain}
    assert {row["id"] for row in desk.store.rows("SELECT id FROM jobs")} == {left[2], others[2]}
    assert [each.id for each in desk.subjects.list(ANN)] == [other.id]
    text = [path.read_bytes() for path in desk.home.rglob("*") if path.is_file()]
    assert not any(mine.photos[0].id.encode() in data for data in text if data[:6] != b"SQLite")
    assert not (desk.home / FOLDER / mine.id).exists()


def test_deleting_takes_what_was_merged_from_what_the_photos_taught(desk, mine):
    _, lora, _, _ = desk.put_training(ANN, mine.id)
    others = Entry("b" * 32, "others", None, sources=("c" * 32,))
    merged = Entry("d" * 32, "both", None, sources=("c" * 32, lora))
    desk.library.entries[ANN] += [others, merged]
    assert desk.subjects.delete(ANN, mine.id).loras == {lora: "lora 0", merged.id: "both"}
    assert desk.library.own(ANN) == [others]


def test_deleting_takes_what_was_merged_from_what_is_no_longer_in_the_library(desk, mine):
    training, lora, _, picture = desk.put_training(ANN, mine.id)
    TrainingFolder(desk.home, training).remember_library_id(lora)
    merged = Entry("d" * 32, "both", None, sources=("c" * 32, lora))
    others = Entry("b" * 32, "others", None, sources=("c" * 32,))
    desk.library.entries[ANN] += [merged, others]
    desk.library.delete(ANN, lora)
    made = desk.subjects.delete(ANN, mine.id)
    assert made.loras == {merged.id: "both"}
    assert made.pictures == [picture], "painted with what is no longer in the library"
    assert desk.library.own(ANN) == [others]
    assert desk.gallery.search(ANN) == []


def test_deleting_takes_what_was_made_by_trainings_that_are_deleted_already(desk, mine):
    training, lora, job, picture = desk.put_training(ANN, mine.id)
    request, uses = {"subject": mine.id, "training": training}, [Use("subject", mine.id)]
    sheet = desk.gallery.save(ANN, job, -1, KIND, Image.new("RGB", (8, 8)), request, uses=uses).id
    shutil.rmtree(desk.home / "trainings" / training)
    desk.store.write("DELETE FROM jobs")
    entry = Entry(lora, "lora 0", training, subjects=("e" * 32, mine.id))
    desk.library.entries[ANN] = [entry]
    made = desk.subjects.delete(ANN, mine.id)
    assert made.loras == {lora: "lora 0"}
    assert set(made.pictures) == {sheet, picture}
    assert desk.gallery.search(ANN) == []


def test_deleting_takes_pictures_of_what_is_gone_without_any_other_trace(desk, mine):
    gone, picture = "9" * 32, desk.picture(ANN, "one", {"prompt": "x", "model": "own:" + "9" * 32})
    other = desk.picture(ANN, "two", {"prompt": "x", "model": "own:" + "8" * 32})
    note_made(desk.home, mine.id, gone)
    note_made(desk.home, mine.id, gone)
    assert desk.subjects.delete(ANN, mine.id).pictures == [picture]
    assert [row.id for row in desk.gallery.search(ANN)] == [other]
    note_made(desk.home, mine.id, gone)
    note_made(desk.home, "../x", gone)
    assert list((desk.home / FOLDER).iterdir()) == []


def test_deleting_leaves_everything_where_it_cannot_be_read_what_came_from_the_photos(desk, mine):
    (desk.home / FOLDER / mine.id / MADE).mkdir()
    with pytest.raises(IsADirectoryError):
        desk.subjects.delete(ANN, mine.id)
    assert [each.id for each in desk.subjects.list(ANN)] == [mine.id]


def test_a_subject_whose_list_is_damaged_can_still_be_deleted(desk, mine):
    (desk.home / FOLDER / mine.id / "subject.json").unlink()
    assert desk.subjects.list(ANN) == []
    desk.subjects.delete(ANN, mine.id)
    assert list((desk.home / FOLDER).iterdir()) == []


def test_delete_all_leaves_those_of_others(desk, mine):
    his = desk.subjects.create(BEN, "Rex")
    desk.subjects.create(ANN, "Tom")
    assert desk.subjects.delete_all(ANN) == 2
    assert desk.subjects.list(ANN) == []
    assert desk.subjects.get(BEN, his.id).name == "Rex"


def test_cleaning_up_takes_folders_of_nobody(desk, mine):
    stray, young = desk.home / FOLDER / ("e" * 32), desk.home / FOLDER / ("f" * 32)
    for folder in (stray, young):
        folder.mkdir()
        (folder / "x.png").write_bytes(b"12345")
    then = time.time() - WRITING_SECONDS - 60
    os.utime(stray, (then, then))
    os.utime(desk.home / FOLDER / mine.id, (then, then))
    assert sum(desk.subjects.clean_up(dry_run=True)) == 5
    assert stray.exists()
    assert sum(desk.subjects.clean_up()) == 5
    assert not stray.exists()
    assert young.exists()
    assert desk.subjects.get(ANN, mine.id) == mine


def test_brought_in_pictures_have_nothing_to_do_with_photos(desk, mine):
    inputs = Inputs(desk.store, desk.home, desk.gallery, desk.quota)
    brought = inputs.bring(ANN, encode(scene()))
    desk.subjects.delete(ANN, mine.id)
    assert inputs.get(ANN, brought.id) == brought
