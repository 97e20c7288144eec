"""What is guessed of a table is said, with its doubt, and can be changed."""

from __future__ import annotations

import pytest

from pipelines.clustering.data.columns import ColumnChoice, pick
from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.tables import Table, look
from pipelines.core.errors import BadRequest


@pytest.fixture
def table_of(tmp_path):
    """``table_of(text, **reading)``: the table of a text."""

    def table(text: str, written: str = "utf-8", **reading) -> Table:
        path = tmp_path / "upload"
        path.write_bytes(text.encode(written))
        return look(path, Reading(**reading))

    return table


def doubts(table: Table, place: int) -> str:
    return " ".join(map(str, table.columns[place].doubts))


def values(table: Table, *names: str) -> list[list[float]]:
    return pick(table, ColumnChoice(columns=names or table.suggest_columns())).data.X.tolist()


def guess(table: Table, what: str):
    return next(each for each in table.guesses if each.what == what)


# --- marks of numbers -----------------------------------------------------------------------------


def test_numbers_that_can_be_read_in_two_ways_say_so_beside_their_column(table_of):
    table = table_of("price;count\n12,50;1.250\n13,75;2.500\n9,00;3.125\n")
    assert values(table) == [[12.5, 1250], [13.75, 2500], [9, 3125]]
    assert doubts(table, 0) == ""
    assert doubts(table, 1) == "'1.250' is read as 1250; if '.' is the decimal mark, it is 1.25."
    assert table.columns[1].firsts[:2] == (("1.250", 1250), ("2.500", 2500))


def test_both_marks_can_be_chosen_and_the_doubt_is_gone(table_of):
    text = "name\tcount\na\t12,345\nb\t8,125\n"
    table = table_of(text)
    assert values(table) == [[12345], [8125]]
    assert "if ',' is the decimal mark, it is 12.345" in doubts(table, 1)
    chosen = table_of(text, decimal=",")
    assert values(chosen) == [[12.345], [8.125]]
    assert doubts(chosen, 1) == ""
    assert guess(chosen, "decimal").chosen
    assert values(table_of(text, thousands=",")) == [[12345], [8125]]
    with pytest.raises(BadRequest, match="cannot be both"):
        Reading(decimal=",", thousands=",")


def test_a_number_of_other_marks_is_never_read_as_another_number(table_of):
    rows = "\n".join(f"{n},25;x" for n in range(300))
    table = table_of(f"a;b\n{rows}\n1.250;x\n2.5;x\n")
    column = table.columns[0]
    assert column.unreadable == 2
    assert "written with other marks than most, such as '1.250'" in str(table.notes()[0])
    assert column.most == 299.25
    chosen = table_of(f"a;b\n{rows}\n1.250;x\n2.5;x\n", decimal=",", thousands=".").columns[0]
    assert (chosen.unreadable, chosen.most) == (1, 1250)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a;b\n1 234,5;2\n12,0;3\n", 1234.5),
        ("a;b\n1'234.50;2\n12.00;3\n", 1234.5),
        ('a,b\n"1,23,456.50",2\n"12.00",3\n', 123456.5),
        ("a\tb\n1.234.567\t2\n999\t3\n", 1234567),
        ("a;b\n1,5E+03;2\n2,5E+00;3\n", 1500),
    ],
)
def test_numbers_as_spreadsheets_of_several_countries_write_them(table_of, text, first):
    assert values(table_of(text), "a")[0] == [first]


def test_codes_and_long_numbers_are_doubted(table_of):
    table = table_of("plz,id,x\n01067,9007199254740993,1\n80331,9007199254740995,2\n10115,12,5\n")
    assert "begin with 0, such as '01067'" in doubts(table, 0)
    assert "such as 9007199254740993, are rounded" in doubts(table, 1)
    assert doubts(table, 2) == ""


def test_numbers_of_other_marks_in_a_column_of_texts_are_said(table_of):
    table = table_of("a;b\n1,5;2.25\n2,5;3.75\n3,25;4.5\n")
    assert table.suggest_columns() == ("a",)
    assert "'2.25' is no number by the marks of this file" in doubts(table, 1)


def test_a_year_among_the_names_says_nothing_of_marks(table_of):
    assert values(table_of('y,2019\n-2,"-683,732"\n3,"-540,597"\n'), "2019")[0] == [-683732]


# --- header ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    ["region,2019,2020,2021", "region,2000,2010,2020", "x,0,1,2", "region,1990,1995,2010",
     "region,2021,2020,2019"],
)  # fmt: skip
def test_years_and_numbers_of_columns_are_names(table_of, head):
    table = table_of(f"{head}\nnorth,5.1,4.2,4.4\nsouth,1.5,2.5,3.5\n")
    assert table.names == tuple(head.split(","))
    assert "is taken for the names" in str(guess(table, "header").doubt)
    assert guess(table, "header").others == (False,)
    assert table_of(f"{head}\nnorth,5,4,4\n", header=False).rows == 2


@pytest.mark.parametrize(
    ("head", "taken"),
    [
        ("sample,1100,1102,1104,1106", True),  # wavelengths
        ("sample,400.5,401,401.5,402", True),
        ("station,0,10,20,50", False),  # depths
        ("station,50,20,10,0", False),
    ],
)
def test_measures_in_a_row_of_names_are_names_or_doubted(table_of, head, taken):
    table = table_of(f"{head}\na,12.1,12.5,11.2,12\nb,13.1,12.5,13.9,8.5\n")
    assert guess(table, "header").value == taken
    assert guess(table, "header").others == (not taken,)
    # Rows that go on so are data.
    assert not guess(table_of("a,1,2,3,4\nb,3,4,5,6\nc,2,5,7,9\n"), "header").others


def test_years_above_numbers_that_rise_as_they_do_are_names_too(table_of):
    table = table_of("region,2019,2020,2021\nNorth,5,6,7\nSouth,8,9,10\n")
    assert table.names == ("region", "2019", "2020", "2021")


def test_a_year_beside_names_is_one_also_above_numbers_that_might_be_years(table_of):
    assert table_of("2019,x\n380,1.5\n1985,2.5\n12,3.5\n").names == ("2019", "x")
    assert table_of('"x" "2019"\n"1" 229 -1.5\n"2" 727 3.7\n').names == ("row", "x", "2019")


@pytest.mark.parametrize(
    ("text", "names", "left_out"),
    [
        ("# x, y\n1.5,2\n3.5,4\n", ("x", "y"), 0),  # as NumPy writes
        ("#,name,hp\n1,Bulbasaur,45\n2,Ivysaur,60\n", ("#", "name", "hp"), 0),
        ("# by a machine, of ours\nx,y\n1,2\n3,4\n", ("x", "y"), 1),
        ("Report of June\n\nday,x\na,1.5\nb,2.5\n", ("day", "x"), 1),
        ("Report of June\n\nday;x;y\na;1,5;2\nb;2,5;3\n", ("day", "x", "y"), 1),
        ("Report of June\nAccount 7, of us\nday;x;y\na;1,5;2\nb;2,5;3\n", ("day", "x", "y"), 2),
    ],
)
def test_lines_above_a_table_are_names_or_told_to_be_left_out(table_of, text, names, left_out):
    table = table_of(text)
    assert (table.rows, table.names) == (2, names)
    assert len(table.passed) == left_out
    told = f"{left_out} lines above the table are left out"
    assert any(told in str(note) for note in table.notes()) == bool(left_out)


def test_a_name_of_two_lines_is_no_line_above_the_table(table_of):
    assert table_of('"a\nb";c;d\n1;2;3\n4;5;6\n').names == ("a\nb", "c", "d")


def test_a_row_of_units_leaves_columns_of_numbers(table_of):
    table = table_of("x;y\n[m];[s]\n1,5;2\n2,5;3\n4,5;7\n")
    assert table.suggest_columns() == ("x", "y")
    assert "1 of 4 values in 'x' are no numbers, such as '[m]'" in str(table.notes()[0])


@pytest.mark.parametrize(
    "rows", ["1,2\n3,4", "2019,2020,2021\n2022,2023,2024", "0,1,2\n1,2,3", "a,1.5\nb,2.5"]
)
def test_numbers_that_go_on_below_are_data(table_of, rows):
    table = table_of(rows + "\n")
    assert table.rows == 2
    assert not guess(table, "header").value


def test_a_header_that_nothing_tells_apart_is_doubted(table_of):
    assert guess(table_of("tree,bird\noak,wren\nelm,owl\n"), "header").doubt
    assert guess(table_of("a,b\n1,2\n3,4\n"), "header").doubt is None


# --- index ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        ",x,y\n0,1.5,2\n1,2.5,4\n2,3.5,7\n",  # pandas
        ",x,y\n3,1.5,2\n8,2.5,4\n12,3.5,7\n",  # pandas, of some rows
        '"","x","y"\n"1",1.5,2\n"2",2.5,4\n',  # R's write.csv
        '"x" "y"\n"1" 1.5 2\n"2" 2.5 4\n',  # R's write.table
        "Unnamed: 0,x,y\n0,1.5,2\n1,2.5,4\n",  # pandas, read and written again
    ],
)
def test_a_nameless_rising_index_is_not_clustered_on_and_that_is_said(table_of, text):
    table = table_of(text)
    assert table.suggest_columns() == ("x", "y")
    assert table.columns[0].kind == "id"
    assert "not among the suggested columns" in doubts(table, 0)
    assert values(table, table.names[0])  # who chooses it has it


def test_numbers_that_only_rise_or_have_a_name_are_measures(table_of):
    assert table_of("time,x\n1,5\n2,4\n5,7\n").suggest_columns() == ("time", "x")
    assert table_of(",x\n2,5\n2,4\n3,4\n").suggest_columns() == ("column 1", "x")
    assert table_of(",x\n-2,5\n2,4\n").suggest_columns() == ("column 1", "x")
    assert table_of(",x\n1.5,5\n2.5,4\n").suggest_columns() == ("column 1", "x")
    assert table_of("1,5\n2,4\n5,7\n").suggest_columns() == ("column 1", "column 2")


# --- encoding and delimiter -----------------------------------------------------------------------


def test_western_letters_are_not_taken_for_chinese_ones_and_another_can_be_chosen(table_of):
    text = "Größe;x\n1,5;2\n1,7;3\n"
    table = table_of(text, "cp1252")
    assert table.names == ("Größe", "x")
    assert "as Western European (Windows-1252) the first words are 'Größe'" in str(
        guess(table, "encoding").doubt
    )
    chosen = table_of(text, "cp1252", encoding="cp1250")
    assert guess(chosen, "encoding").chosen
    assert guess(chosen, "encoding").doubt is None


def test_a_delimiter_beside_which_another_is_as_good_is_doubted(table_of):
    table = table_of("ab;cd,ef\ngh;ij,kl\n")
    assert guess(table, "delimiter").others
    assert guess(table_of("a,b\n1,2\n"), "delimiter").doubt is None


def test_decimal_commas_do_not_part_the_columns_that_semicolons_or_tabs_part(table_of):
    assert table_of("a.b;width;count\n-1,5;oak;-\n2,25;elm;x\n").names == ("a.b", "width", "count")
    text = "y\twood\theight\n-0,622\toak\ta;b\n8,680\telm\tno\n10,027\tno\tash, old\n"
    assert table_of(text).names == ("y", "wood", "height")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("x\n1,5\n2,25\n", [[1.5], [2.25]]),
        ("x\n1,234\n12,345\n", [[1234], [12345]]),
        ("x\n1 234\n12 345\n", [[1234], [12345]]),
    ],
)
def test_one_column_of_numbers_is_not_parted_at_their_marks(table_of, text, numbers):
    table = table_of(text)
    assert table.names == ("x",)
    assert values(table, "x") == numbers


def test_lines_that_may_be_one_number_or_two_are_doubted_and_can_be_either(table_of):
    table = table_of("1,5\n2,25\n7,75\n")
    assert "'2,25' may be one number" in str(guess(table, "delimiter").doubt)
    assert values(table_of("1,5\n2,25\n7,75\n", delimiter=";")) == [[1.5], [2.25], [7.75]]


def test_a_column_of_prices_is_not_parted_either(table_of):
    assert table_of("price\n$1,234.50\n$2,000.00\n").names == ("price",)


# --- one reader -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c,\n1,2,3\n4,5,6\n",
        "a,b,c,\n1,2,3,\n4,5,6,\n",
        "a,b,c,,\n1,2,3\n4,5,6\n",
        "a,b,c\n1,2,3,\n4,5,6,,\n",
        'a b  c\n1  2 3\n"4" 5\t6\n',
        "a|b|c\n--+--+--\n1|2|3\n4|5|6\n(2 rows)\n",
    ],
)
def test_what_is_previewed_is_what_is_clustered(table_of, text):
    table = table_of(text)
    assert [row[:3] for row in table.preview] == [("1", "2", "3"), ("4", "5", "6")]
    assert values(table, "a", "b", "c") == [[1, 2, 3], [4, 5, 6]]
    assert table.short_rows == 0


def test_empty_fields_far_below_the_first_rows_are_no_columns(table_of):
    table = table_of("a,b\n" + "1,2\n" * 250 + "3,4,,\n")
    assert (table.rows, table.names) == (251, ("a", "b"))
    with pytest.raises(BadRequest, match="Line 252 has 3 fields"):
        table_of("a,b\n" + "1,2\n" * 250 + "3,4,5\n")


def test_rows_that_end_early_are_told(table_of):
    table = table_of("a,b,c\n1,2,3\n4\n5,6\n7,8,9\n")
    assert "2 of 4 rows have fewer fields" in str(table.notes()[0])
    assert values(table) == [[1, 2, 3], [7, 8, 9]]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"a": 1}', "JSON"),
        ("[[1, 2], [3, 4]]", "JSON"),
        ("<html><table>", "HTML"),
        ("% Fisher, 1936\n@RELATION iris\n@ATTRIBUTE x NUMERIC\n@DATA\n1\n", "ARFF"),
        ('<?xml version="1.0"?>', "XML"),
        ("-- MySQL dump 10.13\nCREATE TABLE t (a int);\nINSERT INTO t VALUES (1);\n", "SQL"),
    ],
)
def test_texts_that_are_no_tables_are_called_by_their_kind(table_of, text, kind):
    with pytest.raises(BadRequest, match=f"This file is {kind}, not a table"):
        table_of(text)


def test_a_cell_of_many_digits_and_a_letter_is_a_text_at_once(table_of):
    table = table_of(f"x,y\n{'1' * 100_000}a,1\n{'1.' * 40_000}b,2\n")
    assert table.columns[0].kind == "text"


def test_a_field_of_any_length_gets_a_sentence(table_of):
    with pytest.raises(BadRequest, match=r"begins in line 2 has more than 131,072 characters"):
        table_of('a,b\n1,"' + "x\n" * 100_000)


def test_a_column_of_money_or_per_cent_says_why_it_is_not_read_as_numbers(table_of):
    table = table_of("n,money,share\na,$1.50,5%\nb,($2.00),7%\nc,$3.00,8%\n")
    assert "has '$' beside its number" in doubts(table, 1)
    assert "has '%' beside its number" in doubts(table, 2)


def test_a_column_of_numbers_and_other_things_says_so(table_of):
    table = table_of("n,x\na,5\nb,7\nc,none left\nd,8\n")
    assert "3 of 4 values are numbers and others, such as 'none left', are not" in doubts(table, 1)
    assert not doubts(table_of("n,x\na,5\nb,oak\nc,elm\n"), 1)


def test_failed_formulas_and_dashes_are_missing_values(table_of):
    table = table_of("n;x\na;1,5\nb;#DIV/0!\nc;--\nd;n.a.\ne;#WERT!\nf;-2,5\n")
    assert (table.columns[1].kind, table.columns[1].missing) == ("number", 4)


def test_digits_of_other_scripts_are_numbers_with_a_doubt_where_there_is_one(table_of):
    table = table_of("n;v;w\na;١٢٣٫٥;１，２３４\nb;٤٥٦;５，６７８\n")
    assert [column.kind for column in table.columns[1:]] == ["number", "number"]
    assert (table.columns[1].least, table.columns[2].most) == (123.5, 5678)
    assert "is read as 1234" in doubts(table, 2)
