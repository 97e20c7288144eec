"""All that an owner keeps goes, be it whose feature's it may; what others keep stays."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipelines.core.errors import BadRequest, Stopped
from studio.accounts import main
from studio.app import open_studio
from studio.core.accounts.accounts import Owner
from studio.core.accounts.deletion import KIND, EverythingRequest, OwnerDeletion
from studio.core.gallery.gallery import Gallery
from studio.core.home import prepare_home
from studio.core.jobs.queue import Jobs
from studio.core.jobs.record import CANCELLED, DONE, FAILED
from studio.core.quota import Keeper, Quota
from studio.core.services import Options
from studio.core.settings import StoredSettings
from studio.core.store import FILE_NAME, Store
from tests.packages import palette_in
from tests.patience import wait_until
from tests.pipelines.dreambooth.data.test_photos import encode
from tests.studio.core.test_earlier_home import GUEST, unpack
from tests.studio.drawing_engines import Draw, DrawRequest
from tests.studio.live import build_api
from tests.studio.people import ACCOUNTS

OWNED = ("jobs", "pictures", "inputs", "subjects", "conversations", "cluster_tables",
         "cluster_data")  # fmt: skip
# What is not ada's of that home's files: bob's, the guest's, the host's and everybody's.
OTHERS = ("chat/tiny", "outputs/81b637d8fcd2c6da6359/", "outputs/c4a6a634ee1bb1629d4f/",
          "outputs/local/", "subjects/ffc45f599616864ddd940131844ab3e9/", "trainings/speeds.json",
          "palettes/81b637d8fcd2c6da6359")  # fmt: skip
RUNNING_STUDIO = (FILE_NAME, "studio.lock", "secret", ".reserve")


def files_in(home: Path) -> dict[str, bytes]:
    """All files that are somebody's or everybody's, by their paths below the home."""
    found = {str(each.relative_to(home)): each for each in home.rglob("*") if each.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not name.startswith(RUNNING_STUDIO)
    }


def owned_rows(home: Path, owner: str | None) -> dict[str, list[tuple]]:
    """The rows of an owner in each table, or of all but ada's."""
    condition = "owner = ?" if owner else "owner <> 'ada'"
    with sqlite3.connect(home / FILE_NAME) as database:
        return {
            table: database.execute(
                f"SELECT * FROM {table} WHERE {condition}", (owner,) if owner else ()
            ).fetchall()
            for table in OWNED
        }


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A home in which two people, a guest and the host keep something of every kind."""
    folder = tmp_path_factory.mktemp("deletion")
    with palette_in(folder / "site"):
        options = Options(unpack(folder / "home"), accounts=ACCOUNTS, device="cpu", offline=True)
        studio = open_studio(options)
        for name in ("ada", "bob"):
            studio.palettes.path(name).write_text('{"rust": "#b7410e"}')
        yield studio
        studio.close()


def test_every_service_that_keeps_things_of_owners_is_asked(studio):
    named = {name for feature in studio.features for name in feature.keepers}
    assert {id(getattr(studio, name)) for name in named} < {id(each) for each in studio.keepers}
    keeping = {name for name, each in vars(studio).items() if isinstance(each, Keeper)}
    assert keeping == named | {"gallery", "loras", "inputs", "jobs"}
    others = [each for each in vars(studio).values() if not isinstance(each, Keeper)]
    assert [each for each in others if hasattr(each, "delete_all")] == []


@pytest.mark.parametrize("name", ["subjects", "trainings", "clusterings", "loras"])
def test_what_a_job_works_on_stays_and_is_told(studio, name):
    before = files_in(studio.home)
    with pytest.raises(BadRequest, match=r"Cancel it|[Ss]top it"):
        getattr(studio, name).delete_all("ada")
    at_work = (
        "loras/d0a2b2f0",
        "subjects/90935166746783ce7a5befbcd5ef5646/photos",
        "cluster_data/f96835f4",
    )
    kept = files_in(studio.home)
    assert all(kept[each] == before[each] for each in before if each.startswith(at_work))


def test_each_thing_of_an_owner_is_gone_and_those_of_others_stay(studio):
    home, others = studio.home, ("bob", "local", GUEST)
    files, rows = files_in(home), owned_rows(home, None)
    used = {owner: studio.quota.bytes_used(owner) for owner in others}
    assert all(owned_rows(home, "ada").values())
    deletion = OwnerDeletion(studio.keepers, studio.jobs.cancel_all)
    *steps, result = deletion.run(EverythingRequest(), None, threading.Event(), "ada")
    assert result.data["deleted"] > 30
    assert steps[-1].step == steps[-1].total == len(studio.keepers)

    assert studio.quota.bytes_used("ada") == 0
    assert not any(owned_rows(home, "ada").values())
    assert owned_rows(home, None) == rows
    assert {owner: studio.quota.bytes_used(owner) for owner in others} == used
    assert files_in(home) == {name: data for name, data in files.items() if name.startswith(OTHERS)}
    uses = "SELECT COUNT(*) FROM job_uses WHERE job NOT IN (SELECT id FROM jobs)"
    assert studio.store.row(uses)[0] == 0


def test_a_removed_user_keeps_neither_things_nor_keys_nor_a_line(tmp_path, capsys):
    home, users = unpack(tmp_path / "home"), tmp_path / "users.txt"
    lines = [
        f"{name}:{'scrypt$16384$8$1$' + 'A' * 22 + '$' + 'A' * 43}\n" for name in ("bob", "bo")
    ]
    users.write_text("".join(lines), "utf-8")
    command = ["remove", "bob", "--file", str(users), "--home", str(home)]
    studio = open_studio(Options(home, device="cpu", offline=True))
    try:
        studio.keys.make(Owner("bob", "bob", is_host=True), "a script")
        assert main(command) == 1
        assert "Another studio" in capsys.readouterr().err
        assert any(owned_rows(home, "bob").values())
    finally:
        studio.close()
    assert main(command) == 0
    assert not any(owned_rows(home, "bob").values())
    assert all(owned_rows(home, "ada").values())
    assert users.read_text("utf-8") == lines[1]
    store = Store(home)
    revoked = store.rows("SELECT owner FROM api_keys WHERE revoked IS NOT NULL ORDER BY number")
    store.close()
    assert [row["owner"] for row in revoked] == ["local", "bob"]
    with pytest.raises(SystemExit):
        main(command)
    assert "has no user bob" in capsys.readouterr().err


def test_everything_goes_by_the_api_as_a_job(tmp_path):
    studio = open_studio(Options(tmp_path / "home", device="cpu", offline=True))
    try:
        client = TestClient(build_api(studio), "http://127.0.0.1", client=("127.0.0.1", 1))
        picture = encode(Image.new("RGB", (64, 64)))
        assert client.post("/api/v1/inputs", content=picture).status_code == 201
        assert studio.quota.bytes_used("local") > 0
        studio.jobs._chores.start()
        answer = client.delete("/api/v1/everything")
        assert (answer.status_code, answer.json()["kind"]) == (202, KIND)
        path = f"/api/v1/jobs/{answer.json()['id']}"
        job = wait_until(lambda: (now := client.get(path).json())["state"] == DONE and now)
        assert job["result"]["deleted"] == 1
        assert studio.quota.bytes_used("local") == 0
        assert client.get("/api/v1/inputs").json()["inputs"] == []
    finally:
        studio.close()


# --- jobs that run meanwhile ---------------------------------------------------------------------


class Desk:
    """A queue with an engine that draws as long as it is held, and a keeper that looks at it."""

    def __init__(self, home: Path) -> None:
        desk = self

        class Watcher(Keeper):
            seen: list[str] = []  # noqa: RUF012
            refusal: BadRequest | None = None

            def delete_all(self, owner: str) -> int:
                self.seen += [job.state for job in desk.jobs.list(owner, kind="draw")]
                if self.refusal is not None:
                    raise self.refusal
                return 7

        self.store, self.engine, self.watcher = Store(home), Draw(), Watcher()
        settings = StoredSettings(self.store)
        self.gallery = Gallery(self.store, home, settings)
        deletion = OwnerDeletion([self.watcher], lambda owner: self.jobs.cancel_all(owner))
        self.jobs = Jobs(
            *(self.store, None, {"draw": self.engine}, self.gallery, settings, Quota(settings)),
            {KIND: deletion},
        )

    def wait_for_end(self, owner: str, job_id: str):
        return wait_until(lambda: (now := self.jobs.get(owner, job_id)).ended and now)


@pytest.fixture
def desk(tmp_path):
    desk = Desk(prepare_home(tmp_path / "home"))
    yield desk
    desk.engine.hold.set()
    desk.jobs.close()
    desk.store.close()


def test_running_and_waiting_jobs_are_cancelled_before_anything_is_deleted(desk):
    desk.engine.hold.clear()
    running, waiting = (desk.jobs.submit("ada", "draw", DrawRequest()) for _ in range(2))
    other = desk.jobs.submit("bob", "draw", DrawRequest())
    desk.jobs.start()
    assert wait_until(lambda: desk.jobs.get("ada", running.id).state == "running")
    job = desk.jobs.submit("ada", KIND, EverythingRequest())
    assert desk.wait_for_end("ada", job.id).state == DONE
    assert desk.watcher.seen == [CANCELLED, CANCELLED]
    assert {desk.jobs.get("ada", each.id).state for each in (running, waiting)} == {CANCELLED}
    assert desk.jobs.get("ada", job.id).result["deleted"] == 7
    desk.engine.hold.set()
    assert desk.wait_for_end("bob", other.id).state == DONE
    assert desk.jobs.delete_all("ada") == 3


def test_what_cannot_be_deleted_is_told(desk):
    desk.watcher.refusal = BadRequest("{name} is being made. Stop it first.", name="Brief")
    desk.jobs.start()
    job = desk.wait_for_end("ada", desk.jobs.submit("ada", KIND, EverythingRequest()).id)
    assert (job.state, str(job.error)) == (FAILED, "Brief is being made. Stop it first.")


def test_a_stopped_deletion_deletes_nothing_more():
    class Stopping(Keeper):
        def delete_all(self, owner: str) -> int:
            asked.append(owner)
            stop.set()
            return 1

    stop, asked = threading.Event(), []
    deletion = OwnerDeletion([Stopping(), Stopping()], lambda owner: True)
    with pytest.raises(Stopped):
        list(deletion.run(EverythingRequest(), None, stop, "ada"))
    assert asked == ["ada"]
