"""Data sets as trainers, drives and people pack them: each file is taken, used or told of."""

from __future__ import annotations

import io
import json
import random
import zipfile

import pytest
from PIL import Image

from pipelines.core.errors import UserError
from pipelines.dreambooth.data.captions import kind_of
from pipelines.dreambooth.data.subjects import TRIGGER
from studio.features.training.subjects import Subjects
from tests.studio.features.training.test_subjects import ANN, Desk, desk  # noqa: F401  (a fixture)
from tests.sweeps.plain_sentences import check_sentence

pytestmark = pytest.mark.deep

CASES = 25
NAMES = ["cat", "IMG_0001", "my cat (2)", "café", "猫", "a.b", "x" * 90]
FOLDERS = ["", "img/", "10_ohwx cat/", "set/deep/er/", "./", "C:\\photos\\"]
SYSTEM = ["@eaDir/{}.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._{}.jpg", ".DS_Store", "Thumbs.db",
          "._{}.jpg", "desktop.ini"]  # fmt: skip
ODD = {"readme.md": b"# words", "model.safetensors": bytes(99), "clip.mp4": b"\0\0\0\x18ftypmp42",
       "notes.txt": "größe".encode("cp1252"), "metadata.jsonl": b"{", "empty.png": b""}  # fmt: skip


def photo(draw: random.Random) -> bytes:
    """A photo that no other is like."""
    picture = Image.frombytes("RGB", (8, 8), draw.randbytes(192)).resize((64, 64))
    buffer = io.BytesIO()
    picture.save(buffer, draw.choice(("PNG", "JPEG", "WEBP")))
    return buffer.getvalue()


def data_set(draw: random.Random) -> tuple[dict[str, bytes], dict[str, str]]:
    """Files by their paths, and what the caption of each photo must hold."""
    files: dict[str, bytes] = {}
    captions: dict[str, str] = {}
    folder, form = draw.choice(FOLDERS), draw.choice(("txt", "caption", "list", "none"))
    listed = []
    for number, name in enumerate(draw.sample(NAMES, draw.randrange(1, 5))):
        path = f"{folder}{name}.{draw.choice(('png', 'JPG', 'webp'))}"
        files[path] = photo(draw)
        words = f"caption {number} of a cat, bright"
        if form == "list":
            listed.append(json.dumps({"file_name": path.removeprefix(folder), "text": words}))
        elif form != "none":
            files[f"{folder}{name}.{form}"] = words.encode()
        captions[path] = f"caption {number} of a {TRIGGER}, bright" if form != "none" else TRIGGER
    if listed:
        files[f"{folder}metadata.jsonl"] = "\n".join(listed).encode()
    for pattern in draw.sample(SYSTEM, draw.randrange(4)):
        files[folder + pattern.format("cat")] = b"x"
    if folder != "img/":
        for name in draw.sample(sorted(ODD), draw.randrange(3)):
            files.setdefault(f"{folder}{name}", ODD[name])
    return dict(draw.sample(list(files.items()), len(files))), captions


def pack_files(files: dict[str, bytes], draw: random.Random) -> list[tuple[str, bytes]]:
    """The files as a zip, or one by one without their folders."""
    if draw.random() < 0.5:
        return [(path.replace("\\", "/").rpartition("/")[2], data) for path, data in files.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice((0, zipfile.ZIP_DEFLATED))) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return [("all.zip", buffer.getvalue())]


def test_each_file_is_taken_used_or_told_of(desk: Desk) -> None:  # noqa: F811
    draw = random.Random(4)
    subjects: Subjects = desk.subjects
    for case in range(CASES):
        subject = subjects.create(ANN, "Whiskers", "ohwx", "cat")
        files, captions = data_set(draw)
        outcomes = list(subjects.add(ANN, subject.id, pack_files(files, draw)))
        taken = [each.photo for each in outcomes if each.photo]
        assert len(taken) == len(captions), (case, [str(each.refusal) for each in outcomes])
        wanted = sorted(captions.values())
        assert all(TRIGGER in each.caption for each in taken)
        if "caption" in wanted[0]:
            assert sorted(each.caption for each in taken) == wanted, case
        named = {each.name for each in outcomes} | {each.name for each in taken}
        for path in files:
            name = path.replace("\\", "/").rpartition("/")[2]
            is_caption = name.endswith((".txt", ".caption", ".jsonl"))
            if kind_of(path) == "system":
                assert any("Left out" in str(each.note) for each in outcomes), (case, name)
            else:
                assert is_caption or name[:80] in named, (case, name)
        for each in outcomes:
            for message in (each.refusal, each.note):
                if message is not None:
                    check_sentence(UserError(message.template, **message.values))
        subjects.delete(ANN, subject.id)
