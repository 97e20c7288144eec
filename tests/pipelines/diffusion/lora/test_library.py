"""The library keeps what is whole, under names of its own, each owner's apart."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
import torch
from safetensors.torch import load, save

from pipelines.core.errors import BadRequest, NotFound, Refused
from pipelines.diffusion.lora import entries, record
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.diffusion.lora.record import SHARED, clean_name
from pipelines.diffusion.lora.tags import tags_in
from tests.pipelines.diffusion.lora import files

ANN, BEN = "ann", "ben"


@pytest.fixture
def data(halves):
    return files.kohya(halves, 2.0, {"modelspec.trigger_phrase": "sks"})


def names(library, owner) -> list[str]:
    return [record.name for record in library.list(owner)]


def test_what_was_put_in_is_found_again(library, data, halves):
    record = library.add(ANN, "clay", data, training="b" * 32)
    assert library.list(ANN) == [record]
    assert library.get(ANN, "clay") == library.by_id(record.id) == record
    assert (record.kind, record.style, record.family) == ("lora", "kohya", "unet-32")
    assert (record.rank, record.alpha, record.triggers) == (4, 2.0, ("sks",))
    assert record.modules["unet"] + record.modules["text_encoder"] == len(halves)
    assert record.training == "b" * 32
    assert record.bytes == library.path(record).stat().st_size
    assert LoraLibrary(library.home).list(ANN) == [record]
    kept = load(library.path(record).read_bytes())
    assert all(key.endswith((".lora_A.weight", ".lora_B.weight")) for key in kept)


def test_a_path_is_taken_as_well_and_stays(library, data, tmp_path):
    path = files.write_file(tmp_path, data)
    library.add(ANN, "clay", path)
    assert path.read_bytes() == data


def test_a_name_is_given_once_per_owner(library, data):
    assert [library.add(ANN, name, data).name for name in ("clay", "clay", "CLAY")] == [
        "clay", "clay 2", "CLAY 3"
    ]  # fmt: skip
    assert library.add(BEN, "clay", data).name == "clay"
    assert library.add(ANN, "x" * 100, data).name == "x" * 100
    assert library.add(ANN, "x" * 100, data).name == "x" * 98 + " 2"


def test_two_additions_at_once_get_two_names(library, data):
    threads = [threading.Thread(target=library.add, args=(ANN, "clay", data)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(library, ANN)) == ["clay", "clay 2", "clay 3", "clay 4"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("🐕 dog", "🐕 dog"),
        ("../../etc/passwd", "..-..-etc-passwd"),
        ("a/b\\c", "a-b-c"),
        ("<lora:x:1>", "lora-x-1"),
        ("a, b: c", "a- b- c"),
        ("\x00\n\u202e", "LoRA"),
        ("", "LoRA"),
        ("  a \t b ", "a b"),
        ("x" * 500, "x" * 100),
    ],
)
def test_names_are_made_fit_for_tags_and_settings(library, data, given, kept):
    assert clean_name(given) == kept
    record = library.add(ANN, given, data)
    assert record.name == kept
    assert [use.name for use in tags_in(f"<lora:{record.name}:0.5>")] == [kept]
    assert {path.name for path in (library.home / "loras").iterdir()} == {record.id}


def test_each_owner_sees_their_own(library, data):
    ann, ben = library.add(ANN, "clay", data), library.add(BEN, "wood", data)
    assert names(library, ANN) == ["clay"]
    assert names(library, BEN) == ["wood"]
    with pytest.raises(NotFound, match=r"no LoRA called wood in the library\. Did you mean .*clay"):
        library.get(ANN, "wood")
    for change in (library.delete, lambda owner, id: library.rename(owner, id, "mine")):
        with pytest.raises(NotFound):
            change(ANN, ben.id)
    assert library.by_id(ben.id) == ben
    library.delete(ANN, ann.id)
    with pytest.raises(NotFound, match="the library is empty"):
        library.get(ANN, "clay")


def test_renaming_and_deleting(library, data):
    one, two = library.add(ANN, "one", data), library.add(ANN, "two", data)
    assert library.rename(ANN, one.id, "two").name == "two 2"
    assert library.rename(ANN, two.id, "two").name == "two"
    assert library.get(ANN, "two 2").id == one.id
    library.delete(ANN, one.id)
    with pytest.raises(NotFound, match="no longer in the library"):
        library.by_id(one.id)
    with pytest.raises(NotFound):
        library.delete(ANN, one.id)
    assert {path.name for path in (library.home / "loras").iterdir()} == {two.id}


@pytest.mark.parametrize("id", ["../models", "", "x", "0" * 32, "..", "a/b", "A" * 32])
def test_ids_that_stand_for_nothing(library, data, id):
    library.add(ANN, "clay", data)
    with pytest.raises(NotFound):
        library.by_id(id)


@pytest.mark.parametrize("bad", [b"", b"PK\x03\x04", b"\xff" * 99, save({"w.x": torch.ones(1)})])
def test_what_is_refused_leaves_nothing_behind(library, bad):
    with pytest.raises(BadRequest, match="clay"):
        library.add(ANN, "clay", bad)
    assert list((library.home / "loras").iterdir()) == []


def test_what_cannot_be_written_leaves_nothing_behind(library, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.diffusion.lora.entries._write_json", full)
    with pytest.raises(OSError, match="No space"):
        library.add(ANN, "clay", data)
    assert list((library.home / "loras").iterdir()) == []


def test_what_a_killed_studio_left_is_swept_away(library, data):
    left = library.home / "loras" / ".new-abc"
    young = library.home / "loras" / ".new-def"
    for folder in (left, young):
        folder.mkdir(parents=True)
    os.utime(left, (1, time.time() - 2 * 24 * 3600))
    library.add(ANN, "clay", data)
    assert not left.exists()
    assert young.exists()
    assert names(library, ANN) == ["clay"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"id": "x"}'])
def test_a_damaged_entry_is_left_out(library, data, damage):
    record, other = library.add(ANN, "clay", data), library.add(ANN, "wood", data)
    (library.home / "loras" / record.id / "about.json").write_text(damage)
    assert library.list(ANN) == [other]
    with pytest.raises(NotFound):
        library.by_id(record.id)


def test_no_entry_passes_for_everybody_s(library, data):
    record = library.add(ANN, "clay", data)
    path = library.home / "loras" / record.id / "about.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"owner": SHARED}))
    assert library.list(BEN) == []


# --- everybody's ----------------------------------------------------------------------------------


def test_files_in_the_folder_are_everybody_s(library, data):
    (library.home / "loras").mkdir()
    (library.home / "loras" / "old one.safetensors").write_bytes(data)
    mine = library.add(ANN, "clay", data)
    assert names(library, ANN) == ["clay", "old one"]
    (shared,) = library.list(BEN)
    assert (shared.owner, shared.rank, shared.sha256) == (SHARED, 4, mine.sha256)
    assert library.by_id(shared.id) == library.get(BEN, "old one") == shared
    for change in (library.delete, lambda owner, id: library.rename(owner, id, "mine")):
        with pytest.raises(Refused, match="old one is a file in the folder loras"):
            change(ANN, shared.id)
    assert library.add(BEN, "old one", data).name == "old one 2"
    assert load(library.export(shared.id, "kohya")).keys() == load(data).keys()


def test_a_bad_file_of_everybody_s_is_named_when_it_is_asked_for(library, data):
    (library.home / "loras").mkdir()
    (library.home / "loras" / "bad.safetensors").write_bytes(b"PK\x03\x04....")
    (library.home / "loras" / "notes.txt").write_text("not a LoRA")
    library.add(ANN, "clay", data)
    assert names(library, ANN) == ["clay"]
    assert [
        "bad.safetensors is a zip file" in str(reason) for reason in library.list_refusals()
    ] == [True]
    with pytest.raises(BadRequest, match=r"bad\.safetensors is a zip file"):
        library.get(ANN, "bad")


def test_a_file_that_was_exchanged_is_read_again(library, data, halves):
    path = library.home / "loras" / "one.safetensors"
    path.parent.mkdir()
    path.write_bytes(data)
    assert library.get(BEN, "one").alpha == 2.0
    path.write_bytes(files.kohya(halves, 3.0, {"x": "y"}))
    assert library.get(BEN, "one").alpha == 3.0


def test_thousands_of_files_of_everybody_s_are_read_once_and_large_ones_hashed_when_used(
    library, data, halves, monkeypatch
):
    folder = library.home / "loras"
    folder.mkdir()
    for number in range(260):  # more than 256 once made each list read all of them again
        (folder / f"{number}.safetensors").write_bytes(data)
    monkeypatch.setattr(entries, "HASHED", len(data))
    (folder / "large.safetensors").write_bytes(files.kohya(halves, 2.0, {"x": "y" * 100}))
    listed = library.list(ANN)
    assert [each.name for each in listed if not each.sha256] == ["large"]
    opened = []
    monkeypatch.setattr(record, "open_lora", lambda *file: opened.append(file))
    assert library.list(ANN) == listed
    assert not opened
    monkeypatch.undo()
    large = library.by_id(listed[-1].id)
    assert large.sha256 == listed[0].sha256, "of all that follows the header"
    assert library.list(ANN)[-1] == large
