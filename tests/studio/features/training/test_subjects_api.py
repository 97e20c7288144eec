"""Subjects over HTTP: photos in, words changed, everybody's own, and all gone at once."""

from __future__ import annotations

import io
import json
import secrets
import shutil
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import IFD, Base
from safetensors.torch import save

from pipelines.dreambooth.folder import TrainingFolder
from studio.core.accounts.accounts import Owner
from studio.core.services import Studio
from tests.pipelines.dreambooth.data.test_photos import HEIC, claimed_png, encode, scene, zip_files
from tests.studio.live import build_api, live_studio, options_for, sentence
from tests.studio.people import ACCOUNTS
from tests.studio.rows import add_job

SUBJECTS = "/api/v1/subjects"
STRANGE_ID = "0" * 32


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home) -> Iterator[tuple[Studio, str]]:
    home = tmp_path_factory.mktemp("subjects")
    with live_studio(options_for(home, twin_home, accounts=ACCOUNTS), build_api) as running:
        yield running


def create_subject(client: httpx.Client, **words) -> dict:
    words = {"name": "Whiskers", "identifier": "ohwx", "class_word": "cat"} | words
    answer = client.post(SUBJECTS, json=words)
    assert answer.status_code == 201, answer.text
    return answer.json()


def add(client: httpx.Client, subject: dict, data: bytes, name: str = "one.png") -> dict:
    address = f"{SUBJECTS}/{subject['id']}/photos"
    answer = client.post(address, content=data, params={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def subject(ada) -> dict:
    """A subject of Ada's with one photo."""
    subject = create_subject(ada)
    add(ada, subject, encode(scene()))
    return ada.get(f"{SUBJECTS}/{subject['id']}").json()


def test_a_photo_comes_back_without_the_place_where_it_was_taken(ada):
    exif = Image.Exif()
    exif[Base.Make] = "A Camera"
    exif.get_ifd(IFD.GPSInfo)[2] = (48.0, 51.0, 29.0)
    data = encode(scene(), "JPEG", exif=exif)
    (photo,) = add(ada, create_subject(ada), data, "../😀 there.jpg")["taken"]
    assert photo["name"] == "😀 there.jpg"
    answer = ada.get(photo["url"])
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"].startswith("private")
    assert b"A Camera" not in answer.content
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (480, 320)
        assert dict(image.getexif()) == {}


def test_the_crop_follows_the_focus(ada, subject):
    (photo,) = subject["photos"]
    address = f"{SUBJECTS}/{subject['id']}/photos/{photo['id']}"
    before = ada.get(photo["crop"])
    assert before.headers["content-type"] == "image/webp"
    moved = ada.patch(address, json={"focus": [0.0, 0.5]}).json()
    assert (moved["focus"], moved["automatic"]) == ([0.0, 0.5], False)
    assert moved["crop"] != photo["crop"]
    assert ada.get(moved["crop"]).content != before.content
    back = ada.patch(address, json={"automatic": True}).json()
    assert back == photo


def test_captions_are_changed(ada, subject):
    address = f"{SUBJECTS}/{subject['id']}/photos/{subject['photos'][0]['id']}"
    assert ada.patch(address, json={"caption": "a [trigger] at sea"}).json()["caption"] == (
        "a [trigger] at sea"
    )
    refused = ada.patch(address, json={"caption": "a cat"})
    assert refused.status_code == 422
    assert "[trigger]" in sentence(refused)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"focus": [2, 0]}, "must be between 0"),
        ({"focus": [0]}, "Focus"),
        ({"focus": "left"}, "Focus"),
        ({"caption": "[trigger]" * 400}, "at most 2000"),
        ({"mud": 1}, "no setting called mud"),
    ],
)
def test_a_bad_change_is_named(ada, subject, change, said):
    address = f"{SUBJECTS}/{subject['id']}/photos/{subject['photos'][0]['id']}"
    answer = ada.patch(address, json=change)
    assert answer.status_code == 422
    assert said in sentence(answer)


def test_a_zip_with_everything_in_it(ada, subject):
    archive = zip_files(
        {
            "../../../evil.png": encode(scene(seed=1)),
            "frames.gif": encode(scene(seed=2), "GIF"),
            "print.jpg": encode(scene(seed=3).convert("CMYK"), "JPEG"),
            "phone.heic": HEIC,
            "cut.jpg": encode(scene(), "JPEG")[:3000],
            "dot.png": encode(Image.new("RGB", (1, 1))),
            "vast.png": claimed_png(20_000, 20_000),
            "same.png": encode(scene()),
            "bomb.png": bytes(80_000_000),
        }
    )
    answer = add(ada, subject, archive.getvalue(), "photos.zip")
    assert [photo["name"] for photo in answer["taken"]] == ["evil.png", "frames.gif", "print.jpg"]
    reasons = {each["name"]: each["reason"] for each in answer["refused"]}
    for name, said in {
        "phone.heic": "HEIC",
        "cut.jpg": "damaged",
        "dot.png": "1 × 1",
        "vast.png": "20000 × 20000",
        "same.png": "already",
        "bomb.png": "no photo",
    }.items():
        assert said in reasons[name]


def test_a_zip_larger_than_memory_should_hold_goes_to_the_disk_as_it_comes(
    studio, ada, subject, monkeypatch
):
    noise = np.random.default_rng(0).bytes(32_000_000)  # which no packing makes smaller
    archive = zip_files({"film.mov": noise, "one.png": encode(scene(seed=5))}).getvalue()
    assert len(archive) > 32_000_000
    cache, on_disk = studio[0].home / "cache", []

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(archive), 2**20):
            yield archive[start : start + 2**20]
            on_disk.append(max((path.stat().st_size for path in cache.glob("*")), default=0))

    def whole(_):
        pytest.fail("the body was read as a whole")

    monkeypatch.setattr("starlette.requests.Request.body", whole)
    address, name = f"{SUBJECTS}/{subject['id']}/photos", {"name": "photos.zip"}
    answer = ada.post(address, content=chunks(), params=name)
    assert answer.status_code == 201, answer.text
    assert [photo["name"] for photo in answer.json()["taken"]] == ["one.png"]
    (refused,) = answer.json()["refused"]
    assert (refused["name"], "30 MB" in refused["reason"]) == ("film.mov", True)
    assert max(on_disk) > len(archive) / 2
    assert not any(path.is_file() for path in cache.glob("*"))


def test_photos_of_a_subject_that_is_not_there_are_not_kept_meanwhile(ada, monkeypatch):
    def refuse(*_):
        pytest.fail("they went to the disk")

    monkeypatch.setattr("studio.features.training.subjects_api.receive_body", refuse)
    assert ada.post(f"{SUBJECTS}/{STRANGE_ID}/photos", content=encode(scene())).status_code == 404


def test_reasons_and_remarks_are_in_the_reader_s_language(ada, subject):
    address = f"{SUBJECTS}/{subject['id']}/photos"
    chinese = {"accept-language": "zh"}
    (refused,) = ada.post(address, content=HEIC, headers=chinese).json()["refused"]
    assert "JPEG" in refused["reason"]
    assert "Export" not in refused["reason"]
    small = encode(scene((200, 150), (100, 75)))
    (taken,) = ada.post(address, content=small, headers=chinese).json()["taken"]
    assert "200 × 150" in taken["remarks"][0]
    assert "pixels" not in taken["remarks"][0]


def test_more_bytes_than_any_upload_are_cut_off(studio, ada, subject, monkeypatch):
    monkeypatch.setattr("studio.api.access.MAX_LARGE_UPLOAD_BYTES", 50_000_000)
    answer = ada.post(f"{SUBJECTS}/{subject['id']}/photos", content=iter([bytes(1_000_000)] * 60))
    assert answer.status_code == 413
    assert "50 MB" in sentence(answer)
    assert not any(path.is_file() for path in (studio[0].home / "cache").glob("*"))


def test_words_change(ada, subject):
    answer = ada.patch(f"{SUBJECTS}/{subject['id']}", json={"name": "Tom/😀", "identifier": "sks"})
    assert (answer.json()["name"], answer.json()["identifier"]) == ("Tom/😀", "sks")
    bad = ada.patch(f"{SUBJECTS}/{subject['id']}", json={"identifier": "<lora:x>"})
    assert bad.status_code == 422
    assert ada.post(SUBJECTS, json={}).status_code == 422
    assert "no setting called id" in sentence(ada.post(SUBJECTS, json={"name": "x", "id": "y"}))


def test_the_examples_are_one_request_away(ada):
    (example, *_) = ada.get("/api/v1/examples").json()["examples"]
    answer = ada.post(f"{SUBJECTS}/from-example/{example['key']}", params={"identifier": "kref"})
    assert answer.status_code == 201
    assert len(answer.json()["photos"]) == example["photos"] == 10
    assert ada.post(f"{SUBJECTS}/from-example/..%2fstarter").status_code == 404


def test_identifiers_are_proposed_and_checked(ada, subject):
    asked = {"base": "starter", "word": "mug"}
    answer = ada.get("/api/v1/identifiers", params=asked).json()
    assert (answer["good"], answer["tokens"]) == (False, ["mug</w>"])
    assert len(answer["proposed"]) == 3
    first = answer["proposed"][0]
    create_subject(ada, identifier=first)
    again = ada.get("/api/v1/identifiers", params={"base": "starter"}).json()
    assert first not in again["proposed"]
    assert ada.get("/api/v1/identifiers", params={"base": "gone"}).status_code == 404
    new = asked | {"word": "kref", "method": "textual_inversion", "class_word": "mug"}
    answer = ada.get("/api/v1/identifiers", params=new).json()
    assert "“kref-mug”" in answer["message"]
    assert answer["proposed"][0] == "nlwx"  # which the starter cuts into two, and ohwx is taken


def test_removing_and_deleting(ada, subject):
    photo = subject["photos"][0]
    address = f"{SUBJECTS}/{subject['id']}"
    assert ada.get(f"{address}/made").json() == {"trainings": [], "loras": [], "pictures": []}
    assert ada.delete(f"{address}/photos/{photo['id']}").status_code == 204
    assert ada.get(photo["url"]).status_code == 404
    assert ada.delete(address).json()["deleted"] == {"trainings": [], "loras": [], "pictures": []}
    assert ada.get(address).status_code == 404
    assert ada.delete(address).status_code == 404


# --- nobody else's --------------------------------------------------------------------------------


def test_another_s_photos_are_not_found_by_any_way(ada, bob, guest, stranger, subject):
    photo = subject["photos"][0]
    address = f"{SUBJECTS}/{subject['id']}"
    picture = f"{address}/photos/{photo['id']}"
    for client, status in ((bob, 404), (guest, 404), (stranger, 401)):
        answers = [
            client.get(address),
            client.get(photo["url"]),
            client.get(photo["crop"]),
            client.get(f"{address}/made"),
            client.patch(address, json={"name": "mine"}),
            client.patch(picture, json={"focus": [0, 0]}),
            client.post(f"{address}/photos", content=encode(scene())),
            client.delete(picture),
            client.delete(address),
        ]
        assert [answer.status_code for answer in answers] == [status] * len(answers)
    for client in (bob, guest):
        assert subject["id"] not in client.get(SUBJECTS).text
    assert ada.get(address).json() == subject


@pytest.mark.parametrize("id", ["..%2f..%2fatelier.db", "%2e%2e", "0" * 31, "A" * 32, STRANGE_ID])
def test_ids_are_no_paths(ada, subject, id):
    assert ada.get(f"{SUBJECTS}/{id}").status_code == 404
    assert ada.get(f"{SUBJECTS}/{subject['id']}/photos/{id}.png").status_code == 404
    assert ada.get(f"{SUBJECTS}/{subject['id']}/photos/{id}/crop.webp").status_code == 404


@pytest.fixture
def training_id(studio, subject) -> str:
    """A training of Ada's that has ended, with a sample picture."""
    id, running = secrets.token_hex(16), studio[0]
    request = {"subject": subject["id"], "training": id, "owner": "ada", "name": "whiskers"}
    add_job(running.store, "ada", "dreambooth", request, "cancelled", f"job-{id}")
    folder = TrainingFolder(running.home, id)
    folder.samples.mkdir(parents=True)
    folder.request_path.write_text(json.dumps(request))
    (folder.samples / "000010-0.png").write_bytes(encode(scene()))
    folder.report("sample", step=10, file="000010-0.png", prompt="a [trigger]")
    return id


def test_another_s_trainings_are_not_found_by_any_way(ada, bob, guest, training_id, subject):
    address = f"/api/v1/trainings/{training_id}"
    (line,) = ada.get(f"{address}/progress").json()["progress"]
    assert ada.get(line["url"]).headers["content-type"] == "image/png"
    described = ada.get(address).json()
    assert (described["state"], described["lora"]) == ("cancelled", None)
    assert "owner" not in described["request"]
    asked = {"subject": subject["id"], "name": "mine", "class_word": "cat"}
    for client in (bob, guest):
        answers = [
            client.get(address),
            client.get(f"{address}/progress"),
            client.get(line["url"]),
            client.post(f"{address}/resume"),
            client.delete(address),
            client.post("/api/v1/trainings/preflight", json=asked),
            client.post("/api/v1/jobs/dreambooth", json=asked),
            client.post("/api/v1/jobs/dreambooth", json=asked | {"training": training_id}),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        assert training_id not in client.get("/api/v1/trainings").text
    assert ada.delete(address).status_code == 204
    assert ada.get(address).status_code == 404


@pytest.mark.parametrize("file", ["..%2ftraining.json", "training.json", "000011-0.png"])
def test_only_samples_of_a_training_are_served(ada, training_id, file):
    assert ada.get(f"/api/v1/trainings/{training_id}/samples/{file}").status_code == 404


@pytest.fixture
def model(studio, twin_folder) -> Iterator[str]:
    """The id of a whole model in Ada's library, called “hers”."""

    def write(folder) -> None:
        shutil.copytree(twin_folder("sd1"), folder)

    library = studio[0].library
    record = library.add_model("ada", "hers", write, family="sd1", base="tiny-sd1")
    yield record.id
    library.delete("ada", record.id)


def test_one_cannot_try_what_is_in_another_s_library(bob, studio, model):
    running = studio[0]
    base = {"prompt": "x", "model": "tiny-sd1", "steps": 1, "width": 64, "height": 64}
    running.library.add("bob", "his", save({"emb_params": torch.ones(1, 32)}))
    tried = [
        ({}, {"lora": {"name": "gone"}}),
        ({}, {"model": f"own:{STRANGE_ID}"}),
        ({}, {"model": f"own:{model}"}),
        ({"model": f"own:{model}"}, {"lora": {"name": "his"}}),
        ({"model": "hers"}, {"lora": {"name": "his"}}),
    ]
    for settings, what in tried:
        asked = {"base": base | settings, "prompts": ["x"]} | what
        answer = bob.post("/api/v1/jobs/before_after", json=asked)
        assert answer.status_code == 404, asked
        assert "library" in sentence(answer) or "hers" in sentence(answer)
    for named in (f"own:{model}", "hers"):
        asked = {"base": base | {"model": named}, "prompts": ["x"], "model": named}
        own = running.submissions.check(Owner("ada", "ada", is_host=False), "before_after", asked)
        assert own.base.model == own.model == f"own:{model}"


def test_nothing_is_said_of_another_s_model(ada, bob, studio, model, subject):
    own, subjects = f"own:{model}", studio[0].subjects
    mine = subjects.create("bob", "Mine", "kref", "cat")
    list(subjects.add("bob", mine.id, [(f"{n}.png", encode(scene(seed=n))) for n in range(2)]))

    def answers(client, subject: str) -> list[int]:
        training = {"subject": subject, "name": "x", "class_word": "cat", "model": own}
        asked = [
            client.get("/api/v1/identifiers", params={"base": own}),
            client.get("/api/v1/control-models", params={"base": own}),
            client.post("/api/v1/trainings/preflight", json=training),
        ]
        return [answer.status_code for answer in asked]

    assert 404 not in answers(ada, subject["id"])
    assert answers(bob, mine.id) == [404] * 3


def test_presets_are_listed(ada):
    names = [each["name"] for each in ada.get("/api/v1/trainings/presets").json()["presets"]]
    assert names == ["quick", "balanced", "best"]


def test_what_cannot_work_is_said_before_it_is_queued(ada, subject):
    asked = {"subject": subject["id"], "name": "whiskers", "class_word": "cat"}
    for address in ("/api/v1/trainings/preflight", "/api/v1/jobs/dreambooth"):
        answer = ada.post(address, json=asked)
        assert answer.status_code == 422
        assert "1 photos; at least 2 are needed" in sentence(answer)


def test_an_answer_never_names_a_folder_of_this_machine(studio, ada, subject):
    assert str(studio[0].home) not in ada.get(SUBJECTS).text
