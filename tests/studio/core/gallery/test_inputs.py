"""Brought-in pictures: kept without anything but pixels, found by their owner alone."""

from __future__ import annotations

import errno
import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import BadRequest, Busy, NotFound, Unavailable
from pipelines.core.pictures.colour_profiles import DISPLAY_P3, matrix_profile
from pipelines.core.pictures.inputs import FOLDER, input_path, open_input
from studio.core.gallery.gallery import Gallery
from studio.core.gallery.inputs import KEPT_SECONDS, MAX_SIDE, Inputs
from studio.core.home import WRITING_SECONDS, DiskFull, prepare_home
from studio.core.quota import Quota
from studio.core.settings import StoredSettings
from studio.core.store import Store
from tests.studio.rows import add_job

ANN, BEN, GUEST = "ann", "ben", "guest-1"


class Desk:
    """The parts that brought-in pictures need."""

    def __init__(self, home) -> None:
        self.home = prepare_home(home)
        self.store = Store(self.home)
        self.settings = StoredSettings(self.store)
        self.quota = Quota(self.settings)
        self.gallery = Gallery(self.store, self.home, self.settings)
        self.inputs = Inputs(self.store, self.home, self.gallery, self.quota)
        self.quota.keepers = (self.gallery, self.inputs)

    def job(self, owner, picture, state="done"):
        add_job(self.store, owner, "control", {"units": [{"picture": picture}]}, state)

    def age(self, id, seconds):
        then = time.time() - seconds
        self.store.write("UPDATE inputs SET created = ? WHERE id = ?", (then, id))
        os.utime(input_path(self.home, id), (then, then))

    def map_of(self, id):
        path = self.home / FOLDER / ".maps" / f"{id}-0123.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a map")
        return path


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "home")
    yield desk
    desk.store.close()


def png(colour="red", size=(8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_colours_are_kept_in_srgb(desk):
    buffer = io.BytesIO()
    profile = matrix_profile(DISPLAY_P3)
    Image.new("RGB", (8, 6), (200, 80, 40)).save(buffer, "PNG", icc_profile=profile)
    kept = desk.inputs.bring(ANN, buffer.getvalue())
    red, green, blue = desk.inputs.open(ANN, kept.id).getpixel((3, 3))
    assert abs(red - 216) <= 1, "as a browser shows it"
    assert abs(green - 69) <= 1
    assert abs(blue - 17) <= 1


def noise(width, height) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def test_what_was_brought_in_comes_back(desk):
    kept = desk.inputs.bring(ANN, png())
    assert (kept.width, kept.height) == (8, 6)
    assert kept.bytes == desk.inputs.path(ANN, kept.id).stat().st_size
    assert desk.inputs.open(ANN, kept.id).getpixel((3, 3)) == (255, 0, 0)
    assert desk.inputs.list(ANN) == [kept]


def test_the_same_picture_is_kept_once_and_is_young_again(desk):
    first = desk.inputs.bring(ANN, png())
    desk.age(first.id, 1000)
    again = desk.inputs.bring(ANN, png())
    assert again.id == first.id
    assert time.time() - again.created < 100
    assert len(desk.inputs.list(ANN)) == 1


def test_longer_sides_are_shrunk_and_proportions_stay(desk):
    kept = desk.inputs.bring(ANN, png(size=(MAX_SIDE + 1024, 512)))
    assert (kept.width, kept.height) == (MAX_SIDE, round(512 * MAX_SIDE / (MAX_SIDE + 1024)))
    thin = desk.inputs.bring(ANN, png(size=(1, 10 * MAX_SIDE)))
    assert (thin.width, thin.height) == (1, MAX_SIDE)


@pytest.mark.parametrize("method", ["get", "path", "open", "delete"])
def test_another_owner_s_picture_is_not_found(desk, method):
    kept = desk.inputs.bring(ANN, png())
    with pytest.raises(NotFound):
        getattr(desk.inputs, method)(BEN, kept.id)
    assert desk.inputs.list(BEN) == []
    assert desk.inputs.get(ANN, kept.id) == kept


@pytest.mark.parametrize("id", ["../atelier.db", "0" * 32, "", "%", "'; --"])
def test_ids_that_stand_for_nothing(desk, id):
    desk.inputs.bring(ANN, png())
    with pytest.raises(NotFound):
        desk.inputs.get(ANN, id)


def test_the_same_pixels_of_two_owners_are_two_pictures(desk):
    ann, ben = desk.inputs.bring(ANN, png()), desk.inputs.bring(BEN, png())
    desk.inputs.delete(ANN, ann.id)
    assert desk.inputs.open(BEN, ben.id).size == (8, 6)


def test_a_vanished_file_is_not_found_and_can_be_brought_in_again(desk):
    kept = desk.inputs.bring(ANN, png())
    input_path(desk.home, kept.id).unlink()
    with pytest.raises(NotFound):
        desk.inputs.get(ANN, kept.id)
    assert desk.inputs.bring(ANN, png()).id == kept.id
    assert desk.inputs.open(ANN, kept.id).size == (8, 6)


def test_a_full_disk_is_said_and_leaves_no_row(desk, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("studio.core.gallery.inputs.keep_input", full)
    with pytest.raises(DiskFull, match=r"144 B are needed .* Free some space, then try again\."):
        desk.inputs.bring(ANN, png())
    assert desk.inputs.list(ANN) == []


# --- the gallery and the quota --------------------------------------------------------------------


def save_picture(desk, owner, size=(40, 30)):
    image = Image.new("RGB", size, "blue")
    return desk.gallery.save(owner, "job", 0, "text_to_image", image, {"prompt": "x"})


def test_a_gallery_picture_is_brought_in(desk):
    kept = desk.inputs.from_gallery(ANN, save_picture(desk, ANN).id)
    assert kept.notes == ()
    assert desk.inputs.open(ANN, kept.id).getpixel((0, 0)) == (0, 0, 255)


def test_of_a_gallery_picture_that_is_made_smaller_it_is_said(desk):
    kept = desk.inputs.from_gallery(ANN, save_picture(desk, ANN, (4096, 64)).id)
    assert (kept.width, kept.height) == (2048, 32)
    (note,) = kept.notes
    assert "was made smaller, from 4096×64 to 2048×32 pixels" in str(note)


def test_another_s_gallery_picture_is_not_found(desk):
    row = save_picture(desk, ANN)
    with pytest.raises(NotFound):
        desk.inputs.from_gallery(BEN, row.id)


def test_a_guest_s_quota_counts_brought_in_pictures(desk):
    desk.settings.change(guest_quota_mb=1)
    kept = desk.inputs.bring(GUEST, noise(700, 600))
    assert desk.quota.bytes_used(GUEST) == kept.bytes > 10**6
    with pytest.raises(Busy, match=r"a guest may keep 1\.0 MB"):
        desk.inputs.bring(GUEST, png())
    with pytest.raises(Busy, match=r"a guest may keep 1\.0 MB"):
        desk.quota.check_room(GUEST)
    desk.inputs.delete(GUEST, kept.id)
    desk.inputs.bring(GUEST, png())


# --- deleting -------------------------------------------------------------------------------------


def test_deleting_takes_row_file_and_maps(desk):
    kept, other = desk.inputs.bring(ANN, png()), desk.inputs.bring(ANN, png("green"))
    mine, others = desk.map_of(kept.id), desk.map_of(other.id)
    desk.inputs.delete(ANN, kept.id)
    assert not input_path(desk.home, kept.id).exists()
    assert not mine.exists()
    assert others.exists()
    assert desk.inputs.list(ANN) == [other]


def test_what_a_job_is_about_to_follow_is_not_deleted(desk):
    kept = desk.inputs.bring(ANN, png())
    desk.job(ANN, kept.id, "queued")
    with pytest.raises(BadRequest, match="waiting or running follows this picture"):
        desk.inputs.delete(ANN, kept.id)
    desk.store.write("UPDATE jobs SET state = 'cancelled'")
    desk.inputs.delete(ANN, kept.id)


def test_delete_all_leaves_those_of_others(desk):
    for colour in ("red", "green"):
        desk.inputs.bring(ANN, png(colour))
    kept = desk.inputs.bring(BEN, png())
    assert desk.inputs.delete_all(ANN) == 2
    assert desk.inputs.list(ANN) == []
    assert desk.inputs.list(BEN) == [kept]


def test_a_drawing_takes_the_place_of_its_former_self(desk):
    former = desk.inputs.bring(ANN, png())
    newer = desk.inputs.bring(ANN, png("green"), instead_of=former.id)
    assert desk.inputs.list(ANN) == [newer]
    assert not input_path(desk.home, former.id).exists()
    same = desk.inputs.bring(ANN, png("green"), instead_of=newer.id)
    assert desk.inputs.list(ANN) == [same]


def test_what_a_job_has_followed_is_not_replaced(desk):
    former = desk.inputs.bring(ANN, png())
    desk.job(ANN, former.id)
    desk.inputs.bring(ANN, png("green"), instead_of=former.id)
    assert desk.inputs.get(ANN, former.id).id == former.id


def test_nobody_replaces_another_s_picture(desk):
    ann = desk.inputs.bring(ANN, png())
    desk.inputs.bring(BEN, png("green"), instead_of=ann.id)
    assert desk.inputs.get(ANN, ann.id) == ann


# --- cleaning up ----------------------------------------------------------------------------------


def test_cleaning_up_takes_old_pictures_that_no_job_of_their_owner_names(desk):
    young = desk.inputs.bring(ANN, png("white"))
    old = desk.inputs.bring(ANN, png("red"))
    used = desk.inputs.bring(ANN, png("green"))
    named_by_another = desk.inputs.bring(ANN, png("blue"))
    for row in (old, used, named_by_another):
        desk.age(row.id, KEPT_SECONDS + 60)
    desk.job(ANN, used.id)
    desk.job(BEN, named_by_another.id)
    expected = old.bytes + named_by_another.bytes
    assert sum(desk.inputs.clean_up(dry_run=True)) == expected
    assert len(desk.inputs.list(ANN)) == 4
    assert sum(desk.inputs.clean_up()) == expected
    assert {row.id for row in desk.inputs.list(ANN)} == {young.id, used.id}
    assert sum(desk.inputs.clean_up()) == 0


def test_cleaning_up_takes_all_maps_and_files_of_nobody(desk):
    kept = desk.inputs.bring(ANN, png())
    made = desk.map_of(kept.id)
    stray = input_path(desk.home, "f" * 32)
    stray.write_bytes(b"from before the database was lost")
    being_written = input_path(desk.home, "e" * 32)
    being_written.write_bytes(b"its row comes in a moment")
    os.utime(stray, (1, time.time() - WRITING_SECONDS - 60))
    freed = made.stat().st_size + stray.stat().st_size
    assert sum(desk.inputs.clean_up()) == freed
    assert not made.exists()
    assert not stray.exists()
    assert being_written.exists()
    assert desk.inputs.get(ANN, kept.id) == kept


@pytest.mark.parametrize("left", [0, 5, 30])
def test_a_damaged_file_is_said_so_and_is_whole_again_when_it_is_brought_in(desk, left):
    kept = desk.inputs.bring(ANN, png())
    path = input_path(desk.home, kept.id)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(Unavailable, match=r"is damaged or cannot be read\. Bring it in again"):
        desk.inputs.open(ANN, kept.id)
    assert desk.inputs.bring(ANN, png()).id == kept.id
    assert desk.inputs.open(ANN, kept.id).size == (8, 6)


def test_a_damaged_picture_of_the_gallery_is_said_so(desk):
    row = save_picture(desk, ANN)
    path = desk.gallery.path(ANN, row.id)
    path.write_bytes(path.read_bytes()[:60])
    for use in (desk.inputs.from_gallery, desk.gallery.thumbnail):
        with pytest.raises(Unavailable, match=f"picture {row.id} is damaged"):
            use(ANN, row.id)
    desk.gallery.delete(ANN, row.id)


def test_what_was_transparent_can_be_put_on_another_colour_after_it_was_made_smaller(desk):
    wide = Image.new("RGBA", (2 * MAX_SIDE, 4), (200, 0, 0, 255))
    wide.paste((0, 0, 0, 0), (0, 0, MAX_SIDE, 4))
    data = io.BytesIO()
    wide.save(data, format="PNG")
    kept = desk.inputs.bring(ANN, data.getvalue())
    on_white, on_blue = (open_input(desk.home, kept.id, at) for at in ("#ffffff", "#0000ff"))
    assert on_white.size == on_blue.size == (MAX_SIDE, 2)
    ends = [(each.getpixel((0, 0)), each.getpixel((MAX_SIDE - 1, 0))) for each in
            (on_white, on_blue)]  # fmt: skip
    assert ends == [((255, 255, 255), (200, 0, 0)), ((0, 0, 255), (200, 0, 0))]
    again = desk.inputs.bring(ANN, data.getvalue())
    assert again.id == kept.id
    assert desk.inputs.open(ANN, kept.id).tobytes() == on_white.tobytes()
