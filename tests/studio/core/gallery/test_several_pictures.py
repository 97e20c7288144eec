"""Many pictures at once: found by their day, downloaded in one file, deleted by a job."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from datetime import date

import pytest
from PIL import Image

from pipelines.core.errors import BadRequest, Busy, NotFound, Stopped
from studio.core.accounts.accounts import Owner
from studio.core.gallery.gallery import Gallery
from studio.core.gallery.inputs import Inputs
from studio.core.gallery.picture_archive import LEFT_OUT, archive
from studio.core.gallery.picture_deletion import (
    AT_ONCE,
    KIND,
    MOST,
    DeletionEngine,
    DeletionRequest,
    PictureDeletions,
)
from studio.core.home import prepare_home
from studio.core.jobs.queue import Jobs
from studio.core.jobs.record import CANCELLED, DONE
from studio.core.quota import Quota
from studio.core.settings import StoredSettings
from studio.core.store import Store
from tests.patience import wait_until
from tests.studio.drawing_engines import Draw, DrawRequest

ANN, BEN = Owner("ann", "Ann", is_host=False), Owner("ben", "Ben", is_host=False)
DAY = 24 * 3600


class Desk:
    """A gallery with its queue."""

    def __init__(self, home) -> None:
        self.home = prepare_home(home)
        self.store = Store(self.home)
        self.settings = StoredSettings(self.store)
        self.gallery = Gallery(self.store, self.home, self.settings)
        quota = Quota(self.settings)
        self.inputs = Inputs(self.store, self.home, self.gallery, quota)
        self.draw = Draw()
        chores = {KIND: DeletionEngine(self.gallery, self.inputs)}
        self.jobs = Jobs(
            self.store, None, {"draw": self.draw}, self.gallery, self.settings, quota, chores
        )
        self.deletions = PictureDeletions(self.jobs, self.gallery, self.inputs)

    def save(self, count: int, owner: Owner = ANN, job: str = "job") -> list[str]:
        image = Image.new("RGB", (8, 8), "red")
        fields = {"prompt": "a red mug", "steps": 20, "sampler": "Euler", "seed": 7}
        return [
            self.gallery.save(owner.id, job, at, "text_to_image", image, fields).id
            for at in range(count)
        ]

    def wait_for_end(self, job):
        wait_until(lambda: self.jobs.get(job.owner, job.id).ended)
        return self.jobs.get(job.owner, job.id)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "home")
    yield desk
    desk.draw.hold.set()
    desk.jobs.close()
    desk.store.close()


def test_chosen_pictures_are_deleted_while_the_device_is_busy_and_others_stay(desk):
    mine, others = desk.save(AT_ONCE + 3), desk.save(2, BEN, "other")
    thumbnail = desk.gallery.thumbnail(ANN.id, mine[0])
    desk.draw.hold.clear()
    desk.jobs.start()
    drawing = desk.jobs.submit(ANN.id, "draw", DrawRequest())
    wait_until(lambda: desk.jobs.position(drawing.id) == 0)
    path = desk.gallery.path(ANN.id, mine[0])
    done = desk.wait_for_end(desk.deletions.begin(ANN, [*mine[:-1], *others, "gone"]))
    assert (done.state, done.result["deleted"]) == (DONE, AT_ONCE + 2)
    assert (done.step, done.total) == (AT_ONCE + 5, AT_ONCE + 5)
    assert desk.gallery.ids(ANN.id) == [mine[-1]]
    assert set(desk.gallery.ids(BEN.id)) == set(others)
    assert not path.exists()
    assert not thumbnail.exists()
    assert not desk.jobs.get(ANN.id, drawing.id).ended


def test_all_pictures_of_one_owner_go_with_those_brought_in(desk):
    desk.save(3)
    others = desk.save(1, BEN, "other")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(picture, "PNG")
    brought = desk.inputs.bring(ANN.id, picture.getvalue())
    desk.jobs.start()
    assert desk.wait_for_end(desk.deletions.begin_all(ANN)).result["deleted"] == 4
    assert desk.gallery.ids(ANN.id) == []
    assert desk.gallery.ids(BEN.id) == others
    with pytest.raises(NotFound):
        desk.inputs.get(ANN.id, brought.id)


def test_a_deletion_can_be_stopped_and_leaves_the_rest(desk):
    ids = desk.save(2 * AT_ONCE)
    stop = threading.Event()
    run = DeletionEngine(desk.gallery, desk.inputs).run(
        DeletionRequest(owner=ANN.id, ids=ids), None, stop
    )
    assert next(run).step == AT_ONCE
    stop.set()
    with pytest.raises(Stopped):
        next(run)
    assert len(desk.gallery.ids(ANN.id)) == AT_ONCE
    job = desk.deletions.begin(ANN, ids)  # nobody is at work yet
    assert desk.jobs.position(job.id) == 1
    assert desk.jobs.cancel(ANN.id, job.id).state == CANCELLED


def test_a_full_gallery_and_a_full_queue_keep_nobody_from_deleting(desk):
    ids = desk.save(1)
    desk.settings.change(queue_limit=1, guest_quota_mb=1)
    desk.jobs.submit(ANN.id, "draw", DrawRequest())
    desk.store.write("UPDATE pictures SET bytes = 10000000000000")
    desk.deletions.begin(ANN, ids)
    with pytest.raises(Busy):
        desk.deletions.begin(ANN, ids)  # one of them, as of others


@pytest.mark.parametrize(
    ("count", "words"), [(0, "No pictures are chosen"), (MOST + 1, "20001 pictures are named")]
)
def test_none_and_too_many_are_refused_in_a_sentence(desk, count, words):
    with pytest.raises(BadRequest, match=words):
        desk.deletions.begin(ANN, ["x"] * count)


def test_pictures_are_found_by_their_day(desk):
    ids = desk.save(5)
    noon = time.mktime((2025, 3, 30, 12, 0, 0, 0, 0, -1))
    for at, id in enumerate(ids):
        created = (noon + at * DAY, id)
        desk.store.write("UPDATE pictures SET created = ? WHERE id = ?", created)
    span = desk.gallery.span(ANN.id)
    assert (span.count, span.oldest, span.newest) == (5, noon, noon + 4 * DAY)
    assert desk.gallery.span(BEN.id) is None

    def find_until(year: int, month: int, day: int) -> list[str]:
        rows = desk.gallery.search(ANN.id, until=date(year, month, day))
        return [row.id for row in rows]

    assert find_until(2025, 3, 31) == ids[1::-1]
    assert find_until(2025, 4, 30) == ids[::-1]
    assert find_until(2025, 3, 29) == find_until(1, 1, 1) == []
    assert find_until(9999, 12, 31) == ids[::-1]


def test_a_zip_of_pictures_holds_what_is_there_and_is_sent_in_pieces(desk):
    ids, others = desk.save(3), desk.save(1, BEN, "other")
    desk.gallery.path(ANN.id, ids[1]).unlink()
    files = desk.gallery.files_of(ANN.id, [*ids, *others])
    pieces = list(archive(files))
    assert len(pieces) > 2
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as whole:
        assert whole.testzip() is None
        today = date.today()
        named = [f"{today}-{id}.png" for id in ids]
        assert whole.namelist() == [named[0], named[2], LEFT_OUT]
        assert whole.read(LEFT_OUT).decode() == f"{named[1]}\n"
        assert whole.read(whole.namelist()[0]) == desk.gallery.path(ANN.id, ids[0]).read_bytes()
