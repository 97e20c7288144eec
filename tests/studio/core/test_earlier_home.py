"""A home folder of an earlier Atelier is opened with all that is in it.

``tests/studio/homes/november_2026`` was written by the Atelier of 30 November 2026, before what
jobs use had a table: two people, a guest and the host paint, teach, cluster, shorten and talk. One
job has failed, two were cancelled, three wait. Weights are zeros and pictures have eight colours,
so that the archive is small.
"""

import sqlite3
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.core.engine import Use
from pipelines.core.errors import BadRequest
from studio.app import build_app, open_studio
from studio.core.gallery.inputs import KEPT_SECONDS
from studio.core.jobs.job_uses import is_at_work
from studio.core.services import Options
from studio.core.store import FILE_NAME
from studio.features import load_features
from tests.studio.people import ACCOUNTS, PASSWORDS

ARCHIVE = Path(__file__).parents[1] / "homes" / "november_2026"
GUEST = "guest-0123456789abcdef"
KEY = "sk-atelier-" + "k" * 43
WHISKERS, HIS = "90935166746783ce7a5befbcd5ef5646", "ffc45f599616864ddd940131844ab3e9"
LORA, WORD, HALVED = (
    "d0a2b2f0a445fdb3afe94157ae6c2436",
    "8a0a1a74ff1a46d9824b1abd0ab9a9d3",
    "c26cfaa9e2700a186d6b6c37b059fa70",
)
DRAWN = "f96835f477dd4597fa85456ae55e72f1"


def unpack(home: Path) -> Path:
    """The archived home as a folder that no studio has opened since."""
    with zipfile.ZipFile(ARCHIVE / "files.zip") as files:
        files.extractall(home)
    database = sqlite3.connect(home / FILE_NAME)
    database.executescript((ARCHIVE / "database.sql").read_text(encoding="utf-8"))
    database.close()
    return home


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A studio on that home, whose workers do not run: what waits goes on waiting."""
    home = unpack(tmp_path_factory.mktemp("earlier") / "home")
    studio = open_studio(Options(home, accounts=ACCOUNTS, device="cpu", offline=True))
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def visit(studio):
    """``visit(name)``: the browser of somebody who has logged in; None: of nobody."""
    app = build_app(studio)

    def visit(name):
        client = TestClient(app, base_url="http://127.0.0.1:7860")
        if name is not None:
            sent = {"name": name, "password": PASSWORDS[name]}
            answer = client.post("/login", data=sent, follow_redirects=False)
            assert answer.status_code == 303
        return client

    return visit


@pytest.fixture(scope="module")
def ada(visit):
    return visit("ada")


def read(client, path: str):
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def first_list(client, path: str) -> list[dict]:
    """The first list of an answer."""
    return next(each for each in read(client, path).values() if isinstance(each, list))


LATER = {"from_picture", "grid", "upscale", "enlarge"}  # kinds that there were not yet


def test_every_job_is_listed_as_it_was(ada, visit):
    jobs = first_list(ada, "jobs?limit=100")
    states = Counter((job["kind"], job["state"]) for job in jobs)
    assert states == {
        **{(kind, "done"): 1 for kind in load_features().engines().keys() - LATER},
        **{(kind, "done"): 2 for kind in ("dreambooth", "cluster", "score_blocks")},
        ("text_to_image", "failed"): 1,
        ("text_to_image", "cancelled"): 1,
        **{(kind, "queued"): 1 for kind in ("dreambooth", "text_to_image", "cluster")},
    }
    (failed,) = (job for job in jobs if job["state"] == "failed")
    assert "no longer on the shelf" in failed["error"]
    chinese = ada.get(f"/api/v1/jobs/{failed['id']}", headers={"accept-language": "zh"}).json()
    assert "已不在库中" in chinese["error"]  # though no sentence of today is the same
    assert {job["state"] for job in first_list(visit("bob"), "jobs")} == {"done", "cancelled"}


def test_every_picture_is_there_with_its_settings(studio, ada, visit):
    pictures = first_list(ada, "pictures?limit=100")
    assert len(pictures) == 10
    for picture in pictures:
        assert ada.get(picture["url"]).content[:4] == b"\x89PNG"
        assert picture["parameters"]
    assert (
        len(first_list(visit("bob"), "pictures")) == len(first_list(visit("host"), "pictures")) == 1
    )
    assert [row.request["prompt"] for row in studio.gallery.search(GUEST)] == ["a green teapot"]


def test_what_was_taught_is_there(ada, visit):
    assert [each["name"] for each in first_list(ada, "subjects")] == ["Whiskers"]
    photos = read(ada, f"subjects/{WHISKERS}")["photos"]
    assert len(photos) == 2
    assert ada.get(photos[0]["url"]).status_code == 200
    assert {each["name"] for each in first_list(ada, "loras")} == {
        "whiskers",
        "whiskers word",
        "halved",
    }
    trainings = first_list(ada, "trainings")
    assert {(each["request"]["name"], each["state"]) for each in trainings} == {
        *(("whiskers", "done"), ("whiskers word", "done"), ("waiting", "queued"))
    }
    by_name = {each["request"]["name"]: each for each in trainings}
    progress = read(ada, f"trainings/{by_name['whiskers']['id']}/progress")["progress"]
    (sample,) = (line for line in progress if "url" in line)
    assert ada.get(sample["url"]).status_code == 200
    assert [each["state"] for each in first_list(visit("bob"), "trainings")] == ["cancelled"]


def test_what_was_clustered_is_there(ada):
    kinds = {each["kind"] for each in first_list(ada, "cluster-data")}
    assert kinds == {"made", "drawn", "table", "picture"}
    assert [each["name"] for each in first_list(ada, "cluster-tables")] == ["my.csv"]
    done = [job for job in first_list(ada, "jobs?limit=100") if job["state"] == "done"]
    for job in done:
        if job["kind"] in ("cluster", "compare_clusters"):
            assert read(ada, f"clusterings/{job['id']}")["points"] > 0
            assert len(ada.get(f"/api/v1/clusterings/{job['id']}/labels").content) > 0


def test_what_was_shortened_is_there(ada):
    (made,) = first_list(ada, "prunings")
    assert (made["name"], made["state"]) == ("Brief", "done")
    assert "Brief" in {each["title"] for each in first_list(ada, "chat-models")}


def test_every_conversation_is_there_with_its_branches(ada, visit):
    chats = {chat["title"]: chat for chat in first_list(ada, "chats")}
    assert set(chats) == {"What is a mug?", "Two of you?"}
    (lane,) = read(ada, f"chats/{chats['What is a mug?']['id']}")["lanes"]
    (teapot,) = lane["messages"]
    assert (teapot["content"], teapot["place"], teapot["siblings"]) == ("What is a teapot?", 2, 2)
    lanes = read(ada, f"chats/{chats['Two of you?']['id']}")["lanes"]
    assert [lane["model"] for lane in lanes] == ["smollm2-135m", "tiny"]
    (his,) = first_list(visit("bob"), "chats")
    (lane,) = read(visit("bob"), f"chats/{his['id']}")["lanes"]
    assert [each["content"] for each in lane["messages"]] == [
        "Hello",
        "Good day.",
        "Name a toy.",
        "A wooden horse.",
    ]


def test_keys_and_settings_are_as_they_were(studio, visit):
    assert [key.revoked is None for key in studio.keys.list("local")].count(True) == 1
    nobody = visit(None)
    assert nobody.get("/v1/models").status_code == 401
    answer = nobody.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    settings = studio.settings.current
    assert (settings.queue_limit, settings.guest_quota_mb) == (17, 123)


def test_what_jobs_use_is_known(studio):
    found = {Use(row["kind"], row["item"]) for row in studio.store.rows("SELECT * FROM job_uses")}
    expected = {Use("subject", WHISKERS), Use("lora", LORA), Use("lora", HALVED)}
    assert expected < found
    assert Counter(use.kind for use in found) == {
        **{"subject": 2, "training": 4, "lora": 2, "input": 1, "data": 4},
        **{"chat_model": 1, "pruning": 1},
    }
    for use, at_work in {
        Use("lora", LORA): True,
        Use("data", DRAWN): True,
        Use("subject", WHISKERS): True,
        Use("subject", HIS): False,
        Use("lora", HALVED): False,
    }.items():
        assert is_at_work(studio.store, None, use) == at_work, use


def test_everybody_takes_as_much_as_that_atelier_counted(studio):
    used = {owner: studio.quota.bytes_used(owner) for owner in ("ada", "bob", "local", GUEST)}
    assert used == {"ada": 508_411, "bob": 15_592, "local": 4_682, GUEST: 3_945}
    assert studio.quota.bytes_of_all() == 118_699


def test_what_is_used_is_kept_and_the_rest_can_go(studio, ada):
    """The last test: it deletes."""
    inputs = {each["id"] for each in first_list(ada, "inputs")}
    assert len(inputs) == 3
    studio.store.write("UPDATE inputs SET created = created - ?", (2 * KEPT_SECONDS,))
    sum(studio.cleaner.clean_up())
    assert len(first_list(ada, "inputs")) == 2, "one that a job follows, one whose colours are data"
    assert ada.delete(f"/api/v1/loras/{LORA}").status_code == 422
    with pytest.raises(BadRequest, match="waiting or running"):
        studio.subjects.delete("ada", WHISKERS)
    for job in studio.jobs.list("ada"):
        studio.jobs.cancel("ada", job.id)
    made = studio.subjects.delete("ada", WHISKERS)
    assert len(made.jobs) == 3
    assert set(made.loras) == {LORA, WORD, HALVED}
    assert len(made.pictures) == 5, "two samples' sheet, two with the LoRA, a sheet and its half"
    assert len(studio.gallery.search("ada")) == 5
    assert len(studio.gallery.search("bob")) == 1
