"""Photos by way of the page: nothing of what a camera writes into them is kept."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from studio.app import open_studio
from studio.core.accounts.accounts import Owner
from studio.features.training.photos import NEW, PhotosForm
from tests.pipelines.dreambooth.data.test_photos import encode, scene, zip_files
from tests.studio.live import TINY, options_for
from tests.studio.rows import add_job

CAMERA = "A very particular camera"


def photograph(seed: int) -> bytes:
    """A JPEG that says where it was taken, and with what."""
    exif = Image.Exif()
    exif[Base.Make] = CAMERA
    exif.get_ifd(IFD.GPSInfo)[2] = (48.0, 51.0, 29.0)
    return encode(scene(seed=seed), "JPEG", exif=exif)


def find_camera_data(folder: Path) -> set[str]:
    """Files below a folder that hold what the camera wrote."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if CAMERA.encode() in path.read_bytes()}


@pytest.fixture
def form(tmp_path, twin_home) -> Iterator[PhotosForm]:
    studio = open_studio(options_for(tmp_path / "home", twin_home))
    with gr.Blocks():
        form = PhotosForm(studio)
        form.draw()
    yield form
    studio.close()


def upload(form: PhotosForm, files: dict[str, bytes]) -> list[str]:
    """The paths at which Gradio keeps what was uploaded."""
    paths = []
    for number, (name, data) in enumerate(files.items()):
        path = form.studio.home / "cache" / f"{number:064x}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(str(path))
    return paths


def add_photos(form: PhotosForm, paths: list[str], subject: str = NEW) -> list:
    owner = Owner("local", "you", is_host=True)
    request = SimpleNamespace(state=SimpleNamespace(owner=owner), headers={})
    return form._add(paths, TINY, subject, "Whiskers", "cat", "ohwx", request)


def test_no_copy_of_an_uploaded_photo_is_left(form):
    archive = zip_files({"three.jpg": photograph(3)}, zipfile.ZIP_STORED).getvalue()
    files = {"one.jpg": photograph(1), "two.jpg": photograph(2)[:-2000], "all.zip": archive}
    paths = upload(form, files)
    home = form.studio.home
    assert find_camera_data(home) == {"one.jpg", "two.jpg", "all.zip"}
    list(add_photos(form, [*paths, paths[0]]))
    (subject,) = form.studio.subjects.list("local")
    assert [photo.name for photo in subject.photos] == ["one.jpg", "three.jpg"]
    assert find_camera_data(home) == set()
    assert not any(Path(path).exists() for path in paths)


def test_nor_where_nothing_could_be_taken_or_the_page_was_closed(form):
    home = form.studio.home
    subject = form.studio.subjects.create("local", "Whiskers", "ohwx", "cat")
    add_job(form.studio.store, "local", "dreambooth", {"subject": subject.id}, "queued")
    list(add_photos(form, upload(form, {"one.jpg": photograph(1)}), subject.id))
    assert form.studio.subjects.get("local", subject.id).photos == []
    assert find_camera_data(home) == set()
    form.studio.store.write("DELETE FROM jobs")
    events = add_photos(form, upload(form, {f"{n}.jpg": photograph(n) for n in (2, 3)}), subject.id)
    next(events)
    events.close()
    assert find_camera_data(home) == set()


def test_only_copies_are_deleted(form, tmp_path):
    own = tmp_path / "own.jpg"
    own.write_bytes(photograph(1))
    inside = form.studio.home / "own.jpg"
    inside.write_bytes(photograph(2))
    climbing = form.studio.home / "cache" / ".." / "own.jpg"
    (form.studio.home / "cache").mkdir(exist_ok=True)
    list(add_photos(form, [str(own), str(climbing)]))
    assert own.exists()
    assert inside.exists()


def test_an_upload_that_has_gone_is_said_and_the_others_are_taken(form):
    paths = upload(form, {"one.jpg": photograph(1), "two.jpg": photograph(2)})
    Path(paths[0]).unlink()
    *_, (_, *shown) = add_photos(form, paths)
    assert "one.jpg is no longer there. Send it again." in str(shown)
    (subject,) = form.studio.subjects.list("local")
    assert [photo.name for photo in subject.photos] == ["two.jpg"]
