"""Trainings in the studio: filled in by the server, everybody's own, gone with their subject."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest, Busy, NotFound, validate
from pipelines.diffusion.lora.library import LoraLibrary
from pipelines.dreambooth.data import class_pictures
from pipelines.dreambooth.folder import TrainingFolder
from pipelines.dreambooth.requests import TrainingRequest
from pipelines.models.catalog import Catalog
from studio.core.gallery.gallery import Gallery
from studio.core.home import prepare_home
from studio.core.jobs.queue import Jobs
from studio.core.painting.own_loras import Loras
from studio.core.quota import Quota
from studio.core.settings import StoredSettings
from studio.core.store import Store
from studio.features.training.subjects import KIND, Subjects
from studio.features.training.training_jobs import Trainings
from tests.pipelines.dreambooth.data.test_photos import encode, scene

ANN, BEN = "ann", "ben"
WORD = save({"emb_params": torch.ones(1, 32)})


class Device:
    """A device of which nothing is known yet."""

    @staticmethod
    def status() -> dict:
        return {"ready": False}


class Engine:
    """Trainings are queued here and never run."""

    request_class = TrainingRequest
    resumes = True


class Desk:
    """The parts that trainings need; no worker is started."""

    def __init__(self, home) -> None:
        self.home = prepare_home(home)
        self.store = Store(self.home)
        self.settings = settings = StoredSettings(self.store)
        self.gallery = gallery = Gallery(self.store, self.home, settings)
        self.library = LoraLibrary(self.home)
        self.quota = quota = Quota(settings)
        self.subjects = Subjects(self.store, self.home, gallery, self.library, quota)
        self.jobs = Jobs(self.store, None, {KIND: Engine}, gallery, settings, quota)
        catalog = Catalog(self.home)
        self.loras = Loras(self.store, self.library, catalog, quota)
        self.trainings = Trainings(self.home, self.loras, Device, self.subjects, self.jobs)
        quota.keepers = (gallery, self.subjects, self.loras, self.trainings)

    def subject(self, owner, photos=3):
        made = self.subjects.create(owner, "Whiskers", "kref", "cat")
        files = [
            (f"{n}.png", encode(scene((200, 150), (60 + 30 * n, 75), n))) for n in range(photos)
        ]
        list(self.subjects.add(owner, made.id, files))
        return made.id

    def queue(self, owner, subject, **fields):
        """Queues a training as the studio does; its id."""
        data = {"subject": subject, "name": "whiskers", "class_word": "cat"} | fields
        request = validate(TrainingRequest, self.trainings.fill_in(owner, data))
        self.trainings.check(owner, request)
        self.jobs.submit(owner, KIND, request)
        return request.training

    def end(self, state="done"):
        self.store.write("UPDATE jobs SET state = ?", (state,))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "home")
    yield desk
    desk.store.close()


def test_owner_and_folder_are_the_server_s_to_say(desk):
    subject = desk.subject(ANN)
    first = desk.trainings.fill_in(ANN, {"subject": subject, "owner": BEN})
    second = desk.trainings.fill_in(ANN, {"subject": subject})
    assert first["owner"] == ANN
    assert len(first["training"]) == 32
    assert first["training"] != second["training"]


def test_nobody_goes_on_with_another_s_training(desk):
    training = desk.queue(ANN, desk.subject(ANN))
    with pytest.raises(NotFound):
        desk.trainings.fill_in(BEN, {"training": training})
    with pytest.raises(NotFound):
        desk.trainings.fill_in(ANN, {"training": "../" + training})
    assert desk.trainings.fill_in(ANN, {"training": training})["training"] == training


def test_another_s_photos_cannot_be_learnt(desk):
    with pytest.raises(NotFound):
        desk.queue(BEN, desk.subject(ANN))
    assert desk.trainings.list(BEN) == []


def test_what_cannot_work_is_not_queued(desk):
    with pytest.raises(BadRequest, match="has 1 photos; at least 2"):
        desk.queue(ANN, desk.subject(ANN, photos=1))
    with pytest.raises(BadRequest, match="batch size is 8, but the subject has 3"):
        desk.queue(ANN, desk.subject(ANN), batch_size=8)
    with pytest.raises(NotFound):
        desk.queue(ANN, desk.subject(ANN), model="gone")
    assert desk.jobs.list(ANN) == []


def test_the_newest_is_first_and_a_resumed_one_is_one_training(desk):
    subject = desk.subject(ANN)
    first = desk.queue(ANN, subject)
    desk.end("cancelled")
    second = desk.queue(ANN, subject, name="again")
    desk.end("failed")
    job = desk.trainings.resume(ANN, first)
    assert [training.id for training in desk.trainings.list(ANN)] == [first, second]
    assert desk.trainings.get(ANN, first).job.id == job.id
    assert desk.trainings.get(ANN, first).request.name == "whiskers"


def test_one_that_hundreds_of_jobs_have_followed_is_still_there(desk):
    old = desk.queue(ANN, desk.subject(ANN))
    desk.end()
    newer = desk.queue(ANN, desk.subject(ANN))
    for _ in range(250):  # resumed again and again
        desk.end("cancelled")
        desk.trainings.resume(ANN, newer)
    assert [each.id for each in desk.trainings.list(ANN)] == [newer, old]
    assert desk.trainings.get(ANN, old).ended
    assert desk.trainings.list(BEN) == []


def test_one_that_is_at_work_is_not_begun_twice(desk):
    training = desk.queue(ANN, desk.subject(ANN))
    with pytest.raises(BadRequest, match="whiskers is being trained already"):
        desk.trainings.resume(ANN, training)
    with pytest.raises(BadRequest, match="Stop it first"):
        desk.trainings.delete(ANN, training)


def earlier(desk, training, /, **changes):
    """Lets a training's jobs be as an earlier version would have stored them."""
    using = "SELECT jobs.id, request FROM jobs JOIN job_uses ON job = jobs.id WHERE item = ?"
    for row in desk.store.rows(using, (training,)):
        request = json.loads(row["request"]) | changes
        del request["class_prompts"]
        request = json.dumps(request)
        desk.store.write("UPDATE jobs SET request = ? WHERE id = ?", (request, row["id"]))


def test_one_that_an_earlier_version_has_stored_is_shown_and_goes_on(desk):
    subject = desk.subject(ANN)
    old = desk.queue(ANN, subject, name="old")
    TrainingFolder(desk.home, old).begin(desk.trainings.get(ANN, old).request)
    earlier(desk, old, class_prompt="a cat", brush="soft")
    desk.end("failed")
    file = TrainingFolder(desk.home, old).request_path
    file.write_text(json.dumps(json.loads(file.read_text()) | {"brush": "soft"}))
    new = desk.queue(ANN, subject)
    assert [each.id for each in desk.trainings.list(ANN)] == [new, old]
    assert desk.trainings.get(ANN, old).request.class_prompts == ("a cat",)
    assert TrainingFolder(desk.home, old).request().name == "old"
    desk.trainings.resume(ANN, old)
    again = desk.jobs.list(ANN)[0]
    assert again.request["training"] == old
    assert "brush" not in again.request


def test_one_whose_settings_cannot_be_read_holds_up_no_other(desk):
    subject = desk.subject(ANN)
    old = desk.queue(ANN, subject, name="old")
    earlier(desk, old, method="hypernetwork", steps=-3)
    desk.end()
    new = desk.queue(ANN, subject)
    assert [each.name for each in desk.trainings.list(ANN)] == ["whiskers", "old"]
    desk.end()
    with pytest.raises(BadRequest, match="Method cannot be hypernetwork"):
        desk.trainings.resume(ANN, old)
    desk.trainings.delete(ANN, old)
    earlier(desk, new, name="", training="x")
    assert desk.trainings.list(ANN) == []


def report_training(desk, training):
    folder = TrainingFolder(desk.home, training)
    folder.samples.mkdir(parents=True)
    folder.request_path.write_text(json.dumps({"subject": "x"}))
    (folder.samples / "000010-0.png").write_bytes(b"a picture")
    folder.report("step", step=1, loss=0.5)
    folder.report("sample", step=10, file="000010-0.png", prompt="a [trigger]")
    return folder


def test_progress_is_read_from_where_it_was_left(desk):
    training = desk.queue(ANN, desk.subject(ANN))
    folder = report_training(desk, training)
    lines, reached = desk.trainings.progress(ANN, training)
    assert [line["event"] for line in lines] == ["step", "sample"]
    assert desk.trainings.progress(ANN, training, reached) == ([], reached)
    folder.report("done", step=20)
    (line,), _ = desk.trainings.progress(ANN, training, reached)
    assert line["event"] == "done"


@pytest.mark.parametrize(
    "file", ["../training.json", "000010-0.png/..", "", "000011-0.png", "x.png", "..", "0-0.png\n"]
)
def test_only_sample_pictures_are_served(desk, file):
    training = desk.queue(ANN, desk.subject(ANN))
    folder = report_training(desk, training)
    good = desk.trainings.sample(ANN, training, "000010-0.png")
    assert good == folder.samples / "000010-0.png"
    with pytest.raises(NotFound):
        desk.trainings.sample(ANN, training, file)


@pytest.mark.parametrize(
    "ask",
    [
        lambda t, owner, id: t.get(owner, id),
        lambda t, owner, id: t.progress(owner, id),
        lambda t, owner, id: t.lora(owner, id),
        lambda t, owner, id: t.sample(owner, id, "000010-0.png"),
        lambda t, owner, id: t.resume(owner, id),
        lambda t, owner, id: t.delete(owner, id),
    ],
)
def test_another_owner_finds_nothing(desk, ask):
    training = desk.queue(ANN, desk.subject(ANN))
    report_training(desk, training)
    desk.end()
    with pytest.raises(NotFound):
        ask(desk.trainings, BEN, training)
    assert desk.trainings.list(BEN) == []
    assert desk.trainings.get(ANN, training).job.state == "done"


def test_deleting_one_takes_its_folder_and_jobs(desk):
    subject = desk.subject(ANN)
    training = desk.queue(ANN, subject)
    folder = report_training(desk, training)
    desk.end()
    other = desk.queue(ANN, subject)
    desk.trainings.delete(ANN, training)
    assert not folder.path.exists()
    assert [each.id for each in desk.trainings.list(ANN)] == [other]


def test_they_go_with_their_subject(desk):
    subject = desk.subject(ANN)
    training = desk.queue(ANN, subject)
    folder = report_training(desk, training)
    folder.request_path.write_text(json.dumps({"subject": subject}))
    desk.end()
    made = desk.subjects.delete(ANN, subject)
    assert made.trainings == [training]
    assert not folder.path.exists()
    assert desk.trainings.list(ANN) == []


@pytest.mark.parametrize("first", ["LoRA", "training"])
def test_pictures_go_with_their_subject_whatever_was_deleted_first(desk, first):
    """Of an earlier version, whose library did not know of subjects."""
    subject = desk.subject(ANN)
    training = desk.queue(ANN, subject)
    folder = report_training(desk, training)
    folder.request_path.write_text(json.dumps({"subject": subject}))
    record = desk.library.add(ANN, "whiskers", WORD, training=training)
    folder.remember_library_id(record.id)
    desk.end()
    used = {"prompt": "x", "loras": [{"name": "whiskers", "weight": 1.0, "id": record.id}]}
    image = Image.new("RGB", (8, 8))
    desk.gallery.save(
        ANN, "painted", 0, "text_to_image", image, used, uses=[Use("lora", record.id)]
    )
    if first == "LoRA":
        desk.loras.delete(ANN, record.id)
        desk.trainings.delete(ANN, training)
    else:
        desk.trainings.delete(ANN, training)
        desk.loras.delete(ANN, record.id)
    assert len(desk.subjects.delete(ANN, subject).pictures) == 1
    assert desk.gallery.search(ANN) == []


def test_pictures_go_with_a_subject_when_what_was_merged_is_gone_too(desk):
    subject = desk.subject(ANN)
    both = desk.library.add(ANN, "both", WORD, sources=("c" * 32,), subjects=("d" * 32, subject))
    used = {"prompt": "x", "loras": [{"name": "both", "weight": 1.0, "id": both.id}]}
    image, uses = Image.new("RGB", (8, 8)), [Use("lora", both.id)]
    desk.gallery.save(ANN, "painted", 0, "text_to_image", image, used, uses=uses)
    desk.loras.delete(ANN, both.id)
    assert len(desk.subjects.delete(ANN, subject).pictures) == 1


def test_a_trainer_that_outlived_its_studio_holds_its_subject(desk):
    subject = desk.subject(ANN)
    training = desk.queue(ANN, subject)
    folder = report_training(desk, training)
    folder.request_path.write_text(json.dumps({"subject": subject}))
    desk.end("failed")
    with folder.hold() as mine:
        assert mine
        with pytest.raises(BadRequest, match="being learnt right now"):
            desk.subjects.delete(ANN, subject)
        with pytest.raises(BadRequest, match="Stop it first"):
            desk.trainings.delete(ANN, training)
    desk.subjects.delete(ANN, subject)


def test_the_preflight_expects_steps_time_and_memory(desk):
    data = {"subject": desk.subject(ANN), "name": "x", "class_word": "cat", "steps": 50}
    found = desk.trainings.preflight(ANN, data)
    assert found.steps == 50
    assert found.seconds > 0
    assert found.bytes > 0
    with pytest.raises(NotFound):
        desk.trainings.preflight(BEN, data)
    with pytest.raises(BadRequest, match="Steps is 0"):
        desk.trainings.preflight(ANN, data | {"steps": 0})


# --- the room they take ---------------------------------------------------------------------------


def age(path):
    """As if nobody had written there for a day."""
    then = time.time() - 24 * 3600
    os.utime(path, (then, then))
    return path


def class_folder(desk, training, prior=True):
    """Where the class pictures of a training lie, with one of 1000 bytes."""
    request = desk.trainings.get(ANN, training).request
    folder = class_pictures.folder_of(request, Catalog(desk.home).get(request.model), desk.home)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0000.png").write_bytes(bytes(1000))
    return age(folder)


def test_cleaning_up_takes_class_pictures_that_no_training_uses(desk):
    prior = {"prior_preservation": True}
    used = desk.queue(ANN, desk.subject(ANN), **prior)
    his = desk.queue(BEN, desk.subject(BEN), **prior, class_prompts=["a cat on a mat"])
    gone = desk.queue(ANN, desk.subject(ANN), **prior, class_prompts=["a dog"])
    without = desk.queue(ANN, desk.subject(ANN), class_prompts=["a bird"])
    kept, lost, unused = (class_folder(desk, each) for each in (used, gone, without))
    desk.end()
    desk.trainings.delete(ANN, gone)
    young = desk.home / "class_pictures" / ("f" * 32)
    young.mkdir()
    (young / "0000.png").write_bytes(bytes(1000))
    assert sum(desk.trainings.clean_up(dry_run=True)) == 2000
    assert lost.exists()
    assert sum(desk.trainings.clean_up()) == 2000
    assert (kept.exists(), young.exists()) == (True, True)
    assert (lost.exists(), unused.exists()) == (False, False)
    assert sum(desk.trainings.clean_up()) == 0
    assert desk.trainings.get(BEN, his)


def test_cleaning_up_takes_the_checkpoints_of_what_earlier_versions_have_finished(desk):
    subject, folders = desk.subject(ANN), {}
    for state in ("done", "cancelled", "failed"):
        id = desk.queue(ANN, subject)
        folder = folders[state] = TrainingFolder(desk.home, id)
        folder.begin(desk.trainings.get(ANN, id).request)
        for file in (folder.checkpoint / "state.pt", folder.result / "model" / "unet.bin"):
            file.parent.mkdir(parents=True)
            file.write_bytes(bytes(1000))
        (folder.result / "about.json").write_text('{"steps": 800}')
        folder.remember_library_id(desk.library.add(ANN, "whiskers", WORD, training=id).id)
        (job,) = [job for job in desk.jobs.list(ANN) if job.request["training"] == id]
        desk.store.write("UPDATE jobs SET state = ? WHERE id = ?", (state, job.id))
    left = folders["failed"].library_id
    assert sum(desk.trainings.clean_up(dry_run=True)) == 2000
    assert sum(desk.trainings.clean_up()) == 2000
    assert not folders["done"].checkpoint.exists()
    assert (folders["done"].result / "about.json").exists()
    for state in ("cancelled", "failed"):
        assert (folders[state].checkpoint / "state.pt").exists()
    assert left == folders["failed"].library_id
    assert sum(desk.trainings.clean_up()) == 0


def test_what_is_done_but_no_longer_in_the_library_keeps_what_it_has(desk):
    id = desk.queue(ANN, desk.subject(ANN))
    folder = TrainingFolder(desk.home, id)
    folder.begin(desk.trainings.get(ANN, id).request)
    folder.checkpoint.mkdir()
    (folder.checkpoint / "state.pt").write_bytes(bytes(1000))
    desk.end()
    assert sum(desk.trainings.clean_up()) == 0
    assert (folder.checkpoint / "state.pt").exists()


def test_cleaning_up_takes_the_folders_of_trainings_that_nobody_has(desk):
    kept = report_training(desk, desk.queue(ANN, desk.subject(ANN))).path
    stray, young, running = (desk.home / "trainings" / (sign * 32) for sign in "abc")
    for folder in (stray, young, running):
        folder.mkdir()
        (folder / "log.txt").write_bytes(bytes(100))
    age(kept), age(stray), age(running)
    speeds = desk.home / "trainings" / "speeds.json"
    speeds.write_text("{}")
    with TrainingFolder(desk.home, running.name).hold() as mine:
        assert mine
        age(running)
        assert sum(desk.trainings.clean_up()) >= 100
    assert not stray.exists()
    assert all(path.exists() for path in (kept, young, running, speeds))


def test_trainings_loras_and_own_models_count_for_a_guest_s_quota(desk, twin_folder):
    guest, other = "guest-1", "guest-2"
    assert desk.quota.bytes_used(guest) == 0
    record = desk.library.add(guest, "word", WORD)
    assert desk.quota.bytes_used(guest) == record.bytes > 0
    model = desk.library.add_model(
        guest, "model", lambda path: shutil.copytree(twin_folder("sd1"), path), family="sd1"
    )
    library = record.bytes + model.bytes
    assert desk.quota.bytes_used(guest) == library
    subject = desk.subject(guest)
    photos = desk.subjects.get(guest, subject).bytes
    folder = TrainingFolder(desk.home, desk.queue(guest, subject))
    folder.begin(desk.trainings.get(guest, folder.id).request)
    (folder.path / "log.txt").write_bytes(bytes(10**6))
    assert desk.quota.bytes_used(guest) == library + photos + folder.bytes
    assert folder.bytes > 10**6
    assert desk.quota.bytes_used(other) == 0
    everybody = desk.quota.bytes_of_all()
    assert everybody == photos, "the limit of all pictures is one of pictures"
    desk.settings.change(guest_quota_mb=1)
    for refused in (desk.loras.check_room, lambda who: desk.subjects.create(who, "Tom")):
        with pytest.raises(Busy, match=r"LoRAs and trainings take .* a guest may keep 1.0 MB"):
            refused(guest)
        refused(other)
        refused(ANN)
