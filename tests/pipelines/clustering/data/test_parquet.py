from __future__ import annotations

import csv
import datetime
import decimal
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from pipelines.clustering.data import binary_tables, profile
from pipelines.clustering.data.columns import ColumnChoice, pick
from pipelines.clustering.data.exporting import labels_csv
from pipelines.clustering.data.tables import frames, look
from pipelines.core.errors import BadRequest
from tests.pipelines.clustering.data.lying_parquet import Lie


@pytest.fixture
def path(tmp_path):
    return tmp_path / "upload"


def write_parquet(path, columns, **options):
    parquet.write_table(pa.table(columns), path, **options)
    return path


def refusal(call) -> str:
    with pytest.raises(BadRequest) as error:
        call()
    return str(error.value)


def test_what_each_column_is(path):
    days = [datetime.date(2026, 1, 1 + i) for i in range(24)]
    table = look(
        write_parquet(
            path,
            {
                "x": np.linspace(0, 1, 24),
                "whole": pa.array([None, *(i * i % 7 for i in range(23))]),
                "money": [decimal.Decimal(i % 5) / 4 for i in range(24)],
                "colour": ["red", "blue"] * 12,
                "smoker": [True, False, None] * 8,
                "words": [f"some words {i}" for i in range(24)],
                "day": days,
                "list": [[i, i] for i in range(24)],
                "nothing": pa.nulls(24),
            },
        )
    )
    assert {column.name: column.kind for column in table.columns} == {
        "x": "number",
        "whole": "number",
        "money": "number",
        "colour": "category",
        "smoker": "category",
        "words": "text",
        "day": "text",
        "nothing": "empty",
    }
    assert table.left_out == ("list",)
    assert refusal(lambda: pick(table, ColumnChoice(columns=("day",)))).startswith(
        "'day' hold texts"
    )


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
def test_columns_become_points_over_many_chunks(path, monkeypatch, compression):
    monkeypatch.setattr(binary_tables, "CHUNK_CELLS", 20)
    X = np.random.default_rng(0).standard_normal((100, 2))
    colours = [["red", "green", "blue"][i % 3] for i in range(100)]
    write_parquet(path, {"a": X[:, 0], "c": colours, "b": X[:, 1]}, compression=compression,
            row_group_size=30)  # fmt: skip
    picked = pick(look(path), ColumnChoice(columns=("b", "a", "c")))
    assert (picked.data.X[:, :2] == X[:, ::-1]).all()
    assert picked.data.columns[2:] == ("c=blue", "c=green", "c=red")
    assert picked.data.X[:3, 2:].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_missing_values_and_infinities_are_counted_and_dropped(path):
    write_parquet(path, {"a": pa.array([1.0, None, np.nan, np.inf, 5, 6])})
    column = look(path).columns[0]
    assert (column.missing, column.infinite) == (2, 1)
    assert pick(look(path), ColumnChoice(columns=("a",))).data.X.tolist() == [[1], [5], [6]]


def test_a_frame_that_pandas_wrote_is_read(path):
    pd.DataFrame({"a": [1.5, 2], "c": pd.Categorical(["u", "v"])}).to_parquet(path)
    assert pick(look(path), ColumnChoice(columns=("a",))).data.X.tolist() == [[1.5], [2]]


def test_a_table_goes_home_with_its_clusters(path, tmp_path):
    write_parquet(path, {"a": [1.5, None, -3], "c": ["x", "=1+1", None]})
    labels_csv(tmp_path / "out", look(path), np.array([1, 0]), np.array([0, 2]))
    with (tmp_path / "out").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [
            ["a", "c", "cluster"], ["1.5", "x", "1"], ["", "'=1+1", ""], ["-3.0", "", "0"]
        ]  # fmt: skip


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_file_cut_off_anywhere_is_refused_as_damaged(path, kept):
    write_parquet(path, {"a": np.arange(500.0), "b": ["x", "y"] * 250})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert refusal(lambda: look(path)).startswith("The Parquet file is damaged or cut off")


def test_too_many_columns_and_rows_and_none_are_refused(path):
    write_parquet(path, {f"c{i}": [1] for i in range(1001)})
    assert refusal(lambda: look(path)).startswith("The file has 1,001 columns; at most 1,000")
    write_parquet(path, {"a": np.zeros(101)})
    assert refusal(lambda: look(path, max_rows=100)).startswith("The table has more than 100 rows")
    write_parquet(path, {"a": np.zeros(0)})
    assert refusal(lambda: look(path)) == "The file has no rows. Send a table with at least one."


def test_two_columns_of_one_name_are_refused(path):
    table = pa.table([[1.0], [2.0]], names=["a", "a"])
    parquet.write_table(table, path)
    assert refusal(lambda: look(path)) == (
        "The Parquet file has two columns called 'a'. Rename one of them."
    )


def test_a_file_made_by_hand_is_read_where_it_does_not_lie(path):
    values = np.arange(10.0)
    honest = Lie(zlib.compress(values.tobytes(), wbits=31), 80, columns=2)
    path.write_bytes(honest.octets())
    table = look(path)
    assert (table.rows, table.names) == (10, ("c0", "c1"))
    assert pick(table, ColumnChoice(columns=("c1",))).data.X[:, 0].tolist() == values.tolist()


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
def test_texts_in_every_encoding_are_read(path, encoding):
    table = {"a": [f"text {i % 7}" for i in range(700)], "b": np.arange(700.0) % 50}
    write_parquet(path, table, use_dictionary=False, column_encoding={"a": encoding, "b": "PLAIN"})
    text, number = look(path).columns
    assert (text.kind, text.levels, number.kind) == ("category", 7, "number")
    assert (
        pick(look(path), ColumnChoice(columns=("b",))).data.X[:, 0].tolist() == table["b"].tolist()
    )


def test_every_way_of_writing_is_read(path):
    texts = [f"text {i % 50}" * 9 for i in range(2000)]
    table = {"t": texts, "x": np.arange(2000.0) % 7}
    for options in (
        {"data_page_version": "2.0"},
        {"write_page_checksum": True, "write_statistics": False, "data_page_size": 500},
        {"row_group_size": 999, "compression": "zstd"},
    ):
        seen = look(write_parquet(path, table, **options))
        assert [(each.kind, each.levels) for each in seen.columns] == [
            ("category", 50),
            ("number", 7),
        ]


def test_texts_that_repeat_are_not_unfolded(path):
    table = look(write_parquet(path, {"a": ["x" * 1000] * 200}))
    assert table.columns[0].kind == "constant"
    (chunk,) = frames(table, ("a",))
    assert isinstance(chunk["a"].dtype, pd.CategoricalDtype)
    assert len(chunk["a"].cat.categories) == 1


def test_lists_structures_and_bytes_are_not_unfolded_and_it_is_said(path):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array(["x" * 1000]))
    lists = pa.ListArray.from_arrays(pa.array(range(301), pa.int32()), long)
    structures = pa.StructArray.from_arrays([long], ["x"])
    octets = pa.array([b"x" * 1000] * 300)
    columns = {"l": lists, "s": structures, "o": octets, "s.x": range(300), "a": np.arange(300.0)}
    parquet.write_table(pa.table(columns), path, store_schema=False)
    table = look(path)
    assert table.names == ("a",)
    assert table.left_out == ("l", "s", "o", "s.x")  # pyarrow takes "s.x" for what is below "s"
    assert "'l', 's', 'o', 's.x' hold lists, structures or bytes" in str(table.notes()[0])
    (chunk,) = frames(table, ("a",))
    assert chunk["a"].tolist() == list(range(300))


def test_of_a_text_that_repeats_each_is_read_once(path, monkeypatch):
    read = []
    real = profile.numbers_from
    monkeypatch.setattr(
        profile, "numbers_from", lambda cells, marks: read.extend(cells) or real(cells, marks)
    )
    column = look(write_parquet(path, {"a": ["1.5", "2", "x", None] * 100})).columns[0]
    assert len(read) <= 4
    assert (column.missing, column.least, column.most) == (100, 1.5, 2.0)
