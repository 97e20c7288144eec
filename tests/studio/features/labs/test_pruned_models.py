"""Shortening as jobs: who may shorten what, whose the models are, who may ask them."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from pipelines.chat.entries import OWN
from pipelines.chat.pruning import evaluate
from pipelines.chat.pruning.folder import FOLDER, PruneFolder
from pipelines.chat.pruning.requests import PruneRequest
from pipelines.chat.requests import ChatRequest
from pipelines.core.errors import BadRequest, NotFound, Refused, validate
from studio.app import open_studio
from studio.core.accounts.accounts import Owner
from studio.core.services import Options
from studio.features.labs.pruned_models import CURVE, SCORE, SHORTEN
from tests.patience import PATIENCE
from tests.pipelines.chat.llamas import save_llama
from tests.studio.features.chat.answering import count_unfinished
from tests.studio.live import build_api, live_studio, sentence, wait_for
from tests.studio.people import ACCOUNTS, PASSWORDS

ADA, BOB = Owner("ada", "ada", is_host=False), Owner("bob", "bob", is_host=False)
HOST = Owner("local", "host", is_host=True)
FILES = {
    "tiny": "title: Tiny\nbackend: transformers\nsource: {folder: tiny}\n",
    "away": "title: Away\nbackend: transformers\nsource: {hub: nobody/nothing}\n",
    "far": "title: Far\nbackend: remote\nurl: http://127.0.0.1:9/v1\n",
    "packed": "title: Packed\nbackend: transformers\nsource: {folder: tiny}\nquantisation: 4bit\n",
    "adapted": "title: Adapted\nbackend: transformers\nsource: {folder: tiny}\nlora: some\n",
}
ID = "c" * 32
SETTINGS = {"model": "tiny", "criterion": "magnitude", "blocks": 1, "name": "Brief"}


def put_models(home) -> None:
    save_llama(home / "chat" / "tiny", blocks=3)
    for name, text in FILES.items():
        (home / "chat" / f"{name}.yaml").write_text(text)


def put_made(home, id=ID, owner="ada", name="Brief", made_from="tiny"):
    """A model in the library, as if it had been made."""
    folder = save_llama(home / "chat_models" / f"{name.lower()}-{id[:8]}", blocks=2)
    about = {"name": name, "owner": owner, "made_from": made_from, "pruning": id}
    (folder / "atelier.json").write_text(json.dumps(about))
    return folder


@contextmanager
def open_idle_studio(home):
    """A studio whose worker does not run: jobs stay queued."""
    put_models(home)
    studio = open_studio(Options(home, accounts=ACCOUNTS, device="cpu", offline=True))
    yield studio
    studio.close()


@pytest.fixture
def studio(tmp_path):
    with open_idle_studio(tmp_path) as studio:
        yield studio


@pytest.fixture(scope="module")
def refusing_studio(tmp_path_factory):
    """One studio for all that it refuses, of which nothing is left."""
    with open_idle_studio(tmp_path_factory.mktemp("refusing")) as studio:
        yield studio


def end(studio, state: str) -> None:
    studio.store.write("UPDATE jobs SET state = ?", (state,))


# --- what may be asked ----------------------------------------------------------------------------


def test_owner_and_folder_are_the_server_s_to_say(studio):
    job = studio.submissions.submit(ADA, SHORTEN, SETTINGS | {"owner": "bob"})
    assert job.request["owner"] == "ada"
    assert len(job.request["pruning"]) == 32
    with pytest.raises(NotFound):
        studio.submissions.submit(ADA, SHORTEN, SETTINGS | {"pruning": ID})
    with pytest.raises(NotFound):
        studio.submissions.submit(BOB, SHORTEN, SETTINGS | {"pruning": job.request["pruning"]})
    assert studio.jobs.list("bob") == []


@pytest.mark.parametrize("kind", [SCORE, SHORTEN, CURVE])
@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("tinny", NotFound, "Did you mean tiny"),
        ("far", Refused, "Far runs on another server"),
        ("packed", BadRequest, "quantised here"),
        ("adapted", BadRequest, "Adapted has a LoRA on top"),
        ("away", Refused, "Away has not been downloaded yet"),
        (OWN + ID, NotFound, "no model called own-chat:c"),
        (OWN + "../../chat/tiny", NotFound, "no model called"),
    ],
)
def test_what_cannot_be_shortened_is_not_queued(refusing_studio, kind, model, error, words):
    name = {"name": "Brief"} if kind == SHORTEN else {}
    with pytest.raises(error, match=words):
        refusing_studio.submissions.submit(ADA, kind, {"model": model} | name)
    assert refusing_studio.jobs.list("ada") == []


def test_the_host_may_shorten_what_is_yet_to_be_downloaded(studio):
    assert studio.submissions.submit(HOST, SCORE, {"model": "away"}).state == "queued"
    assert "away" in {entry.name for entry in studio.prunings.models(HOST)}


def test_what_can_be_shortened_is_offered(studio):
    put_made(studio.home)
    mine = {entry.name for entry in studio.prunings.models(ADA)}
    assert {"tiny", "smollm2-135m", OWN + ID} <= mine
    assert not mine & {"far", "packed", "adapted", "away"}
    assert OWN + ID not in {entry.name for entry in studio.prunings.models(BOB)}


def test_one_s_own_model_is_shortened_by_nobody_else(studio):
    put_made(studio.home)
    for owner in (BOB, HOST, Owner("guest-1", "guest", is_host=False)):
        with pytest.raises(NotFound):
            studio.submissions.submit(owner, SCORE, {"model": OWN + ID})
    assert studio.submissions.submit(ADA, SCORE, {"model": OWN + ID}).state == "queued"


# --- what is known of it --------------------------------------------------------------------------


def test_a_resumed_one_is_one_shortening_and_runs_once_at_a_time(studio):
    first = studio.submissions.submit(ADA, SHORTEN, SETTINGS)
    id = first.request["pruning"]
    with pytest.raises(BadRequest, match="Brief is being made already"):
        studio.prunings.resume(ADA, id)
    with pytest.raises(BadRequest, match="Stop it first"):
        studio.prunings.delete("ada", id)
    end(studio, "cancelled")
    second = studio.submissions.submit(ADA, SHORTEN, SETTINGS | {"name": "Second"})
    end(studio, "cancelled")
    again = studio.prunings.resume(ADA, id)
    known = studio.prunings.list("ada")
    assert [each.id for each in known] == [id, second.request["pruning"]]
    assert known[0].job.id == again.id
    with pytest.raises(NotFound):
        studio.prunings.resume(BOB, id)


def test_a_model_whose_job_is_forgotten_is_still_listed_and_deleted(studio):
    folder = put_made(studio.home)
    (known,) = studio.prunings.list("ada")
    assert (known.name, known.job, known.made_from, known.ended) == ("Brief", None, "tiny", True)
    with pytest.raises(BadRequest, match="nothing to go on with"):
        studio.prunings.resume(ADA, ID)
    with pytest.raises(NotFound):
        studio.prunings.delete("bob", ID)
    assert folder.is_dir()
    studio.prunings.delete("ada", ID)
    assert not folder.exists()
    assert studio.prunings.list("ada") == []


def test_with_a_shortening_go_its_model_its_work_and_its_jobs(studio):
    job = studio.submissions.submit(ADA, SHORTEN, SETTINGS)
    end(studio, "done")
    id = job.request["pruning"]
    model, work = put_made(studio.home, id), PruneFolder(studio.home, id)
    work.begin(validate(PruneRequest, job.request))
    assert studio.prunings.both("ada", id) == ("tiny", OWN + id)
    studio.prunings.delete("ada", id)
    assert not model.exists()
    assert not work.path.exists()
    assert studio.jobs.list("ada") == []
    with pytest.raises(NotFound):
        studio.prunings.both("ada", id)


def test_models_and_work_count_for_a_guest_s_quota(studio):
    before = studio.quota.bytes_used("guest-1")
    folder = put_made(studio.home, owner="guest-1")
    work = PruneFolder(studio.home, "d" * 32)
    work.begin(validate(PruneRequest, SETTINGS | {"owner": "guest-1", "pruning": "d" * 32}))
    (work.path / "log.txt").write_bytes(bytes(1000))
    weights = (folder / "model.safetensors").stat().st_size
    request = (work.path / "pruning.json").stat().st_size
    assert studio.quota.bytes_used("guest-1") - before == weights + 1000 + request
    assert studio.quota.bytes_used("ada") == 0


def test_work_of_nobody_is_cleaned_up_when_nobody_can_be_about_to_write_it(studio):
    job = studio.submissions.submit(ADA, SHORTEN, SETTINGS)
    kept = studio.home / FOLDER / job.request["pruning"]
    old, young = (studio.home / FOLDER / (letter * 32) for letter in "de")
    for folder in (kept, old, young):
        folder.mkdir(parents=True)
        (folder / "log.txt").write_bytes(bytes(100))
    for folder in (kept, old):
        os.utime(folder, (0, 0))
    assert sum(studio.prunings.clean_up(dry_run=True)) == 100
    assert old.is_dir()
    assert sum(studio.prunings.clean_up()) == 100
    assert [kept.is_dir(), old.is_dir(), young.is_dir()] == [True, False, True]


# --- who may ask what was made --------------------------------------------------------------------


def test_each_owner_sees_everybody_s_models_and_their_own(studio):
    put_made(studio.home)
    put_made(studio.home, "d" * 32, "bob", "Bobs")
    seen = {o.id: {e.name for e in studio.usable_chat_models.of(o)} for o in (ADA, BOB, HOST)}
    assert {"tiny", OWN + ID} <= seen["ada"]
    assert {"tiny", OWN + "d" * 32} <= seen["bob"]
    assert OWN + ID not in seen["bob"] | seen["local"]
    assert "away" not in seen["ada"]
    assert "away" in seen["local"]


def test_answers_of_an_own_model_are_its_owner_s_alone(studio):
    put_made(studio.home)

    def ask(owner, model):
        request = ChatRequest(model=model, messages=[{"role": "user", "content": "Hi"}])
        return studio.answers.stream(request, owner, threading.Event())

    for owner in ("bob", "local", "guest-1"):
        with pytest.raises(NotFound):
            ask(owner, OWN + ID)
    for owner in ("ada", "guest-1"):
        with pytest.raises(Refused, match="Away has not been downloaded yet, and only the host"):
            ask(owner, "away")
    assert count_unfinished(studio.answers) == 0
    for owner, model in (("ada", OWN + ID), ("local", "away"), ("guest-1", "tiny")):
        ask(owner, model).close()


# --- as a program sees it -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """It measures little of a text and of generation: how much is nothing to the API."""
    home = tmp_path_factory.mktemp("live")
    put_models(home)
    options = Options(home, accounts=ACCOUNTS, device="cpu", offline=True)
    with pytest.MonkeyPatch.context() as patch, live_studio(options, build_api) as running:
        patch.setattr(evaluate, "Effort", partial(evaluate.Effort, 1024, 8, 2))
        yield running


def client_of(live, name: str) -> httpx.Client:
    return httpx.Client(base_url=live[1], auth=(name, PASSWORDS[name]), timeout=PATIENCE)


def test_scored_shortened_asked_and_deleted_through_the_api(live):
    with client_of(live, "ada") as ada, client_of(live, "bob") as bob:
        asked = ada.post("/api/v1/jobs/score_blocks", json={"model": "tiny"})
        assert asked.status_code == 202, asked.text
        scored = wait_for(ada, asked.json()["id"])
        assert scored["state"] == "done", scored["error"]
        assert len(scored["result"]["scores"]) == 3
        made = ada.post("/api/v1/jobs/shorten", json=SETTINGS)
        job = wait_for(ada, made.json()["id"])
        assert job["state"] == "done", job["error"]
        assert job["result"]["cut"]["parameters"] < job["result"]["before"]["parameters"]
        id = job["request"]["pruning"]
        model = OWN + id
        listed = {each["id"] for each in ada.get("/v1/models").json()["data"]}
        assert model in listed
        assert model not in {each["id"] for each in bob.get("/v1/models").json()["data"]}
        body = {"model": model, "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]}
        answer = ada.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] > 0
        assert bob.post("/v1/chat/completions", json=body).status_code == 404
        shown = json.dumps(bob.get("/api/v1/status").json())
        assert id not in shown  # it is loaded, but its name is nobody else's business
        assert id in json.dumps(ada.get("/api/v1/status").json())
        assert "no shortened model" in sentence(bob.delete(f"/api/v1/prunings/{id}"))
        assert ada.delete(f"/api/v1/prunings/{id}").status_code == 204
        assert ada.post("/v1/chat/completions", json=body).status_code == 404
        assert ada.get("/api/v1/prunings").json() == {"prunings": []}
        assert id not in json.dumps(ada.get("/api/v1/status").json())  # its memory is free again


def test_a_shortening_that_was_stopped_goes_on_when_it_is_asked_to(live):
    with client_of(live, "ada") as ada, client_of(live, "bob") as bob:
        curve = ada.post("/api/v1/jobs/shorten_curve", json={"model": "tiny", "blocks": [0, 1, 2]})
        made = ada.post("/api/v1/jobs/shorten", json=SETTINGS | {"name": "Halted"})
        ada.post(f"/api/v1/jobs/{made.json()['id']}/cancel")
        assert wait_for(ada, made.json()["id"])["state"] == "cancelled"
        id = made.json()["request"]["pruning"]
        known = ada.get(f"/api/v1/prunings/{id}").json()
        assert (known["name"], known["state"], known["model"]) == ("Halted", "cancelled", None)
        assert bob.get(f"/api/v1/prunings/{id}").status_code == 404
        assert bob.post(f"/api/v1/prunings/{id}/resume").status_code == 404
        again = ada.post(f"/api/v1/prunings/{id}/resume")
        assert again.status_code == 202
        assert wait_for(ada, again.json()["job"])["state"] == "done"
        known = ada.get(f"/api/v1/prunings/{id}").json()
        assert known["model"] == OWN + id
        assert known["made_from"] == "tiny"
        assert "owner" not in json.dumps(known)
        assert wait_for(ada, curve.json()["id"])["state"] == "done"
        points = ada.get(f"/api/v1/jobs/{curve.json()['id']}").json()["result"]["points"]
        assert [point["blocks"] for point in points] == [0, 1, 2]
        sizes = [point["parameters"] for point in points]
        assert sizes == sorted(sizes, reverse=True)
