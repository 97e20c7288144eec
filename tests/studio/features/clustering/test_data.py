"""Data sets of owners: made once, found by their owner alone, trimmed and cleaned."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.clustering.data import npz_files as stored_files
from pipelines.clustering.data.embedding import COLUMNS
from pipelines.clustering.data.sample_data import DatasetRequest
from pipelines.clustering.data.sample_data import make as make_data
from pipelines.clustering.engine import find_stored
from pipelines.core.errors import BadRequest, Busy, NotFound, Stopped
from studio.core.accounts.accounts import Owner
from studio.core.gallery.gallery import Gallery
from studio.core.gallery.inputs import KEPT_SECONDS, Inputs
from studio.core.home import WRITING_SECONDS, DiskFull, prepare_home
from studio.core.quota import Quota
from studio.core.settings import StoredSettings
from studio.core.store import Store
from studio.features.clustering.data import gallery, tables
from studio.features.clustering.data import own_data_sets as service
from studio.features.clustering.data.own_data_sets import ClusterData
from tests.clock import set_clock
from tests.patience import PATIENCE
from tests.studio.rows import add_job

ANN, BEN, GUEST = (Owner(id, id, is_host=False) for id in ("ann", "ben", "guest-1"))
MOONS = {"kind": "made", "name": "moons", "points": 40}
CSV = "a,b,c\n1,2,x\n3,,y\n5,6,x\n7,8,z\n"


class Desk:
    """The parts that data sets need."""

    def __init__(self, home: Path) -> None:
        self.home = prepare_home(home)
        self.store = Store(self.home)
        self.settings = StoredSettings(self.store)
        self.gallery = Gallery(self.store, self.home, self.settings)
        self.quota = Quota(self.settings)
        rooms = self.store, self.home, self.gallery
        self.inputs = Inputs(*rooms, self.quota)
        self.data = ClusterData(*rooms, self.inputs, None, self.quota)
        self.quota.keepers = (self.gallery, self.inputs, self.data)

    def job(self, owner, id, state="done"):
        add_job(self.store, owner.id, "cluster", {"data": id, "algorithm": "kmeans"}, state)

    def table(self, owner, text=CSV, **reading):
        path = self.home / "upload"
        path.write_text(text)
        try:
            return self.data.tables.bring(
                owner.id, path, "my.csv", tables.Reading(**reading) if reading else None
            )
        finally:
            path.unlink()

    def files(self, folder="cluster_data"):
        return sorted(path.name for path in (self.home / folder).glob("*"))

    def age(self, id, seconds, folder="cluster_data", ending=".npz"):
        then = time.time() - seconds
        self.store.write(f"UPDATE {folder} SET created = ? WHERE id = ?", (then, id))
        os.utime(self.home / folder / f"{id}{ending}", (then, then))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "home")
    yield desk
    desk.store.close()


# --- making ---------------------------------------------------------------------------------------


def test_what_was_made_comes_back(desk):
    known = desk.data.make(ANN, MOONS)
    data = desk.data.dataset("ann", known.id)
    expected = make_data(DatasetRequest(name="moons", points=40))
    assert (data.X == expected.X).all()
    assert (data.truth == expected.truth).all()
    assert (known.points, known.columns, known.title) == (40, ("x", "y"), "Moons")
    assert known.bytes == (desk.home / "cluster_data" / f"{known.id}.npz").stat().st_size
    assert desk.data.rows("ann", known.id) is None
    assert desk.data.list("ann") == [known]


def test_the_engine_reads_the_points_with_their_truth(desk):
    known = desk.data.make(ANN, MOONS)
    data = find_stored(desk.home / "cluster_data")(known.id)
    expected = make_data(DatasetRequest(name="moons", points=40))
    assert (data.X == expected.X).all()
    assert (data.truth == expected.truth).all()
    assert data.X.flags.c_contiguous
    drawn = desk.data.make(ANN, {"kind": "drawn", "points": [[0, 1]]})
    assert find_stored(desk.home / "cluster_data")(drawn.id).truth is None


def test_the_same_source_of_one_owner_is_kept_once(desk):
    first = desk.data.make(ANN, MOONS)
    # Moons have two groups, whatever is asked.
    again = desk.data.make(ANN, {**MOONS, "clusters": 9})
    other = desk.data.make(ANN, {**MOONS, "noise": 0.1})
    of_ben = desk.data.make(BEN, MOONS)
    assert first.id == again.id
    assert len({first.id, other.id, of_ben.id}) == 3
    assert len(desk.files()) == 3


def test_two_who_ask_at_once_get_one_data_set(desk, monkeypatch):
    made = []
    real = service.Maker.make

    def slow(*arguments):
        made.append(1)
        time.sleep(0.2)
        return real(*arguments)

    monkeypatch.setattr(service.Maker, "make", slow)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(desk.data.make(ANN, MOONS).id))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(desk.data.list("ann")) == 1
    assert len(made) <= service.AT_ONCE


def test_another_s_data_are_not_found(desk):
    known, table = desk.data.make(ANN, MOONS), desk.table(ANN)
    for call in (desk.data.get, desk.data.dataset, desk.data.rows, desk.data.delete):
        with pytest.raises(NotFound):
            call("ben", known.id)
    for call in (desk.data.table, desk.data.tables.delete):
        with pytest.raises(NotFound):
            call("ben", table.id)
    with pytest.raises(NotFound):
        desk.data.make(BEN, {"kind": "table", "table": table.id, "picking": {"columns": ["a"]}})
    assert desk.data.list("ben") == []
    assert desk.data.get("ann", known.id) == known


def test_a_file_that_has_vanished_is_not_found_and_is_made_again(desk):
    known = desk.data.make(ANN, MOONS)
    (desk.home / "cluster_data" / f"{known.id}.npz").unlink()
    with pytest.raises(NotFound, match="Make it again"):
        desk.data.dataset("ann", known.id)
    assert desk.data.make(ANN, MOONS).id == known.id
    assert desk.data.dataset("ann", known.id).X.shape == (40, 2)


def test_a_full_disk_leaves_nothing_behind(desk, monkeypatch):
    def full(file, **_):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored_files.np, "savez", full)
    with pytest.raises(DiskFull):
        desk.data.make(ANN, MOONS)
    assert desk.files() == []
    assert desk.data.list("ann") == []


def test_a_guest_keeps_no_more_than_the_quota(desk):
    desk.settings.change(guest_quota_mb=1)
    desk.data.make(GUEST, {**MOONS, "points": 60_000})
    with pytest.raises(Busy, match=r"a guest may keep 1\.0 MB"):
        desk.data.make(GUEST, MOONS)
    with pytest.raises(Busy):
        desk.table(GUEST)
    assert desk.quota.bytes_used("guest-1") > 1_000_000
    desk.data.delete_all("guest-1")
    assert desk.data.make(GUEST, MOONS).points == 40


# --- tables ---------------------------------------------------------------------------------------


def test_points_of_a_table_know_their_rows_and_the_table_is_not_changed(desk):
    table = desk.table(ANN)
    source = {"kind": "table", "table": table.id, "picking": {"columns": ["c", "b"]}}
    known = desk.data.make(ANN, source)
    assert known.columns == ("c=z", "b")  # the row with "y" has no b
    assert desk.data.rows("ann", known.id).tolist() == [0, 2, 3]
    assert desk.data.dataset("ann", known.id).X.tolist() == [[0, 2], [0, 6], [1, 8]]
    assert table.table.path.read_text() == CSV
    assert desk.data.table("ann", table.id) == table


def test_the_same_file_is_kept_once_for_each_way_to_read_it(desk):
    first, again = desk.table(ANN), desk.table(ANN)
    other = desk.table(ANN, header=False)
    assert first.id == again.id != other.id
    assert len(desk.files("cluster_tables")) == 2
    assert other.table.rows == 5


def test_read_in_another_way_a_table_gives_other_points(desk):
    first = desk.table(ANN, "1,2\n3,4\n")
    picking = {"columns": ["column 1"]}
    known = desk.data.make(ANN, {"kind": "table", "table": first.id, "picking": picking})
    after = desk.data.tables.read_again("ann", first.id, tables.Reading(decimal=".", header=True))
    assert after.table.names == ("1", "2")
    assert desk.data.tables.get("ann", first.id) == first  # data were made of it
    assert desk.data.dataset("ann", known.id).X.tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("text", "picking", "said"),
    [
        ("a,b\n1e200,2\n3,4\n", ["a"], "values up to 1.0e\\+200"),
        ("a,b\n1,x\n2,y\n", ["nothing"], "no column 'nothing'"),
        ("a,b\ninf,1\n-inf,2\n", ["a"], "no values|No row"),
    ],
)
def test_points_from_which_no_distance_comes_are_refused(desk, text, picking, said):
    table = desk.table(ANN, text)
    with pytest.raises(BadRequest, match=said):
        desk.data.make(ANN, {"kind": "table", "table": table.id, "picking": {"columns": picking}})
    assert desk.data.list("ann") == []


def test_a_name_that_is_a_whole_line_is_refused(desk):
    with pytest.raises(BadRequest, match="Is the delimiter right"):
        desk.table(ANN, " and ".join(f"measurement {i}" for i in range(200)) + ",b\n1,2\n")
    assert desk.files("cluster_tables") == []


def test_a_file_s_name_is_shown_without_its_path(desk):
    path = desk.home / "upload"
    path.write_text(CSV)
    names = {"../../etc/x.csv": "x.csv", "C:\\a\\b.csv": "b.csv", "\x00": "table"}
    for given, shown in names.items():
        assert desk.data.tables.bring("ann", path, given).name == shown


def test_a_stop_ends_the_look_at_a_table(desk):
    stop = threading.Event()
    stop.set()
    path = desk.home / "upload"
    path.write_text(CSV)
    with pytest.raises(Stopped):
        desk.data.tables.bring("ann", path, "x", None, stop)
    assert desk.data.tables.list("ann") == []


# --- galleries ------------------------------------------------------------------------------------


class Eye:
    """In the place of the network: a picture is the mean of its colours, and looks are counted."""

    def __init__(self):
        self.looked = 0

    def __call__(self, pictures, cache, stop):
        for picture in pictures:
            self.looked += 1
            row = np.zeros((1, len(COLUMNS)))
            row[0, :3] = np.asarray(picture).mean(axis=(0, 1))
            yield row


@pytest.fixture
def eye(monkeypatch):
    eye = Eye()
    monkeypatch.setattr(gallery, "embed", eye)
    return eye


def paint(desk, owner, *colours):
    return [
        desk.gallery.save(
            owner.id,
            f"{owner.id}-{colour}",
            0,
            "text_to_image",
            Image.new("RGB", (64, 64), colour),
            {"prompt": colour, "model": "starter", "steps": 1, "seed": 1},
        ).id
        for colour in colours
    ]


def test_each_picture_of_a_gallery_is_a_point_the_newest_first(desk, eye):
    ids = paint(desk, ANN, "red", "lime", "blue")
    paint(desk, BEN, "white")
    known = desk.data.make(ANN, {"kind": "gallery"})
    assert desk.data.pictures("ann", known.id) == ids[::-1]
    X = desk.data.dataset("ann", known.id).X
    assert X.shape == (3, len(COLUMNS))
    assert X[:, :3].argmax(axis=1).tolist() == [2, 1, 0]
    newest = desk.data.make(ANN, {"kind": "gallery", "limit": 1})
    assert desk.data.pictures("ann", newest.id) == ids[-1:]


def test_of_a_gallery_that_has_grown_only_new_pictures_are_looked_at(desk, eye):
    ids = paint(desk, ANN, "red", "lime")
    first = desk.data.make(ANN, {"kind": "gallery"})
    assert desk.data.make(ANN, {"kind": "gallery"}).id == first.id
    ids += paint(desk, ANN, "blue")
    second = desk.data.make(ANN, {"kind": "gallery"})
    assert second.id != first.id
    assert eye.looked == 3
    assert desk.data.pictures("ann", second.id) == ids[::-1]
    desk.gallery.delete("ann", ids[0])
    assert desk.data.pictures("ann", second.id) == [ids[2], ids[1], None]


def test_when_the_time_is_up_asking_again_goes_on(desk, eye, monkeypatch):
    paint(desk, ANN, "red", "lime", "blue")
    clock = iter([0.0, *[1.0] * 2, *[100.0] * 9])
    set_clock(monkeypatch, gallery, monotonic=lambda: next(clock))
    some = desk.data.make(ANN, {"kind": "gallery"})
    monkeypatch.undo()
    monkeypatch.setattr(gallery, "embed", eye)
    assert some.points == 2
    assert "2 of 3 pictures were looked at" in str(some.notes[0])
    every = desk.data.make(ANN, {"kind": "gallery"})
    assert (every.points, every.notes) == (3, ())
    assert every.id != some.id
    assert eye.looked == 3


def test_a_damaged_picture_is_left_out_and_said(desk, eye):
    ids = paint(desk, ANN, "red", "lime")
    desk.gallery.path("ann", ids[0]).write_bytes(b"no picture")
    known = desk.data.make(ANN, {"kind": "gallery"})
    assert desk.data.pictures("ann", known.id) == [ids[1]]
    assert "1 pictures could not be read" in str(known.notes[0])


def test_an_empty_gallery_says_what_to_do(desk, eye):
    with pytest.raises(BadRequest, match="Paint some pictures first"):
        desk.data.make(ANN, {"kind": "gallery"})


# --- deleting and cleaning ------------------------------------------------------------------------


def test_what_a_job_works_on_is_not_deleted(desk):
    known = desk.data.make(ANN, MOONS)
    desk.job(ANN, known.id, "running")
    with pytest.raises(BadRequest, match="waiting or running"):
        desk.data.delete("ann", known.id)
    desk.store.write("UPDATE jobs SET state = 'done'")
    desk.data.delete("ann", known.id)
    assert desk.files() == []


def test_deleting_everything_leaves_what_a_job_waits_for(desk):
    waited_for, other = desk.data.make(ANN, MOONS), desk.data.make(ANN, {**MOONS, "noise": 0.1})
    desk.job(ANN, waited_for.id, "queued")
    desk.job(ANN, other.id, "failed")
    assert desk.data.delete_all("ann") == 1
    assert desk.data.list("ann") == [waited_for]
    with pytest.raises(BadRequest, match="waiting or running"):
        desk.data.delete("ann", waited_for.id)
    desk.store.write("UPDATE jobs SET state = 'done'")
    assert desk.data.delete_all("ann") == 1
    assert desk.files() == []


def test_of_what_no_job_has_used_the_last_ones_are_kept(desk, monkeypatch):
    monkeypatch.setattr(service, "KEPT_UNUSED", 3)
    used = desk.data.make(ANN, {**MOONS, "seed": 99})
    desk.job(ANN, used.id)
    of_ben = desk.data.make(BEN, MOONS)
    made = [desk.data.make(ANN, {**MOONS, "seed": seed}).id for seed in range(6)]
    assert [each.id for each in desk.data.list("ann")] == [*made[:2:-1], used.id]
    assert desk.data.list("ben") == [of_ben]
    assert len(desk.files()) == 5


def test_the_last_one_stays_however_large_it_is(desk, monkeypatch):
    monkeypatch.setattr(service, "KEPT_UNUSED_BYTES", 3000)
    desk.data.make(ANN, MOONS)
    last = desk.data.make(ANN, {**MOONS, "points": 5000})
    assert desk.data.list("ann") == [last]


def test_cleaning_takes_what_nobody_has_used_for_a_week(desk):
    names = ("unused", "used", "young")
    made = {name: desk.data.make(ANN, {**MOONS, "seed": seed}) for seed, name in enumerate(names)}
    desk.job(ANN, made["used"].id)
    for name in ("unused", "used"):
        desk.age(made[name].id, KEPT_SECONDS + 60)
    would = sum(desk.data.clean_up(dry_run=True))
    assert len(desk.data.list("ann")) == 3
    assert sum(desk.data.clean_up()) == would == made["unused"].bytes
    assert {each.id for each in desk.data.list("ann")} == {made["used"].id, made["young"].id}
    assert len(desk.files()) == 2


def test_cleaning_keeps_tables_and_pictures_that_data_are_made_of(desk):
    tables_of = {text: desk.table(ANN, text) for text in (CSV, "a\n1\n2\n")}
    known = desk.data.make(
        ANN, {"kind": "table", "table": tables_of[CSV].id, "picking": {"columns": ["a"]}}
    )
    for table in tables_of.values():
        desk.age(table.id, KEPT_SECONDS + 60, "cluster_tables", "")
    picture = Image.new("RGB", (4, 4), "red")
    brought = desk.inputs._keep("ann", picture)
    of_picture = desk.data.make(ANN, {"kind": "picture", "picture": brought.id})
    desk.age(brought.id, KEPT_SECONDS + 60, "inputs", ".png")
    assert sum(desk.data.clean_up()) == len("a\n1\n2\n")
    sum(desk.inputs.clean_up())
    assert [each.id for each in desk.data.tables.list("ann")] == [tables_of[CSV].id]
    assert desk.inputs.get("ann", brought.id).id == brought.id
    for each in (known, of_picture):
        desk.age(each.id, KEPT_SECONDS + 60)
    sum(desk.data.clean_up())
    sum(desk.inputs.clean_up())
    assert desk.files() == desk.files("cluster_tables") == []
    assert desk.inputs.list("ann") == []


def test_files_of_nobody_are_cleaned_once_they_are_not_young(desk):
    desk.data.make(ANN, MOONS)
    for folder, name in (("cluster_data", ".x.tmp"), ("cluster_tables", "0" * 32)):
        (desk.home / folder).mkdir(exist_ok=True)
        path = desk.home / folder / name
        path.write_bytes(b"12345")
        assert sum(desk.data.clean_up()) == 0
        then = time.time() - WRITING_SECONDS - 60
        os.utime(path, (then, then))
        assert sum(desk.data.clean_up()) == 5
        assert not path.exists()
    assert len(desk.files()) == 1
