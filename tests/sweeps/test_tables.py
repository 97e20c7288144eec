"""Odd but valid tables, made at random by grammars of what other programs write.

Of each it holds that it is read; that every number read is the number written, or its column says a
doubt; that rows and columns are all there; and of damaged ones that a plain sentence says why.
"""

from __future__ import annotations

import csv
import io
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from pipelines.clustering.data.columns import ColumnChoice, pick
from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.numerals import Marks, form_of, number_of
from pipelines.clustering.data.profile import numbers_of
from pipelines.clustering.data.tables import Table, frames, look
from pipelines.core.errors import UserError
from pipelines.core.messages import Message
from studio.i18n import translate
from tests.sweeps.plain_sentences import check_sentence

pytestmark = pytest.mark.deep

CASES = 100
WORDS = ["oak", "elm", "ash tree", "Ulme, Berg-", "a;b", 'say "no"', "-", "x/y", "5 %", "no"]
ACCENTS = ["Größe", "Zoë", "Ærø", "niño", "Straße"]
NAMES = ["height", "width", "Preis", "x", "y", "mass kg", "2019", "count", "αβ", "性别", "a.b", "x"]


@dataclass
class Truth:
    """A table as its writer knows it.

    Attributes:
        names: of the columns.
        columns: numbers (None: missing) or texts.
        decimals: of each column of numbers; None of texts.
    """

    names: list[str]
    columns: list[list[float | None] | list[str]]
    decimals: list[int | None]

    @property
    def rows(self) -> list[tuple]:
        return list(zip(*self.columns, strict=True))


def truth_of(draw: random.Random, ascii_only: bool = False, latin: bool = False) -> Truth:
    count = draw.choice((2, 3, 5, 12, 40, 300))
    names = draw.sample([name for name in NAMES if not (ascii_only or latin) or name.isascii()],
                        k=draw.randrange(2, 7))  # fmt: skip
    columns: list = []
    decimals: list[int | None] = []
    for place in range(len(names)):
        if draw.random() < 0.25 and place:
            words = WORDS + ([] if ascii_only else ACCENTS)
            columns.append([draw.choice(words) for _ in range(count)])
            decimals.append(None)
            continue
        places = draw.choice((0, 0, 1, 2, 3, 6))
        scale = draw.choice((1, 10, 1000, 1e6, 1e9))
        holes = draw.choice((0, 0, 0.1))
        columns.append(
            [
                None if draw.random() < holes else round(draw.gauss(0, 1) * scale, places)
                for _ in range(count)
            ]
        )
        decimals.append(places)
    return Truth(names, columns, decimals)


def group_digits(value: float, places: int, decimal: str, group: str, indian: bool = False) -> str:
    text = f"{abs(value):,.{places}f}"
    if indian:
        whole, _, fraction = text.replace(",", "").partition(".")
        head, last = whole[:-3], whole[-3:]
        pairs = re.findall(r"\d{1,2}", head[::-1])
        whole = ",".join([*(pair[::-1] for pair in pairs[::-1]), last])
        text = whole + (f".{fraction}" if fraction else "")
    text = text.replace(",", "_").replace(".", decimal).replace("_", group)
    return f"-{text}" if value < 0 and float(f"{value:.{places}f}") else text


def write_delimited(
    truth: Truth,
    delimiter: str,
    decimal: str = ".",
    group: str = "",
    *,
    missing: str = "",
    end: str = "\r\n",
    quote: int = csv.QUOTE_MINIMAL,
    indian: bool = False,
    before: str = "",
) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quote)
    writer.writerow(truth.names)
    for row in truth.rows:
        cells = []
        for value, places in zip(row, truth.decimals, strict=True):
            if value is None:
                cells.append(missing)
            elif places is None:
                cells.append(value)
            else:
                cells.append(group_digits(value, places, decimal, group, indian))
        writer.writerow(cells)
    return before + file.getvalue()


Written = tuple[Truth, bytes]


def excel_us(draw: random.Random) -> Written:
    truth = truth_of(draw)
    group = draw.choice(("", ","))
    return truth, write_delimited(truth, ",", ".", group).encode("utf-8-sig")


def excel_german(draw: random.Random) -> Written:
    truth = truth_of(draw, latin=True)
    text = write_delimited(truth, ";", ",", draw.choice(("", ".")),
                     before=draw.choice(("", "sep=;\r\n")))  # fmt: skip
    return truth, text.encode(draw.choice(("cp1252", "utf-8-sig")))


def excel_french(draw: random.Random) -> Written:
    truth = truth_of(draw, latin=True)
    group = draw.choice(("", "\u00a0", "\u202f", " "))
    encoding = "utf-8" if group == "\u202f" else draw.choice(("cp1252", "utf-8"))
    return truth, write_delimited(truth, ";", ",", group).encode(encoding)


def excel_swiss(draw: random.Random) -> Written:
    truth = truth_of(draw, latin=True)
    group = draw.choice(("'", "’"))
    return truth, write_delimited(truth, ";", ".", group).encode("cp1252")


def excel_indian(draw: random.Random) -> Written:
    truth = truth_of(draw)
    return truth, write_delimited(truth, ",", ".", ",", indian=True).encode("utf-8-sig")


def excel_unicode_text(draw: random.Random) -> Written:
    truth = truth_of(draw)
    marks = draw.choice(((".", ""), (",", ""), (",", "."), (".", ",")))
    return truth, write_delimited(truth, "\t", *marks).encode("utf-16")


def excel_mac(draw: random.Random) -> Written:
    truth = truth_of(draw, latin=True)
    return truth, write_delimited(truth, ";", ",", end="\r").encode("mac_roman")


def libreoffice(draw: random.Random) -> Written:
    truth = truth_of(draw)
    delimiter, decimal = draw.choice(((",", "."), (";", ","), ("\t", ","), ("|", ".")))
    quote = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    return truth, write_delimited(truth, delimiter, decimal, end="\n", quote=quote).encode()


def frame_of(truth: Truth) -> pd.DataFrame:
    data = {place: column for place, column in enumerate(truth.columns)}
    return pd.DataFrame(data).set_axis(truth.names, axis=1)


def pandas_csv(draw: random.Random) -> Written:
    truth = truth_of(draw)
    frame = frame_of(truth)
    separator, decimal = draw.choice(((",", "."), (";", ","), ("\t", ".")))
    index = draw.random() < 0.5
    if index:
        kept = sorted(draw.sample(range(9 * len(frame)), len(frame)))
        frame.index = kept if draw.random() < 0.5 else range(len(frame))
        truth = Truth(["", *truth.names], [frame.index.tolist(), *truth.columns],
                      [0, *truth.decimals])  # fmt: skip
    text = frame.to_csv(index=index, sep=separator, decimal=decimal,
                        na_rep=draw.choice(("", "NA", "NaN")))  # fmt: skip
    return truth, text.encode(draw.choice(("utf-8", "utf-8-sig", "utf-16")))


def r_table(draw: random.Random) -> Written:
    truth = truth_of(draw)
    kind = draw.choice(("csv", "csv2", "table"))
    delimiter, decimal = {"csv": (",", "."), "csv2": (";", ","), "table": (" ", ".")}[kind]

    def quote(text: str) -> str:
        escaped = text.replace('"', '""')
        return f'"{escaped}"'

    lines = [[quote(name) for name in truth.names]]
    if kind != "table":
        lines[0].insert(0, '""')
    for number, row in enumerate(truth.rows, 1):
        cells = [quote(str(number))]
        for value, places in zip(row, truth.decimals, strict=True):
            if value is None:
                cells.append("NA")
            elif places is None:
                cells.append(quote(value))
            else:
                cells.append(repr(value).removesuffix(".0").replace(".", decimal))
        lines.append(cells)
    names = ["row" if kind == "table" else "", *truth.names]
    numbers = [*range(1, len(truth.rows) + 1)]
    text = "\n".join(delimiter.join(line) for line in lines) + "\n"
    return Truth(names, [numbers, *truth.columns], [0, *truth.decimals]), text.encode()


def database(draw: random.Random) -> Written:
    truth = truth_of(draw, ascii_only=draw.random() < 0.5)
    for column in truth.columns:  # these programs escape what their drawings cannot hold
        column[:] = [each.replace("|", "/") if isinstance(each, str) else each for each in column]
    kind = draw.choice(("mysql", "copy", "psql", "sqlite"))
    if kind == "mysql":
        text = write_delimited(truth, "\t", missing=draw.choice(("NULL", "\\N")), end="\n")
    elif kind == "copy":
        text = write_delimited(truth, ",", missing="", end="\n")
    elif kind == "sqlite":
        text = write_delimited(truth, "|", missing="", end="\n")
    else:
        lines = write_delimited(truth, "|", end="\n").splitlines()
        lines = [" " + line.replace("|", " | ") + " " for line in lines if '"' not in line]
        if len(lines) != len(truth.rows) + 1:
            return database(draw)
        ruled = "+".join("-" * 8 for _ in truth.names)
        text = "\n".join([lines[0], ruled, *lines[1:], f"({len(truth.rows)} rows)", ""])
    return truth, text.encode()


WRITERS: list[Callable[[random.Random], Written]] = [
    excel_us, excel_german, excel_french, excel_swiss, excel_indian, excel_unicode_text, excel_mac,
    libreoffice, pandas_csv, r_table, database,
]  # fmt: skip


def numbers_read(table: Table, name: str) -> np.ndarray:
    marks = table.layout.marks if table.layout else Marks()
    parts = [numbers_of(chunk[name], marks)[0] for chunk in frames(table, [name])]
    return np.concatenate(parts)


def is_said(table: Table, place: int) -> bool:
    """Whether a person is told to look at a column, or at how the whole file is read."""
    column = table.columns[place]
    name = repr(column.name[:60])
    notes = any(name in str(note) for note in table.notes())
    whole = any(each.doubt for each in table.guesses if each.what in ("header", "delimiter"))
    return bool(column.doubts) or notes or whole


def hold(truth: Truth, table: Table, context: str) -> tuple[int, int]:
    """Asserts what is to hold; returns how many columns of numbers are as written, of how many."""
    unsure = any(each.doubt for each in table.guesses if each.what in ("header", "delimiter"))
    same_shape = (table.rows, len(table.columns)) == (len(truth.rows), len(truth.names))
    assert same_shape or unsure, (context, table.rows, table.names)
    equal = total = 0
    for place, (values, decimals) in enumerate(zip(truth.columns, truth.decimals, strict=True)):
        if decimals is None:
            continue
        total += 1
        if not same_shape:
            continue
        read = numbers_read(table, table.columns[place].name)
        wanted = np.array([math.nan if each is None else each for each in values], dtype=float)
        same = np.array_equal(read, wanted, equal_nan=True)
        assert same or is_said(table, place), (context, table.columns[place])
        equal += same
    for message in (*table.notes(), *(doubt for each in table.columns for doubt in each.doubts)):
        plain(message)
    if table.suggest_columns():
        picked = pick(table, ColumnChoice(columns=table.suggest_columns()[:5], missing="mean"))
        assert np.isfinite(picked.data.X).all()
    return equal, total


def plain(message: Message) -> None:
    for language in ("en", "zh"):
        assert "{" not in translate(message, language)
    assert translate(message, "zh") != translate(message, "en")


@pytest.mark.parametrize("writer", WRITERS, ids=lambda each: each.__name__)
def test_a_table_of_another_program_is_read_as_it_was_written_or_a_doubt_is_said(writer, tmp_path):
    path = tmp_path / "upload"
    equal = total = 0
    for seed in range(CASES):
        truth, data = writer(random.Random(f"{writer.__name__}{seed}"))
        path.write_bytes(data)
        found = hold(truth, look(path), f"{writer.__name__} {seed} {data[:300]!r}")
        equal, total = equal + found[0], total + found[1]
    assert equal > 0.95 * total  # doubts are for the rest


@pytest.mark.parametrize("writer", WRITERS, ids=lambda each: each.__name__)
def test_a_damaged_table_is_read_or_refused_in_a_plain_sentence(writer, tmp_path):
    path = tmp_path / "upload"
    for seed in range(CASES):
        draw = random.Random(f"damaged {writer.__name__}{seed}")
        data = bytearray(writer(draw)[1])
        for _ in range(draw.choice((1, 3, 20))):
            at = draw.randrange(len(data))
            how = draw.randrange(4)
            if how == 0:
                data[at] = draw.randrange(256)
            elif how == 1:
                del data[at : at + draw.randrange(1, 50)]
            elif how == 2:
                data[at:at] = draw.choice(
                    (b'"', b"\n", b",", b";", b"\xff", b"\0", b"1e999", b"=1")
                )
            else:
                data = data[: max(1, at)]
            data = data or bytearray(b"\n")
        path.write_bytes(bytes(data))
        reading = Reading(
            delimiter=draw.choice((None, None, ",", ";")),
            header=draw.choice((None, None, True, False)),
            encoding=draw.choice((None, None, None, "utf-8", "cp1252", "gb18030")),
        )
        try:
            table = look(path, reading)
            for each in table.columns:
                numbers_read(table, each.name)
        except UserError as error:
            foreign = [repr(str(each))[1:-1] for each in error.message.values.values()]
            check_sentence(error, *[words for words in foreign if len(words) > 3])


def test_parquet_and_npy_of_many_types_are_read_as_they_were_written(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "upload"
    kinds = [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(20, 3),
             pa.bool_(), pa.string(), pa.date32()]  # fmt: skip
    for seed in range(CASES):
        draw = random.Random(f"parquet {seed}")
        count = draw.choice((1, 2, 30, 500))
        chosen = draw.choices(kinds, k=draw.randrange(1, 6))
        arrays = [
            pa.array(
                [None if draw.random() < 0.1 else draw.randrange(100) for _ in range(count)],
                pa.int32(),
            ).cast(kind)
            for kind in chosen
        ]
        names = [f"c{place}" for place in range(len(chosen))]
        parquet.write_table(pa.table(dict(zip(names, arrays, strict=True))), path,
                            compression=draw.choice(("snappy", "zstd", "none")))  # fmt: skip
        table = look(path)
        assert (table.rows, table.names) == (count, tuple(names))
        for name, kind, array in zip(names, chosen, arrays, strict=True):
            if pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind == pa.string():
                wanted = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
                assert np.array_equal(numbers_read(table, name), wanted, equal_nan=True)
        dtype = draw.choice(("<f4", ">f8", "<i8", ">u2", "?"))
        numbers = np.array([[draw.randrange(99) for _ in range(3)] for _ in range(count)], dtype)
        with path.open("wb") as file:
            np.save(file, numbers)
        table = look(path)
        for place, name in enumerate(table.names):
            assert (numbers_read(table, name) == numbers[:, place].astype(float)).all()


# --- cells of any length --------------------------------------------------------------------------


def seconds(call: Callable[[], object]) -> float:
    """The least CPU time of three."""
    spent = []
    for _ in range(3):
        before = time.thread_time()
        call()
        spent.append(time.thread_time() - before)
    return min(spent)


def test_cells_of_any_length_are_read_in_time_that_grows_with_it():
    for piece in ("1", "1,234", "1.", " ", "1e", "'", ","):
        times = []
        for count in (40_000, 160_000):
            text = piece * (count // len(piece)) + "x"
            times.append(
                seconds(lambda text=text: (form_of(text), number_of(text, Marks(".", ","))))
            )
        assert times[1] < 0.05 or times[1] < 12 * times[0], (piece, times)
