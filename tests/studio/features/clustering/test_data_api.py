"""Tables and data sets over HTTP, as plots and programs ask for them."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.clustering.data.sample_data import DatasetRequest
from pipelines.clustering.data.sample_data import make as make_data
from pipelines.clustering.projecting import choose_rows
from studio.core.services import Options, Studio
from studio.features.clustering.plot.points import Plotted
from tests.studio.live import build_api, live_studio, sentence
from tests.studio.people import ACCOUNTS

TABLES, DATA = "/api/v1/cluster-tables", "/api/v1/cluster-data"
STRANGE_ID = "0" * 32
CSV = b"height,weight,colour\n1.5,50,red\n1.6,,blue\n1.7,70,red\n1.8,80,green\n"
PICKING = {"columns": ["height", "weight"]}


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Iterator[tuple[Studio, str]]:
    options = Options(
        tmp_path_factory.mktemp("data"), device="cpu", offline=True, accounts=ACCOUNTS
    )
    with live_studio(options, build_api) as running:
        yield running


def bring(client: httpx.Client, content: bytes = CSV, **params) -> dict:
    answer = client.post(TABLES, content=content, params={"name": "people.csv"} | params)
    assert answer.status_code == 201, answer.text
    return answer.json()


def make(client: httpx.Client, **source) -> dict:
    answer = client.post(DATA, json=source)
    assert answer.status_code == 201, answer.text
    return answer.json()


def points(client: httpx.Client, id: str, **params) -> tuple[dict, np.ndarray, np.ndarray]:
    """Header, positions in coordinates, and rows."""
    answer = client.get(f"{DATA}/{id}/points", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    body = answer.content
    length = int.from_bytes(body[:4], "little")
    assert length % 4 == 0
    header = json.loads(body[4 : 4 + length])
    shown, dims = header["shown"], header["dims"]
    assert len(body) == 4 + length + 4 * shown * (dims + 1)
    places = np.frombuffer(body, "<f4", shown * dims, 4 + length).reshape(shown, dims)
    rows = np.frombuffer(body, "<u4", shown, 4 + length + 4 * shown * dims)
    return header, places * header["unit"] + header["offset"], rows


# --- data sets ------------------------------------------------------------------------------------


def test_a_made_data_set_is_plotted_where_its_points_are(ada):
    known = make(ada, kind="made", name="moons", points=300, seed=4)
    assert (known["points"], known["columns"], known["truth"]) == (300, ["x", "y"], True)
    header, places, rows = points(ada, known["id"])
    expected = make_data(DatasetRequest(name="moons", points=300, seed=4))
    assert np.allclose(places, expected.X, atol=1e-6)
    assert header["truth"] == expected.truth.tolist()
    assert rows.tolist() == list(range(300))
    assert header["method"] == "none"
    assert header["note"] is header["density"] is None


def test_the_same_source_is_the_same_data_set(ada, bob):
    source = {"kind": "made", "name": "circles", "points": 50}
    first, again, of_bob = make(ada, **source), make(ada, **source), make(bob, **source)
    assert first["id"] == again["id"] != of_bob["id"]
    listed = [each["id"] for each in ada.get(DATA).json()["data"]]
    assert listed.count(first["id"]) == 1
    assert listed[0] == first["id"]


def test_of_many_points_a_sample_is_sent_with_the_density_of_all(ada):
    known = make(ada, kind="made", name="blobs", points=50_000)
    header, places, rows = points(ada, known["id"])
    X = make_data(DatasetRequest(name="blobs", points=50_000)).X
    assert (rows == choose_rows(50_000)).all()
    assert np.allclose(places, X[rows], atol=1e-6)
    density = header["density"]
    counts = np.frombuffer(base64.b64decode(density["counts"]), "<u2")
    grid = counts.reshape(density["height"], density["width"])
    assert grid.sum() == 50_000
    assert density["most"] == grid.max()
    x0, x1, y0, y1 = density["extent"]
    expected, *_ = np.histogram2d(X[:, 1], X[:, 0], bins=grid.shape, range=((y0, y1), (x0, x1)))
    assert np.abs(grid - expected).sum() < 10  # on the borders of cells rounding decides
    assert header["note"].startswith("20,000 of 50,000 points are drawn")
    chinese = ada.get(f"{DATA}/{known['id']}/points", headers={"accept-language": "zh"})
    assert "20,000" in chinese.text
    assert "points are drawn" not in chinese.text


def test_no_plot_is_packed_on_the_event_loop(ada, monkeypatch):
    threads = []
    real = Plotted.pack
    monkeypatch.setattr(
        Plotted, "pack", lambda *args: threads.append(threading.current_thread()) or real(*args)
    )
    points(ada, make(ada, kind="made", name="iris")["id"])
    assert [each.name.startswith("AnyIO worker") for each in threads] == [True]


def test_three_dimensions_and_pca(ada):
    wine = make(ada, kind="made", name="wine")
    header, places, _ = points(ada, wine["id"], dims=3, scaling="standard")
    assert (header["method"], header["axes"]) == ("pca", ["PC1", "PC2", "PC3"])
    X = make_data(DatasetRequest(name="wine")).X
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    _, sizes, axes = np.linalg.svd(Z, full_matrices=False)
    assert np.allclose(np.abs(places), np.abs(Z @ axes[:3].T), atol=1e-4)
    assert np.allclose(header["explained"], (sizes**2 / (sizes**2).sum())[:3], atol=1e-4)
    flat = points(ada, make(ada, kind="drawn", points=[[1, 2], [3, 4]])["id"], dims=3)[1]
    assert flat.tolist() == [[1, 2, 0], [3, 4, 0]]


def test_times_in_seconds_stay_apart_in_the_plot(ada):
    start = 1_795_000_000
    drawn = [[start / 2 + i, start / 2 - i] for i in range(50)]
    places = points(ada, make(ada, kind="drawn", points=drawn)["id"])[1]
    assert np.allclose(places, drawn, rtol=0, atol=1e-3)


def test_drawn_points_come_back_and_are_not_repeated_in_the_description(ada):
    known = make(ada, kind="drawn", points=[[0.25, 0.5], [1, -1], [0.25, 0.5]])
    assert known["source"] == {"kind": "drawn"}
    assert points(ada, known["id"])[1].tolist() == [[0.25, 0.5], [1, -1], [0.25, 0.5]]


def test_a_deleted_data_set_is_gone_and_is_made_again(ada):
    known = make(ada, kind="made", name="spirals", points=30)
    address = f"{DATA}/{known['id']}"
    assert ada.get(address).json()["id"] == known["id"]
    assert ada.delete(address).status_code == 204
    assert ada.get(address).status_code == 404
    assert ada.get(f"{address}/points").status_code == 404
    assert make(ada, kind="made", name="spirals", points=30)["id"] == known["id"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"kind": "made", "points": 1000000000}', "at most 1000000"),
        (b'{"kind": "made", "points": 0}', "at least 1"),
        (b'{"kind": "made", "noise": NaN}', "must be a"),
        (b'{"kind": "drawn", "points": [[0, NaN]]}', "must be a"),
        (b'{"kind": "drawn", "points": [[0, 1e999]]}', "must be a"),
        (b'{"kind": "drawn", "points": [[0, 1e200]]}', "at most"),
        (b'{"kind": "drawn", "points": []}', "at least 1"),
        (b'{"kind": "drawn", "points": [[1, 2, 3]]}', ""),
        (b'{"kind": "drawn", "points": [[1]]}', ""),
        (b'{"kind": "drawn", "points": [["a", "b"]]}', ""),
        (b'{"kind": "made", "more": 1}', "no setting called more"),
        (b'{"kind": "teapot"}', "'teapot' is no kind"),
        (b'{"kind": ["made"]}', "no kind"),
        (b'{"name": "moons"}', "no kind"),
        (b'{"kind": "made", "name": "mo', "not JSON"),
        (b'{"kind": "table", "table": "../../x", "picking": {"columns": ["a"]}}', "../../x"),
        (b'{"kind": "picture", "picture": "a/b"}', "a/b"),
        (b'{"kind": "gallery", "limit": 100000}', "at most 2000"),
        (b"[]", "JSON object"),
        (b"", "not JSON"),
        (b"\xff\xfe{", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_what_describes_no_data_is_refused_with_a_sentence(ada, body, said):
    answer = ada.post(DATA, content=body)
    assert answer.status_code == 422
    assert said in sentence(answer)


def test_twenty_thousand_drawn_points_are_taken_and_no_more(ada):
    drawn = np.random.default_rng(0).uniform(-1, 1, (20_001, 2)).round(6).tolist()
    assert make(ada, kind="drawn", points=drawn[:20_000])["points"] == 20_000
    answer = ada.post(DATA, json={"kind": "drawn", "points": drawn})
    assert answer.status_code == 422
    assert "20001 entries; at most 20000" in sentence(answer)


# --- tables ---------------------------------------------------------------------------------------


def test_a_csv_becomes_points_and_its_rows_are_known(studio, ada):
    table = bring(ada)
    assert (table["name"], table["format"], table["rows"]) == ("people.csv", "text", 4)
    kinds = {each["name"]: each["kind"] for each in table["columns"]}
    assert kinds == {"height": "number", "weight": "number", "colour": "category"}
    assert table["suggested"] == ["height", "weight"]
    assert table["preview"][1] == ["1.6", "", "blue"]
    assert table["layout"]["delimiter"] == ","
    known = make(ada, kind="table", table=table["id"], picking=PICKING)
    assert (known["title"], known["points"]) == ("people.csv", 3)
    assert known["notes"] == ["1 of 4 rows were left out: values are missing in 'weight'."]
    _, places, rows = points(ada, known["id"])
    assert np.allclose(places, [[1.5, 50], [1.7, 70], [1.8, 80]])
    assert rows.tolist() == [0, 1, 2]  # of X; those of the table are for the export
    assert studio[0].cluster_data.rows("ada", known["id"]).tolist() == [0, 2, 3]
    assert ada.get(f"{TABLES}/{table['id']}").json() == table
    assert table["id"] in [each["id"] for each in ada.get(TABLES).json()["tables"]]


def test_parquet_and_npy(ada):
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": [0.5, 0.25, 0.125]})
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    numbers = io.BytesIO()
    np.save(numbers, frame.to_numpy())
    for content, names in (
        (buffer.getvalue(), ["a", "b"]),
        (numbers.getvalue(), ["column 1", "column 2"]),
    ):
        table = bring(ada, content)
        assert table["layout"] is None
        known = make(ada, kind="table", table=table["id"], picking={"columns": names})
        assert np.allclose(points(ada, known["id"])[1], frame.to_numpy())


def test_a_table_is_read_again_in_another_way(ada):
    wrong = bring(ada, b"a;b\n1,5;2\n2,5;3\n", delimiter=",", decimal=".", name="x.csv")
    answer = ada.post(f"{TABLES}/{wrong['id']}/reading", json={"delimiter": ";"})
    assert answer.status_code == 201, answer.text
    right = answer.json()
    assert right["id"] != wrong["id"]
    assert [each["name"] for each in right["columns"]] == ["a", "b"]
    assert right["columns"][0]["least"] == 1.5
    assert ada.get(f"{TABLES}/{wrong['id']}").status_code == 404
    assert ada.get(f"{TABLES}/{right['id']}").status_code == 200


def test_guesses_come_with_doubts_and_first_values_and_can_be_changed(ada):
    text = "Größe;Menge\n12,50;1.250\n9,75;2.500\n".encode("cp1252")
    table = bring(ada, text, name="x.csv")
    guesses = {each["what"]: each for each in table["guesses"]}
    assert (guesses["decimal"]["value"], guesses["thousands"]["value"]) == (",", ".")
    assert "'Größe'" in guesses["encoding"]["doubt"]
    assert "cp1250" in guesses["encoding"]["others"]
    _, menge = table["columns"]
    assert menge["doubts"] == ["'1.250' is read as 1250; if '.' is the decimal mark, it is 1.25."]
    assert menge["firsts"] == [["1.250", 1250], ["2.500", 2500]]
    answer = ada.post(
        f"{TABLES}/{table['id']}/reading",
        json={"encoding": "cp1250", "thousands": "none"},
        headers={"accept-language": "zh"},
    )
    changed = answer.json()
    assert changed["columns"][1]["kind"] == "text"
    assert "小数点" in changed["columns"][1]["doubts"][0]
    assert [each["chosen"] for each in changed["guesses"]] == [True, False, False, True, False]
    both = {"decimal": ",", "thousands": ","}
    refused = ada.post(f"{TABLES}/{changed['id']}/reading", json=both)
    assert refused.status_code == 422
    assert "cannot be both" in sentence(refused)


def test_points_stay_when_their_table_is_deleted(ada):
    table = bring(ada, CSV + b"2.0,90,red\n")
    source = {"kind": "table", "table": table["id"], "picking": PICKING}
    known = make(ada, **source)
    assert ada.delete(f"{TABLES}/{table['id']}").status_code == 204
    assert points(ada, known["id"])[0]["shown"] == 4
    assert ada.post(DATA, json=source).status_code == 404


# --- whose they are -------------------------------------------------------------------------------


def test_nobody_finds_what_is_another_s(ada, bob):
    table = bring(ada)
    known = make(ada, kind="table", table=table["id"], picking=PICKING)
    for address in (
        f"{TABLES}/{table['id']}",
        f"{DATA}/{known['id']}",
        f"{DATA}/{known['id']}/points",
        f"{DATA}/{known['id']}/thumbs",
    ):
        assert ada.get(address).status_code == 200
        assert bob.get(address).status_code == 404
    assert bob.delete(f"{TABLES}/{table['id']}").status_code == 404
    assert bob.delete(f"{DATA}/{known['id']}").status_code == 404
    assert bob.post(f"{TABLES}/{table['id']}/reading", json={}).status_code == 404
    stolen = {"kind": "table", "table": table["id"], "picking": PICKING}
    assert bob.post(DATA, json=stolen).status_code == 404
    assert table["id"] not in str(bob.get(TABLES).json())
    assert known["id"] not in str(bob.get(DATA).json())
    assert ada.get(f"{DATA}/{known['id']}").status_code == 200


def test_deleting_everything_takes_one_s_own_alone(guest, bob):
    known, of_bob = (make(each, kind="made", name="iris") for each in (guest, bob))
    table = bring(guest)
    assert guest.delete(DATA).json() == {"deleted": 2}
    assert guest.get(f"{DATA}/{known['id']}").status_code == 404
    assert guest.get(f"{TABLES}/{table['id']}").status_code == 404
    assert bob.get(f"{DATA}/{of_bob['id']}").status_code == 200


@pytest.mark.parametrize(
    "id",
    ["..%2f..%2fatelier.db", "%2e%2e", "x" * 5000, "%00", "'; --", STRANGE_ID, "a%0Ab", "%F0%9F"],
)
def test_ids_that_stand_for_nothing(ada, id):
    for address in (f"{TABLES}/{id}", f"{DATA}/{id}", f"{DATA}/{id}/points", f"{DATA}/{id}/thumbs"):
        answer = ada.get(address)
        assert answer.status_code in (404, 405), address
        assert "Traceback" not in answer.text


def test_a_stranger_gets_nothing(stranger):
    for method, address in (("GET", DATA), ("POST", DATA), ("POST", TABLES), ("GET", TABLES)):
        assert stranger.request(method, address).status_code == 401


# --- pictures -------------------------------------------------------------------------------------


def test_the_colours_of_a_picture(studio, ada, bob):
    image = Image.new("RGB", (40, 30), "red")
    image.paste("blue", (0, 0, 20, 30))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    picture = ada.post("/api/v1/inputs", content=buffer.getvalue()).json()["id"]
    known = make(ada, kind="picture", picture=picture)
    assert (known["points"], known["columns"]) == (1200, ["L*", "a*", "b*"])
    _, places, _ = points(ada, known["id"], dims=3)
    red = [53.24, 80.09, 67.20]  # of sRGB's red, as tables of CIELAB have it
    assert np.allclose(places[25], red, atol=0.05)
    assert (studio[0].cluster_data.rows("ada", known["id"]) == np.arange(1200)).all()
    assert bob.post(DATA, json={"kind": "picture", "picture": picture}).status_code == 404


def test_one_point_tells_its_columns_as_they_are_to_its_owner_alone(ada, bob):
    made = {"kind": "made", "name": "wine"}
    known = ada.post(DATA, json=made).json()
    X = make_data(DatasetRequest(name="wine")).X
    told = ada.get(f"{DATA}/{known['id']}/rows/7").json()
    assert told == {"columns": known["columns"], "values": X[7].tolist()}
    assert ada.get(f"{DATA}/{known['id']}/rows/{len(X)}").status_code == 422
    assert bob.get(f"{DATA}/{known['id']}/rows/7").status_code == 404


def test_one_point_of_very_many_is_not_read_for(ada):
    known = ada.post(DATA, json={"kind": "made", "name": "blobs", "points": 1_000_000}).json()
    assert ada.get(f"{DATA}/{known['id']}/rows/5").json() == {"columns": [], "values": []}
