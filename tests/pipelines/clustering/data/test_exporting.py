from __future__ import annotations

import csv
import io
import json
import threading
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.exporting import (
    MOST_NUMBERS,
    centres_csv,
    dialect_of,
    guard,
    labels_csv,
    parameters_json,
    with_arrays,
)
from pipelines.clustering.data.sample_data import DatasetRequest, make
from pipelines.clustering.data.tables import look
from pipelines.core.errors import BadRequest, Stopped


@pytest.fixture
def out(tmp_path):
    return tmp_path / "labels.csv"


def store_text(tmp_path, text: str, encoding: str = "utf-8"):
    path = tmp_path / "upload"
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(path, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig")), delimiter=delimiter))


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "=HYPERLINK(\"http://x\",\"y\")",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "＝1+1",
        "－1－cmd",
        "﹦1",
        "-",
        "+49 30 123",
        "-1e5x",
        "-1,5,=2",
        "-inf()",
        "-1;-2,5",
    ],
)  # fmt: skip
def test_what_a_spreadsheet_would_run_is_defused(cell):
    assert guard(cell) == "'" + cell


@pytest.mark.parametrize("before", [" ", "\t", "\r", "\n", "\ufeff", "\u00a0", "\u3000", '"'])
def test_what_is_trimmed_away_does_not_hide_a_formula(before):
    assert guard(before + "=1") == before + "'=1"


@pytest.mark.parametrize(
    "cell",
    [
        "-3",
        "+3.5",
        "-.5",
        "-1,5",
        "-2e-7",
        "-2E-7",
        "-1,234.5",
        "-1.234,5",
        "-1'234.5",
        "+12,345,678",
        "-5%",
        "-5 %",
        " -3 ",
        "-inf",
        "-Infinity",
        "1;-3",
        "3",
        "a=b",
        "",
        " x",
        "'=1",
        "名=1",
        "a; b-c; x@y",
        "\N{MINUS SIGN}3.5",
    ],
)
def test_plain_numbers_and_texts_stay_as_they_are(cell):
    assert guard(cell) == cell


def cells_of(line: str, delimiter: str) -> list[str]:
    """As a spreadsheet splits a line: quotation marks count where they begin a cell."""
    return [cell for row in csv.reader(io.StringIO(line), delimiter=delimiter) for cell in row]


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "@SUM(A1)", "+1+cmd", "-1-cmd", "＝1"])
@pytest.mark.parametrize(
    "before",
    [
        "",
        ";",
        "x;",
        'x;"',
        'x"";',
        "x; ",
        "x\t",
        "x\n",
        "x\r\n",
        "x,y;",
        ";;",
        "-1;",
        "x;\n",
        "\t;",
    ],
)
def test_no_cell_is_a_formula_however_the_file_is_split(out, formula, before, tmp_path):
    table = tmp_path / "upload"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [["a", "text", f"b{before}{formula}"], [1, before + formula, 2], [3, "x;", -4]]
        )
    labels_csv(out, look(table, Reading(delimiter=",")), np.array([0, 1]))
    text = out.read_bytes().decode("utf-8-sig")
    for cell in (cell for delimiter in ",;\t" for cell in cells_of(text, delimiter)):
        seen = cell.strip(' "\t\r\n')
        assert not seen.startswith(tuple("=@+＝")), cell
        assert not seen.startswith("-") or seen == "-4", cell


def test_very_long_texts_are_defused_in_no_time():
    started = time.thread_time()
    for text in ("\n" * 10**6 + "=", " " * 10**6 + "x=", ';"' * 10**6 + "=", "-1" * 10**6):
        guard(text)
    assert time.thread_time() - started < 10


def test_a_table_goes_home_as_it_was_with_its_clusters(tmp_path, out):
    path = store_text(tmp_path, "id;Größe;Wert\n007;1,50;NA\n008;-2,0;=1+1\n009;;x\n", "utf-16")
    labels_csv(out, look(path), np.array([1, -1, 0], np.int32))
    assert rows_of(out, ";") == [
        ["id", "Größe", "Wert", "cluster"],
        ["007", "1,50", "NA", "1"],
        ["008", "-2,0", "'=1+1", "-1"],
        ["009", "", "x", "0"],
    ]


def test_names_of_columns_are_defused_too(tmp_path, out):
    labels_csv(out, look(store_text(tmp_path, "=cmd(),x\n1,2\n3,5\n")), np.array([0, 1]))
    assert rows_of(out)[0] == ["'=cmd()", "x", "cluster"]


def test_rows_that_were_left_out_have_no_cluster(tmp_path, out):
    table = look(store_text(tmp_path, "x\n1\n2\n3\n4\n"))
    labels_csv(out, table, np.array([5, 6]), np.array([1, 3]), {"p": np.array([0.5, 0.25])})
    assert rows_of(out)[1:] == [
        ["1", "", ""], ["2", "5", "0.5"], ["3", "", ""], ["4", "6", "0.25"]
    ]  # fmt: skip


def test_a_column_that_is_called_cluster_stays(tmp_path, out):
    labels_csv(out, look(store_text(tmp_path, "cluster,x\n8,1\n9,2\n")), np.array([0, 1]))
    assert rows_of(out) == [["cluster", "x", "cluster (2)"], ["8", "1", "0"], ["9", "2", "1"]]


def test_clusters_stay_beside_their_rows_over_many_chunks(tmp_path, out, monkeypatch):
    monkeypatch.setattr("pipelines.clustering.data.delimited.CHUNK_CELLS", 7)
    table = look(store_text(tmp_path, "x\n" + "\n".join(map(str, range(100)))))
    labels_csv(out, table, np.arange(100))
    assert rows_of(out)[1:] == [[str(i), str(i)] for i in range(100)]


def test_points_go_home_to_the_last_bit(out, monkeypatch):
    monkeypatch.setattr("pipelines.clustering.data.exporting._BLOCK", 30)
    data = make(DatasetRequest(points=100))
    labels_csv(out, data, data.truth)
    table = pd.read_csv(out)
    assert (table[["x", "y"]].to_numpy() == data.X).all()
    assert (table["cluster"] == data.truth).all()


def test_an_array_goes_home(tmp_path, out):
    path = tmp_path / "a"
    with path.open("wb") as file:
        np.save(file, np.array([[1.5, -2], [np.nan, 4]]))
    labels_csv(out, look(path), np.array([0]), np.array([0]))
    assert rows_of(out) == [
        ["column 1", "column 2", "cluster"], ["1.5", "-2.0", "0"], ["", "4.0", ""]
    ]  # fmt: skip


def test_a_byte_order_mark_comes_only_where_there_are_texts(tmp_path, out):
    for text, marked in (("x,y\n1,2\n3,5\n", False), ("x,y\n1,é\n3,b\n", True)):
        labels_csv(out, look(store_text(tmp_path, text)), np.array([0, 1]))
        assert out.read_bytes().startswith(b"\xef\xbb\xbf") == marked


def test_the_spreadsheet_that_wrote_a_table_reads_it_again(tmp_path, out):
    table = look(store_text(tmp_path, "Ort;Wert\nKöln;1,5\nBonn;2,25\nUlm, Alb;3,75\n"))
    labels_csv(out, table, np.array([0, 1, 1]), None, {"p": np.array([0.5, 0.25, 1])})
    assert out.read_text("utf-8-sig").splitlines() == [
        "Ort;Wert;cluster;p", "Köln;1,5;0;0,5", "Bonn;2,25;1;0,25", "Ulm, Alb;3,75;1;1,0"
    ]  # fmt: skip
    table = look(store_text(tmp_path, 'Ort;Wert\n"Ulm,=cmd()";1,5\nBonn;-2,25\n'))
    labels_csv(out, table, np.array([0, 1]))
    # Another's spreadsheet parts these lines at the commas.
    assert out.read_text("utf-8-sig").splitlines()[1:] == ["Ulm,'=cmd();1,5;0", "Bonn;-2,25;1"]
    centres_csv(out, ("Wert",), np.array([[1.5], [3.0]]), np.array([1, 2]), dialect_of(table))
    assert out.read_text().splitlines() == ["cluster;points;Wert", "0;1;1,5", "1;2;3,0"]


def test_labels_of_another_number_are_a_bug(out):
    with pytest.raises(ValueError, match="3 labels for 600 rows"):
        labels_csv(out, make(DatasetRequest()), np.zeros(3))


def test_a_long_text_in_every_row_is_held_once_and_ends_at_the_limit(tmp_path, out, monkeypatch):
    monkeypatch.setattr("pipelines.clustering.data.exporting.MOST_WRITTEN", 2_000_000)
    path = tmp_path / "upload"
    column = pd.Categorical(["=" + "x" * 100_000] * 5_000)  # half a gigabyte as CSV
    pd.DataFrame({"a": column, "b": np.arange(5_000.0)}).to_parquet(path)
    assert path.stat().st_size < 200_000
    table = look(path)
    tracemalloc.start()
    with pytest.raises(BadRequest, match=r"more than 2\.0 MB as CSV"):
        labels_csv(out, table, np.zeros(5_000, np.int32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    assert out.stat().st_size <= 2_000_000


def test_writing_stops_when_told(out):
    stop = threading.Event()
    stop.set()
    data = make(DatasetRequest())
    with pytest.raises(Stopped):
        labels_csv(out, data, data.truth, stop=stop)


def test_centres_have_their_sizes(out):
    centres_csv(out, ("x", "=y"), np.array([[0.1, -2], [3, 4]]), np.array([7, 9]))
    assert rows_of(out) == [
        ["cluster", "points", "x", "'=y"], ["0", "7", "0.1", "-2.0"], ["1", "9", "3.0", "4.0"]
    ]  # fmt: skip


def test_parameters_are_json_that_any_program_reads():
    text = parameters_json(
        {
            "algorithm": "k_means",
            "centres": np.array([[1.5, np.nan]]),
            "n": np.int64(3),
            "tol": np.inf,
            "名": (1, True, None),
        }
    )
    assert json.loads(text) == {
        "algorithm": "k_means",
        "centres": [[1.5, None]],
        "n": 3,
        "tol": None,
        "名": [1, True, None],
    }
    assert "NaN" not in text
    assert "名" in text


def test_arrays_too_large_for_text_are_named_with_the_file_that_has_them():
    small, large = np.arange(6.0).reshape(2, 3), np.zeros((2, 1000, 1000))
    model = with_arrays({"seed": 1}, {"centres": (small, "centres.csv")})
    assert model == {"seed": 1, "centres": [[0, 1, 2], [3, 4, 5]]}
    model = with_arrays(model, {"covariances": (large, "extra.npz")})
    assert "covariances" not in model
    assert model["left_out"] == [
        {
            "name": "covariances",
            "shape": [2, 1000, 1000],
            "why": "2000000 numbers; at most 250000 are written here",
            "file": "extra.npz",
        }
    ]
    most = np.full(MOST_NUMBERS, -1.2345678901234567e-300)
    assert len(parameters_json(with_arrays({}, {"most": (most, "x")}))) < 7_000_000


def test_labels_and_points_are_not_changed(out):
    data = make(DatasetRequest())
    X, labels = data.X.copy(), data.truth.copy()
    labels_csv(out, data, data.truth)
    assert (X == data.X).all()
    assert (labels == data.truth).all()
