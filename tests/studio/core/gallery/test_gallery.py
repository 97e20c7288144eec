"""The gallery: whole files only, found by words, seen by their owner alone."""

from functools import partialmethod

import pytest
from PIL import Image

from pipelines.core.engine import Use
from pipelines.core.errors import Busy, NotFound, Unavailable
from studio.core.gallery.gallery import Gallery, Unwritten, owner_folder
from studio.core.gallery.metadata import read_settings
from studio.core.home import disk_full, prepare_home
from studio.core.settings import StoredSettings
from studio.core.store import Store, StoreAway

ANN, BEN = "ann", "ben"


@pytest.fixture
def open_gallery(tmp_path):
    home = prepare_home(tmp_path / "home")
    store = Store(home)
    yield lambda: Gallery(store, home, StoredSettings(store))
    store.close()


@pytest.fixture
def gallery(open_gallery) -> Gallery:
    return open_gallery()


CLAY = Use("lora", "c" * 32)


def _save(gallery, prompt="a red mug", owner=ANN, job="job", position=0, **request):
    image = Image.new("RGB", (600, 300), (200, 30, 30))
    fields = {"prompt": prompt, "steps": 20, "sampler": "Euler", "seed": 7, **request}
    return gallery.save(owner, job, position, "text_to_image", image, fields, 1.5, uses=[CLAY])


def test_a_saved_picture_is_a_whole_png_with_its_settings_inside(gallery):
    row = _save(gallery)
    path = gallery.path(ANN, row.id)
    assert Image.open(path).size == (600, 300) == (row.width, row.height)
    assert path.stat().st_size == row.bytes
    settings = read_settings(path.read_bytes())
    assert settings["prompt"] == "a red mug"
    assert settings["Seed"] == "7"


def test_settings_can_be_left_out_of_the_file_but_not_of_the_gallery(gallery):
    gallery._settings.change(save_metadata=False)
    row = _save(gallery)
    assert Image.open(gallery.path(ANN, row.id)).text == {}
    assert "Seed: 7" in row.parameters


def test_half_an_emoji_is_searched_for_and_not_found(gallery):
    _save(gallery)
    assert gallery.search(ANN, "mug \ud83d") == []


def test_newest_first_and_paged(gallery):
    ids = [_save(gallery, position=i).id for i in range(5)][::-1]
    assert [row.id for row in gallery.search(ANN, limit=2)] == ids[:2]
    assert [row.id for row in gallery.search(ANN, limit=2, before=ids[1])] == ids[2:4]


@pytest.mark.parametrize("gone", ["deleted", "its file is away"])
def test_pages_go_on_from_a_picture_that_is_gone(gallery, gone):
    ids = [_save(gallery, position=i).id for i in range(4)][::-1]
    rows = gallery.search(ANN, limit=2)
    if gone == "deleted":
        gallery.delete(ANN, ids[1])
    else:
        gallery.path(ANN, ids[1]).unlink()
        with pytest.raises(NotFound):
            gallery.path(ANN, ids[1])
        assert [row.id for row in gallery.search(ANN, before=ids[1])] == ids[2:]
    assert [row.id for row in gallery.search(ANN, before=rows[-1].cursor)] == ids[2:]
    assert gallery.search(BEN, before=rows[0].cursor) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("red mug", ["a red mug"]),
        ("MUG RED", ["a red mug"]),
        ("红色", ["一个红色的杯子"]),
        ("ＲＥＤ", ["a red mug"]),  # full-width letters
        ("100%", ["100% wool_hat"]),
        ("l_h", ["100% wool_hat"]),
        ("%", ["100% wool_hat"]),
        ("zebra", []),
        ("' OR 1=1 --", []),
        ("", ["100% wool_hat", "一个红色的杯子", "a red mug"]),
    ],
)
def test_search_finds_all_words_in_any_order_and_takes_none_of_them_as_code(gallery, words, found):
    for i, prompt in enumerate(("a red mug", "一个红色的杯子", "100% wool_hat")):
        _save(gallery, prompt, position=i)
    prompts = [row.request["prompt"] for row in gallery.search(ANN, words)]
    assert prompts == found


def test_negative_prompts_are_searched_too(gallery):
    _save(gallery, negative_prompt="blurred")
    assert len(gallery.search(ANN, "blurred")) == 1


def test_another_owner_finds_nothing_by_any_way(gallery):
    row = _save(gallery)
    assert gallery.search(BEN) == []
    assert gallery.of_job(BEN, row.job_id) == []
    for method in (gallery.get, gallery.path, gallery.thumbnail, gallery.delete):
        with pytest.raises(NotFound):
            method(BEN, row.id)
    with pytest.raises(NotFound):
        gallery.search(BEN, before=row.id)
    assert gallery.path(ANN, row.id).is_file()
    assert gallery.delete_all(BEN) == 0


@pytest.mark.parametrize("name", ["../../atelier.db", "..", "/etc/passwd", "", "a" * 5000, "\0"])
def test_a_path_is_no_id(gallery, name):
    for method in (gallery.get, gallery.path, gallery.thumbnail, gallery.delete):
        with pytest.raises(NotFound):
            method(ANN, name)


def test_a_thumbnail_is_small_and_made_once(gallery):
    row = _save(gallery)
    path = gallery.thumbnail(ANN, row.id)
    assert Image.open(path).size == (256, 128)
    made = path.stat().st_mtime_ns
    assert gallery.thumbnail(ANN, row.id).stat().st_mtime_ns == made


def test_deleting_removes_row_file_and_thumbnail(gallery):
    row = _save(gallery)
    files = [gallery.path(ANN, row.id), gallery.thumbnail(ANN, row.id)]
    gallery.delete(ANN, row.id)
    assert not [path for path in files if path.exists()]
    with pytest.raises(NotFound):
        gallery.get(ANN, row.id)
    _save(gallery), _save(gallery, position=1), _save(gallery, owner=BEN, job="other")
    assert gallery.delete_all(ANN) == 2
    assert len(gallery.search(BEN)) == 1


def test_the_same_place_of_a_job_is_saved_once(gallery):
    assert _save(gallery).id == _save(gallery, "something else").id
    assert len(gallery.search(ANN)) == 1


def test_a_vanished_file_takes_its_picture_out_of_the_gallery(gallery):
    row = _save(gallery)
    gallery.path(ANN, row.id).unlink()
    with pytest.raises(NotFound):
        gallery.path(ANN, row.id)
    assert gallery.search(ANN) == []


def test_a_picture_comes_back_with_its_file(gallery, open_gallery):
    row = _save(gallery)
    path = gallery.path(ANN, row.id)
    away = path.rename(path.with_name("away"))
    assert open_gallery().search(ANN) == []
    away.rename(path)
    assert [found.id for found in open_gallery().search(ANN)] == [row.id]


def test_a_picture_comes_back_while_the_studio_runs(gallery):
    row = _save(gallery)
    folder = gallery.path(ANN, row.id).parent
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(NotFound):
        gallery.path(ANN, row.id)
    assert gallery.search(ANN) == gallery.ids(ANN) == gallery.of_job(ANN, "job") == []
    away.rename(folder)
    assert gallery.path(ANN, row.id).is_file()
    assert gallery.search(ANN) == [row]
    folder.rename(away)
    with pytest.raises(NotFound):
        gallery.path(ANN, row.id)
    away.rename(folder)
    assert gallery.search(ANN) == [row]  # without being asked for by its name
    assert gallery.bytes_used(ANN) == row.bytes


@pytest.mark.parametrize("level", ["outputs", "owner", "day"])
def test_pictures_on_another_disk_are_found_through_a_link(gallery, open_gallery, tmp_path, level):
    row = _save(gallery)
    day = gallery.path(ANN, row.id).parent
    folder = {"outputs": day.parents[1], "owner": day.parent, "day": day}[level]
    half = day / ".half.png.0a1b2c3d.tmp"
    half.write_bytes(b"\x89PNG")
    moved = folder.rename(tmp_path / "other disk")
    folder.symlink_to(moved, target_is_directory=True)
    again = open_gallery()
    assert again.search(ANN) == [row]
    assert not half.exists()
    second = _save(again, position=1)
    assert again.path(ANN, second.id).is_file()


def test_a_picture_whose_folder_leads_to_a_disk_that_is_away_is_written_elsewhere(
    gallery, open_gallery
):
    (gallery._outputs / owner_folder(ANN)).symlink_to("/nonexistent/disk")
    row = _save(gallery)
    assert Image.open(gallery.path(ANN, row.id)).size == (600, 300)
    assert open_gallery().search(ANN) == [row]


def test_a_picture_that_can_be_written_nowhere_is_said_so(gallery):
    for folder in (owner_folder(ANN), "elsewhere"):
        (gallery._outputs / folder).symlink_to("/nonexistent/disk")
    with pytest.raises(Unavailable, match=r"cannot be written: .*See that the disk"):
        _save(gallery)
    assert gallery.search(ANN) == []


def test_a_picture_outlives_a_database_that_cannot_be_written(gallery, open_gallery, monkeypatch):
    with monkeypatch.context() as patch:
        error = StoreAway("held")
        patch.setattr(gallery._store, "transaction", lambda *_: (_ for _ in ()).throw(error))
        for position in range(2):
            with pytest.raises(Unwritten, match="held"):
                _save(gallery, position=position)
    files = sorted(gallery._outputs.rglob("*.png"))
    assert len(files) == 2
    first = _save(gallery, position=0)  # the same call again
    assert [row.id for row in gallery.search(ANN)] == [first.id]
    found = open_gallery().search(ANN)  # the other's row is entered at the next start
    assert {row.position for row in found} == {0, 1}
    assert len(open_gallery().ids_using(ANN, CLAY)) == 2
    assert sorted(gallery._outputs.rglob("*.png")) == files
    assert not list(gallery._outputs.rglob("*.json"))


def test_a_file_whose_row_was_not_written_is_written_over_when_its_job_runs_again(gallery):
    row = _save(gallery)
    gallery._store.write("DELETE FROM pictures")  # killed between file and row
    assert gallery.path(ANN, _save(gallery).id) == gallery._outputs / "".join(
        path.relative_to(gallery._outputs).as_posix() for path in gallery._outputs.rglob("*.png")
    )
    assert [found.id for found in gallery.search(ANN)] == [row.id]


def test_a_start_sweeps_half_written_files_and_no_picture(gallery, open_gallery):
    row = _save(gallery)
    whole = gallery.path(ANN, row.id)
    half = whole.with_name(".half.png.0a1b2c3d.tmp")
    half.write_bytes(b"\x89PNG")
    rowless = whole.with_name("A" * 16 + ".png")  # as after the loss of the database
    rowless.write_bytes(whole.read_bytes())
    own = whole.parent / "my own drawing.png"
    own.write_bytes(whole.read_bytes())
    open_gallery()
    assert not half.exists()
    assert rowless.exists()
    assert own.exists()
    assert whole.exists()


def test_cleaning_up_frees_what_it_said_and_no_picture(gallery):
    row = _save(gallery)
    size = gallery.thumbnail(ANN, row.id).stat().st_size
    assert sum(gallery.clean_up(dry_run=True)) == size
    assert sum(gallery.clean_up()) == size
    assert sum(gallery.clean_up()) == 0
    assert gallery.thumbnail(ANN, row.id).is_file()


def test_bytes_are_counted_per_owner_and_in_all(gallery):
    first, second = _save(gallery), _save(gallery, owner=BEN, job="other")
    assert gallery.bytes_used(ANN) == first.bytes
    assert gallery.bytes_of_all() == first.bytes + second.bytes


def test_folders_give_no_owner_away_and_take_no_path():
    assert owner_folder("local") == "local"
    for name in ("../../etc", "ann", "Ann"):
        assert owner_folder(name).isalnum()
        assert len(owner_folder(name)) == 20
    assert owner_folder("ann") != owner_folder("Ann")


def test_a_whole_page_of_words_is_searched_for(gallery):
    prompt = " ".join(f"word{number}" for number in range(3_000))
    _save(gallery, prompt)
    assert len(gallery.search(ANN, prompt)) == 1
    assert gallery.search(ANN, f"{prompt} zebra") == []
    assert gallery.search(ANN, "z" * 60_000) == []
    assert len(gallery.search(ANN, "word1 \0 word2")) == 1
    assert gallery.search(ANN, "word1\0zebra") == [], "what follows is a word too"


def test_a_search_that_takes_too_long_is_given_up(gallery, monkeypatch):
    words = " ".join(f"word{number}" for number in range(3_000))
    _save(gallery, words)
    monkeypatch.setattr(Store, "search_connection", partialmethod(Store.search_connection, 0))
    with pytest.raises(Busy, match="Search for fewer words"):
        gallery.search(ANN, words)


def test_on_a_full_disk_a_picture_is_shown_in_the_place_of_its_thumbnail(gallery, monkeypatch):
    row = _save(gallery)

    def full(path, data):
        raise disk_full(len(data), path.parent.parent)

    with monkeypatch.context() as patch:
        patch.setattr("studio.core.gallery.gallery.write_file", full)
        assert gallery.thumbnail(ANN, row.id) == gallery.path(ANN, row.id)
    assert gallery.thumbnail(ANN, row.id).suffix == ".webp"
