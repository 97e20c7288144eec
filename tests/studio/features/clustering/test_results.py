"""What clustering has found, over HTTP: labels, centres, downloads, each for its owner alone."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from pipelines.clustering.engine import RESULTS
from pipelines.clustering.projecting import choose_rows
from pipelines.core.errors import BadRequest, NotFound, Stopped
from pipelines.core.events import Result
from studio.app import open_studio
from studio.core.accounts.accounts import Owner
from studio.core.home import WRITING_SECONDS, DiskFull
from studio.core.services import Options, Studio
from studio.features.clustering.plot import overlay, points
from studio.features.clustering.results.results import CLUSTER, COMPARE
from tests.patience import PATIENCE, wait_until
from tests.studio.live import build_api, live_studio, sentence, wait_for, waiting_client
from tests.studio.people import ACCOUNTS

API = "/api/v1"
ADA = Owner("ada", "ada", is_host=False)


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Iterator[tuple[Studio, str]]:
    home = tmp_path_factory.mktemp("results")
    with live_studio(
        Options(home, accounts=ACCOUNTS, device="cpu", offline=True), build_api
    ) as running:
        yield running


def data_of(client: httpx.Client, **source: Any) -> str:
    answer = client.post(f"{API}/cluster-data", json=source)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def run_job(client: httpx.Client, kind: str, **request: Any) -> dict[str, Any]:
    """The job of this kind, ended; it must have gone well."""
    answer = client.post(f"{API}/jobs/{kind}", json=request)
    assert answer.status_code == 202, answer.text
    job = wait_for(client, answer.json()["id"])
    assert job["state"] == "done", job["error"]
    return job


def parts(answer: httpx.Response) -> tuple[dict[str, Any], bytes]:
    """The header of a binary answer, and what follows."""
    assert answer.status_code == 200, answer.text
    body = answer.content
    length = int.from_bytes(body[:4], "little")
    assert length % 4 == 0
    return json.loads(body[4 : 4 + length]), body[4 + length :]


def fetch_labels(client: httpx.Client, data: str, job: dict[str, Any], **view: Any):
    """The header of the labels, the labels, and the places and rows that they go with."""
    header, rest = parts(client.get(f"{API}/clusterings/{job['id']}/labels", params=view))
    labels = np.frombuffer(rest, "<i2" if header["dtype"] == "int16" else "<i4")
    view = {name: value for name, value in view.items() if name != "algorithm"}
    about, rest = parts(client.get(f"{API}/cluster-data/{data}/points", params=view))
    shown = about["shown"]
    positions = np.frombuffer(rest, "<f4", shown * about["dims"]).reshape(shown, -1)
    rows = np.frombuffer(rest, "<u4", shown, positions.nbytes)
    assert header["shown"] == shown == len(labels)
    return header, labels, positions * about["unit"] + about["offset"], rows


# --- labels over the points of a plot -------------------------------------------------------------


@pytest.mark.parametrize("view", [{"scaling": "standard"}, {"scaling": "none"}, {"dims": 3}])
def test_centres_lie_in_the_middle_of_their_points_whatever_the_picture_shows(ada, view):
    data = data_of(ada, kind="made", name="wine")
    job = run_job(ada, CLUSTER, data=data, scaling="standard", parameters={"clusters": 3})
    header, labels, positions, rows = fetch_labels(ada, data, job, **view)
    assert (header["algorithm"], header["clusters"], header["noise"]) == ("kmeans", 3, 0)
    assert header["sizes"] == np.bincount(labels).tolist()
    assert rows.tolist() == list(range(178))
    means = [positions[labels == label].mean(axis=0) for label in range(3)]
    assert np.allclose(header["centres"], means, atol=1e-3 * np.ptp(positions))
    assert header["ellipses"] is None


def test_ellipses_are_those_of_the_points_weighted_by_membership(studio, ada):
    data = data_of(ada, kind="made", name="wine")
    job = run_job(ada, CLUSTER, data=data, algorithm="mixture", scaling="minmax",
               parameters={"clusters": 2, "regularisation": 0.0})  # fmt: skip
    header, _, positions, _ = fetch_labels(ada, data, job, scaling="robust")
    soft = studio[0].clusterings.of("ada", job["id"]).soft
    for at, ellipse in enumerate(header["ellipses"]):
        covariance = np.cov(positions.T, aweights=soft[:, at], bias=True)
        long, short = 4 * np.sqrt(np.linalg.eigvalsh(covariance)[::-1])
        assert ellipse[:2] == pytest.approx(header["centres"][at])
        assert ellipse[2:4] == pytest.approx([long, short], rel=1e-2)
    in_3d, *_ = fetch_labels(ada, data, job, dims=3)
    assert in_3d["ellipses"] is None
    assert np.shape(in_3d["centres"]) == (2, 3)


def test_of_many_points_the_labels_are_of_those_that_are_shown_and_counts_are_of_all(
    studio, ada, monkeypatch
):
    few = partial(choose_rows, limit=1000)
    for module in (overlay, points):
        monkeypatch.setattr(module, "choose_rows", few)
    data = data_of(ada, kind="made", name="blobs", points=1500, noise=0.05)
    job = run_job(ada, CLUSTER, data=data, algorithm="dbscan", parameters={"eps": 0.02})
    header, labels, _, rows = fetch_labels(ada, data, job)
    found = studio[0].clusterings.of("ada", job["id"])
    assert rows.tolist() == few(1500).tolist()
    assert (labels == found.labels()[rows]).all()
    assert sum(header["sizes"]) + header["noise"] == 1500
    assert header["noise"] > 0
    assert header["centres"] is None
    assert found.extra["core"].size > 1000


def test_a_comparison_has_labels_by_algorithm(ada):
    data = data_of(ada, kind="made", name="moons", points=300, noise=0.03)
    job = run_job(ada, COMPARE, data=data, algorithms=["kmeans", "dbscan"], clusters=2)
    dense, by_density, *_ = fetch_labels(ada, data, job, algorithm="dbscan")
    first, by_centres, *_ = fetch_labels(ada, data, job)
    assert (first["algorithm"], dense["algorithm"]) == ("kmeans", "dbscan")
    assert (by_density != by_centres).any()
    told = ada.get(f"{API}/clusterings/{job['id']}").json()
    assert [each["algorithm"] for each in told["algorithms"]] == ["kmeans", "dbscan"]
    assert "model.json" not in told["files"]
    answer = ada.get(f"{API}/clusterings/{job['id']}/labels", params={"algorithm": "optics"})
    assert answer.status_code == 404
    assert "kmeans, dbscan" in sentence(answer)
    rows = ada.get(told["files"]["labels.csv"], params={"algorithm": "dbscan"})
    assert [int(row["cluster"]) for row in read(rows)] == by_density.tolist()


# --- what is taken home ---------------------------------------------------------------------------


def read(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def test_a_table_comes_back_with_its_own_columns_and_the_clusters(studio, ada):
    table = "name,x,y\n=cmd(),1,1\nbo,1.5,1\nlü,,9\ndi,9,9\nel,9.5,9\n"
    known = ada.post(f"{API}/cluster-tables", params={"name": "people"}, content=table.encode())
    assert known.status_code == 201, known.text
    picking = {"columns": ["x", "y"], "missing": "drop"}
    data = data_of(ada, kind="table", table=known.json()["id"], picking=picking)
    job = run_job(ada, CLUSTER, data=data, parameters={"clusters": 2})
    rows = read(ada.get(f"{API}/clusterings/{job['id']}/labels.csv"))
    assert [row["name"] for row in rows] == ["'=cmd()", "bo", "lü", "di", "el"]
    assert [row["cluster"] for row in rows] == ["0", "0", "", "1", "1"]
    cache = studio[0].home / "cache"
    wait_until(lambda: not list(cache.glob("clustering-*")))  # gone once it is sent
    centres = read(ada.get(f"{API}/clusterings/{job['id']}/centres.csv"))
    assert [(row["points"], float(row["x"]), float(row["y"])) for row in centres] == [
        ("2", 1.25, 1.0),
        ("2", 9.25, 9.0),
    ]


def test_the_code_gives_the_same_labels_from_the_data_beside_it(ada, tmp_path, monkeypatch):
    data = data_of(ada, kind="made", name="iris")
    job = run_job(ada, CLUSTER, data=data, scaling="standard", parameters={"clusters": 3})
    files = ada.get(f"{API}/clusterings/{job['id']}").json()["files"]
    (tmp_path / "data.csv").write_bytes(ada.get(files["data.csv"]).content)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(ada.get(files["cluster.py"]).text, names)
    rows = read(ada.get(files["labels.csv"]))
    assert names["labels"].tolist() == [int(row["cluster"]) for row in rows]
    assert {row["truth"] for row in rows} == {"setosa", "versicolor", "virginica"}
    model = ada.get(files["model.json"]).json()
    assert model["parameters"]["clusters"] == 3
    assert "left_out" not in model
    assert "extra.npz" not in files  # k-means has no further arrays
    assert job["result"]["agreement"]["ari"] == pytest.approx(0.62, abs=0.01)  # standardised


def test_how_certain_a_label_is_stands_beside_it(ada):
    data = data_of(ada, kind="made", name="blobs", points=60)
    job = run_job(ada, CLUSTER, data=data, algorithm="mixture", parameters={"clusters": 2})
    rows = read(ada.get(f"{API}/clusterings/{job['id']}/labels.csv"))
    assert all(0.5 <= float(row["certainty"]) <= 1 for row in rows)
    files = ada.get(f"{API}/clusterings/{job['id']}").json()["files"]
    with np.load(io.BytesIO(ada.get(files["extra.npz"]).content)) as arrays:
        assert arrays["covariances"].shape == (2, 2, 2)
        told = ada.get(files["model.json"]).json()["covariances"]
        assert arrays["covariances"].tolist() == told


def clustered_picture(client: httpx.Client) -> tuple[str, dict[str, Any]]:
    """The id of a picture of two colours, three to two, and the job that has found them."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :18] = (200, 30, 30)
    pixels[:, 18:] = (20, 60, 220)
    pixels[::2, ::2] += 2  # nearly
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    picture = client.post(f"{API}/inputs", content=buffer.getvalue()).json()["id"]
    data = data_of(client, kind="picture", picture=picture)
    return picture, run_job(client, CLUSTER, data=data, parameters={"clusters": 2})


def test_a_picture_is_painted_in_its_clusters_colours(ada):
    picture, job = clustered_picture(ada)
    told = ada.get(f"{API}/clusterings/{job['id']}").json()
    assert [(each["pixels"], each["share"]) for each in told["palette"]] == [(360, 0.6), (240, 0.4)]
    painted = Image.open(io.BytesIO(ada.get(told["files"]["picture.png"]).content))
    colours = dict(map(reversed, painted.getcolors()))
    assert sorted(colours.values()) == [240, 360]
    assert "#{:02x}{:02x}{:02x}".format(*max(colours, key=colours.get)) == told["palette"][0]["hex"]
    header, labels, *_ = fetch_labels(ada, job["request"]["data"], job)
    inks = {label: header["inks"][label] for label in np.unique(labels).tolist()}
    assert inks == {each["label"]: each["hex"] for each in told["palette"]}
    ada.delete(f"{API}/inputs/{picture}")
    assert ada.get(told["files"]["picture.png"]).status_code == 200  # it is kept


def test_painted_files_are_whole_when_they_get_their_names_and_the_palette_is_the_last(
    ada, monkeypatch
):
    _, job = clustered_picture(ada)
    named = {}
    real = os.replace

    def replace(source, target) -> None:
        assert not Path(target).exists()
        named[Path(target).name] = Path(source).read_bytes()
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    told = ada.get(f"{API}/clusterings/{job['id']}").json()
    monkeypatch.undo()
    assert list(named) == ["picture.png", "palette.json"]
    assert json.loads(named["palette.json"]) == told["palette"]
    assert ada.get(told["files"]["picture.png"]).content == named["picture.png"]


def test_without_room_for_the_painted_picture_all_else_is_told(ada, monkeypatch):
    _, job = clustered_picture(ada)

    def full(path, data) -> None:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr("studio.features.clustering.results.results.write_file", full)
    told = ada.get(f"{API}/clusterings/{job['id']}").json()
    assert told["palette"] is None
    assert "picture.png" not in told["files"]
    answer = ada.get(f"{API}/clusterings/{job['id']}/picture.png")
    assert (answer.status_code, sentence(answer)) == (507, "The disk is full.")
    monkeypatch.undo()
    assert ada.get(f"{API}/clusterings/{job['id']}").json()["palette"]


def test_a_curve_keeps_nothing_and_answers_in_the_job(ada):
    data = data_of(ada, kind="made", name="blobs", points=200)
    job = run_job(ada, "cluster_curve", data=data, curve="elbow", most=5)
    assert job["result"]["curve"]["knee"] == 3
    answer = ada.get(f"{API}/clusterings/{job['id']}")
    assert answer.status_code == 404
    assert "clustered nothing" in sentence(answer)


def test_what_is_not_there_is_said(ada):
    data = data_of(ada, kind="made", name="uniform", points=50)
    job = run_job(ada, CLUSTER, data=data, algorithm="dbscan")
    base = f"{API}/clusterings/{job['id']}"
    for name in ("centres.csv", "picture.png"):
        answer = ada.get(f"{base}/{name}")
        assert answer.status_code == 404
        assert name in sentence(answer)
    assert ada.get(f"{base}/secret.txt").status_code in (404, 422)
    for strange in ("nothing", "..%2f..%2fatelier.db", "0" * 32):
        assert ada.get(f"{API}/clusterings/{strange}/labels.csv").status_code == 404
    assert ada.get(f"{base}/labels", params={"dims": 4}).status_code == 422
    answer = ada.get(f"{base}/labels", params={"algorithm": "kmeans"})
    assert answer.status_code == 404


# --- animations ----------------------------------------------------------------------------------


def test_an_animation_shows_the_points_where_the_plot_has_them(ada, bob):
    data = data_of(ada, kind="made", name="wine")
    body = {"data": data, "algorithm": "dbscan", "scaling": "standard", "parameters": {"eps": 2.5}}
    answer = ada.post(f"{API}/cluster-animations", json=body, headers={"accept-language": "zh"})
    assert answer.status_code == 200, answer.text
    animation = answer.json()
    assert (animation["steps"], len(animation["frames"]), animation["radius"]) == (
        179,
        179,
        [2.5, 2.5],
    )
    assert "PCA" in animation["note"]
    assert "picture" not in animation["note"]
    view = {"scaling": "standard"}
    _, rest = parts(ada.get(f"{API}/cluster-data/{data}/points", params=view))
    positions = np.frombuffer(rest, "<f4", 178 * 2).reshape(178, 2)
    assert np.allclose(animation["points"], positions, atol=1e-3)
    assert bob.post(f"{API}/cluster-animations", json=body).status_code == 404
    assert ada.post(f"{API}/cluster-films", json=body).status_code == 200  # its name before
    wrong = ada.post(f"{API}/cluster-animations", json=body | {"parameters": {"eps": -1}})
    assert wrong.status_code == 422
    assert "Radius (eps) is -1; it must be more than 0." in sentence(wrong)
    assert ada.post(f"{API}/cluster-animations", content=b'{"data": ').status_code == 422


def test_an_animation_that_nobody_waits_for_any_more_ends(ada, monkeypatch):
    data = data_of(ada, kind="made", name="moons", points=50)
    begun, ended = threading.Event(), threading.Event()

    def endless(owner, request, data, seen, stop):
        begun.set()
        assert stop.wait(PATIENCE)
        ended.set()
        raise Stopped

    monkeypatch.setattr("studio.features.clustering.results.animation_runs.animate", endless)
    with waiting_client(ada, f"{API}/cluster-animations", {"data": data}):
        assert begun.wait(PATIENCE)
    assert ended.wait(PATIENCE)


# --- nobody else's --------------------------------------------------------------------------------


def test_another_s_data_and_results_are_not_found(ada, bob):
    data = data_of(ada, kind="made", name="moons", points=100)
    job = run_job(ada, CLUSTER, data=data)
    base = f"{API}/clusterings/{job['id']}"
    for name in ("", "/labels", "/labels.csv", "/data.csv", "/centres.csv", "/model.json",
                 "/cluster.py", "/picture.png"):  # fmt: skip
        assert bob.get(base + name).status_code == 404, name
    assert bob.delete(base).status_code == 404
    for kind, more in ((CLUSTER, {}), (COMPARE, {}), ("cluster_curve", {"curve": "elbow"})):
        answer = bob.post(f"{API}/jobs/{kind}", json={"data": data, **more})
        assert answer.status_code == 404
        assert data in sentence(answer)
    assert bob.post(f"{API}/jobs/{job['id']}/retry").status_code == 404
    assert ada.get(base).status_code == 200


# --- without a worker -----------------------------------------------------------------------------


@pytest.fixture
def still(tmp_path) -> Iterator[Studio]:
    """A studio whose worker does not run: jobs stay queued until they are ended here."""
    studio = open_studio(Options(tmp_path, accounts=ACCOUNTS, device="cpu", offline=True))
    yield studio
    studio.close()


def finished_job(studio: Studio, **request: Any) -> tuple[str, Path]:
    """A job that is done, and its folder."""
    data = studio.cluster_data.make(ADA, {"kind": "made", "name": "blobs", "points": 50}).id
    job = studio.submissions.submit(ADA, CLUSTER, {"data": data, **request})
    engine = studio.submissions.engine(CLUSTER)
    home = SimpleNamespace(home=studio.home)
    asked = engine.request_class.model_validate(job.request)
    *_, result = engine.run(asked, home, SimpleNamespace(is_set=lambda: False))
    assert isinstance(result, Result)
    studio.store.write(
        "UPDATE jobs SET state = 'done', result = ? WHERE id = ?",
        (json.dumps(result.data), job.id),
    )
    return job.id, studio.home / RESULTS / result.data["folder"]


def test_a_job_that_is_not_done_has_no_labels(still):
    data = still.cluster_data.make(ADA, {"kind": "made", "name": "blobs"}).id
    job = still.submissions.submit(ADA, CLUSTER, {"data": data})
    with pytest.raises(BadRequest, match=f"Job {job.id} is queued: it has no labels"):
        still.clusterings.of("ada", job.id)
    with pytest.raises(BadRequest, match="still queued"):
        still.clusterings.delete("ada", job.id)


def test_deleted_is_gone_for_good_and_gives_its_room_back(still):
    before = still.quota.bytes_used("ada")
    job, folder = finished_job(still)
    size = sum(path.stat().st_size for path in folder.iterdir())
    data = still.cluster_data.list("ada")[0].bytes
    assert still.quota.bytes_used("ada") == before + data + size
    still.clusterings.delete("ada", job)
    assert not folder.exists()
    assert still.quota.bytes_used("ada") == before + data
    with pytest.raises(NotFound, match="no job"):
        still.clusterings.of("ada", job)


def test_a_full_disk_does_not_keep_anybody_from_freeing_it(still, monkeypatch):
    job, folder = finished_job(still)
    write = still.store.write

    def full(*statement) -> int:
        if folder.exists():
            raise DiskFull("The disk is full.")
        return write(*statement)

    monkeypatch.setattr(still.store, "write", full)
    still.clusterings.delete("ada", job)
    assert not folder.exists()
    with pytest.raises(NotFound, match="no job"):
        still.clusterings.of("ada", job)


def test_results_of_no_job_are_cleaned_up_and_others_are_kept(still):
    job, kept = finished_job(still)
    lost = still.home / RESULTS / ("a" * 32)
    lost.mkdir()
    (lost / "labels.npy").write_bytes(b"0" * 1000)
    young = still.home / RESULTS / ("b" * 32)
    young.mkdir()
    old = time.time() - WRITING_SECONDS - 60
    for folder in (lost, kept):
        os.utime(folder, (old, old))
    assert sum(still.cleaner.clean_up(dry_run=True)) >= 1000
    assert lost.exists()
    sum(still.cleaner.clean_up())
    assert not lost.exists()
    assert young.exists()
    assert still.clusterings.of("ada", job).labels().shape == (50,)


def test_a_result_whose_folder_or_data_have_vanished_says_so(still):
    job, folder = finished_job(still)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(NotFound, match="is gone"):
        still.clusterings.of("ada", job)
    folder.with_name("elsewhere").rename(folder)
    found = still.clusterings.of("ada", job)
    assert found.model["algorithm"] == "kmeans"
    assert "KMeans(" in found.code
    assert found.centres.shape == (3, 2)
    still.cluster_data.delete("ada", found.known.id)
    with pytest.raises(NotFound, match="no data set"):
        still.clusterings.of("ada", job)
