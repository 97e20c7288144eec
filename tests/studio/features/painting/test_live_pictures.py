"""Live pictures of the tiny model: checked as jobs are, kept by nobody, the same as a job's."""

from __future__ import annotations

import io
import json
import threading

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipelines.core.errors import BadRequest, NotFound, Refused
from studio.app import build_app, open_studio
from studio.core.accounts.accounts import LOCAL_OWNER, Owner
from tests.patience import wait_until
from tests.studio.live import build_api, options_for, sentence, settings, wait_for

KIND = "text_to_image"
ANN, BEN = Owner("ann", "Ann", False), Owner("ben", "Ben", False)


@pytest.fixture(scope="module")
def studio(tmp_path_factory, twin_home):
    studio = open_studio(options_for(tmp_path_factory.mktemp("live") / "home", twin_home))
    studio.live.limit = float("inf")
    studio.jobs.start()
    yield studio
    studio.close()


def paint(studio, owner=LOCAL_OWNER, **changes):
    return studio.live.paint(owner, KIND, settings(**changes), threading.Event())


def test_nothing_is_kept_until_the_same_request_is_queued_which_paints_the_same_pixels(studio):
    before = studio.jobs.list("local"), studio.gallery.search("local")
    picture = paint(studio, prompt="a red mug", seed=-1, batch_count=3)
    assert (studio.jobs.list("local"), studio.gallery.search("local")) == before
    job = studio.submissions.submit(LOCAL_OWNER, KIND, picture.request)
    wait_until(lambda: studio.jobs.get("local", job.id).ended)
    (row,) = studio.gallery.of_job("local", job.id)
    kept = studio.gallery.path("local", row.id)
    with Image.open(kept) as opened:
        assert opened.tobytes() == picture.image.tobytes()
    assert row.request["seed"] == picture.request["seed"]


def test_what_is_checked_of_a_job_is_checked_of_a_live_picture(studio):
    with pytest.raises(BadRequest, match="Steps is 0; it must be at least 1"):
        paint(studio, steps=0)
    with pytest.raises(NotFound, match="nowhere"):
        paint(studio, model="nowhere")
    with pytest.raises(Refused, match="only the host may"):
        paint(studio, ANN, model="sd15", width=512, height=512)


def test_a_program_is_answered_with_the_picture_or_with_a_sentence(studio):
    before = studio.jobs.list("local")
    client = TestClient(build_app(studio), base_url="http://127.0.0.1")
    answer = client.post("/api/v1/live/text_to_image", json=settings(seed=7))
    assert (answer.status_code, answer.headers["x-seed"]) == (200, "7")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.tobytes() == paint(studio, seed=7).image.tobytes()
    assert studio.jobs.list("local") == before
    wrong = client.post("/api/v1/live/text_to_image", json=settings(steps=0))
    assert (wrong.status_code, sentence(wrong)) == (422, "Steps is 0; it must be at least 1.")
    other = client.post("/api/v1/live/grid", json={})
    assert (other.status_code, sentence(other)) == (
        404,
        "Jobs of the kind grid cannot be painted live.",
    )


def test_what_had_no_effect_is_said_beside_the_picture_in_ones_language(studio):
    client = TestClient(build_api(studio), base_url="http://127.0.0.1")
    odd = settings(prompt="a mug <hypernet:ёж:1> <wurst:b>", guidance=1, negative_prompt="fog")
    answer = client.post("/api/v1/live/text_to_image", json=odd)
    assert answer.status_code == 200
    notes = json.loads(answer.headers["x-notes"])
    queued = wait_for(client, client.post("/api/v1/jobs/text_to_image", json=odd).json()["id"])
    assert notes == queued["result"]["notes"]
    assert "<hypernet:ёж:1> was left out: Atelier has no hypernetworks." in notes
    assert [note for note in notes if "Negative prompt was left out: the guidance is 1.0" in note]
    chinese = {"Accept-Language": "zh"}
    answer = client.post("/api/v1/live/text_to_image", json=odd, headers=chinese)
    queued = client.get(f"/api/v1/jobs/{queued['id']}", headers=chinese).json()
    assert json.loads(answer.headers["x-notes"]) == queued["result"]["notes"] != notes
    plain = client.post("/api/v1/live/text_to_image", json=settings())
    assert "x-notes" not in plain.headers


def test_more_than_a_header_holds_is_counted(studio):
    client = TestClient(build_api(studio), base_url="http://127.0.0.1")
    odd = " ".join(f"<hypernet:{'ё' * 30}{number}:1>" for number in range(40))
    answer = client.post("/api/v1/live/text_to_image", json=settings(prompt=odd))
    notes = json.loads(answer.headers["x-notes"])
    assert len(answer.headers["x-notes"]) <= 2000
    assert notes[-1].startswith(f"{40 - len(notes) + 1} more: ")
    assert notes[0].endswith("was left out: Atelier has no hypernetworks.")


def test_pictures_of_others_are_not_found(studio):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    brought = studio.inputs.bring(ANN.id, file.getvalue())
    fields = settings(from_picture={"picture": brought.id})
    assert studio.live.paint(ANN, "from_picture", fields, threading.Event()).image.size == (64, 64)
    with pytest.raises(NotFound, match="no brought-in picture"):
        studio.live.paint(BEN, "from_picture", fields, threading.Event())


def test_of_several_pictures_the_first_is_painted_live_and_it_is_said_that_others_are_not(studio):
    ids = []
    for colour in ("red", "blue"):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(file, "PNG")
        ids.append(studio.inputs.bring("local", file.getvalue()).id)
    fields = settings(from_picture={"picture": ids[0], "strength": 0}, pictures=ids[1:])
    client = TestClient(build_api(studio), base_url="http://127.0.0.1")
    answer = client.post("/api/v1/live/from_picture", json=fields)
    assert (answer.status_code, answer.headers["x-left-out"]) == (200, "pictures")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.getpixel((0, 0)) == (255, 0, 0)
