"""True labels of a table: over HTTP from the upload to the scores and files, and in the tab."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.datasets import load_iris

from pipelines.core.errors import BadRequest
from studio.core.accounts.accounts import Owner
from studio.core.services import Options, Studio
from studio.features.clustering.forms.data import DataForm
from studio.features.clustering.results.results import CLUSTER, COMPARE
from studio.page.widgets import Visitor
from tests.patience import PATIENCE
from tests.studio.live import build_api, live_studio, sentence, wait_for

API = "/api/v1"
PLAIN = b"x,z,kind\n1,5,=b()\n2,,a\n3,6,\n4,7,a\n10,9,=b()\n11,9,=b()\n"
LOCAL = Visitor(Owner("local", "local", is_host=True), "en")


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Iterator[tuple[Studio, str]]:
    home = tmp_path_factory.mktemp("truth")
    with live_studio(Options(home, device="cpu", offline=True), build_api) as running:
        yield running


@pytest.fixture(scope="module")
def client(studio) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=studio[1], timeout=PATIENCE) as client:
        yield client


def bring(client: httpx.Client, content: bytes = PLAIN) -> dict[str, Any]:
    answer = client.post(f"{API}/cluster-tables", content=content, params={"name": "my.csv"})
    assert answer.status_code == 201, answer.text
    return answer.json()


def make(client: httpx.Client, table: dict[str, Any], **picking: Any) -> httpx.Response:
    source = {"kind": "table", "table": table["id"], "picking": picking}
    return client.post(f"{API}/cluster-data", json=source)


def header(client: httpx.Client, data: dict[str, Any]) -> dict[str, Any]:
    body = client.get(f"{API}/cluster-data/{data['id']}/points").content
    return json.loads(body[4 : 4 + int.from_bytes(body[:4], "little")])


def run_job(client: httpx.Client, kind: str, **request: Any) -> dict[str, Any]:
    answer = client.post(f"{API}/jobs/{kind}", json=request)
    assert answer.status_code == 202, answer.text
    job = wait_for(client, answer.json()["id"])
    assert job["state"] == "done", job["error"]
    return job


def rows(client: httpx.Client, job: dict[str, Any], name: str) -> list[dict[str, str]]:
    text = client.get(f"{API}/clusterings/{job['id']}/{name}").content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def iris(client) -> dict[str, Any]:
    """Irises with their species, brought in as a table."""
    bunch = load_iris(as_frame=True)
    frame = bunch.data.assign(species=bunch.target_names[bunch.target])
    return bring(client, frame.to_csv(index=False).encode())


def test_irises_with_their_species_are_clustered_and_compared(client, iris, tmp_path, monkeypatch):
    assert iris["suggested_truth"] == "species"
    assert iris["suggested"] == load_iris().feature_names
    answer = make(client, iris, columns=iris["suggested"], truth="species")
    assert answer.status_code == 201, answer.text
    known = answer.json()
    assert (known["truth"], known["columns"]) == (True, load_iris().feature_names)
    assert known["notes"] == ["'species' has the true labels, of 3 classes."]
    about = header(client, known)
    assert about["classes"] == ["setosa", "versicolor", "virginica"]
    assert about["truth"] == load_iris().target.tolist()
    assert (about["groups"], about["unlabelled"]) == ([50, 50, 50], 0)

    job = run_job(client, CLUSTER, data=known["id"], parameters={"clusters": 3})
    agreement = job["result"]["agreement"]
    assert agreement["ari"] == pytest.approx(0.73, abs=0.005)
    assert agreement["classes"] == ["setosa", "versicolor", "virginica"]
    labelled = rows(client, job, "labels.csv")
    assert list(labelled[0]) == [*load_iris().feature_names, "species", "cluster"]
    frame = pd.DataFrame(labelled)
    scores = metrics.adjusted_rand_score(frame["species"], frame["cluster"])
    assert agreement["ari"] == pytest.approx(scores)

    # What the code reads has no true labels in it, and gives the same clusters.
    assert list(rows(client, job, "data.csv")[0]) == load_iris().feature_names
    text = client.get(f"{API}/clusterings/{job['id']}/data.csv").content
    (tmp_path / "data.csv").write_bytes(text)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(client.get(f"{API}/clusterings/{job['id']}/cluster.py").text, names)
    assert names["X"].shape == (150, 4)
    assert list(map(str, names["labels"])) == frame["cluster"].tolist()

    compared = run_job(
        client, COMPARE, data=known["id"], algorithms=["kmeans", "birch"], clusters=3
    )
    assert compared["result"]["rows"][0]["ari"] == pytest.approx(scores)
    assert compared["result"]["rows"][1]["ari"] > 0.5


def test_labels_go_with_their_rows_and_are_safe_in_a_spreadsheet(client):
    table = bring(client)
    known = make(client, table, columns=["x", "z"], truth="kind").json()
    assert known["points"] == 5
    assert [note.partition(":")[0] for note in known["notes"]] == [
        "1 of 6 rows were left out",
        "'kind' has the true labels, of 2 classes.",
        "1 of 5 points have no true label",
    ]
    about = header(client, known)
    assert about["classes"] == ["=b()", "a"]
    assert about["truth"] == [0, -1, 1, 0, 0]
    assert (about["groups"], about["unlabelled"]) == ([3, 1], 1)
    job = run_job(client, CLUSTER, data=known["id"], parameters={"clusters": 2})
    assert job["result"]["agreement"]["unlabelled"] == 1
    assert np.sum(job["result"]["agreement"]["confusion"]) == 4
    clusters = [row["cluster"] for row in rows(client, job, "labels.csv")]
    assert clusters == ["0", "", "0", "0", "1", "1"]
    # Of a table that has been deleted its true labels are left.
    assert client.delete(f"{API}/cluster-tables/{table['id']}").status_code == 204
    labelled = rows(client, job, "labels.csv")
    assert [row["truth"] for row in labelled] == ["'=b()", "", "a", "'=b()", "'=b()"]


@pytest.mark.parametrize(
    ("picking", "words"),
    [
        ({"columns": ["x"], "truth": "x"}, "'x' has the true labels, which are never clustered on"),
        ({"columns": ["x"], "truth": "nobody"}, "no column 'nobody'"),
        ({"columns": ["z"], "truth": "x"}, "'x' has more than 100 different values ('0', "),
        ({"columns": ["z"], "truth": 3}, "True labels"),
    ],
)
def test_true_labels_that_cannot_be_are_refused_with_a_sentence(client, picking, words):
    many = "".join(f"{row / 3},{row}\n" for row in range(10_000))
    answer = make(client, bring(client, f"x,z\n{many}".encode()), **picking)
    assert answer.status_code in (400, 422)
    assert words in sentence(answer)


def test_the_refusal_is_said_in_chinese_too(client):
    table = bring(client)
    source = {"kind": "table", "table": table["id"], "picking": {"columns": ["x"], "truth": "x"}}
    answer = client.post(f"{API}/cluster-data", json=source, headers={"accept-language": "zh"})
    assert "真实标签" in sentence(answer)


# --- the tab's controls ---------------------------------------------------------------------------


@pytest.fixture
def form(studio, monkeypatch) -> DataForm:
    monkeypatch.setattr(Visitor, "of", classmethod(lambda cls, request: LOCAL))
    form = DataForm(studio[0])
    form._groups = {}  # nothing is drawn
    return form


def values(table: str, columns: list[str], truth: str) -> list[Any]:
    """What the controls hold: kind, five of made data, five that pick, table, picture, drawn."""
    made = ["blobs", 600, 0, 0.06, 3]
    return ["table", *made, columns, truth, [], "drop", 20, table, None, ()]


def test_an_upload_with_a_class_column_proposes_it_as_the_true_labels(form, tmp_path):
    path = tmp_path / "birds.csv"
    path.write_text("wing,species\n" + "".join(f"{i / 7},{'ab'[i % 2]}\n" for i in range(30)))
    _, columns, truth, codes, _, _, table, preview, *_ = form._bring(str(path), SimpleNamespace())
    assert (columns["value"], truth["value"]) == (["wing"], "species")
    assert columns["choices"] == codes["choices"] == ["wing", "species"]
    assert truth["choices"] == [("Not known", ""), ("wing", "wing"), ("species", "species")]
    assert 'class="column truth"' in preview
    known = form.make(values(table, columns["value"], truth["value"]), LOCAL)
    assert (known.truth, known.columns) == (True, ("wing",))
    assert form.make(values(table, columns["value"], ""), LOCAL).truth is False


def test_how_a_file_is_read_is_shown_with_its_doubts_and_changed_by_the_controls(form, tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text("Preis;Menge\n12,50;1.250\n9,75;2.500\n")
    *_, table, preview, _, box, _, delimiter, decimal, thousands, header = form._bring(
        str(path), SimpleNamespace()
    )
    assert box["visible"]
    assert box["open"]  # as there is a doubt
    assert thousands["choices"][0] == ("Found: point: 1.250", "")
    assert (delimiter["value"], decimal["value"], header["value"]) == ("", "", "")
    assert "1.250 → 1250, 2.500 → 2500" in preview
    assert "if &#x27;.&#x27; is the decimal mark, it is 1.25" in preview
    columns, *_, other, preview, said, _, _, _, decimal, _, _ = form._reread(
        table, SimpleNamespace(), "", "", ".", "", ""
    )
    assert other != table
    assert decimal["value"] == "."
    assert columns["value"] == ["Menge"]
    assert "12,50 → –, 9,75 → –" in preview
    assert "is no number by the marks of this file" in preview
    assert said == ""
    skipped = form._reread(other, SimpleNamespace(), "", "", ".", ".", "")
    assert "cannot be both" in skipped[7]


def test_a_column_that_is_named_as_true_labels_is_taken_from_those_clustered_on(form, client):
    table = bring(client)["id"]
    columns, codes, preview = form._name(table, ["x", "z"], ["z"], "z", SimpleNamespace())
    assert columns["value"] == ["x"]
    assert codes["value"] == []
    assert preview.count("true labels") == 1
    assert form.make(values(table, ["x"], "z"), LOCAL).columns == ("x",)
    with pytest.raises(BadRequest, match="'z' has the true labels, which are never clustered on"):
        form.make(values(table, ["x", "z"], "z"), LOCAL)
    columns, _, preview = form._name(table, ["x"], [], "", SimpleNamespace())
    assert columns["value"] == ["x"]
    assert "true labels" not in preview


def test_data_that_are_found_again_show_their_true_labels(form, client):
    table = bring(client)["id"]
    source = form.make(values(table, ["x"], "kind"), LOCAL).source
    filled = form.fill(source, LOCAL)
    columns, truth = filled[6:8]
    assert (columns["value"], truth["value"]) == (["x"], "kind")
    del source["picking"]["truth"]  # of before there were any
    assert form.fill(source, LOCAL)[7]["value"] == ""
