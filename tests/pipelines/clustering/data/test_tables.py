from __future__ import annotations

import threading
import tracemalloc
import zipfile

import numpy as np
import pytest

from pipelines.clustering.data.columns import ColumnChoice, pick
from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.tables import look
from pipelines.core.errors import BadRequest, Stopped, Unavailable

GERMAN = "Name;Größe;Gewicht\nJörg;1,83;80,5\nZoë;1,65;61,0\nAda;1,70;58,25\n"
PLAIN = "a,b\n1,2\n3,4\n"


@pytest.fixture
def store(tmp_path):
    """Writes bytes or text as the server would have stored them."""

    def store(content: str | bytes, encoding: str = "utf-8"):
        path = tmp_path / "upload"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return store


def points(path, **values):
    table = look(path, Reading(**values))
    return pick(table, ColumnChoice(columns=table.suggest_columns())).data


def kinds(path) -> dict[str, str]:
    return {column.name: column.kind for column in look(path).columns}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_a_semicolon_table_with_decimal_commas_is_read_in_every_encoding(store, encoding):
    data = points(store(GERMAN, encoding))
    assert data.columns == ("Größe", "Gewicht")
    assert data.X.tolist() == [[1.83, 80.5], [1.65, 61.0], [1.7, 58.25]]


def test_chinese_text_in_gb18030_is_read(store):
    data = points(store("城市,人口,面积\n北京,2189,16410\n上海,2487,6340\n", "gb18030"))
    assert data.columns == ("人口", "面积")


def test_a_chosen_encoding_is_taken(store):
    path = store("город,x\nМосква,1\nПермь,2\n", "cp1251")
    assert look(path, Reading(encoding="cp1251")).names == ("город", "x")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiter_and_line_ending_are_found(store, delimiter, ending):
    rows = [("x", "y", "z"), ("1.5", "2", "3"), ("4", "5.25", "-6e2")]
    data = points(store(ending.join(delimiter.join(row) for row in rows) + ending))
    assert data.columns == ("x", "y", "z")
    assert data.X.tolist() == [[1.5, 2, 3], [4, 5.25, -600]]


def test_without_a_header_columns_are_numbered(store):
    data = points(store("1,2\n3,4\n"))
    assert data.columns == ("column 1", "column 2")
    assert data.X.tolist() == [[1, 2], [3, 4]]


def test_a_header_can_be_denied_and_asserted(store):
    assert look(store("a,b\nc,d\n"), Reading(header=False)).rows == 2
    assert look(store("2020,2021\n1,2\n"), Reading(header=True)).names == ("2020", "2021")


def test_names_have_no_signs_that_nobody_sees(store):
    """A mark that stood twice, or was pasted along from a web page."""
    path = store("\ufeff\ufeffx,\u200by\u200b,\u2060\n1,2,3\n3,4,6\n")
    assert look(path).names == ("x", "y", "column 3")


def test_names_are_unique_and_never_empty(store):
    assert look(store("x,x,,x (2)\n1,2,3,4\n")).names == ("x", "x (2)", "column 3", "x (2) (2)")


def test_quoted_fields_may_hold_delimiters_quotes_and_line_ends(store):
    path = store('name,x\n"a, ""b""\nc",1\n"d;e",2\n')
    table = look(path)
    assert table.rows == 2
    assert table.preview[0] == ('a, "b"\nc', "1")
    assert points(path).X.tolist() == [[1], [2]]


def test_comments_blank_lines_and_excels_own_line_come_before_the_header(store):
    assert points(store("# made by a machine\n\nx,y\n1,2\n\n3,4\n")).X.tolist() == [[1, 2], [3, 4]]
    for told in ("sep=|", "SEP=|", "Sep=|"):
        assert points(store(f"{told}\nx|y\n1|2\n3|4\n")).X.tolist() == [[1, 2], [3, 4]]


def test_names_of_rows_without_a_name_of_their_own_are_read_as_r_writes_them(store):
    table = look(store("x y\nfirst 1 2\nsecond 3 4\n"))
    assert table.names == ("row", "x", "y")
    assert table.suggest_columns() == ("x", "y")


@pytest.mark.parametrize("row", ["1,2,9,8", "1,2,,8"])
def test_columns_beyond_the_header_are_numbered_and_nothing_is_lost(store, row):
    table = look(store(f"a,b\n{row}\n3,4,5,7\n"))
    assert table.names == ("a", "b", "column 3", "column 4")
    assert table.preview[1][-1] == "7"


def test_a_delimiter_at_each_line_end_is_one_more_empty_column(store):
    table = look(store("a,b\n1,2,\n3,4,\n5,6\n"))
    assert [column.kind for column in table.columns] == ["number", "number", "empty"]


def test_a_line_too_long_is_named_wherever_it_stands(store):
    for line in (2, 3, 300):
        lines = ["a,b", *["1,2"] * 400]
        lines[line - 1] = "1,2,3"
        sentence = refusal(lambda lines=lines: look(store("\n".join(lines))))
        assert sentence.startswith(f"Line {line} has 3 fields, where the table has 2 columns")


def test_thousands_in_quotes_are_numbers(store):
    path = store('x,y\n"1,234.5",7\n"12,000",8\nn.d.,9\n')
    table = look(path)
    assert pick(table, ColumnChoice(columns=("y",))).data.X.tolist() == [[7], [8], [9]]
    assert points(store('x,y\n"1,234.5",7\n"12,000",8\n')).X.tolist() == [[1234.5, 7], [12000, 8]]


def test_numbers_are_read_to_the_last_bit(store):
    values = np.random.default_rng(0).standard_normal(300) * 10.0 ** np.arange(-150, 150)
    path = store("x\n" + "\n".join(map(repr, values.tolist())) + "\n")
    assert (points(path).X[:, 0] == values).all()


def test_what_each_column_is(store):
    rows = [
        (i + 1, i * i % 17, "red" if i % 2 else "blue", f"some words {i}", 7, f"k{i:03}", "")
        for i in range(40)
    ]
    text = "count,x,colour,words,same,key,nothing\n"
    text += "\n".join(",".join(map(str, row)) for row in rows)
    assert kinds(store(text)) == {
        "count": "id",
        "x": "number",
        "colour": "category",
        "words": "text",
        "same": "constant",
        "key": "id",
        "nothing": "empty",
    }


def test_missing_infinite_and_unreadable_cells_are_counted(store):
    cells = [*map(str, range(5, 100)), "NA", "?", "", "inf", "low"]
    path = store("x,y\n" + "\n".join(f"{cell},1" for cell in cells))
    column = look(path).columns[0]
    assert column.kind == "number"
    assert (column.missing, column.infinite, column.unreadable) == (3, 1, 1)
    assert (column.least, column.most, column.example) == (5, 99, "low")
    picked = pick(look(path), ColumnChoice(columns=("x",)))
    assert picked.data.X[:, 0].tolist() == list(range(5, 100))
    assert str(picked.notes[0]) == "5 of 100 rows were left out: values are missing in 'x'."


def test_counts_are_the_same_over_many_chunks(store, monkeypatch):
    path = store("x,c\n" + "\n".join(f"{i * 7 % 101},{'ab'[i % 2]}" for i in range(500)) + "\n,\n")
    whole = look(path).columns
    data = pick(look(path), ColumnChoice(columns=("x", "c"))).data
    monkeypatch.setattr("pipelines.clustering.data.delimited.CHUNK_CELLS", 14)
    assert look(path).columns == whole
    assert (pick(look(path), ColumnChoice(columns=("x", "c"))).data.X == data.X).all()


HOLES = "x,y,c\n1,10,u\n,20,v\n3,,w\n8,40,\n"


def test_rows_with_missing_values_are_dropped_and_said(store):
    picked = pick(look(store(HOLES)), ColumnChoice(columns=("x", "y")))
    assert picked.data.X.tolist() == [[1, 10], [8, 40]]
    assert picked.rows.tolist() == [0, 3]
    assert str(picked.notes[0]) == "2 of 4 rows were left out: values are missing in 'x', 'y'."


@pytest.mark.parametrize(("how", "x", "y"), [("mean", 4, 70 / 3), ("median", 3, 20)])
def test_missing_values_are_filled(store, how, x, y):
    picked = pick(look(store(HOLES)), ColumnChoice(columns=("x", "y"), missing=how))
    assert pytest.approx(np.array([[1, 10], [x, 20], [3, y], [8, 40]])) == picked.data.X
    assert str(picked.notes[0]) == (
        f"2 missing values were filled with the {how} of their column ('x', 'y')."
    )


CATEGORIES = "x,colour,smoker\n1,red,yes\n2,blue,no\n3,green,no\n4,red,yes\n5,,no\n6,blue,yes\n"


def test_categories_become_columns_of_zero_and_one(store):
    picked = pick(look(store(CATEGORIES)), ColumnChoice(columns=("colour", "x", "smoker")))
    assert picked.data.columns == (
        "colour=blue", "colour=green", "colour=red", "x", "smoker=yes"
    )  # fmt: skip
    assert picked.data.X.tolist() == [
        [0, 0, 1, 1, 1], [1, 0, 0, 2, 0], [0, 1, 0, 3, 0], [0, 0, 1, 4, 1], [1, 0, 0, 6, 1]
    ]  # fmt: skip


def test_a_missing_category_is_one_of_its_own_where_rows_are_kept(store):
    picked = pick(look(store(CATEGORIES)), ColumnChoice(columns=("colour",), missing="mean"))
    assert picked.data.columns[-1] == "colour=(missing)"
    assert picked.data.X[:, -1].tolist() == [0, 0, 0, 0, 1, 0]


def test_numbers_can_be_taken_for_codes(store):
    path = store("postcode,x\n01067,1\n80331,2\n01067,3\n10115,4\n")
    picking = ColumnChoice(columns=("postcode",), as_categories=("postcode",))
    assert pick(look(path), picking).data.columns[0] == "postcode=01067"


def refusal(call) -> str:
    with pytest.raises(BadRequest) as error:
        call()
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file is empty. Send a table with at least one row."),
        (b" \n\n", "The file is empty. Send a table with at least one row."),
        (b"a,b\n", "The file has a row of names (a, b) and no rows below it."),
        (
            b"a,b\n1,2\n3,4,5\n",
            "Line 3 has 3 fields, where the table has 2 columns (separated by ','). Put quotation "
            "marks around texts that hold the delimiter, or choose another one.",
        ),
        (b'a,b\n1,"2\n3,4\n', "A quotation mark in line 2 is never closed."),
        (
            bytes(range(256)),
            "This file is neither text nor Parquet nor NPY. Save the table as CSV and send that.",
        ),
        (b"\x1f\x8b\x08\0", "This file is compressed. Unpack it and send what is inside."),
        (
            b",".join(b"1" for _ in range(10_000)) + b"\n",
            "The file has 10,000 columns; at most 1,000 are read. Keep those that matter, or "
            "reduce them (by PCA, say) before you bring them in.",
        ),
        (
            b"x" * 2_000_000,
            "The first line is longer than 1,048,576 characters; this is no table with at most "
            "1,000 columns.",
        ),
    ],
)
def test_what_is_no_table_is_refused_with_one_sentence(store, content, sentence):
    assert refusal(lambda: look(store(content))) == sentence


def test_a_wrong_delimiter_is_named_with_the_right_one(store):
    assert refusal(lambda: look(store(GERMAN), Reading(delimiter="|"))) == (
        "There is no '|' between the columns of this file; they seem to be separated by ';'. "
        "Choose that, or leave the delimiter empty."
    )


def test_a_wrong_encoding_is_named(store):
    path = store(GERMAN, "cp1252")
    assert refusal(lambda: look(path, Reading(encoding="utf-8"))).startswith(
        "The file is not in the encoding utf-8"
    )


def test_an_excel_workbook_is_named(tmp_path):
    path = tmp_path / "book"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    assert refusal(lambda: look(path)).startswith("This is an Excel workbook")


def test_500_mb_are_refused_before_a_byte_is_read(tmp_path, monkeypatch):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(500_000_000)  # takes no room on the disk
    monkeypatch.setattr("pipelines.clustering.data.tables._format_of", None)
    assert refusal(lambda: look(path)) == (
        "The file has 500 MB; at most 300 MB are read. Keep fewer rows or columns, or send it as "
        "Parquet, which is smaller."
    )


def test_too_many_rows_are_refused(store):
    path = store("x\n" + "1\n" * 101)
    assert refusal(lambda: look(path, max_rows=100)) == (
        "The table has more than 100 rows; no more are read. Send a part of them, drawn at random."
    )


def test_too_many_numbers_are_refused(store, monkeypatch):
    monkeypatch.setattr("pipelines.clustering.data.columns.MAX_CELLS", 3)
    assert "2 rows of 2 columns are" in refusal(lambda: points(store(PLAIN)))


def test_columns_of_text_are_refused_by_name(store):
    rows = "\n".join(f"{i % 7},word {i},2026-01-{i + 1:02}" for i in range(25))
    table = look(store("x,remark,day\n" + rows))
    assert refusal(lambda: pick(table, ColumnChoice(columns=("x", "remark", "day")))) == (
        "'remark', 'day' hold texts or dates (such as 'word 0'), from which no distance can be "
        "computed. Choose columns of numbers or categories."
    )


@pytest.mark.parametrize(
    ("picking", "sentence"),
    [
        ({"columns": ("y",)}, "The table has no column 'y'."),
        ({"columns": ("x", "x")}, "The column 'x' is chosen twice."),
        ({"columns": ("void",)}, "The column 'void' has no values."),
        (
            {"columns": ("c",), "max_levels": 2},
            "The column 'c' has more than 2 categories ('p', 'q', 'r' …). Raise the limit or "
            "leave it out.",
        ),
        (
            {"columns": ("half", "rest")},
            "No row has a value in every chosen column; 'half' lacks 3 of 6. Leave that column "
            "out, or fill in the mean or median.",
        ),
        (
            {"columns": ("infinite",), "missing": "mean"},
            "The column 'infinite' has no values.",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_gets_a_sentence(store, picking, sentence):
    text = "x,void,c,half,rest,infinite\n1,,p,1,,inf\n2,,q,2,,inf\n4,,r,3,,inf\n"
    text += "7,,p,,1,-inf\n9,,q,,2,inf\n3,,r,,3,inf\n"
    table = look(store(text))
    picking = ColumnChoice(**({"as_categories": ()} | picking))
    assert refusal(lambda: pick(table, picking)) == sentence


def npy(path, array):
    with path.open("wb") as file:
        np.save(file, array)
    return path


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "i2", "u1", "?"])
def test_an_array_is_read(tmp_path, dtype):
    array = np.array([[0, 1], [1, 1], [1, 0]], dtype=dtype)
    table = look(npy(tmp_path / "a", array))
    picked = pick(table, ColumnChoice(columns=("column 2", "column 1")))
    assert picked.data.X.tolist() == [[1, 0], [1, 1], [0, 1]]
    assert picked.data.X.dtype == np.float64


def test_an_array_of_one_axis_is_one_column(tmp_path):
    assert points(npy(tmp_path / "a", np.array([2.0, 4.0, 9.0]))).X.tolist() == [[2], [4], [9]]


def test_nan_and_infinity_in_an_array_are_missing(tmp_path):
    path = npy(tmp_path / "a", np.array([[1, np.nan], [np.inf, 2], [3, 4], [5, 7.0]]))
    assert points(path).X.tolist() == [[3, 4], [5, 7]]


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_objects_in_an_array_are_never_unpickled(tmp_path):
    path = tmp_path / "a"
    with path.open("wb") as file:
        np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    assert refusal(lambda: look(path)) == (
        "The NPY file holds Python objects, which are never opened because that can run code. "
        "Save an array of numbers: numpy.save(path, array.astype(float))."
    )
    assert not Trap.sprung


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array(["a"]), "The NPY file holds <U1; an array of numbers is needed."),
        (np.array([1j]), "The NPY file holds complex128; an array of numbers is needed."),
        (np.zeros((2, 2, 2)), "The NPY file has 3 axes; points need two: rows and columns."),
        (np.zeros((0, 2)), "The file has no rows. Send a table with at least one."),
    ],
)
def test_an_array_that_holds_no_points_is_refused(tmp_path, array, sentence):
    assert refusal(lambda: look(npy(tmp_path / "a", array))) == sentence


@pytest.mark.parametrize("kept", [6, 9, 40, 127, 140])
def test_an_array_cut_off_anywhere_is_refused_as_damaged(tmp_path, kept):
    path = npy(tmp_path / "a", np.arange(12.0).reshape(6, 2))
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(lambda: look(path)).startswith("The NPY file is damaged or cut off")


def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path):
    path = npy(tmp_path / "a", np.zeros((100, 2)))
    path.write_bytes(path.read_bytes().replace(b"(100, 2)", b"(999, 2)"))
    assert refusal(lambda: look(path)).startswith("The NPY file is damaged or cut off")


def test_without_pyarrow_parquet_gets_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = tmp_path / "p"
    path.write_bytes(b"PAR1....PAR1")
    with pytest.raises(Unavailable) as error:
        look(path)
    assert str(error.value) == (
        "Parquet files are read by pyarrow, which is not installed here (pip install pyarrow). "
        "Save the table as CSV and send that."
    )


def test_looking_and_picking_stop_when_told(store):
    stop = threading.Event()
    path = store(PLAIN)
    table = look(path)
    stop.set()
    with pytest.raises(Stopped):
        look(path, stop=stop)
    with pytest.raises(Stopped):
        pick(table, ColumnChoice(columns=("a",)), stop)


def test_a_file_is_not_changed_by_reading(store):
    path = store(GERMAN, "cp1252")
    before = path.read_bytes()
    points(path)
    assert path.read_bytes() == before


def test_too_many_categories_are_refused_before_they_fill_the_memory(store, monkeypatch):
    monkeypatch.setattr("pipelines.clustering.data.columns.MAX_CELLS", 200_000)
    rows = "\n".join(",".join(f"v{(row * step) % 97}" for step in (1, 2, 3, 5, 7))
                     for row in range(20_000))  # fmt: skip
    table = look(store(f"a,b,c,d,e\n{rows}\n"))
    wanted = ColumnChoice(columns=table.names, max_levels=100)
    tracemalloc.start()
    with pytest.raises(BadRequest, match="at most 0 million"):
        pick(table, wanted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000  # as columns of 0 and 1 these are 78 MB
